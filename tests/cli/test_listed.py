"""Sets whose images are files, through the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Wbltr
from made_images import LISTS, write_set

SMALL = (
    *("--set", "features.network=small", "--set", "features.epochs=1", "--set", "features.image_size=16"),
    *("--set", "features.batch_size=16", "--set", "features.precision=fp32", "--set", "classifier.epochs=1", "--threads", "1"),
)
RUN = ("run", "--recipe", "imagenet-lt", *SMALL)


def age(root: Path) -> None:
    """Let the files be older than the stat cache's doubt."""
    for file in root.rglob("*.*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))


@pytest.mark.parametrize("source", ["imagenet-lt", "places-lt", "inaturalist18"])
def test_the_whole_chain_runs_and_is_cached_the_second_time_without_torch(tmp_path: Path, wbltr: Wbltr, source: str) -> None:
    root = write_set(tmp_path / "images", source, train=(24, 12, 6, 4), lists=tmp_path / "lists")
    age(tmp_path)
    arguments = ("run", "--recipe", source, "--root", root, "--list", tmp_path / "lists", *SMALL, "--json")
    done = wbltr(*arguments)
    assert done.code == 0, done.err
    dataset, *rest = done.document["stages"]
    assert dataset["metrics"]["train"] == (46 if source != "inaturalist18" else 46 - 2 - 1 - 1 - 1)
    features = next(document for document in rest if document["stage"] == "features")
    assert 0 <= features["metrics"]["loader"] <= 1
    assert {document["stage"] for document in rest} >= {"features", "embeddings", "classifier", "eval"}
    again = [sys.executable, "-c", "import sys; sys.modules['torch'] = None; from wbltr.cli.app import main; main()"]
    cached = subprocess.run([*again, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert cached.returncode == 0, cached.stderr
    assert f'"artifact": "{done.document["artifact"]}"' in cached.stdout


def test_what_was_made_is_found_again_without_root_and_list(tmp_path: Path, wbltr: Wbltr) -> None:
    root = write_set(tmp_path / "images", lists=tmp_path / "lists")
    lists = [word for name in LISTS["imagenet-lt"].values() for word in ("--list", tmp_path / "lists" / name)]
    assert wbltr("make-dataset", "--recipe", "imagenet-lt", "--root", root, *lists).code == 0
    assert wbltr("train-features", *SMALL).code == 0, "from the latest dataset"
    done = wbltr("run", "--recipe", "imagenet-lt", *SMALL)
    assert done.code == 0
    assert "dataset" in done.err
    shutil.rmtree(root)
    finished = wbltr("run", "--recipe", "imagenet-lt", *SMALL)
    assert finished.code == 0
    assert "its images are not here; using the dataset" in finished.err
    assert finished.out == done.out
    more = wbltr("train-features", "--recipe", "imagenet-lt", *SMALL, "--seed", "1")
    assert more.code == 3
    assert "the dataset's images are not here" in more.err
    assert "--root DIR" in more.err


def test_images_that_cannot_be_decoded_fail_or_are_skipped_as_asked(tmp_path: Path, wbltr: Wbltr) -> None:
    root = write_set(tmp_path)
    first = (root / LISTS["imagenet-lt"]["train"]).read_text().split()[0]
    (root / first).write_bytes((root / first).read_bytes()[:-100])
    arguments = ("make-dataset", "--recipe", "imagenet-lt", "--root", root)
    failed = wbltr(*arguments)
    assert failed.code == 4
    assert first in failed.err
    assert "--on-bad-image skip" in failed.err
    skipped = wbltr(*arguments, "--on-bad-image", "skip", "--json")
    assert skipped.code == 0
    assert skipped.document["metrics"]["skipped"] == 1
    assert "1 images cannot be decoded" in skipped.err
    assert wbltr(*arguments, "--on-bad-image", "perhaps").code == 2
    started = wbltr("train-features", "--from", skipped.document["artifact"], "--on-bad-image", "fail")
    assert started.code == 2
    assert "dataset.on_bad_image" in started.err


def test_problems_of_lists_end_in_exit_code_3_with_their_lines(tmp_path: Path, wbltr: Wbltr) -> None:
    root = write_set(tmp_path)
    file = root / LISTS["imagenet-lt"]["train"]
    file.write_text(file.read_text() + "train/[bold]nowhere\x1b.jpg 0\ntrain/gone.jpg -1\n")
    done = wbltr("make-dataset", "--recipe", "imagenet-lt", "--root", root)
    assert done.code == 3
    assert "ImageNet_LT_train.txt:29:" in done.err
    assert "ImageNet_LT_train.txt:30: the label -1 is negative" in done.err
    assert "\x1b" not in done.err
    for nowhere in ((), ("--root", "~nobody-at-all/x"), ("--root", tmp_path / ("long" * 100)), ("--root", file)):
        assert wbltr("make-dataset", "--recipe", "imagenet-lt", *nowhere).code == 3
    assert wbltr("make-dataset", "--recipe", "digits-ir50", "--list", root).code == 2
    assert wbltr("make-dataset", "--recipe", "digits-ir50").code == 0
    assert wbltr("train-features", "--list", root).code == 2


def test_a_dry_run_of_a_listed_set_makes_nothing(tmp_path: Path, wbltr: Wbltr) -> None:
    root = write_set(tmp_path)
    done = wbltr(*RUN, "--root", root, "-n", "--json")
    assert done.code == 0
    assert not any(step["cached"] for step in done.document["steps"])
    assert not [*Path(".wbltr").glob("objects/*/*")]


@pytest.mark.parametrize("change", ["classifier.mode=exact", "classifier.layers=2"])
def test_a_second_stage_through_the_network_streams_its_images(tmp_path: Path, wbltr: Wbltr, change: str) -> None:
    root = write_set(tmp_path, train=(24, 12, 6, 4))
    done = wbltr("train-classifier", "--recipe", "imagenet-lt", "--root", root, *SMALL, "--set", change, "--json")
    assert done.code == 0, done.err
    assert done.document["stage"] == "finetune"
    document = wbltr("eval", "--from", done.document["artifact"], "--threads", "1", "--json").document
    assert document["n"] == 8


def test_an_augmentation_for_images_of_one_size_is_refused_before_training(tmp_path: Path, wbltr: Wbltr) -> None:
    root = write_set(tmp_path)
    arguments = ("--set", "features.augment=crop-flip", "--set", "features.image_size=null", "--threads", "1")
    done = wbltr("train-features", "--recipe", "imagenet-lt", "--root", root, *arguments)
    assert done.code == 2
    assert "features.augment=resized-crop-flip" in done.err


def test_a_decoded_copy_stands_in_for_the_files_and_is_made_again_where_it_is_damaged(tmp_path: Path, wbltr: Wbltr) -> None:
    root = write_set(tmp_path / "images", train=(24, 12, 6, 4))
    recipe = ("--recipe", "imagenet-lt", "--set", "dataset.copy_side=20")
    assert wbltr("make-dataset", *recipe, "--root", root).code == 0
    moved = root.rename(tmp_path / "moved")
    done = wbltr("train-features", *recipe, *SMALL, "--json")
    assert done.code == 0, done.err
    damage_the_copy()
    failed = wbltr("train-features", *recipe, *SMALL, "--force")
    assert failed.code == 3, "where the images are not at hand, a copy cannot be made again"
    moved.rename(root)
    assert wbltr("make-dataset", *recipe, "--root", root, "--json").document["cached"] is False
    damage_the_copy()
    again = wbltr("train-features", *recipe, *SMALL, "--force", "--json", "--root", root)
    assert "making it again" in again.err
    assert again.document["artifact"] == done.document["artifact"]


def damage_the_copy() -> None:
    shards = [path for path in Path(".wbltr/objects").glob("*/*") if b"dataset-part" in path.read_bytes()[:2000]]
    assert len(shards) == 3, "one a part"
    for shard in shards:
        shard.chmod(0o644)
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
