"""What MaxNorm did in a second stage: how many classes it held at the radius, how many it moved, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.report.figures.style import LOOKS, WHOLE, new_figure, styled, whole_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
Shares = tuple[Array, Array]  # `history.at_radius`, `history.projected`: `(E,)`, shares in [0, 1]


@styled
def max_norm(of: Mapping[str, Mapping[str, Shares]], caption: str) -> Figure:
    """A column a group of heads: classes on the radius at the epoch's end above, classes moved during the epoch below.

    Args:
        of: title of a column → head → its shares.
        caption: printed below.
    """
    figure = new_figure(WHOLE, 8.5, caption)
    panels = figure.subplots(2, len(of), sharex=True, sharey=True, squeeze=False)
    for column, (title, heads) in enumerate(of.items()):
        for number, ((name, shares), look) in enumerate(zip(heads.items(), LOOKS, strict=False)):
            for axes, share in zip(panels[:, column], shares, strict=True):
                epochs = np.arange(1, len(share) + 1)
                # Lines that coincide show each other's markers.
                each = max(len(heads), len(epochs) // 3)
                axes.plot(epochs, 100 * share, **look, markevery=(number % len(epochs), each), label=name)
        panels[0, column].set_title(title)
        panels[1, column].set_xlabel("epoch of the second stage")
        whole_numbers(panels[1, column])
    panels[0, 0].set(ylabel="classes on the\nradius (%)", ylim=(-4, 104))
    panels[1, 0].set_ylabel("classes moved in\nthe epoch (%)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure
