"""What several tests need: the command line in this process, and a small finished chain on digits."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("untimed")
TESTS = Path(__file__).resolve().parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
if "PYTEST_XDIST_WORKER" in os.environ:  # tests run side by side, a core each; before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from faults.counted import Counts  # noqa: E402
from small_chain import RECIPE, RUNTIME, Tensors, as_arrays  # noqa: E402

SHORT = ("--set", "features.epochs=3", "--set", "classifier.epochs=2", "--set", "embeddings.views=2", "--threads", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Let the end of the run tell how many faults were tried."""
    if not hasattr(config, "workerinput"):  # a worker of pytest-xdist sees only its share
        config.pluginmanager.register(Counts(config), "counts")


@dataclass(frozen=True)
class Answer:
    """What one command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


Wbltr = Callable[..., Answer]


@pytest.fixture
def wbltr(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Wbltr:
    """Run `wbltr ARGUMENTS…` in this process, in an empty folder, with a store of its own."""
    from wbltr.cli.app import main

    for name in ("WBLTR_STORE", "WBLTR_DATA", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["wbltr", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        said = capfd.readouterr()
        code = caught.value.code
        return Answer(code if isinstance(code, int) else 1, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in which `run --recipe digits-ir50` (3 epochs) is finished; tests copy it to change it."""
    import subprocess

    folder = tmp_path_factory.mktemp("finished")
    command = [sys.executable, "-m", "wbltr.cli.app", "run", "--recipe", "digits-ir50", *SHORT, "-q"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wbltr: Wbltr) -> Wbltr:
    """`wbltr` in a copy of the finished folder."""
    import shutil

    target = tmp_path / "copy"
    shutil.copytree(finished, target)
    monkeypatch.chdir(target)
    return wbltr


@pytest.fixture(scope="session")
def images() -> Tensors:
    """Digits cut to a long tail, as a stage is handed them."""
    from wbltr.stages import dataset

    return as_arrays(dataset.run(RECIPE.dataset, {}, RUNTIME))


@pytest.fixture(scope="session")
def first(images: Tensors) -> Tensors:
    """A first stage on them."""
    from wbltr.stages import features

    return as_arrays(features.run(RECIPE.features, {"dataset": images}, RUNTIME))
