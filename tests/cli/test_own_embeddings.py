"""Embeddings of one's own, from a file to a report, with no image anywhere."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Wbltr
from sklearn.datasets import load_digits, load_wine

Array = np.ndarray[Any, Any]
QUICK = ("--set", "features.epochs=5", "--set", "classifier.epochs=2")


def long_tail() -> tuple[Array, Array]:
    """Digits' pixels, 100 of 0 down to 5 of 9, in no order."""
    x, y = load_digits(return_X_y=True)
    kept = np.concatenate([np.flatnonzero(y == k)[: int(100 * 20 ** (-k / 9))] for k in range(10)])
    kept = np.random.default_rng(0).permutation(kept)
    return x[kept], y[kept]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    x, y = long_tail()
    np.savez(tmp_path / "digits.npz", embeddings=x, labels=np.array([f"digit {k}" for k in y]))
    return tmp_path / "digits.npz"


def test_a_file_goes_to_a_table_in_two_commands_and_is_cached_without_torch(wbltr: Wbltr, digits: Path) -> None:
    made = wbltr("embed", "--import", digits, *QUICK, "--threads", "1", "--json")
    assert made.code == 0, made.err
    assert "next: wbltr compare --recipe ./digits.yaml" in made.err
    assert made.document["metrics"]["dimensions"] == 64
    assert sum(made.document["class_counts"].values()) == made.document["metrics"]["train"]
    assert min(made.document["class_counts"].values()) >= 1
    compare = ("compare", "--recipe", "./digits.yaml", "--threads", "1", "--json")
    done = wbltr(*compare)
    assert done.code == 0, done.err
    assert {"first stage", "tau", "l2", "cb-wd-max"} <= set(done.document["rows"])
    assert "last2" in done.err, "rows that train more of a network are left out, and said to be"
    for stage in Path(".wbltr/records").rglob("*.json"):
        assert '"stage": "embeddings"' not in stage.read_text()
    digits.unlink()
    again = [sys.executable, "-c", "import sys; sys.modules['torch'] = None; from wbltr.cli.app import main; main()"]
    cached = subprocess.run([*again, *compare], capture_output=True, text=True, check=False)
    assert cached.returncode == 0, cached.stderr
    assert "is not here; using the dataset" in cached.stderr


def test_every_verb_on_heads_works_and_what_needs_a_network_is_refused(wbltr: Wbltr, digits: Path) -> None:
    assert wbltr("embed", "--import", digits, *QUICK, "-q").code == 0
    recipe = ("--recipe", "./digits.yaml", "--threads", "1")
    run = wbltr("run", *recipe)
    assert run.code == 0, run.err
    assert "embeddings of one's own, not normalised" in " ".join(run.out.split())
    for verb in (
        ("train-features", *recipe),
        ("train-classifier", "--threads", "1"),
        ("posthoc", "tau", "--tau", "0.5", "--threads", "1"),
        ("eval", "--threads", "1"),
        ("diagnose", "--threads", "1"),
        ("tune", "classifier", "--trials", "2", *recipe),
        ("report", "--table", "4"),
    ):
        done = wbltr(*verb)
        assert done.code == 0, (verb, done.err)
    for refused, words in (
        (("tune", "features", "--trials", "2", *recipe), "trains networks"),
        (("plot", "filters", *recipe), "looks into a network"),
        (("train-classifier", *recipe, "--set", "classifier.layers=2"), "classifier.layers: 1"),
        (("train-classifier", *recipe, "--set", "classifier.mode=exact"), "classifier.mode: cached"),
        (("eval", *recipe, "--set", "eval.flip=true"), "eval.flip: false"),
        (("train-features", *recipe, "--set", "features.network=small"), "belong together"),
        (("train-features", *recipe, "--set", "features.augment=crop"), "leave out augment"),
        (("compare", *recipe, "--heads", "cb-wd-max-last2"), "embeddings of one's own have none"),
    ):
        done = wbltr(*refused)
        assert done.code == 2, (refused, done.err)
        assert words in done.err


def test_parts_are_drawn_by_class_or_taken_from_the_file(wbltr: Wbltr, tmp_path: Path) -> None:
    x, y = load_wine(return_X_y=True)
    split = np.where(np.arange(len(y)) % 4 == 0, "test", "train")
    split[1::8] = "val"
    np.savez(tmp_path / "wine.npz", embeddings=x, labels=y, split=split)
    done = wbltr("embed", "--import", tmp_path / "wine.npz", "--json")
    assert done.code == 0, done.err
    sizes = {part: done.document["metrics"][part] for part in ("train", "val", "test")}
    assert sizes == {part: int((split == part).sum()) for part in sizes}
    assert "the file's own validation rows" in done.err
    refused = wbltr("make-dataset", "--recipe", "./wine.yaml", "--set", "dataset.val=holdout")
    assert refused.code == 2
    assert "has rows of val" in refused.err
    np.savez(tmp_path / "bare.npz", embeddings=x, labels=y)
    bare = wbltr("embed", "--import", tmp_path / "bare.npz", "--json").document["metrics"]
    assert (bare["test"], bare["val"], bare["classes_without_val"]) == (36, 18, 0)


