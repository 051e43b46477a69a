"""`wbltr.run` and `wbltr.load`: the chain from Python, in a process that is not ours."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Wbltr

import wbltr
from wbltr.errors import WbltrError

STAGES = {"features": {"epochs": 3}, "classifier": {"epochs": 2}, "embeddings": {"views": 2}}
SHORT: dict[str, Any] = {**STAGES, "threads": 1, "quiet": True}


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished folder, as the working directory."""
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.delenv("WBLTR_STORE", raising=False)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def test_a_run_finds_what_the_commands_have_made(copied: Wbltr) -> None:
    told = copied("run", "--recipe", "digits-ir50", "--set", "features.epochs=3", "--set", "classifier.epochs=2",
                  "--set", "embeddings.views=2", "--threads", "1", "--json").document  # fmt: skip
    before = set(Path(".wbltr", "objects").rglob("*.safetensors"))
    made = wbltr.run("digits-ir50", **SHORT)
    assert set(Path(".wbltr", "objects").rglob("*.safetensors")) == before
    assert {row: made[row].accuracy for row in made} == told["rows"]
    assert made.accuracy == told["accuracy"]
    assert made.last.id == told["artifact"]
    assert made.head.id == wbltr.load("latest/head").id


def test_a_result_has_its_tensors_and_what_is_known_of_it(here: Path) -> None:
    head = wbltr.load("latest/head")
    assert (head.stage, head.recipe) == ("classifier", "digits-ir50")
    assert head.tensors["head.weight"].shape == (10, 64)
    assert head.tensors["head.weight"].dtype == torch.float32
    assert head.accuracy == wbltr.load("latest/eval").accuracy
    assert head.config["epochs"] == 2
    evaluated = wbltr.load("latest/eval")
    assert evaluated.input("head").id == head.id
    assert evaluated.class_names == tuple("0123456789")
    assert evaluated.measures["n"] == 600
    assert wbltr.load("latest/dataset").accuracy is None


def test_results_show_themselves_as_tables(here: Path) -> None:
    made = wbltr.run("digits-ir50", **SHORT)
    lines = repr(made).splitlines()
    assert lines[0] == "digits-ir50: accuracy on test, per cent, mean over classes"
    assert lines[1].split() == ["all", "many", "medium", "few"]
    assert [line.rsplit(maxsplit=4)[0].strip() for line in lines[2:]] == [
        "first stage",
        "+ L2",
        "+ τ-norm",
        "+ CB & WD & MaxNorm",
    ]
    page = made._repr_html_()
    assert "<th>+ CB &amp; WD &amp; MaxNorm</th>" in page
    assert page.count("<tr>") == 5
    assert repr(wbltr.load("latest/head")).startswith("classifier ")
    assert repr(wbltr.load("latest/dataset")) == f"dataset {wbltr.load('latest/dataset').id[:12]} of digits-ir50"


def test_settings_of_every_kind_reach_the_recipe(here: Path) -> None:
    features = {"epochs": 1, "weight_decay": 1e-5, "max_norm": {"radius": 0.1, "relative": False}, "mean": (0.3,)}
    made = wbltr.run("digits-ir50", features=features, rows=["first stage"], threads=1, quiet=True, seed=7, name="mine/one")
    config = made.head.config
    assert (config["weight_decay"], config["max_norm"]["radius"], config["mean"], config["seed"]) == (1e-5, 0.1, [0.3], 7)
    assert list(made) == ["first stage"]
    assert wbltr.load("mine/one").id == made.last.id


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"features": {"epocs": 1}}, "Did you mean 'epochs'?"),
        ({"feature": {"epochs": 1}}, "Did you mean 'features'?"),
        ({"features": {"epochs": object()}}, "features.epochs: expected numbers"),
    ],
)
def test_a_mistake_is_an_error_of_ours(here: Path, overrides: dict[str, Any], words: str) -> None:
    with pytest.raises(WbltrError) as caught:
        wbltr.run("digits-ir50", **overrides)
    assert words in str(caught.value)


def test_an_error_shows_its_hint(here: Path) -> None:
    with pytest.raises(WbltrError) as caught:
        wbltr.load("nobody/head")
    assert caught.value.__notes__ == [caught.value.hint]
    with pytest.raises(WbltrError, match="was not made from a 'heads'"):
        wbltr.load("latest/eval").input("heads")


def test_it_works_in_another_thread_and_leaves_no_signal_handler_behind(here: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    made: list[object] = []
    settings = {**SHORT, "features": {"epochs": 2}, "rows": ["first stage"]}
    thread = threading.Thread(target=lambda: made.append(wbltr.run("digits-ir50", **settings)))
    thread.start()
    thread.join()
    assert len(made) == 1
    wbltr.run("digits-ir50", **{**settings, "features": {"epochs": 1}})
    assert {number: signal.getsignal(number) for number in before} == before


INTERRUPTED = """
import os, signal, threading, time, wbltr
from pathlib import Path

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with SIGINT ignored

def interrupt():
    while not any(Path(".wbltr/runs").rglob("metrics.jsonl")):  # the first epoch is done
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
settings = dict(rows=["first stage"], threads=1, quiet=True)
try:
    wbltr.run("digits-ir50", features={"epochs": 5000}, **settings)
except KeyboardInterrupt as stop:
    print("stopped:", stop, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
print("went on:", list(wbltr.run("digits-ir50", features={"epochs": 1}, **settings)))
"""


def test_ctrl_c_is_a_keyboard_interrupt_and_the_process_goes_on(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["stopped: stopped; what is done is kept True", "went on: ['first stage']"]


def test_importing_wbltr_and_loading_a_result_import_no_torch_until_a_tensor_is_asked_for(here: Path) -> None:
    code = """
import sys, wbltr
assert not {"torch", "numpy", "pydantic"} & set(sys.modules)
head = wbltr.load("latest/head")
repr(head), head.accuracy, head.metrics
assert "torch" not in sys.modules
head.tensors["head.weight"]
assert "torch" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=here, check=True)


def test_the_package_is_typed() -> None:
    assert (Path(wbltr.__file__).parent / "py.typed").exists()
    assert {"run", "load"} <= set(dir(wbltr))
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        wbltr.runn  # noqa: B018
