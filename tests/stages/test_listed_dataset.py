"""The dataset stage on sets whose images are files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_images import LISTS, write_set
from pydantic import ValidationError

from wbltr.data.digests import StatCache
from wbltr.data.imagefiles import look
from wbltr.data.index import Index
from wbltr.data.listed import LISTED
from wbltr.dataset_config import DatasetConfig
from wbltr.errors import Stopped, WbltrError
from wbltr.models import new_network
from wbltr.pipeline import Runtime
from wbltr.stages import EmbeddingsStageConfig, _room, embeddings
from wbltr.stages.dataset import run


def config(source: str = "imagenet-lt", **values: object) -> DatasetConfig:
    own = {"source": source, "profile": "natural", "imbalance_factor": None, "val": "list", **values}
    return DatasetConfig.model_validate(own)


def made(root: Path, section: DatasetConfig, **more: Any) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any], list[str]]:
    """The artifact's tensors, what was reported and what was said."""
    told: list[Any] = []
    said: list[str] = []
    listed = look(LISTED[section.source], [], [root], StatCache())
    tensors = run(section, {}, Runtime(threads=2, listed=listed, report=told.append, notice=said.append, **more))
    return tensors, told[-1], said


def damage(root: Path, source: str, part: str, *numbers: int) -> list[str]:
    """Cut the ends of some images off; their paths."""
    paths = [line.rsplit(" ", 1)[0] for line in (root / LISTS[source][part]).read_text().splitlines()]
    for number in numbers:
        file = root / paths[number]
        file.write_bytes(file.read_bytes()[:-300])
    return [paths[number] for number in numbers]


