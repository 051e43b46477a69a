"""Figure 7 and the paper's video: rows of a classifier on two pre-logit dimensions, along the training."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.report.figures.style import MAP, WHOLE, by_cardinality, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
PAPER_STEPS = (0, 4_000, 8_000, 16_000)  # of about 34,000: 200 epochs of 170 batches
PAPER_LENGTH = 34_000
LARGEST_GIF = 2_000_000  # bytes


@dataclass(frozen=True)
class Path2D:
    """What one model's classifier went through.

    Attributes:
        steps: `(S,)` optimizer steps, rising from 0.
        weights: `(S, C, 2)`.
        radius: MaxNorm's, or None.
    """

    steps: Array
    weights: Array
    radius: float | None = None

    def reach(self, snapshots: Sequence[int]) -> float:
        """Half the side of a square that holds every row of these snapshots."""
        farthest = float(np.linalg.norm(self.weights[list(snapshots)], axis=2).max())
        return 1.08 * max(farthest, self.radius or 0.0, 1e-6)


def stills(snapshots: int) -> tuple[int, ...]:
    """Which of the snapshots stand where the paper's 0, 4000, 8000 and 16,000 of 34,000 steps do; each once."""
    return tuple(dict.fromkeys(round((snapshots - 1) * step / PAPER_LENGTH) for step in PAPER_STEPS))


@styled
def weights_2d(of: Mapping[str, Path2D], counts: Array, caption: str) -> Figure:
    """A row of stills a model; every point is a class, dark for common ones, light for rare ones.

    Args:
        of: model → what its classifier went through. Each row of pictures has its own scale.
        counts: `(C,)` training images.
        caption: printed below.
    """
    from matplotlib.ticker import MaxNLocator

    order = by_cardinality(counts)
    columns = min(len(stills(len(one.steps))) for one in of.values())
    figure = new_figure(WHOLE, 4.2 * len(of), caption)
    panels = figure.subplots(len(of), columns, squeeze=False)
    for letter, row, (name, one) in zip("abcdefgh", panels, of.items(), strict=False):
        chosen = stills(len(one.steps))[:columns]
        reach = one.reach(chosen)
        for axes, snapshot in zip(row, chosen, strict=True):
            points = _points(axes, one.weights[snapshot][order], one.radius, reach)
            axes.set_title(f"step {int(one.steps[snapshot]):,}")
        row[0].set_ylabel(f"({letter}) {name}")
    bar = figure.colorbar(
        points, ax=panels, location="bottom", aspect=50, shrink=0.6, pad=0.02, label="class, from common to rare"
    )
    bar.ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


@styled
def animation(of: Mapping[str, Path2D], counts: Array, title: str) -> bytes:
    """The same as a moving GIF of at most 2 MB: a panel a model, a frame a snapshot.

    Args:
        title: printed above.
    """
    frames = min(len(one.steps) for one in of.values())
    every = 1
    while True:
        written = _gif(of, by_cardinality(counts), title, range(0, frames, every))
        if len(written) <= LARGEST_GIF or every >= frames:
            return written
        every *= 2


def _gif(of: Mapping[str, Path2D], order: Array, title: str, snapshots: range) -> bytes:
    from matplotlib.animation import PillowWriter

    figure = new_figure(WHOLE, 5.2, title)
    panels = np.atleast_1d(figure.subplots(1, len(of)))
    drawn = []
    for axes, (name, one) in zip(panels, of.items(), strict=True):
        drawn.append(_points(axes, one.weights[0][order], one.radius, one.reach(snapshots)))
        axes.set_title(name)
        axes.set_xlabel(f"step {int(one.steps[-1]):,}")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: no picture shakes
    writer = PillowWriter(fps=8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.gif"
        with writer.saving(figure, str(path), dpi=110):
            for snapshot in snapshots:
                for axes, points, one in zip(panels, drawn, of.values(), strict=True):
                    points.set_offsets(one.weights[snapshot][order])
                    axes.set_xlabel(f"step {int(one.steps[snapshot]):,}")
                writer.grab_frame()
        return path.read_bytes()


def _points(axes: Axes, weights: Array, radius: float | None, reach: float) -> PathCollection:
    """One picture: the rows, the origin, and MaxNorm's circle."""
    from matplotlib.patches import Circle

    axes.axhline(0, color="0.8", linewidth=0.5, zorder=0)
    axes.axvline(0, color="0.8", linewidth=0.5, zorder=0)
    if radius is not None:
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor="0.3", linestyle="--", linewidth=0.8))
    rank = np.arange(1, len(weights) + 1)
    points = axes.scatter(weights[:, 0], weights[:, 1], c=rank, cmap=MAP, s=14, edgecolors="0.2", linewidths=0.3, zorder=2)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.locator_params(nbins=4)
    axes.grid(visible=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(True)
    return points
