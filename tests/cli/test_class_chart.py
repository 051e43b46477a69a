from __future__ import annotations

import pytest
from rich.cells import cell_len

from wbltr.cli.class_chart import MOST, class_chart


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    names = ["a", "宝くじ" * 10, "\x1b[31mred", "x" * 300, *(f"class {n}" for n in range(40))]
    lines = class_chart(names, [10**6, 300, 20, *range(1, 42)], width)
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == MOST + 1
    assert not any("\x1b" in line for line in lines)


def test_the_largest_come_first_and_the_smallest_last() -> None:
    lines = class_chart([f"c{n}" for n in range(100)], list(range(1, 101)), 60, block="#")
    assert lines[0].startswith("c99")
    assert lines[-1].startswith("c0 ")
    assert "82 more classes" in lines[MOST // 2]
    assert lines[0].count("#") > lines[-1].count("#") == 1
