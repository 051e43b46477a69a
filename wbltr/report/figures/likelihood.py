"""Figure 6: norms of the classifier's rows, and what the classifier makes of all test images together."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.report.figures.style import LOOKS, WHOLE, by_cardinality, logarithmic, new_figure, styled, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]


def marginal_likelihood(embeddings: Array, weight: Array, bias: Array) -> Array:
    """Mean probability of each class over images: p(k) = (1/N) Σ_i softmax(W f_i + b)_k.

    Over a balanced set a balanced classifier gives every class 1/C.

    Args:
        embeddings: `(N, D)` float.
        weight, bias: `(C, D)` and `(C,)`.

    Returns:
        `(C,)` float64 that sums to 1.

    Source: Alshammari et al., CVPR 2022, section 4.2, Fig. 6.

    >>> marginal_likelihood(np.zeros((3, 2)), np.ones((4, 2)), np.zeros(4)).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    logits = embeddings.astype(np.float64) @ weight.T.astype(np.float64) + bias
    shares = np.exp(logits - logits.max(1, keepdims=True))
    mean: Array = (shares / shares.sum(1, keepdims=True)).mean(0)
    return mean


@styled
def likelihood(norms: Mapping[str, Array], likelihoods: Mapping[str, Array], counts: Array, caption: str) -> Figure:
    """A column a head: its row norms above, its marginal likelihoods below with a dashed line at 1/C; common classes first.

    Args:
        norms: head → `(C,)` L2 norms of its rows; each column has its own scale.
        likelihoods: head → `(C,)`, of the same heads.
        counts: `(C,)` training images.
        caption: printed below.
    """
    order = by_cardinality(counts)
    rank = np.arange(1, len(order) + 1)
    figure = new_figure(WHOLE, 8.0, caption)
    above, below = figure.subplots(2, len(norms), sharex=True, sharey="row", squeeze=False)
    for number, name in enumerate(norms):
        look = LOOKS[number % len(LOOKS)]
        heights = 100 * likelihoods[name][order]
        above[number].plot(rank, norms[name][order], color=look["color"], drawstyle="steps-mid", linewidth=1)
        below[number].fill_between(rank, heights, step="mid", color=look["color"], alpha=0.35, linewidth=0)
        below[number].plot(rank, heights, color=look["color"], drawstyle="steps-mid", linewidth=1)
        below[number].axhline(100 / len(order), color="black", linestyle="--", linewidth=0.9)
        above[number].set_title(textwrap.fill(name, 16))
        below[number].set_xlabel("class, by size")
        whole_numbers(below[number], 3)
    above[0].set_ylabel("norm of the row")
    above[0].set_yscale("log")
    logarithmic(above[0].yaxis, min(map(np.min, norms.values())), max(map(np.max, norms.values())))
    below[0].set_ylabel("likelihood (%)")
    below[0].set_ylim(bottom=0)
    return figure
