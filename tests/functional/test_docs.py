from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import wbltr.functional


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(wbltr.functional.__path__)])
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    module = importlib.import_module(f"wbltr.functional.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    found = [
        doctest.DocTestFinder().find(importlib.import_module(f"wbltr.functional.{m.name}"))
        for m in pkgutil.iter_modules(wbltr.functional.__path__)
    ]
    assert sum(len(test.examples) for tests in found for test in tests) >= 5
