"""How every figure looks and is written: printed size, type, colours that survive grey paper, a caption inside the image."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

P = ParamSpec("P")
R = TypeVar("R")

WHOLE, COLUMN = 17.0, 8.5  # cm: the printed width of a page's text and of one of its two columns
BODY, SMALL = 9.0, 8.0  # pt
LINE = 1.3 * SMALL / 72  # inches that a line of the caption takes
MAP = "cividis"  # read alike by colour-blind people, and its lightness rises evenly
SETTINGS: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same bytes everywhere
    "font.size": BODY,
    "axes.titlesize": BODY,
    "axes.labelsize": BODY,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "svg.hashsalt": "wbltr",  # ids in an SVG are hashes: without a fixed salt no two files are alike
}

# Okabe and Ito's colours by falling lightness; each with a marker, a line and a hatch of its own.
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": "#E69F00", "marker": "o", "linestyle": "-", "markerfacecolor": "white"},
    {"color": "#0072B2", "marker": "s", "linestyle": "--"},
    {"color": "#000000", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#009E73", "marker": "v", "linestyle": (0, (5, 1, 1, 1, 1, 1))},
)


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Draw or write under these settings alone, whatever the user's matplotlibrc says."""

    @wraps(function)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(SETTINGS)
            return function(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float, caption: str) -> Figure:
    """An empty figure with its caption below, which the axes keep clear of.

    Args:
        width, height: cm as printed, the caption not counted.
        caption: wrapped to the width.
    """
    # 0.53 em is what a letter of this typeface takes on average.
    lines = textwrap.wrap(caption, int(width / 2.54 * 72 / (0.53 * SMALL)))
    below = LINE * len(lines) + 0.08
    inches = height / 2.54 + below
    figure = Figure(figsize=(width / 2.54, inches), layout="constrained")
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, below / inches, 1, 1 - below / inches))
    if lines:
        left, bottom = 0.08 / (width / 2.54), 0.04 / inches
        figure.text(left, bottom, "\n".join(lines), fontsize=SMALL, color="0.25", va="bottom", linespacing=1.15, gid="caption")
    return figure


def dotted(points: int, most: int = 12) -> int:
    """Every how many points a line carries a marker, so that markers do not run into each other."""
    return max(1, points // most)


def whole_numbers(axes: Axes, most: int = 6) -> None:
    """Ticks of the horizontal axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=most))


def logarithmic(axis: Axis, smallest: float, largest: float) -> None:
    """Ticks of a logarithmic axis as plain numbers: an exponent would be printed too small.

    Args:
        smallest, largest: what is drawn; over less than a decade and a half 2 and 5 are named, too.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    wide = largest / max(smallest, 1e-300) > 10**1.5
    axis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


@styled
def svg(figure: Figure) -> bytes:
    """The figure as SVG: equal bytes for equal figures. Letters are outlines, so it looks the same everywhere."""
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


@styled
def png(figure: Figure, dots_per_inch: int = 300) -> bytes:
    """The figure as PNG."""
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=dots_per_inch, metadata={"Software": None})
    return written.getvalue()


def by_cardinality(counts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Classes from common to rare; of equal ones the first label first: `(C,)` counts → `(C,)` indices."""
    return np.argsort(-counts, kind="stable")


def summary(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    """What a plotted array holds, as JSON values: shape, smallest, mean, largest; NaN left out."""
    array = np.asarray(values, dtype=float)
    finite = array[np.isfinite(array)]
    found = (finite.min(), finite.mean(), finite.max()) if finite.size else (None, None, None)
    return {"shape": list(array.shape)} | {
        name: None if value is None else float(f"{value:.6g}")
        for name, value in zip(("min", "mean", "max"), found, strict=True)
    }