def test_an_index_holds_each_part_and_no_pixels(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    tensors, told, said = made(root, config())
    assert tensors["class_counts"].tolist() == [12, 8, 5, 3]
    assert json.loads(bytes(tensors["class_names"])) == [f"n{k:08}" for k in range(4)]
    for part, images in (("train", 28), ("val", 8), ("test", 8)):
        index = Index.load(tensors, part)
        assert len(index) == images
        for number in range(images):
            assert (root / index.path(number)).stat().st_size == index.sizes[number]
    assert sum(tensor.nbytes for tensor in tensors.values()) < 10_000
    assert tensors["skipped"].tolist() == [0, 0, 0]
    assert (told["train"], told["val"], told["test"], told["skipped"]) == (28, 8, 8, 0)
    assert told["canonical"] is False
    assert "its train list names 28 images, the published one 115,846" in said[-1]


@pytest.mark.parametrize("source", ["imagenet-lt", "places-lt", "inaturalist18"])
def test_every_published_set_can_hold_out_a_tenth_of_each_class_to_validate(tmp_path: Path, source: str) -> None:
    root = write_set(tmp_path, source, train=(20, 12, 4, 2, 1))
    tensors, told, _ = made(root, config(source, val="holdout"))
    assert tensors["class_counts"].tolist() == [18, 11, 3, 1, 1]
    assert np.bincount(tensors["val.labels"], minlength=5).tolist() == [2, 1, 1, 1, 0]
    train, val = (Index.load(tensors, part) for part in ("train", "val"))
    assert not {train.path(n) for n in range(len(train))} & {val.path(n) for n in range(len(val))}
    assert told["classes_without_val"] == 1
    assert "validation images are held out of the training part" in told["departures"]


def test_the_same_lists_and_files_give_the_same_artifact_wherever_they_lie(tmp_path: Path) -> None:
    first, _, _ = made(write_set(tmp_path / "one"), config())
    second, _, _ = made(write_set(tmp_path / "two"), config())
    assert all((first[name] == second[name]).all() for name in first)
    other = write_set(tmp_path / "three", train=(12, 8, 5, 4))
    assert bytes(made(other, config())[0]["fingerprint"]) != bytes(first["fingerprint"])


def test_images_that_cannot_be_decoded_are_all_named_before_anything_is_made(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    bad = damage(root, "imagenet-lt", "train", 1, 14) + damage(root, "imagenet-lt", "test", 3)
    with pytest.raises(WbltrError) as caught:
        made(root, config())
    assert caught.value.exit_code == 4
    lines = caught.value.message.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(root / path) for path in bad]
    assert "--on-bad-image skip" in caught.value.hint


def test_images_that_cannot_be_decoded_may_be_skipped_and_are_counted(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    bad = damage(root, "imagenet-lt", "train", 1, 14) + damage(root, "imagenet-lt", "val", 3)
    tensors, told, said = made(root, config(on_bad_image="skip"))
    assert tensors["skipped"].tolist() == [2, 1, 0]
    assert tensors["class_counts"].tolist() == [11, 7, 5, 3]
    assert len(tensors["val.labels"]) == 7
    assert told["skipped"] == 3
    assert "3 images cannot be decoded" in told["departures"]
    assert said[0] == "skipping 3 images that cannot be decoded"
    assert all(path in line for path, line in zip(bad, said[1:], strict=False))
    index = Index.load(tensors, "train")
    assert not set(bad) & {index.path(number) for number in range(len(index))}


def test_a_class_of_which_no_image_can_be_decoded_is_told(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    damage(root, "imagenet-lt", "test", 4, 5)
    with pytest.raises(WbltrError, match="no test image can be decoded of 1 classes: n00000002"):
        made(root, config(on_bad_image="skip"))


def test_a_stop_is_heard_between_two_images(tmp_path: Path) -> None:
    root, seen = write_set(tmp_path), []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 30:
            raise Stopped("stopped", "", "interrupted")

    with pytest.raises(Stopped):
        made(root, config(), tick=stop)
    assert seen == [(done, 44) for done in range(1, 31)]


def test_a_set_whose_lists_nobody_looked_at_is_missing() -> None:
    with pytest.raises(WbltrError, match="nobody has looked at its lists") as caught:
        run(config(), {}, Runtime())
    assert "--root DIR" in caught.value.hint


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"profile": "exp"}, "has natural, as its lists say"),
        ({"imbalance_factor": 100}, "leaves nothing to cut"),
        ({"largest": 5}, "leaves nothing to cut"),
        ({"val": "unused"}, "nothing was left out"),
        ({"source": "inaturalist18"}, "no list of validation images"),
        ({"source": "cifar100"}, "has exp or step"),
        ({"source": "cifar100", "profile": "exp", "val": "none"}, "give imbalance_factor"),
        ({"source": "cifar100", "profile": "exp", "imbalance_factor": 10}, "no list of validation images"),
        (
            {"source": "digits", "profile": "exp", "imbalance_factor": 10, "val": "none", "on_bad_image": "skip"},
            "no image files",
        ),
    ],
)
def test_fields_that_do_not_go_together_are_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(**{"source": "imagenet-lt", **values})  # type: ignore[arg-type]


def test_large_embeddings_are_written_to_the_disk_and_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, _, _ = made(write_set(tmp_path / "images"), config())
    section = EmbeddingsStageConfig(
        part="train", network="small", mean=(0.5,) * 3, std=(0.5,) * 3, precision="fp32", augment="resized-crop-flip", pad=0,
        views=2, seed=0, image_size=16,
    )  # fmt: skip
    network = {f"network.{n}": v.numpy() for n, v in new_network("small", section.mean, section.std, 0).state_dict().items()}
    inputs = {"dataset": tensors, "features": network}
    runtime = Runtime(threads=1, roots=(tmp_path / "images",), scratch=tmp_path)
    held = embeddings.run(section, inputs, runtime)
    monkeypatch.setattr(_room, "MAP_ABOVE", 0)
    mapped = embeddings.run(section, inputs, runtime)
    assert torch.equal(held["train.embeddings"], mapped["train.embeddings"])
    assert not torch.equal(held["train.embeddings"][0], held["train.embeddings"][1]), "two views"
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    test = embeddings.run(section.model_copy(update={"part": "test"}), inputs, runtime)["test.embeddings"]
    assert test.shape == (2, 8, 64)
    assert not torch.equal(test[0], test[1]), "view 1 is mirrored"
