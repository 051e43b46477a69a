"""What a command that computes nothing may import: counted, since a count does not depend on how busy the machine is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SHORT

COUNT = """
import sys
before = set(sys.modules)
sys.argv = ["wbltr", *sys.argv[1:]]
from wbltr.cli.app import main
try:
    main()
except SystemExit as done:
    assert not done.code, done.code
print("imported:", *sorted(set(sys.modules) - before), file=sys.stderr)
"""
HEAVY = {"torch", "torchvision", "sklearn", "scipy", "matplotlib", "optuna", "PIL", "pandas"}
CHAIN = ("run", "--recipe", "digits-ir50", *SHORT)


def imported(folder: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", COUNT, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stderr.partition("imported:")[2].split()


@pytest.mark.parametrize(
    ("arguments", "most", "without"),
    [
        (("--help",), 340, {"numpy", "pydantic", "yaml", "safetensors"}),
        (("recipe", "list"), 370, {"numpy", "safetensors"}),
        (("status",), 370, {"numpy", "yaml"}),
        (CHAIN, 500, set()),
        (("eval",), 500, set()),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_a_start_imports_few_modules_and_nothing_heavy(
    finished: Path, arguments: tuple[str, ...], most: int, without: set[str]
) -> None:
    modules = imported(finished, *arguments)
    packages = {name.partition(".")[0] for name in modules}
    assert not packages & (HEAVY | without)
    assert "wbltr" in packages
    assert len(modules) <= most
