"""Hypothesis plays with a store and a dictionary side by side: after whatever it does, they say the same."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from faults.audit import audit
from faults.counted import Counted
from wbltr.store import Corrupt, Store, Vanished, canonical_json, key_of
from wbltr.store.garbage import find_garbage, remove
from wbltr.store.rebuild import rebuild
from wbltr.store.remote import Remote
from wbltr.store.tensors import encode
from wbltr.store.transfer import plan_pull, plan_push, pull, push

MEMORY = Path("/dev/shm")
NAMES = st.sampled_from(["latest/toy", "mine/one", "mine/two"])
NUMBERS = st.integers(0, 7)
EXAMPLES, STEPS = 170, 50  # some end early: over 100 of full length


class Died(BaseException):
    """The process is gone: nothing may catch it."""


def request(number: int) -> dict[str, Any]:
    """A request; those from 4 on stand on the one 4 below."""
    inputs = {"below": object_id(number - 4)} if number >= 4 else {}
    return {"stage": "toy", "revision": 1, "config": {"number": number}, "inputs": inputs}


def tensors(number: int) -> dict[str, Any]:
    return {"a": np.full(4, number)}


@cache
def object_id(number: int) -> str:
    """The id that a put gives."""
    return hashlib.sha256(encode(tensors(number), canonical_json({"schema": 1, **request(number)}))).hexdigest()


class Model(RuleBasedStateMachine):
    """`has` and `names` are the dictionary: numbers in the store, and which number a name means; `there`: in the other one."""

    steps = 0

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
        self.store = Store.open(self.folder / "store")
        self.has: set[int] = set()
        self.damaged: set[int] = set()
        self.names: dict[str, int] = {}
        self.there: set[int] = set()
        self.names_there: dict[str, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            try:
                for number in range(8):  # whatever has happened, making it again makes it whole
                    self.put(number)
                assert audit(self.store.root, corrupt=True) == []
            finally:
                shutil.rmtree(self.folder)

    def remote(self) -> Remote:
        return Remote(str(self.folder / "other"))

    def meet(self, number: int) -> None:
        """Somebody read it: what is damaged is set aside."""
        if number in self.damaged:
            self.damaged.remove(number)
            self.has.remove(number)

    @rule(number=NUMBERS)
    def put(self, number: int) -> None:
        for part in [number - 4, number] if number >= 4 else [number]:
            assert self.store.publish(tensors(part), request(part)) == object_id(part)
            self.store.write_record(key_of(request(part)), {"object": object_id(part), **request(part)})
            self.damaged.discard(part)
            self.has.add(part)

    @rule(number=NUMBERS)
    def get(self, number: int) -> None:
        if number in self.damaged:
            with pytest.raises(Corrupt):
                self.store.load(object_id(number))
        elif number in self.has:
            assert self.store.load(object_id(number))["a"].tolist() == [number] * 4
        else:
            with pytest.raises(Vanished):
                self.store.load(object_id(number))
        self.meet(number)

    @rule(name=NAMES, number=NUMBERS)
    def ref(self, name: str, number: int) -> None:
        if number in self.has:
            self.store.set_ref(name, object_id(number))
            self.names[name] = number
        else:
            with pytest.raises(Vanished):
                self.store.set_ref(name, object_id(number))

    @rule(name=NAMES)
    def unref(self, name: str) -> None:
        self.store.unset_ref(name)
        self.names.pop(name, None)

    @rule()
    def gc(self) -> None:
        for number in list(self.damaged):
            self.store.verify(object_id(number))  # a flipped bit in a header may hide what stands on what
            self.meet(number)
        list(remove(self.store, find_garbage(self.store, 0)))
        self.has &= {part for number in self.names.values() for part in (number, number - 4)}

    @rule(number=NUMBERS, place=st.integers(0, 10**6), bit=st.integers(0, 7))
    def corrupt(self, number: int, place: int, bit: int) -> None:
        if number in self.has - self.damaged:
            path = self.store.path(object_id(number))
            data = bytearray(path.read_bytes())
            header = 8 + int.from_bytes(data[:8], "little")
            data[header + place % (len(data) - header)] ^= 1 << bit  # in the tensors: only the digest tells
            path.chmod(0o644)
            path.write_bytes(data)
            path.chmod(0o444)
            self.damaged.add(number)

    @rule()
    def verify(self) -> None:
        sound = {number for number in self.has if self.store.verify(object_id(number))}
        assert sound == self.has - self.damaged
        self.has, self.damaged = sound, set()

    @rule()
    def lose_the_index(self) -> None:
        for path in (self.store.root / "records").rglob("*.json"):
            path.unlink()
        rebuild(self.store)
        for number in list(self.damaged):
            self.meet(number)

    @precondition(lambda self: self.names)
    @rule()
    def push(self) -> None:
        self.verify()  # an object damaged here is not sent, and ends the push
        remote = self.remote()
        push(self.store, remote, plan_push(self.store, remote), lambda *_: None)
        self.there |= {part for number in self.names.values() for part in (number, number - 4)} & self.has
        self.names_there |= {name: number for name, number in self.names.items() if number in self.has}

    @precondition(lambda self: self.names_there)
    @rule()
    def pull(self) -> None:
        plan = plan_pull(self.store, self.remote())
        pull(self.store, self.remote(), plan, lambda *_: None)
        for name, number in self.names_there.items():
            if self.names.get(name, number) == number or self.names[name] not in self.has:
                self.names[name] = number
        self.has |= {part for number in self.names_there.values() for part in (number, number - 4)} & self.there

    @rule(number=NUMBERS, after=st.integers(1, 30))
    def crash(self, number: int, after: int) -> None:
        """A put by a process that dies at its nth step; what it left is for the next to finish."""
        steps = 0

        def dying(real: Any) -> Any:
            def step(*arguments: Any, **options: Any) -> Any:
                nonlocal steps
                steps += 1
                if steps >= after:
                    raise Died
                return real(*arguments, **options)

            return step

        with pytest.MonkeyPatch.context() as patch, suppress(Died):
            for name in ("fsync", "link", "rename", "replace", "unlink", "mkdir"):
                patch.setattr(os, name, dying(getattr(os, name)))
            self.put(number)
        self.put(number)

    @invariant()
    def the_same(self) -> None:
        if not hasattr(self, "store"):
            return
        type(self).steps += 1
        ids = {object_id(number) for number in range(8)}
        assert set(self.store.objects()) & ids == {object_id(number) for number in self.has}
        assert self.store.refs() == {name: object_id(number) for name, number in self.names.items()}
        answered = {record["object"] for _, record in self.store.records()}
        assert answered == {object_id(number) for number in self.has}


def test_a_store_and_a_dictionary_agree_after_any_sequence(counted: Counted) -> None:
    chosen = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Model, settings=chosen)
    counted("steps of store and dictionary", Model.steps)
