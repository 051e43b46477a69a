from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wbltr.errors import WbltrError
from wbltr.store import Store

KEY = "ab" * 32


def save(store: Store, *steps: int) -> None:
    for step in steps:
        store.save_checkpoint(KEY, step, {"w": np.full(4, step)}, {"epoch": step})


def checkpoints(store: Store) -> list[Path]:
    return sorted(store.run_folder(KEY).glob("step-*"), key=lambda path: int(path.name.split("-")[1]))


def steps(store: Store) -> list[int]:
    return [int(path.name.split("-")[1]) for path in checkpoints(store)]


def test_a_checkpoint_comes_back_with_its_step_tensors_and_state(store: Store) -> None:
    state = {"best": -math.inf, "seeds": [2**70, 1.5, None], "name": "é"}
    store.save_checkpoint(KEY, 7, {"w": np.arange(3), "n": np.array(2.0)}, state)
    found = store.load_checkpoint(KEY)
    assert found is not None
    assert (found[0], found[2]) == (7, state)
    np.testing.assert_array_equal(found[1]["w"], np.arange(3))
    assert found[1]["n"].shape == ()
    found[1]["w"][0] = 5


def test_without_a_checkpoint_there_is_none(store: Store) -> None:
    assert store.load_checkpoint(KEY) is None


def test_the_last_two_stay(store: Store) -> None:
    save(store, 9, 10, 11, 100)
    assert steps(store) == [11, 100]


def test_saving_an_earlier_step_drops_the_later_ones(store: Store) -> None:
    save(store, 5, 6, 2)
    assert steps(store) == [2]
    save(store, 2)
    assert steps(store) == [2]


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_when_the_newest_is_damaged_the_one_before_is_used(store: Store, damage: bytes | None) -> None:
    save(store, 1, 2)
    newest = checkpoints(store)[-1]
    data = newest.read_bytes()
    newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage is None else damage)
    found = store.load_checkpoint(KEY)
    assert found is not None
    assert found[0] == 1
    assert found[1]["w"].tolist() == [1] * 4
    assert steps(store) == [1]
    assert len(list((store.root / "corrupt").iterdir())) == 1


def test_when_all_are_damaged_the_run_starts_again(store: Store) -> None:
    save(store, 1, 2)
    for path in checkpoints(store):
        path.write_bytes(b"rubbish")
    assert store.load_checkpoint(KEY) is None


def test_a_checkpoint_renamed_to_another_step_or_key_is_not_used(store: Store) -> None:
    save(store, 1)
    path = checkpoints(store)[0]
    path.rename(path.with_name(path.name.replace("step-1-", "step-9-")))
    assert store.load_checkpoint(KEY) is None
    save(store, 1)
    other = store.run_folder("cd" * 32)
    other.mkdir()
    checkpoints(store)[0].rename(other / checkpoints(store)[0].name)
    assert store.load_checkpoint("cd" * 32) is None


def test_finish_drops_the_checkpoints_and_keeps_the_metrics(store: Store) -> None:
    save(store, 1, 2)
    store.append_metrics(KEY, {"epoch": 1})
    store.finish(KEY)
    assert steps(store) == []
    assert store.metrics(KEY) == [{"epoch": 1}]
    store.finish("cd" * 32)


def test_metrics_are_one_line_a_row_and_survive_a_cut_line(store: Store) -> None:
    rows: list[dict[str, Any]] = [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": math.nan}]
    for row in rows:
        store.append_metrics(KEY, row)
    path = store.run_folder(KEY) / "metrics.jsonl"
    assert path.read_text().count("\n") == 2
    with path.open("ab") as file:
        file.write(b'{"epoch": 2, "lo')
    assert store.metrics(KEY) == [{"epoch": 0, "loss": 1.5}, {"epoch": 1, "loss": None}]
    assert store.metrics("cd" * 32) == []


def test_truncating_keeps_the_chosen_rows_and_mends_a_cut_line(store: Store) -> None:
    store.truncate_metrics(KEY, lambda row: True)
    for epoch in range(4):
        store.append_metrics(KEY, {"epoch": epoch})
    path = store.run_folder(KEY) / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    store.truncate_metrics(KEY, lambda row: bool(row["epoch"] < 2))
    store.append_metrics(KEY, {"epoch": 2})
    assert [row["epoch"] for row in store.metrics(KEY)] == [0, 1, 2]


def test_state_that_would_not_come_back_as_it_was_is_refused(store: Store) -> None:
    for state in ({1: "one"}, {"a": {1, 2}}, {"a": np.zeros(2)}):
        with pytest.raises(WbltrError, match="expected"):
            store.save_checkpoint(KEY, 1, {}, state)  # type: ignore[arg-type]
    assert steps(store) == []
