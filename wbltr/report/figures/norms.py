"""Figures 1b and 2: norms of the classifier's rows, at the end of training and along it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.report.figures.style import LOOKS, MAP, WHOLE, by_cardinality, dotted, logarithmic, new_figure, styled, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]


@styled
def norms(of: Mapping[str, Array], counts: Array, caption: str, width: float = WHOLE) -> Figure:
    """Row norms of several heads, classes from common to rare, on a logarithmic axis: a flat line is a balanced head.

    Args:
        of: head → `(C,)` L2 norms of its rows.
        counts: `(C,)` training images.
        caption: printed below.
        width: cm as printed.
    """
    order = by_cardinality(counts)
    rank = np.arange(1, len(order) + 1)
    figure = new_figure(width, 7.0 if width == WHOLE else 8.0, caption)
    axes = figure.add_subplot()
    for (name, values), look in zip(of.items(), LOOKS, strict=False):
        found = np.asarray(values)
        ratio = found.max() / found.min() if found.min() > 0 else np.inf
        label = f"{name} (largest / smallest {ratio:.2g})"
        axes.plot(rank, found[order], **look, markevery=dotted(len(rank), 20), label=label)
    axes.set(xlabel="class, from common to rare", ylabel="L2 norm of the row", yscale="log")
    logarithmic(axes.yaxis, min(map(np.min, of.values())), max(map(np.max, of.values())))
    whole_numbers(axes)
    figure.legend(loc="outside upper center", ncols=1 if width < WHOLE or max(map(len, of)) > 40 else min(len(of), 2))
    return figure


@styled
def norm_evolution(of: Mapping[str, Array], counts: Array, caption: str) -> Figure:
    """Row norms by epoch and class as heat maps that share one scale of colours.

    Args:
        of: model → `(E, C)` L2 norms after each epoch.
        counts: `(C,)` training images; common classes are drawn at the top.
        caption: printed below.
    """
    from matplotlib.colors import PowerNorm

    order = by_cardinality(counts)
    figure = new_figure(WHOLE, 6.2, caption)
    panels = np.atleast_1d(figure.subplots(1, len(of), sharey=True))
    # By the root, so that the small norms under weight decay differ from each other, too.
    colours = PowerNorm(0.5, 0, max(float(np.max(values)) for values in of.values()))
    for letter, (axes, (name, values)) in zip("abcdefgh", zip(panels, of.items(), strict=True), strict=False):
        epochs, classes = values.shape
        image = axes.imshow(
            np.asarray(values)[:, order].T, cmap=MAP, norm=colours, aspect="auto", interpolation="nearest",
            extent=(0.5, epochs + 0.5, classes + 0.5, 0.5),
        )  # fmt: skip
        axes.set(title=f"({letter}) {name}", xlabel="epoch")
        axes.grid(visible=False)
        whole_numbers(axes, 2)
    panels[0].set_ylabel("class, common (top) to rare")
    figure.colorbar(image, ax=list(panels), label="L2 norm (colours by its root)", pad=0.01, aspect=30)
    return figure
