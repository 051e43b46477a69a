"""What a newcomer leans on: every command's help begins with an example, and the shell completes names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from conftest import Wbltr

from wbltr.cli.app import app


def commands(group: Any, above: str = "") -> Iterator[str]:
    """Every command of a group and of the groups in it, as typed."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}"


@pytest.mark.parametrize("command", list(commands(typer.main.get_command(app))))
def test_help_of_every_command_shows_an_example_first(wbltr: Wbltr, command: str) -> None:
    said = wbltr(*command.split(), "--help")
    words = " ".join(said.out.split())
    assert said.code == 0
    assert words.partition(" Example: wbltr ")[2].startswith(command), "the example is of this very command"
    assert words.index("Example: ") < words.index("Options"), "the example stands before the options"


COMPLETE = """
import sys
from wbltr.cli.app import app
try:
    app(prog_name="wbltr")
finally:
    assert not {"torch", "numpy", "sklearn"} & set(sys.modules), "completion is fast"
"""


def completed(folder: Path, line: str) -> list[str]:
    words = line.split(" ")
    asked = {"_WBLTR_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE], cwd=folder, env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wbltr pred", ["predict"]),
        ("wbltr run --recipe digits-ir", ["digits-ir50"]),
        ("wbltr recipe show digits-ir", ["digits-ir50"]),
        ("wbltr eval --from latest/c", ["latest/classifier"]),
        ("wbltr predict --from latest/fe", ["latest/features"]),
        ("wbltr store show latest/h", ["latest/head"]),
        ("wbltr rerun latest/ev", ["latest/eval"]),
        ("wbltr compare --against logit-adjust-", ["logit-adjust-mult"]),
        ("wbltr compare --heads tau,cb-wd-max-l", ["tau,cb-wd-max-last2", "tau,cb-wd-max-last5"]),
    ],
)
def test_the_shell_completes_commands_recipes_names_and_rows(finished: Path, line: str, expected: list[str]) -> None:
    assert completed(finished, line) == expected


def test_completion_without_a_store_offers_nothing(tmp_path: Path, finished: Path) -> None:
    assert completed(tmp_path, "wbltr eval --from la") == []
    assert completed(tmp_path, f"wbltr eval --store {finished}/.wbltr --from latest/c") == []  # another workspace's names
    assert not (tmp_path / ".wbltr").exists()
