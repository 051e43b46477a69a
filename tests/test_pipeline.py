from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy_stages as toy

from wbltr.config import Config, added_later
from wbltr.errors import Stopped
from wbltr.pipeline import Artifact, Node, Runtime, Stage, header, load_made, make, make_many, materialize, planned
from wbltr.store import Store, key_of

TESTS = Path(__file__).resolve().parent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def log(tmp_path: Path) -> str:
    return str(tmp_path / "log")


def ran(log: str) -> list[str]:
    return Path(log).read_text().split() if Path(log).exists() else []


def test_a_chain_runs_once_and_is_then_cached(store: Store, log: str) -> None:
    first = materialize(store, toy.chain(log), Runtime())
    again = materialize(store, toy.chain(log), Runtime())
    assert ran(log) == ["numbers", "squares", "total"]
    assert (first.cached, again.cached) == (False, True)
    assert first.artifact.object_id == again.artifact.object_id
    assert float(store.load(first.artifact.object_id)["total"]) == 30.0


def test_a_changed_config_runs_only_what_depends_on_it(store: Store, log: str) -> None:
    materialize(store, toy.chain(log), Runtime())
    materialize(store, toy.chain(log, steps=5), Runtime())
    assert ran(log) == ["numbers", "squares", "total", "squares", "total"]


def test_a_bumped_revision_runs_again(store: Store, log: str) -> None:
    node = toy.chain(log)
    materialize(store, node, Runtime())
    materialize(store, replace(node, stage=replace(node.stage, revision=2)), Runtime())
    assert ran(log) == ["numbers", "squares", "total", "total"]


def test_a_stage_is_handed_only_the_prefixes_it_reads(store: Store) -> None:
    # toy_stages.squares asserts it; here the same stage asking for everything must fail that assertion.
    node = toy.chain()
    below = node.inputs["squares"]
    assert isinstance(below, Node)
    greedy = replace(below, stage=replace(below.stage, reads=lambda _: {"numbers": ("",)}))
    with pytest.raises(AssertionError, match=r"test\.x"):
        materialize(store, greedy, Runtime())


def test_a_stage_that_declares_nothing_is_handed_nothing(store: Store) -> None:
    node = toy.chain()
    silent = replace(node, stage=replace(node.stage, reads=lambda _: {}))
    with pytest.raises(KeyError):
        materialize(store, silent, Runtime())


def stopping_at(step: int) -> Callable[[int, int], None]:
    requested: list[bool] = []

    def tick(done: int, total: int) -> None:
        if done == step or requested:
            requested.append(True)
            raise Stopped("stop", code="interrupted")

    return tick


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_stopped_run_resumes_to_the_same_object(tmp_path: Path, step: int) -> None:
    undisturbed = materialize(Store.open(tmp_path / "a"), toy.chain(), Runtime())
    store = Store.open(tmp_path / "b")
    with pytest.raises(Stopped):
        materialize(store, toy.chain(), Runtime(tick=stopping_at(step), checkpoint_share=float("inf")))
    resumed: list[int | None] = []
    made = materialize(store, toy.chain(), Runtime(), done=lambda m: resumed.append(m.resumed_from))
    assert made.artifact.object_id == undisturbed.artifact.object_id
    assert resumed == [None, step, None]


