"""Figure 4: accuracy of the first stage against its weight decay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FixedLocator

from wbltr.report.figures.style import COLUMN, LOOKS, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]


@styled
def weight_decay(decays: Sequence[float], accuracy: Mapping[str, Sequence[float | None]], caption: str) -> Figure:
    """A line for all classes and each split; the axis is logarithmic, with 0 set apart at its left.

    Args:
        decays: λ, rising; 0 may be among them.
        accuracy: `all`, `many`, `medium`, `few` → per cent at each λ; None is not drawn.
        caption: printed below.
    """
    positive = [decay for decay in decays if decay > 0] or [1e-3]
    left = min(positive) / 10**0.75  # where 0 stands
    places = [decay if decay > 0 else left for decay in decays]
    figure = new_figure(COLUMN, 6.5, caption)
    axes = figure.add_subplot()
    for (name, values), look in zip(accuracy.items(), (LOOKS[2], LOOKS[0], LOOKS[4], LOOKS[1]), strict=False):
        heights = np.array([np.nan if value is None else value for value in values], dtype=float)
        axes.plot(places, heights, **look, label=name)
    axes.set(xscale="log", xlabel="weight decay λ (of SGD: twice eq. 3's)", ylabel="accuracy (%)")
    powers = range(math.ceil(math.log10(min(positive)) - 0.3), math.floor(math.log10(max(positive)) + 0.3) + 1)
    ticks = {10.0**power: f"{10.0**power:g}" for power in powers} | ({left: "0"} if 0 in decays else {})
    axes.set_xticks(list(ticks), list(ticks.values()))
    between = [digit * 10.0**power for power in range(powers.start - 1, powers.stop) for digit in range(2, 10)]
    axes.xaxis.set_minor_locator(FixedLocator([tick for tick in between if min(positive) <= tick <= max(positive)]))
    if 0 in decays:
        axes.axvline(left * 10**0.375, color="0.6", linewidth=0.7, linestyle=(0, (2, 2)))
    figure.legend(loc="outside upper center", ncols=4, columnspacing=0.8, handletextpad=0.4)
    return figure