def test_rows_of_unit_norm_are_what_the_recipe_says(wbltr: Wbltr, digits: Path) -> None:
    from wbltr.store import Store

    done = wbltr("embed", "--import", digits, "--set", "dataset.normalize=l2", *QUICK, "--json")
    assert done.code == 0, done.err
    tensors = Store.open(None).load(done.document["artifact"])
    assert tensors["train.embeddings"].dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(tensors["train.embeddings"], axis=2), 1, rtol=1e-6)
    table = wbltr("run", "--recipe", "./digits.yaml", "--threads", "1")
    assert "each row scaled to unit norm" in " ".join(table.out.split())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_the_first_row_that_is_no_number_is_named(wbltr: Wbltr, tmp_path: Path, value: float) -> None:
    x, y = long_tail()
    x[[7, 9], 3] = value
    np.savez(tmp_path / "x.npz", embeddings=x, labels=y)
    done = wbltr("embed", "--import", tmp_path / "x.npz")
    assert done.code == 2
    assert "row 7 (counted from 0) holds" in done.err
    assert not Path("x.yaml").exists(), "no recipe for a file that is to be mended first"


def test_a_recipe_that_says_something_else_is_never_overwritten(wbltr: Wbltr, digits: Path) -> None:
    Path("digits.yaml").write_text("name: mine\n")
    done = wbltr("embed", "--import", digits)
    assert done.code == 2
    assert "--out FILE" in done.err
    assert Path("digits.yaml").read_text() == "name: mine\n"
    assert wbltr("embed", "--import", digits, "--out", "other.yaml", "-q").code == 0
    assert wbltr("embed", "--import", digits, "--out", "other.yaml", "-q").code == 0, "as it would be written"


def test_a_changed_file_is_another_dataset_and_a_moved_one_the_same(wbltr: Wbltr, digits: Path) -> None:
    first = wbltr("embed", "--import", digits, "--json").document["artifact"]
    moved = digits.rename(digits.with_name("moved.npz"))
    make = ("make-dataset", "--recipe", "./digits.yaml", "--json")
    again = wbltr(*make, "--set", f"embeddings_file={moved}")
    assert (again.document["artifact"], again.document["cached"]) == (first, True)
    x, y = long_tail()
    np.savez(moved, embeddings=x + 1, labels=y)
    assert wbltr(*make, "--set", f"embeddings_file={moved}").document["artifact"] != first
    gone = wbltr(*make, "--set", "embeddings_file=nowhere.npz")
    assert gone.code == 3
    assert "no such file of embeddings" in gone.document["error"]["message"]


def test_a_class_without_a_row_to_train_on_is_named(wbltr: Wbltr, tmp_path: Path) -> None:
    x, y = long_tail()
    np.savez(tmp_path / "x.npz", embeddings=x, labels=y, split=np.where(y == 3, "test", "train"))
    done = wbltr("embed", "--import", tmp_path / "x.npz")
    assert done.code == 2
    assert "1 classes have no row to train on: 3" in done.err


def test_a_dataset_without_its_record_is_gone_on_from(wbltr: Wbltr, digits: Path) -> None:
    made = wbltr("embed", "--import", digits, "--json").document
    for record in Path(".wbltr/records").rglob("*.json"):
        record.unlink()
    settings = ("--set", "features.epochs=1", "--set", "features.lr=0.001", "--threads", "1")
    done = wbltr("train-features", "--from", made["artifact"], *settings)
    assert done.code == 0, done.err
    assert "has no record of its recipe" in done.err


def test_two_files_with_one_section_are_not_taken_for_each_other(wbltr: Wbltr, digits: Path) -> None:
    x, y = long_tail()
    np.savez(digits.with_name("other.npz"), embeddings=x[::-1], labels=np.array([f"digit {k}" for k in y[::-1]]))
    for name in ("digits", "other"):
        same = ("--set", "features.lr=0.001", "--set", "classifier.lr=0.001", "--set", "features.weight_decay=0")
        assert wbltr("embed", "--import", digits.with_name(f"{name}.npz"), *QUICK, *same, "-q").code == 0
    mine = ("--recipe", "./digits.yaml", "--threads", "1")
    first = wbltr("train-features", *mine, "-q").out.strip()
    assert wbltr("train-classifier", *mine, "--from", first).code == 0
    other = ("--recipe", "./other.yaml", "--threads", "1")
    started = wbltr("train-classifier", *other, "--from", first)
    assert started.code == 2
    assert "its files are not those that the artifact of --from was made of" in started.err
    taught = wbltr("train-classifier", *other, "--set", f"classifier={{loss: distill, teacher: {first}, max_norm: null}}")
    assert taught.code == 2
    assert "was trained on other images" in taught.err


def test_a_finished_file_is_computed_again_to_the_same_bytes_while_it_is_there(wbltr: Wbltr, digits: Path) -> None:
    made = wbltr("embed", "--import", digits, "-q").out.strip()
    checked = wbltr("rerun", "--check", made)
    assert checked.code == 0, checked.err
    digits.unlink()
    gone = wbltr("rerun", "--check", made)
    assert gone.code == 3
    assert "the embeddings that it was made from are not here" in gone.err


def test_a_temperature_of_images_that_are_all_right_is_told_to_be_no_calibration(wbltr: Wbltr, tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    np.savez(tmp_path / "apart.npz", embeddings=np.eye(3)[labels] * 9, labels=labels)
    assert wbltr("embed", "--import", tmp_path / "apart.npz", *QUICK, "-q").code == 0
    assert wbltr("train-features", "--recipe", "./apart.yaml", "--threads", "1", "-q").code == 0
    told = wbltr("posthoc", "temperature")
    assert told.code == 0, told.err
    assert "images are told right" in told.err


@pytest.mark.parametrize("name", ["my data", "it's", "a;b", "$HOME"])
def test_the_command_that_comes_next_can_be_typed_as_it_is(wbltr: Wbltr, digits: Path, name: str) -> None:
    told = wbltr("embed", "--import", digits, "--out", f"{name}.yaml").err.splitlines()[-1]
    words = shlex.split(told.removeprefix("next: wbltr "))
    assert words == ["compare", "--recipe", f"./{name}.yaml"]
    assert wbltr(*words, "-n").code == 0
