"""What a study of `tune` found: accuracy against λ for a first stage, a map over λ and δ for a second one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wbltr.report.figures.style import COLUMN, LOOKS, MAP, logarithmic, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Tried:
    """One trial as it is drawn.

    Attributes:
        decay: λ, above 0.
        radius: δ; NaN where none was tried.
        accuracy: on the validation part, per cent; of a stopped one where it was stopped, NaN of a diverged one.
        end: how it came to its end.
    """

    decay: float
    radius: float
    accuracy: float
    end: Literal["finished", "stopped", "diverged"]


@styled
def decay_curve(tried: Sequence[Tried], lr: float | None, caption: str) -> Figure:
    """Accuracy against λ, each trial a point.

    Args:
        tried: at least one of them finished.
        lr: for a second axis, lr·λ; None where it was tried, too.
        caption: printed below.
    """
    figure = new_figure(COLUMN, 7.0, caption)
    axes = figure.add_subplot()
    done = sorted((one for one in tried if one.end == "finished"), key=lambda one: one.decay)
    stopped = [one for one in tried if one.end == "stopped"]
    diverged = [one for one in tried if one.end == "diverged"]
    top = max(done, key=lambda one: one.accuracy)
    axes.plot([one.decay for one in done], [one.accuracy for one in done], **LOOKS[1], linewidth=0.8, label="trial")
    if stopped:
        places, heights = [one.decay for one in stopped], [one.accuracy for one in stopped]
        axes.plot(places, heights, linestyle="none", marker="v", color="0.55", markerfacecolor="white", label="stopped early")
    if diverged:
        # At the foot of the axes, since they have no accuracy.
        axes.plot(
            [one.decay for one in diverged], [0.03] * len(diverged), linestyle="none", marker="x", color="black",
            transform=axes.get_xaxis_transform(), label="diverged",
        )  # fmt: skip
    star: dict[str, Any] = {"marker": "*", "markersize": 11, "markeredgecolor": "black", "markeredgewidth": 0.7}
    axes.plot([top.decay], [top.accuracy], linestyle="none", color=LOOKS[0]["color"], **star, label=f"best: λ {top.decay:.2g}")
    axes.set(xscale="log", xlabel="weight decay λ (of SGD: twice eq. 3's)", ylabel="accuracy on validation (%)")
    ends = min(one.decay for one in tried), max(one.decay for one in tried)
    logarithmic(axes.xaxis, *ends)
    if lr is not None:
        there, back = (lambda decay: np.asarray(decay) * lr), (lambda product: np.asarray(product) / lr)
        above = axes.secondary_xaxis("top", functions=(there, back))
        above.set_xlabel("lr·λ")
        logarithmic(above.xaxis, ends[0] * lr, ends[1] * lr)
    columns = 2 if stopped and diverged else 3
    figure.legend(loc="outside upper center", ncols=columns, columnspacing=0.8, handletextpad=0.3, handlelength=1.6)
    return figure


@styled
def decay_radius_map(tried: Sequence[Tried], caption: str) -> Figure:
    """The best accuracy in each cell over λ and δ, whatever else was tried in it.

    Args:
        tried: at least one of them finished.
        caption: printed below.
    """
    figure = new_figure(COLUMN, 7.5, caption)
    axes = figure.add_subplot()
    decays, radii = (np.array([getattr(one, name) for one in tried]) for name in ("decay", "radius"))
    across, up = edges(np.log10(decays)), edges(radii)
    best = best_in_cells(np.log10(decays), radii, np.array([one.accuracy for one in tried]), across, up)
    known = best[np.isfinite(best)]
    # A few cells far below would take all of the scale.
    low = max(float(known.min()), float(np.median(known) - 2 * (known.max() - np.median(known)) - 1e-6))
    mesh = axes.pcolormesh(10**across, up, best, cmap=MAP, vmin=low, vmax=float(known.max()), edgecolors="white", linewidth=0.3)
    done = [one for one in tried if one.end == "finished"]
    diverged = [one for one in tried if one.end == "diverged"]
    top = max(done, key=lambda one: one.accuracy)
    dot: dict[str, Any] = {"linestyle": "none", "color": "white", "markeredgecolor": "black", "markeredgewidth": 0.5}
    axes.plot(
        [one.decay for one in done], [one.radius for one in done], marker="o", markersize=2, clip_on=False, **dot, label="trial"
    )
    if diverged:
        places, heights = [one.decay for one in diverged], [one.radius for one in diverged]
        axes.plot(places, heights, linestyle="none", marker="x", color="black", clip_on=False, label="diverged")
    name = f"best: λ {top.decay:.2g}, δ {top.radius:.2g}"
    axes.plot([top.decay], [top.radius], marker="*", markersize=11, clip_on=False, **dot, label=name)
    axes.set(xscale="log", xlabel="weight decay λ", ylabel="MaxNorm's radius δ")
    axes.grid(visible=False)
    logarithmic(axes.xaxis, float(decays.min()), float(decays.max()))
    bar = figure.colorbar(mesh, extend="min" if known.min() < low else "neither")
    bar.set_label("best accuracy on validation (%)")
    figure.legend(loc="outside upper center", ncols=3, columnspacing=0.8, handletextpad=0.3, handlelength=1.2)
    return figure


def edges(values: Array) -> Array:
    """Borders of the cells along one axis, rising: between a few values that were chosen from, else evenly spaced.

    >>> edges(np.array([1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0]))
    array([0.5, 1.5, 3. , 5. ])
    """
    different = np.unique(values)
    if len(different) == 1:
        return np.array([different[0] - 0.5, different[0] + 0.5])
    if len(different) > 10 or 2 * len(different) > len(values):  # drawn from an interval, not chosen
        return np.linspace(values.min(), values.max(), int(np.clip(0.6 * np.sqrt(len(values)), 3, 10)) + 1)
    between = (different[1:] + different[:-1]) / 2
    return np.concatenate([[2 * different[0] - between[0]], between, [2 * different[-1] - between[-1]]])


def best_in_cells(x: Array, y: Array, height: Array, across: Array, up: Array) -> Array:
    """The largest height in each cell: `(N,)` three times, borders `(X+1,)`, `(Y+1,)` → `(Y, X)`, NaN where there is none."""
    best = np.full((len(up) - 1, len(across) - 1), np.nan)
    columns = np.clip(np.searchsorted(across, x, side="right") - 1, 0, best.shape[1] - 1)
    rows = np.clip(np.searchsorted(up, y, side="right") - 1, 0, best.shape[0] - 1)
    np.fmax.at(best, (rows, columns), height)
    return best
