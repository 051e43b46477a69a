"""Figure 3: norms of the filters of hidden layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.report.figures.style import COLUMN, LOOKS, dotted, new_figure, styled, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
HATCHES = ("////", "\\\\\\\\")


def filter_norms(network: Mapping[str, Array]) -> Array:
    """L2 norms of the filters of the widest convolutions, each layer's sorted from high to low: `(L, F)`.

    Layers of one width can be averaged filter by filter, which is what the paper does at 512 filters.

    Args:
        network: name → array; a convolution's weight is `(F, inputs, height, width)`. Shortcuts are left out.
    """
    layers = [
        np.linalg.norm(np.asarray(array, dtype=np.float64).reshape(len(array), -1), axis=1)
        for name, array in sorted(network.items())
        if array.ndim == 4 and name.endswith(".weight") and "downsample" not in name
    ]
    widest = max(len(layer) for layer in layers)
    return np.stack([np.sort(layer)[::-1] for layer in layers if len(layer) == widest])


@styled
def filters(of: Mapping[str, Array], caption: str) -> Figure:
    """The mean over layers as a line, one standard deviation to each side as a band.

    Args:
        of: model → `(L, F)` from `filter_norms`.
        caption: printed below.
    """
    figure = new_figure(COLUMN, 6.5, caption)
    axes = figure.add_subplot()
    for (name, values), look, hatch in zip(of.items(), LOOKS, HATCHES, strict=False):
        rank = np.arange(1, values.shape[1] + 1)
        mean, deviation = values.mean(0), values.std(0)
        axes.fill_between(
            rank, mean - deviation, mean + deviation, facecolor=look["color"], alpha=0.25, hatch=hatch, edgecolor=look["color"],
            linewidth=0,
        )  # fmt: skip
        axes.plot(rank, mean, **look, markevery=dotted(len(rank)), label=name)
    axes.set(xlabel="filter of the layer, from large to small norm", ylabel="L2 norm of the filter")
    axes.set_ylim(bottom=0)
    whole_numbers(axes)
    figure.legend(loc="outside upper center", ncols=len(of))
    return figure
