"""Which two names are one class, and in which order classes count."""

from __future__ import annotations

import doctest

import pytest

from wbltr.data import class_names
from wbltr.data.class_names import alike, all_whole, ordered
from wbltr.errors import WbltrError


def test_the_examples_hold() -> None:
    assert doctest.testmod(class_names).failed == 0


@pytest.mark.parametrize(
    "pair",
    [
        ("cat", "Cat"),
        ("cat", " cat"),
        ("cat", "cat "),
        ("big cat", "big\u00a0cat"),
        ("big cat", "big  cat"),
        ("cat", "\ufeffcat"),
        ("cat", "ca\u200bt"),
        ("caf\u00e9", "cafe\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("1", "1.0"),
        ("1", "1."),
        ("1", "+1"),
        ("0", "-0.0"),
        ("10", "1e1"),
        (".5", "0.50"),
        ("100000000000000000000000000000001", "100000000000000000000000000000001.0"),
    ],
)
def test_two_spellings_of_one_name_are_found_in_any_order_among_others(pair: tuple[str, str]) -> None:
    others = ["7", "8"] if pair[0][0] in "0123456789." else ["dog", "7", "07"]
    for names in (pair, pair[::-1], [*others, *pair], [pair[1], *others, pair[0]]):
        found = alike(names)
        assert found is not None
        assert set(found[:2]) == set(pair)


@pytest.mark.parametrize(
    "names",
    [
        ["1", "01", "001"],
        ["1", "1.0", "cat"],  # not all are numbers: these may be versions
        ["v1", "v1.0"],
        ["1", "-1", "1.5"],
        ["100000000000000000000000000000001", "100000000000000000000000000000002"],
        ["\u0645\u06cc\u200c\u0631\u0648\u062f", "\u0645\u06cc\u0631\u0648\u062f"],  # a joiner of no width makes two words
        ["1", "\u0661"],
        ["nan", "inf", "1"],
        [],
    ],
)
def test_names_that_differ_stay_apart(names: list[str]) -> None:
    assert alike(names) is None


def test_numbers_count_by_their_value_and_text_by_its_letters() -> None:
    names = [str(k) for k in range(120)]
    assert ordered(sorted(names), "number") == names
    assert ordered(names, "text") == sorted(names)
    assert ordered(["1", "01", "-2", "10", "9.0", "010"], "number") == ["-2", "1", "01", "9.0", "10", "010"]
    assert all_whole(names)
    assert all_whole(["007", "-1", "2.0"])
    assert not all_whole([*names, "1.5"])
    assert not all_whole([*names, ""])


def test_a_name_that_is_no_number_is_named() -> None:
    with pytest.raises(WbltrError, match="'cat' is no number") as caught:
        ordered(["1", "cat"], "number")
    assert caught.value.code == "usage"


def test_very_many_and_very_long_names_are_compared_at_once() -> None:
    names = [f"species-{k:07d}" for k in range(200_000)]
    assert alike(names) is None
    assert alike([*names, "Species-0000007"]) is not None
    assert alike(["9" * 100_000, "9" * 99_999]) is None
    assert ordered(["1e9999", "1", "1e-9999"], "number") == ["1e-9999", "1", "1e9999"]
