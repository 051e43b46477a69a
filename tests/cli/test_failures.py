"""Bad input: one clear line, the documented exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SHORT, Answer, Wbltr


def one_clear_line(said: Answer, code: int, *words: str) -> None:
    assert said.code == code, said.err
    assert said.out == ""
    errors = [line for line in said.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, said.err
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err, said.err


def objects(folder: Path) -> list[Path]:
    return sorted((folder / ".wbltr" / "objects").rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["trane-features"], 2, ["trane-features", "train-features"]),
        (["run"], 2, ["run needs --recipe NAME", "digits-ir50"]),
        (["make-dataset"], 2, ["make-dataset needs --recipe NAME", "cifar100-ir100"]),
        (["run", "--recipe", "digit-ir50"], 2, ["no recipe named 'digit-ir50'", "Did you mean 'digits-ir50'"]),
        (["run", "--recipe", "digits-ir50", "--set", "features.epoch=1"], 2, ["Did you mean 'epochs'?"]),
        (["run", "--recipe", "digits-ir50", "--set", "features.lr=-1"], 2, ["features.lr", "greater than 0", "-1"]),
        (["run", "--recipe", "digits-ir50", "--set", "dataset.largest=900"], 2, ["class", "dataset.largest="]),
        (["run", "--recipe", "digits-ir50", "--sett", "x"], 2, ["--sett"]),
        (["run", "--recipe", "digits-ir50", "--seed", "one"], 2, ["--seed"]),
        (["run", "--recipe", "digits-ir50", "--seed", "-3"], 2, ["--seed"]),
        (["run", "--recipe", "digits-ir50", "--device", "toaster"], 2, ["toaster", "--device cpu"]),
        (["run", "--recipe", "digits-ir50", "--set", "features.mean=[0.1, 0.2]"], 2, ["mean has 2 channels"]),
        (["run", "--recipe", "digits-ir50", "--set", "dataset.val=none", *SHORT], 2, ["no validation part", "--tau"]),
        (["posthoc", "l2"], 3, ["nothing to start from", "wbltr train-features --recipe digits-ir50"]),
        (["posthoc", "tau", "--tau", "1.9"], 3, ["nothing to start from"]),
        (["eval"], 3, ["nothing to start from", "no store here"]),
        (["train-classifier"], 3, ["nothing to start from"]),
        (["train-features"], 3, ["nothing to start from", "--recipe"]),
        (["eval", "--from", "abcd1234"], 3, ["no store"]),
        (["eval", "--splits", "many,rare"], 2, ["no split 'rare'"]),
        (["eval", "--splits", ","], 2, ["--splits"]),
        (["posthoc", "tau", "--tau", "much", "--recipe", "digits-ir50"], 2, ["posthoc.tau", "much"]),
        (["posthoc", "tau", "--tau", "nan", "--recipe", "digits-ir50"], 2, ["posthoc.tau"]),
        (["embed", "--part", "tests", "--recipe", "digits-ir50"], 2, ["no part 'tests'", "Did you mean 'test'?"]),
        (["run", "--recipe", "cifar100-ir100", "--root", "."], 3, ["cifar", "--root"]),
        (["eval", "--store", "~nobody-here/x"], 2, ["~nobody-here"]),
        (["run", "--recipe", "digits-ir50", "--device", "meta"], 2, ["--device meta"]),
        (["store", "ls"], 3, ["no store"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_bad_input_gets_one_line_and_its_exit_code(wbltr: Wbltr, arguments: list[str], code: int, words: list[str]) -> None:
    one_clear_line(wbltr(*arguments), code, *words)
    assert [p for p in objects(Path()) if p.stat().st_size > 1_000_000] == []


def test_a_mistyped_recipe_makes_no_store(wbltr: Wbltr) -> None:
    for arguments in (
        ["run", "--recipe", "digit"],
        ["eval"],
        ["eval", "--from", "nothing"],
        ["posthoc", "l2"],
        ["run"],
        ["store", "ls"],
    ):
        assert wbltr(*arguments).code in (2, 3)
        assert not Path(".wbltr").exists(), arguments


def test_with_json_a_failure_is_a_document_on_stdout(wbltr: Wbltr) -> None:
    for arguments, code, status in (
        (["eval"], "missing", 3),
        (["run", "--recipe", "nope"], "recipe", 2),
        (["run", "--bogus"], "usage", 2),
        (["nonsense"], "usage", 2),
    ):
        said = wbltr(*arguments, "--json")
        assert said.code == status
        assert said.document["schema"] == 1
        assert said.document["error"]["code"] == code
        assert set(said.document["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize("start", ["abcd1234", "no/such", "~nobody-here", "x" * 5000, "abc", "\0"])
def test_an_artifact_that_is_not_there_is_missing(copied: Wbltr, start: str) -> None:
    one_clear_line(copied("eval", "--from", start), 3)


def test_an_artifact_of_another_stage_is_refused_by_name(copied: Wbltr) -> None:
    one_clear_line(copied("eval", "--from", "latest/dataset"), 2, "this is an artifact of dataset", "features")
    one_clear_line(copied("train-classifier", "--from", "latest/eval"), 2, "this is an artifact of eval")


def test_a_truncated_artifact_is_refused_kept_and_made_again(copied: Wbltr) -> None:
    document = copied("eval", "--json").document
    path = next(Path(".wbltr/objects").rglob(f"{document['artifact']}.safetensors"))
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[: len(whole) // 2])
    again = copied("eval", "--json").document
    assert again["accuracy"] == document["accuracy"]
    assert path.read_bytes() == whole
    assert list(Path(".wbltr/corrupt").rglob("*safetensors*"))


def test_a_damaged_input_given_by_hand_is_an_integrity_error(copied: Wbltr) -> None:
    features = copied("train-features", "--recipe", "digits-ir50", *SHORT, "-q").out.strip()
    path = next(Path(".wbltr/objects").rglob(f"{features}.safetensors"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-3] + b"\0\0\0")
    one_clear_line(copied("posthoc", "tau", "--tau", "0.123", "--from", features), 4, "damaged")


def test_a_damaged_latest_head_is_an_integrity_error_not_made_again_in_vain(copied: Wbltr) -> None:
    head = copied("train-classifier", "-q").out.strip()
    path = next(Path(".wbltr/objects").rglob(f"{head}.safetensors"))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-3] + b"\0\0\0")
    said = copied("eval", "--set", "eval.many=60")
    one_clear_line(said, 4, "damaged")
    assert "again" not in said.err.split("error:")[0]


def test_a_file_that_is_no_artifact_is_refused(wbltr: Wbltr, tmp_path: Path) -> None:
    stranger = tmp_path / "weights.safetensors"
    stranger.write_bytes(b"<html>not found</html>")
    one_clear_line(wbltr("eval", "--from", stranger, "--recipe", "digits-ir50"), 2, "weights.safetensors")


def test_a_folder_that_is_no_store_is_refused(wbltr: Wbltr, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    one_clear_line(wbltr("run", "--recipe", "digits-ir50", "--store", tmp_path), 2, "expected a store")


def test_a_store_of_a_newer_version_is_refused(copied: Wbltr) -> None:
    Path(".wbltr/FORMAT").write_text("wbltr-store 2\n")
    one_clear_line(copied("eval"), 5, "format 2", "pip install --upgrade")


def test_training_that_diverges_leaves_no_artifact(wbltr: Wbltr) -> None:
    said = wbltr("train-features", "--recipe", "digits-ir50", "--set", "features.lr=1e30", *SHORT)
    one_clear_line(said, 8, "diverged in epoch", "features.lr")
    assert len(objects(Path())) == 1, "only the dataset"


def test_a_traceback_is_shown_only_with_debug(wbltr: Wbltr) -> None:
    assert "Traceback" not in wbltr("eval").err
    assert "Traceback" in wbltr("eval", "--debug").err


# Root reads and writes whatever it likes; without these two capabilities it is an owner like any other.
AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root, and no setpriv to drop its rights with")
def test_a_read_only_store_still_answers_what_is_finished_and_refuses_what_is_not(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    shutil.copytree(finished, folder)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*(AS_ANYBODY if os.geteuid() == 0 else []), sys.executable, "-m", "wbltr.cli.app", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    cached = run("run", "--recipe", "digits-ir50", *SHORT, "--json")
    assert cached.returncode == 0, cached.stderr
    assert json.loads(cached.stdout)["cached"] is True
    refused = run("posthoc", "tau", "--tau", "0.77", "--from", "latest/features")
    assert refused.returncode == 6, refused.stderr
    assert "--store" in refused.stderr
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
