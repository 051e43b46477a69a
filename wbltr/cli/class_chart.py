"""How many pictures each class has, as bars of text for a terminal of any width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from wbltr.cli.console import harmless

MOST = 18  # classes that are shown
LONGEST = 24  # columns of a name


def class_chart(names: Sequence[str], counts: Sequence[int], width: int, *, block: str = "█") -> list[str]:
    """A line a class, the largest first; of many classes the largest and the smallest.

    Args:
        width: columns of the terminal.
        block: what bars are made of.
    """
    ranked = sorted(zip(counts, map(harmless, names), strict=True), key=lambda row: -row[0])
    left_out = len(ranked) - MOST if len(ranked) > MOST else 0
    shown = [*ranked[: MOST // 2], *ranked[MOST // 2 + left_out :]]
    figure = max(len(f"{count:,}") for count, _ in shown)
    label = min(max(cell_len(name) for _, name in shown), LONGEST, max(4, width // 3))
    room = max(1, width - label - figure - 3)
    lines = []
    for count, name in shown:
        fits = name if cell_len(name) <= label else set_cell_size(name, label - 1) + "…"
        bar = block * max(1, round(room * count / max(1, ranked[0][0])))
        lines.append(f"{set_cell_size(fits, label)} {count:>{figure},} {bar}")
    if left_out:
        more = f"{'…':<{label}} {left_out:,} more classes"
        lines.insert(MOST // 2, set_cell_size(more, min(len(more), width)))
    return lines
