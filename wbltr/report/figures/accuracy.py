"""Figure 1a: accuracy of each class against how many training images it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.report.figures.style import LOOKS, WHOLE, by_cardinality, logarithmic, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]


@styled
def accuracy(per_class: Mapping[str, Array], counts: Array, many: int, few: int, caption: str, width: float = WHOLE) -> Figure:
    """Points for each class with their running mean, and the class sizes on an axis of their own.

    Args:
        per_class: model → `(C,)` accuracy, shares in [0, 1]; NaN for a class without images is not drawn.
        counts: `(C,)` training images.
        many, few: thresholds of the splits.
        caption: printed below.
        width: cm as printed.
    """
    order = by_cardinality(counts)
    rank = np.arange(1, len(order) + 1)
    figure = new_figure(width, 7.0 if width == WHOLE else 8.0, caption)
    axes = figure.add_subplot()
    for (name, values), look in zip(per_class.items(), LOOKS, strict=False):
        sorted_values = 100 * np.asarray(values)[order]
        mean = float(np.nanmean(sorted_values))
        axes.plot(rank, sorted_values, **{**look, "linestyle": "none"}, alpha=0.8)
        axes.plot(rank, running_mean(sorted_values), color=look["color"], linestyle=look["linestyle"])
        axes.plot([], [], **look, label=f"{name}, mean {mean:.1f}")
    axes.set(xlabel="class, from common to rare", ylabel="accuracy of the class (%)", ylim=(-3, 103))
    axes.set_xlim(0.5 - 0.01 * len(order), len(order) + 0.5 + 0.01 * len(order))
    sizes = axes.twinx()
    sizes.plot(rank, counts[order], color="0.45", linestyle=":", drawstyle="steps-mid", label="training images")
    sizes.set(yscale="log", ylabel="training images of the class")
    logarithmic(sizes.yaxis, counts.min(), counts.max())
    sizes.spines["right"].set_visible(True)
    sizes.grid(visible=False)
    _splits(axes, counts[order], many, few)
    handles, labels = (
        one + other for one, other in zip(axes.get_legend_handles_labels(), sizes.get_legend_handles_labels(), strict=True)
    )
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels) if width == WHOLE else 1)
    return figure


def running_mean(values: Array, share: float = 0.1) -> Array:
    """Mean over a window of a tenth of the classes, at least three, cut off at the ends; NaN left out: `(C,)` → `(C,)`."""
    half = max(1, round(share * len(values) / 2))
    windows = [values[max(0, place - half) : place + half + 1] for place in range(len(values))]
    return np.array([np.nanmean(window) if np.isfinite(window).any() else np.nan for window in windows])


def _splits(axes: Axes, sizes: Array, many: int, few: int) -> None:
    """Lines between the splits, and their names where they have classes."""
    edges = [0, int((sizes > many).sum()), int((sizes >= few).sum()), len(sizes)]
    for name, first, last in zip(("Many", "Medium", "Few"), edges, edges[1:], strict=False):
        if last > first:
            axes.annotate(
                name, ((first + last + 1) / 2, 1), (0, 2), ("data", "axes fraction"), "offset points",
                ha="center", va="bottom", color="0.35",
            )  # fmt: skip
        if 0 < last < len(sizes):
            axes.axvline(last + 0.5, color="0.6", linewidth=0.7)
