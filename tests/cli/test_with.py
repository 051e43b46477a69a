"""`--with FILE.py`: methods of one's own, in processes of their own, as a recipe's fields are made once in each."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Wbltr

FILE = Path(__file__).resolve().parent.parent / "own_methods.py"


def wbltr_with(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from wbltr.cli.app import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def document(*arguments: str) -> dict[str, Any]:
    done = wbltr_with(*arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_loss_and_an_adjustment_of_ones_own_are_trained_keyed_by_their_file_and_measured(copied: Wbltr) -> None:
    shutil.copy(FILE, "mine.py")
    asked = (
        "train-classifier",
        "--with",
        "mine.py",
        "--set",
        "classifier={loss: poly, lift: 2.0, epochs: 2}",
        "--threads",
        "1",
    )
    made = document(*asked)
    record = copied("store", "show", made["artifact"], "--json").document["record"]
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert record["config"]["methods_file"] == digest
    assert document(*asked)["cached"]
    measured = document("eval", "--with", "mine.py", "--from", made["artifact"])
    assert 0 <= measured["accuracy"]["all"] <= 100
    assert wbltr_with("methods", "loss", "poly", "--with", "mine.py").returncode == 0
    rows = document("run", "--recipe", "digits-ir50", "--with", "mine.py", "--set", "rows=[poly, halved]", "--dry-run",
                    "--set", "heads.poly.lift=0.5")  # fmt: skip
    assert rows is not None
    # Another file under the same names is another request.
    Path("mine.py").write_text(FILE.read_text() + "\n")
    assert not document(*asked)["cached"]
    said = wbltr_with("eval", "--with", "mine.py", "--from", made["artifact"])
    assert said.returncode == 2, said.stderr
    assert digest[:12] in said.stderr
    # Without the file a recipe that needs it says so; what needs no method of one's own is read as ever.
    said = wbltr_with("eval", "--from", made["artifact"])
    assert said.returncode == 2, said.stderr
    assert "--with FILE.py" in said.stderr
    assert sum(line.startswith("error:") for line in said.stderr.splitlines()) == 1


def test_what_was_made_beside_a_file_that_it_does_not_need_is_read_without_it(copied: Wbltr) -> None:
    made = document("train-classifier", "--with", str(FILE), "--set", "classifier.epochs=1", "--threads", "1")
    assert "methods_file" not in copied("store", "show", made["artifact"], "--json").document["record"]["config"]
    measured = copied("eval", "--from", made["artifact"], "--json")
    assert measured.code == 0, measured.err
    assert copied("train-classifier", "--set", "classifier.epochs=1", "--threads", "1", "--json").document["cached"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file"),
        ("x = 1\n", "adds no method"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("def\n", "SyntaxError"),
        ("from wbltr.methods.losses import LOSSES; LOSSES.add(LOSSES['ce'])\n", "there is a loss ce already"),
    ],
)
def test_a_file_that_adds_nothing_is_one_line(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "mine.py").write_text(text)
    said = wbltr_with("methods", "--with", str(tmp_path / "mine.py"))
    assert said.returncode == 2, said.stderr
    assert told in said.stderr
    assert sum(line.startswith("error:") for line in said.stderr.splitlines()) == 1


def test_a_cached_chain_with_a_file_of_ones_own_imports_no_torch(copied: Wbltr) -> None:
    code = (
        "import sys; from wbltr.cli.app import main\n"
        "sys.argv = ['wbltr', 'methods', 'loss', 'poly', '--with', sys.argv[1]]\n"
        "try: main()\n"
        "except SystemExit as end: sys.exit(end.code or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(FILE)], check=False, capture_output=True).returncode == 0
