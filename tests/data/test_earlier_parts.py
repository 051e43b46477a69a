"""Parts known by content."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from wbltr.data.earlier_parts import PARTS, EarlierParts, digests

known_sets = st.lists(st.tuples(st.binary(min_size=1, max_size=2), st.sampled_from(PARTS)), max_size=30)


def of(rows: list[tuple[bytes, str]]) -> EarlierParts:
    parts: dict[bytes, list[str]] = {}
    for content, part in rows:
        parts.setdefault(content, []).append(part)
    return EarlierParts(parts, None)


@given(known_sets)
@settings(max_examples=100, deadline=None)
def test_the_same_contents_in_the_same_order_have_the_parts_that_they_had(rows: list[tuple[bytes, str]]) -> None:
    had = of(rows).of([content for content, _ in rows])
    assert list(had.parts) == [part for _, part in rows]
    assert had.gone == 0


@given(known_sets, st.lists(st.binary(min_size=3, max_size=4), max_size=9, unique=True), st.data())
@settings(max_examples=100, deadline=None)
def test_names_and_places_do_not_matter_and_what_is_new_or_gone_is_counted(
    rows: list[tuple[bytes, str]], new: list[bytes], data: st.DataObject
) -> None:
    rows = list({content: (content, part) for content, part in rows}.values())
    kept = rows[: data.draw(st.integers(0, len(rows)))]
    now = data.draw(st.permutations([*kept, *((content, "") for content in new)]))
    had = of(rows).of([content for content, _ in now])
    assert list(had.parts) == [part for _, part in now]
    assert had.gone == len(rows) - len(kept)


def test_one_more_of_a_content_takes_all_of_it_to_the_latest_part() -> None:
    earlier = of([(b"a", "train"), (b"a", "val"), (b"b", "train")])
    assert list(earlier.of([b"a", b"b", b"a"]).parts) == ["train", "train", "val"]
    assert list(earlier.of([b"a", b"b", b"a", b"a"]).parts) == ["val", "train", "val", "val"]
    assert earlier.of([b"a"]).gone == 2


def test_pixels_are_told_apart_by_their_values_wherever_they_lie_in_memory() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 5, 5)).astype(np.uint8)
    assert len(set(digests(images))) == 4
    assert digests(np.asfortranarray(images)) == digests(images)