def picky(config: toy.SquaresConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """A stage that cannot use what an earlier version of it kept."""
    found = runtime.restore(lambda tensors: "new" in tensors)
    runtime.checkpoint(1, lambda: {"old": np.zeros(1)}, now=True)
    return {"restored": np.array(found is not None)}


def test_a_checkpoint_that_the_stage_cannot_use_is_told_of_and_the_run_starts_over(store: Store) -> None:
    stage, config = Stage("picky", 1, "test_pipeline:picky"), toy.SquaresConfig()
    key = key_of(header(stage, config, {}))
    store.save_checkpoint(key, 3, {"old": np.zeros(1)}, {"metrics": {}, "seconds": 1.0})
    said: list[str] = []
    made = make(store, stage, config, {}, Runtime(notice=said.append))
    assert said == ["the checkpoint is another version's: starting over"]
    assert made.resumed_from is None
    assert not bool(store.load(made.artifact.object_id)["restored"])


def test_a_resumed_run_lists_every_epoch_once_in_its_metrics(store: Store) -> None:
    with pytest.raises(Stopped):
        materialize(store, toy.chain(), Runtime(tick=stopping_at(2), checkpoint_share=float("inf")))
    made: list[Artifact] = []
    materialize(store, toy.chain(), Runtime(), done=lambda m: made.append(m.artifact))
    assert [row["epoch"] for row in store.metrics(made[1].key)] == [1, 2, 3, 4]


def test_the_last_report_is_in_the_record(store: Store) -> None:
    made = materialize(store, toy.chain(), Runtime())
    assert made.artifact.record["metrics"] == {"total": 30.0}


def corrupt(store: Store, object_id: str) -> None:
    path = store.path(object_id)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def test_a_damaged_input_is_made_again_and_the_chain_goes_on(store: Store, log: str) -> None:
    made: list[Artifact] = []
    materialize(store, toy.chain(log), Runtime(), done=lambda m: made.append(m.artifact))
    corrupt(store, made[1].object_id)
    store.path(made[2].object_id).unlink()
    said: list[str] = []
    again = materialize(store, toy.chain(log), Runtime(notice=said.append))
    assert again.artifact.object_id == made[2].object_id
    assert ran(log) == ["numbers", "squares", "total", "squares", "total"]
    assert any("making it again" in line for line in said)
    assert list((store.root / "corrupt").rglob("*.safetensors*"))


def test_a_damaged_result_is_made_again_when_it_is_read(store: Store, log: str) -> None:
    first = materialize(store, toy.chain(log), Runtime())
    corrupt(store, first.artifact.object_id)
    made, tensors = load_made(store, lambda: materialize(store, toy.chain(log), Runtime()))
    assert made.artifact.object_id == first.artifact.object_id
    assert float(tensors["total"]) == 30.0
    assert ran(log).count("total") == 2


def test_a_record_that_names_another_object_is_not_believed(store: Store, log: str) -> None:
    made: list[Artifact] = []
    materialize(store, toy.chain(log), Runtime(), done=lambda m: made.append(m.artifact))
    total = made[2]
    store.write_record(total.key, {**total.record, "object": made[1].object_id}, force=True)
    again = materialize(store, toy.chain(log), Runtime())
    assert again.artifact.object_id == total.object_id
    assert ran(log).count("total") == 2
    assert materialize(store, toy.chain(log), Runtime()).cached


def test_force_runs_again_and_keeps_the_record(store: Store, log: str) -> None:
    first = materialize(store, toy.chain(log), Runtime())
    again = materialize(store, toy.chain(log), Runtime(), force=lambda _: True)
    assert ran(log) == ["numbers", "squares", "total", "total"]
    assert again.artifact.object_id == first.artifact.object_id
    assert not again.cached


def test_a_plan_says_what_would_run_and_runs_nothing(store: Store, log: str) -> None:
    assert [(node.stage.name, found is not None) for node, found in planned(store, toy.chain(log))] == [
        ("numbers", False),
        ("squares", False),
        ("total", False),
    ]
    assert ran(log) == []
    materialize(store, toy.chain(log), Runtime())
    assert [found is not None for _, found in planned(store, toy.chain(log))] == [True, True, True]
    assert [found is not None for _, found in planned(store, toy.chain(log, steps=9))] == [True, False, False]


def test_a_stage_that_fails_leaves_nothing_behind(store: Store) -> None:
    failing = Stage("failing", 1, "toy_stages:missing")
    with pytest.raises(AttributeError):
        make(store, failing, toy.TotalConfig(), {}, Runtime())
    assert list(store.objects()) == []
    assert list(store.records()) == []


def test_a_field_added_later_keeps_old_keys_at_its_default(store: Store) -> None:
    class Later(toy.TotalConfig):
        extra: int = added_later(0)

    old = make(store, toy.NUMBERS, toy.NumbersConfig(), {"source": "0" * 64}, Runtime())

    class Numbers(toy.NumbersConfig):
        extra: int = added_later(0)

    assert make(store, toy.NUMBERS, Numbers(), {"source": "0" * 64}, Runtime()).cached
    other = make(store, toy.NUMBERS, Numbers(extra=1), {"source": "0" * 64}, Runtime())
    assert other.artifact.key != old.artifact.key


def test_a_config_is_hashed_whole() -> None:
    class Two(Config):
        a: int = 1
        b: float = 2.0

    assert Two().hashed() == {"a": 1, "b": 2.0}


PROCESS = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
import toy_stages as toy
from wbltr.pipeline import Runtime, materialize
from wbltr.store import Store
print(materialize(Store.open(Path({store!r})), toy.chain({log!r}), Runtime()).artifact.object_id)
assert "torch" not in sys.modules
"""


def test_four_processes_that_want_the_same_run_it_once(store: Store, log: str) -> None:
    code = PROCESS.format(tests=str(TESTS), store=str(store.root), log=log)
    running: list[subprocess.Popen[Any]] = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    told = {process.communicate()[0].strip() for process in running}
    assert len(told) == 1
    assert [process.returncode for process in running] == [0] * 4
    assert sorted(ran(log)) == ["numbers", "squares", "total"]


def slowly(_done: int, _total: int) -> None:
    time.sleep(0.02)


def test_four_threads_that_want_the_same_run_it_once(store: Store, log: str) -> None:
    works = [partial(materialize, store, toy.chain(log), Runtime(tick=slowly)) for _ in range(4)]
    told = {outcome.artifact.object_id for outcome in make_many(works, 4) if not isinstance(outcome, Exception)}
    assert len(told) == 1
    assert sorted(ran(log)) == ["numbers", "squares", "total"]


def test_works_at_once_end_in_the_objects_of_works_in_turn_in_the_order_given(tmp_path: Path) -> None:
    ids = []
    for at_once in (1, 3):
        store = Store.open(tmp_path / str(at_once))
        works = [partial(materialize, store, toy.chain(size=n), Runtime(tick=slowly)) for n in range(2, 8)]
        ids.append([outcome.artifact.object_id for outcome in make_many(works, at_once) if not isinstance(outcome, Exception)])
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 6


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_as_many_works_go_on_at_once_as_asked_and_no_more(at_once: int) -> None:
    running: list[int] = []
    most: list[int] = []
    together = threading.Barrier(at_once)

    def work() -> None:
        running.append(1)
        together.wait(60)
        most.append(len(running))
        together.wait(60)
        running.pop()

    assert make_many([work] * (2 * at_once), at_once) == [None] * (2 * at_once)
    assert max(most) <= at_once


def test_a_failure_of_one_work_lets_the_others_finish_and_takes_its_place() -> None:
    def work(number: int) -> int:
        if number in (1, 3):
            raise ValueError(number)
        return number

    outcomes = make_many([partial(work, number) for number in range(5)], 2)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 2, 4]
    assert [outcomes.index(outcome) for outcome in outcomes if isinstance(outcome, ValueError)] == [1, 3]


def test_a_stop_lets_every_begun_work_save_and_begins_no_further(store: Store) -> None:
    asked = threading.Event()
    both = threading.Barrier(2)

    def tick(done: int, total: int) -> None:
        if done == 2:
            both.wait(60)
            asked.set()
        if asked.is_set():
            raise Stopped("stop", code="interrupted")

    runtime = Runtime(tick=tick, checkpoint_share=float("inf"))
    works = [partial(materialize, store, toy.chain(size=n), runtime) for n in range(2, 8)]
    with pytest.raises(Stopped):
        make_many(works, 2)
    assert len(list(store.root.glob("runs/*/step-2-*"))) == 2
    assert len(list(store.objects())) == 2, "the numbers of the two that were begun"
    resumed: list[int | None] = []
    done = [
        partial(materialize, store, toy.chain(size=n), Runtime(), done=lambda m: resumed.append(m.resumed_from)) for n in (2, 3)
    ]
    make_many(done, 2)
    assert sorted(r for r in resumed if r) == [2, 2]


def threads_used(config: toy.SquaresConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """A stage that stops after its first step and tells its threads."""
    runtime.witness["threads"] = runtime.threads
    begun = runtime.restore()
    runtime.checkpoint(1, lambda: {"x": np.zeros(1)}, now=True)
    if begun is None:
        raise Stopped("stop", code="interrupted")
    return {"threads": np.array(runtime.threads)}


@pytest.mark.parametrize(("shared", "expected"), [(True, 2), (False, 5)])
def test_a_share_of_the_machine_gives_way_to_the_threads_that_a_resumed_run_began_with(
    store: Store, shared: bool, expected: int
) -> None:
    stage = Stage("threads", 1, "test_pipeline:threads_used")
    with pytest.raises(Stopped):
        make(store, stage, toy.SquaresConfig(), {}, Runtime(threads=2, shared=True, checkpoint_share=float("inf")))
    made = make(store, stage, toy.SquaresConfig(), {}, Runtime(threads=5, shared=shared))
    assert int(store.load(made.artifact.object_id)["threads"]) == expected
