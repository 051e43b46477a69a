"""A finished chain on digits that an earlier version wrote, record for record: every later one must read it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Wbltr

from wbltr.pipeline import artifacts
from wbltr.recipe_file import recipe_from_record
from wbltr.store import Store, key_of

FROZEN = Path(__file__).parent / "frozen-chain"
HEADS = {"features": 40.0, "posthoc": 50.0, "classifier": 40.0}  # accuracy on the validation part then, per cent
STAGES = ["classifier", "dataset", "embeddings", "embeddings", "eval", "eval", "eval", "features", "posthoc"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    shutil.copytree(FROZEN, tmp_path / "store")
    return Store.open(tmp_path / "store", create=False)


def test_every_record_means_an_object_that_answers_its_key_and_holds_a_recipe_that_is_valid(store: Store) -> None:
    found = list(artifacts(store))
    assert sorted(made.stage for made in found) == STAGES
    for made in found:
        assert key_of(store.header(made.object_id)) == made.key
        recipe = recipe_from_record(made.record["recipe"])
        assert recipe is not None
        assert (recipe.name, recipe.dataset.source, recipe.eval.many) == ("frozen-chain", "digits", 12)
        assert store.load(made.object_id)


@pytest.mark.parametrize("stage", HEADS)
def test_a_head_of_then_is_measured_as_it_was_then(store: Store, wbltr: Wbltr, stage: str) -> None:
    (head,) = (made for made in artifacts(store) if made.stage == stage)
    splits = ("--set", "eval.on=val", "--set", "eval.many=12", "--set", "eval.few=6")
    said = wbltr("eval", "--from", head.object_id, *splits, "--store", store.root, "--threads", "1", "--json")
    assert said.code == 0, said.err
    assert said.document["accuracy"]["all"] == pytest.approx(HEADS[stage])


def test_the_commands_of_today_read_it_without_torch(store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in (store.root / "objects").rglob("*")}
    head = next(made.object_id for made in artifacts(store) if made.stage == "posthoc")
    for arguments in (["ls"], ["verify"], ["show", head[:12]]):
        program = "import sys; sys.modules['torch'] = None; from wbltr.cli.app import main; main()"
        command = [sys.executable, "-c", program, "store", *arguments, "--json", "--store", str(store.root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["schema"] == 1
    assert {path: path.stat().st_mtime_ns for path in (store.root / "objects").rglob("*")} == before


def test_more_is_made_on_top_of_it(store: Store, wbltr: Wbltr) -> None:
    features = next(made.object_id for made in artifacts(store) if made.stage == "features")
    said = wbltr("posthoc", "tau", "--tau", "0.77", "--from", features, "--store", store.root, "-q")
    assert said.code == 0, said.err
    assert store.header(said.out.strip())["inputs"]["head"] == features
