"""Images of 10 and 12 bits in files of 16, from make-dataset to predict and export."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import Wbltr
from deep_images import png, pnm, tiff
from made_images import picture
from own_pictures import class_folders

from wbltr.data.digests import StatCache
from wbltr.data.index import Index
from wbltr.data.own_images import look_at_own
from wbltr.serving.about import Input, read_about
from wbltr.serving.images import batches
from wbltr.store import Store

SHORT = (
    *("--set", "features.network=small", "--set", "features.epochs=2", "--set", "features.precision=fp32"),
    *("--set", "classifier.epochs=1", "--set", "embeddings.views=1", "--threads", "1"),
)
COUNTS = {"a": 24, "b": 16}


def deep_folders(root: Path, bits: int, side: int = 20, *, colour: bool = False, brighter: str = "") -> Path:
    """Classes of striped images whose files have 16 bits; one image named `brighter` uses two bits more."""
    for label, (name, count) in enumerate(COUNTS.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.asarray(picture(label, number, side)).astype(np.uint32)
            values = ((pixels if colour else pixels[..., :1]) * ((1 << bits) - 1) // 255).astype(np.uint16)
            values[0, 0] = (1 << bits) - 1
            if f"{name}/{number}" == brighter:
                values[0, 0] = (1 << bits + 2) - 1
            kind = number % (1 if colour else 3)
            written = (png, tiff, pnm)[kind](values)
            (root / name / f"{number}.{('png', 'tif', 'pgm')[kind]}").write_bytes(written)
    return root


def paths_of(root: Path, tensors: dict[str, np.ndarray], part: str) -> list[str]:
    if f"{part}.paths" in tensors:
        index = Index.load(tensors, part)
        return [str(root / index.path(number)) for number in range(len(index))]
    paths = look_at_own(root, None, StatCache()).files.paths
    return [str(root / paths[row]) for row in tensors[f"{part}.index"]]


@pytest.mark.parametrize(("bits", "colour"), [(8, False), (8, True), (10, False), (12, False), (12, True), (14, True)])
def test_the_recipe_gets_the_depth_and_the_images_their_brightness(
    tmp_path: Path, wbltr: Wbltr, bits: int, colour: bool
) -> None:
    root = deep_folders(tmp_path / "set", bits, colour=colour)
    made = wbltr("make-dataset", "--images", root, "--json")
    assert made.code == 0, made.err
    assert f"40 images of 16 bits use {bits} of them" in made.err
    assert yaml.safe_load(Path("set.yaml").read_text())["dataset"]["depth"] == bits
    metrics = made.document["metrics"]
    assert (metrics["bits"], metrics["depth"], metrics["clipped"]) == ({str(bits): 40}, bits, 0)
    tensors = Store.open(create=False).load(made.document["artifact"])
    assert all(image.max() > 150 for image in tensors["train.images"])
    dark = wbltr("make-dataset", "--images", root, "--set", "dataset.depth=null", "--out", "dark.yaml")
    assert f"--set dataset.depth={bits}" in dark.err
    assert yaml.safe_load(Path("dark.yaml").read_text())["dataset"]["depth"] is None


def test_images_of_eight_bits_and_those_that_use_all_sixteen_get_no_depth(tmp_path: Path, wbltr: Wbltr) -> None:
    for root in (class_folders(tmp_path / "eight", COUNTS), deep_folders(tmp_path / "all", 16)):
        made = wbltr("make-dataset", "--images", root, "--json")
        assert "depth" not in yaml.safe_load(Path(f"{root.name}.yaml").read_text())["dataset"]
        assert made.document["metrics"].get("bits") == ({"16": 40} if root.name == "all" else None)


def test_the_depth_is_that_of_the_training_images_and_what_is_brighter_elsewhere_is_counted(
    tmp_path: Path, wbltr: Wbltr
) -> None:
    root = deep_folders(tmp_path / "plain", 12)
    first = wbltr("make-dataset", "--images", root, "-q").out.strip()
    tensors = Store.open(create=False).load(first)
    for part, depth, clipped in (("test", 12, 1), ("val", 12, 1), ("train", 14, 0)):
        name = Path(paths_of(root, tensors, part)[0])
        other = deep_folders(tmp_path / part, 12, brighter=f"{name.parent.name}/{name.stem}")
        made = wbltr("make-dataset", "--images", other, "--json")
        assert made.document["metrics"]["bits"] == {"12": 39, "14": 1}
        assert (made.document["metrics"]["depth"], made.document["metrics"]["clipped"]) == (depth, clipped)
        assert ("values of more than 12 bits" in made.err) == bool(clipped)


@pytest.mark.parametrize("side", [20, 80], ids=["held", "streamed"])
def test_predict_and_export_see_the_pixels_that_were_learned_from(tmp_path: Path, wbltr: Wbltr, side: int) -> None:
    root = deep_folders(tmp_path / "set", 12, side, colour=True)
    assert wbltr("make-dataset", "--images", root, "-q").code == 0
    own = SHORT if side == 20 else (*SHORT, "--set", "features.image_size=32")
    done = wbltr("run", "--recipe", "./set.yaml", *own, "--json")
    assert done.code == 0, done.err
    store = Store.open(create=False)
    dataset = store.load(done.document["stages"][0]["artifact"])
    files = paths_of(root, dataset, "test")
    expected = store.load(done.document["artifact"], ("predictions",))["predictions"].tolist()
    exported = wbltr("export", tmp_path / "model")
    assert exported.code == 0, exported.err
    about = read_about(tmp_path / "model")
    assert about.input.depth == 12
    assert "16 bits" in about.preprocessing
    assert about.preprocessing in (tmp_path / "model" / "README.md").read_text()
    for start in ((), ("--from", tmp_path / "model")):
        told = wbltr("predict", *files, *start, "--json")
        assert told.code == 0, told.err
        said = [json.loads(line)["class"] for line in told.out.splitlines()]
        assert said == ["ab"[label] for label in expected]
    if side == 20:
        rows = [pixels for block in batches(files, about.input, 1) for _, pixels in block]
        assert all((np.asarray(own) == held).all() for own, held in zip(rows, dataset["test.images"], strict=True))
    page = wbltr("report", "--out", tmp_path / "page.html")
    assert page.code == 0, page.err


def test_a_model_of_before_there_was_a_depth_opens_and_says_what_it_said(tmp_path: Path) -> None:
    values = {"channels": 1, "shorter_side": 8, "side": 8, "mean": [0.5], "std": [0.5]}
    earlier = Input.model_validate(values)
    assert earlier.depth is None
    assert "depth" not in earlier.hashed(), "so that an earlier wbltr opens it, too"
    assert "16 bits" not in earlier.words()
    assert "divided by 16" in Input.model_validate(values | {"depth": 12}).words()
