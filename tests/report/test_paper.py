from __future__ import annotations

import doctest
from typing import get_args

import pytest

from wbltr.methods.rows import Table4Row
from wbltr.report import paper
from wbltr.report.paper import PaperRow, figures


def test_its_examples_run() -> None:
    outcome = doctest.testmod(paper)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_every_row_of_table_4_has_its_four_figures_and_all_lies_between_the_splits() -> None:
    assert figures("cifar100", 100, "ce") is None, "a row of ours that the paper does not have"
    for row in (row for row in get_args(Table4Row) if row != "ce"):
        found = figures("cifar100", 100, row)
        assert found is not None, row
        assert found.many is not None
        assert found.medium is not None
        assert found.few is not None
        assert found.all is not None
        # 35, 35 and 30 classes; printed to two digits.
        assert found.all == pytest.approx((35 * found.many + 35 * found.medium + 30 * found.few) / 100, abs=0.05), row


def test_the_papers_headline_stands() -> None:
    assert figures("cifar100", 100.0, "cb-wd-max") == PaperRow(72.60, 51.86, 32.63, 53.35)
    assert figures("cifar100", 50, "cb-wd-max") == PaperRow(None, None, None, 57.71)
    assert figures("imagenet-lt", None, "cb-wd-max") == PaperRow(62.5, 50.4, 41.5, 53.9)
    assert figures("inaturalist18", None, "l2") == PaperRow(11.2, 47.4, 66.9, 51.3)


@pytest.mark.parametrize(
    ("source", "factor", "row"),
    [
        ("digits", 50, "naive"),
        ("cifar10", 100, "naive"),
        ("cifar100", 20, "naive"),
        ("cifar100", None, "naive"),
        ("cifar100", 50, "ce-max"),
        ("imagenet-lt", None, "ce-wd"),
        ("cifar100", 100, "no such row"),
    ],
)
def test_what_the_paper_does_not_print_is_none(source: str, factor: float | None, row: str) -> None:
    assert figures(source, factor, row) is None


def test_others_come_in_the_columns_that_are_asked_for() -> None:
    assert paper.others_at((100, 50, 10))["PaCo"] == (52.0, 56.0, 64.2)
    assert paper.others_at((10, 100))["ACE (4-expert)"] == (None, 49.6)
    assert len(paper.others_at((100,))) == 17


def test_systems_with_bells_and_whistles_stand_apart() -> None:
    for source, plain in (("imagenet-lt", 12), ("inaturalist18", 11)):
        assert list(paper.others(source, bells_and_whistles=True)) == ["RIDE", "ACE", "SSD", "PaCo"]
        assert len(paper.others(source, bells_and_whistles=False)) == plain
    assert paper.others("imagenet-lt", bells_and_whistles=True)["ACE"] == PaperRow(None, None, None, 56.6)


def test_the_released_code_is_better_where_it_chooses_on_test() -> None:
    flattered, honest = paper.released().values()
    assert all(flattered[row] > honest[row] for row in honest)
