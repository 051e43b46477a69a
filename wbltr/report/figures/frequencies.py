"""Figure 5: how many training images each class of the long-tailed sets has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.functional.longtail import long_tail_counts
from wbltr.report.figures.style import LOOKS, WHOLE, dotted, logarithmic, new_figure, styled, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
FACTS = Path(__file__).parent.with_name("class_counts.json")


def cifar100_lt() -> dict[str, Array]:
    """Class sizes of CIFAR100-LT at the paper's imbalance factors: name → `(100,)`."""
    return {f"IF {factor}": np.array(long_tail_counts(100, 500, factor)) for factor in (100, 50, 10)}


def imagenet_lt() -> Array:
    """Class sizes of ImageNet-LT by label: `(1000,)`, 115,846 images; the list of Liu et al., CVPR 2019."""
    return np.array(json.loads(FACTS.read_text())["imagenet-lt"]["counts"])


@styled
def frequencies(panels: Mapping[str, Mapping[str, Array]], caption: str) -> Figure:
    """Classes of each set from common to rare, images on a logarithmic axis that all panels share.

    Args:
        panels: title of a panel → name of a cut → `(C,)` training images of each class.
        caption: printed below.
    """
    figure = new_figure(WHOLE, 6.5, caption)
    several = np.atleast_1d(figure.subplots(1, len(panels), sharey=True))
    for axes, (title, sets) in zip(several, panels.items(), strict=True):
        for (name, counts), look in zip(sets.items(), LOOKS, strict=False):
            sizes = np.sort(counts)[::-1]
            axes.plot(np.arange(1, len(sizes) + 1), sizes, **look, markevery=dotted(len(sizes), 10), label=name)
        axes.set(title=title, xlabel="class, from common to rare", yscale="log")
        whole_numbers(axes)
        if len(sets) > 1:
            axes.legend(loc="lower left")
    largest = max(int(counts.max()) for sets in panels.values() for counts in sets.values())
    several[0].set(ylabel="training images of the class", ylim=(1, 1.3 * largest))
    logarithmic(several[0].yaxis, 1, largest)
    return figure
