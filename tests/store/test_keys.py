from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wbltr.errors import WbltrError
from wbltr.store import canonical_json, key_of
from wbltr.store.keys import checked_digest, loose_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
# A busy machine is no failure.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CONFIGS = st.dictionaries(TEXT, VALUES, max_size=4)


def header(**changed: Any) -> dict[str, Any]:
    return {"stage": "features", "revision": 1, "config": {"lr": 0.1}, "inputs": {"dataset": "ab" * 32}, **changed}


def reversed_everywhere(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reversed_everywhere(item) for name, item in reversed(value.items())}
    return [reversed_everywhere(item) for item in value] if isinstance(value, list) else value


@relaxed
@given(CONFIGS)
def test_the_order_of_keys_never_matters(config: dict[str, Any]) -> None:
    assert key_of(header(config=reversed_everywhere(config))) == key_of(header(config=config))


@relaxed
@given(CONFIGS)
def test_canonical_json_is_json_and_canonical_again_after_a_round_trip(config: dict[str, Any]) -> None:
    text = canonical_json(config)
    assert json.loads(text) == config
    assert canonical_json(json.loads(text)) == text


@relaxed
@given(VALUES, VALUES)
def test_two_values_share_their_text_only_when_they_are_equal_in_value_and_type(one: Any, other: Any) -> None:
    def typed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: typed(item) for name, item in value.items()}
        return [typed(item) for item in value] if isinstance(value, list) else (type(value), repr(value))

    assert (canonical_json(one) == canonical_json(other)) == (typed(one) == typed(other))


@relaxed
@given(CONFIGS, TEXT, VALUES, VALUES)
def test_any_changed_value_changes_the_key(config: dict[str, Any], name: str, one: Any, other: Any) -> None:
    same = canonical_json(one) == canonical_json(other)
    keys = [key_of(header(config={**config, name: value})) for value in (one, other)]
    assert (keys[0] == keys[1]) == same


@pytest.mark.parametrize(
    "changed", [{"stage": "embed"}, {"revision": 2}, {"config": {}}, {"inputs": {}}, {"inputs": {"dataset": "cd" * 32}}]
)
def test_every_field_of_a_header_is_in_the_key(changed: dict[str, Any]) -> None:
    assert key_of(header(**changed)) != key_of(header())


def test_an_integer_a_float_and_a_boolean_that_compare_equal_have_three_keys() -> None:
    assert [canonical_json(value) for value in (1, 1.0, True, 0.0, -0.0)] == [b"1", b"1.0", b"true", b"0.0", b"-0.0"]
    assert len({key_of(header(config={"epochs": value})) for value in (1, 1.0, True)}) == 3


def test_a_tuple_is_a_list() -> None:
    assert canonical_json({"a": (1, (2,))}) == canonical_json({"a": [1, [2]]}) == b'{"a":[1,[2]]}'


def test_the_key_of_a_known_header_is_frozen() -> None:
    assert canonical_json({"b": [1, 0.1, None], "a": "é"}) == '{"a":"é","b":[1,0.1,null]}'.encode()
    assert key_of(header()) == "19844c805ecbeb014cc9d1989901f1888cc1b7738cc2796bd82c23459708aa96"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_not_is_refused_with_its_place(number: float) -> None:
    with pytest.raises(WbltrError, match=r"value\.config\.lr\[1\]: expected a finite number") as caught:
        key_of(header(config={"lr": [0.1, number]}))
    assert caught.value.code == "recipe"


@pytest.mark.parametrize(
    "value", [{1: 2}, {None: 1}, {"a": {1, 2}}, {"a": b"bytes"}, [object()], {"a": "\ud800"}, {"\udc80": 1}]
)
def test_what_json_would_bend_or_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(WbltrError, match="expected"):
        canonical_json(value)


@pytest.mark.parametrize(
    "bad",
    [
        {"stage": "x", "revision": 1, "config": {}},
        header(host="somewhere"),
        header(revision=True),
        header(revision="1"),
        header(config=[1]),
        header(inputs={"dataset": 3}),
    ],
)
def test_a_header_with_a_field_missing_unknown_or_of_another_type_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(WbltrError, match=r"^header"):
        key_of(bad)


@pytest.mark.parametrize("text", ["", "ab", "AB" * 32, "ab" * 32 + "\n", "../" + "a" * 61, "ab" * 33])
def test_only_64_lowercase_hex_digits_become_a_file_name(text: str) -> None:
    with pytest.raises(WbltrError, match="64 hex digits") as caught:
        checked_digest(text)
    assert caught.value.code == "missing"
    assert checked_digest("ab" * 32) == "ab" * 32


def test_loose_json_writes_null_for_what_json_has_not_and_keeps_bytes_of_odd_file_names() -> None:
    assert loose_json({"loss": math.nan, "rows": (1, -math.inf)}) == b'{"loss": null, "rows": [1, null]}'
    assert json.loads(loose_json("data-\udcff")) == "data-\udcff"
