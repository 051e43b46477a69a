"""`wbltr methods`: what there is, from the tables."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from conftest import Wbltr

from wbltr.cli.methods import KINDS

ENTRIES = [(kind, entry.name) for kind, table in KINDS.items() for entry in table.values()]


def test_every_kind_is_listed_with_its_methods(wbltr: Wbltr) -> None:
    kinds = wbltr("methods", "--json").document["kinds"]
    assert {one["kind"]: one["methods"] for one in kinds} == {
        kind: [entry.name for entry in table.values()] for kind, table in KINDS.items()
    }
    said = wbltr("methods").out
    assert all(kind in said for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_listed_with_settings_defaults_and_sources(wbltr: Wbltr, kind: str) -> None:
    listed = wbltr("methods", kind, "--json").document["methods"]
    for found, entry in zip(listed, KINDS[kind].values(), strict=True):
        assert (found["name"], found["value"], found["source"]) == (entry.name, entry.value, entry.source)
        assert {s["name"]: s["default"] for s in found["settings"]} == {s.name: s.default for s in entry.settings}
    said = wbltr("methods", kind).out
    assert all(entry.name in said for entry in KINDS[kind].values())


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_an_entry_in_full_tells_its_source_its_settings_and_the_docstring_of_each_function(
    wbltr: Wbltr, kind: str, name: str
) -> None:
    entry, said = KINDS[kind][name], wbltr("methods", kind, name)
    document: dict[str, Any] = wbltr("methods", kind, name, "--json").document["method"]
    assert said.code == 0
    assert entry.source in said.out
    assert all(f"{setting.name} " in said.out for setting in entry.settings)
    assert all(formula and formula in said.out for formula in document["formulas"].values())
    assert document["formulas"] or kind == "row"
    assert wbltr("methods", kind, entry.value).out == said.out


@pytest.mark.parametrize(("arguments", "near"), [(["los"], "loss"), (["loss", "focl"], "focal"), (["head", "lw"], "lws")])
def test_what_there_is_not_is_one_line_with_what_comes_near(wbltr: Wbltr, arguments: list[str], near: str) -> None:
    said = wbltr("methods", *arguments)
    assert said.code == 2
    assert f"Did you mean '{near}'?" in said.err
    assert sum(line.startswith("error:") for line in said.err.splitlines()) == 1


def test_an_entry_is_told_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['wbltr', 'methods', 'loss', 'focal']\n"
        "from wbltr.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: sys.exit(end.code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
