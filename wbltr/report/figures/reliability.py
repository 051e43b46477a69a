"""A reliability diagram: how often a head is right at each confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from wbltr.report.figures.style import COLUMN, LOOKS, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from wbltr.functional.calibration import Reliability


@styled
def reliability(of: Mapping[str, Reliability], caption: str) -> Figure:
    """Accuracy against confidence in bins; on the dotted line a probability means what it says. Below: how many images.

    Args:
        of: head → its bins.
        caption: printed below.
    """
    figure = new_figure(COLUMN, 8.0, caption)
    axes, shares = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 100], [0, 100], color="0.45", linestyle=":", linewidth=1, label="confidence = accuracy")
    for place, ((name, bins), look) in enumerate(zip(of.items(), LOOKS[1:], strict=False)):
        held = [100 * np.asarray(values) for values in (bins.confidence, bins.accuracy, bins.share)]
        there = np.isfinite(held[0])
        axes.plot(held[0][there], held[1][there], **look, label=name)
        width = 100 / len(held[2])
        left = width * (np.arange(len(held[2])) + place / len(of))
        shares.bar(left, held[2], width / len(of), align="edge", color=look["color"])
    axes.set(ylabel="accuracy (%)", ylim=(-3, 103))
    shares.set(xlabel="confidence (%)", ylabel="images (%)", xlim=(-3, 103))
    figure.legend(loc="outside upper center", ncols=1)
    return figure
