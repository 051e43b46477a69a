"""How trees of folders are read, on thousands of them and without a disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_pictures import put

from wbltr.data.digests import StatCache
from wbltr.data.layouts import Layout, Steps, decide, parts_among, spelt
from wbltr.data.own_images import look_at_own
from wbltr.errors import WbltrError

# What the code of version 2 said of these folders; a key holds it.
FROZEN = {
    "classes": "b6b0dac54062111d15256bdae1d435e9fcb54238c1f1ae5d5397eeb4ff812f11",
    "deeper": "7219671b03df5a7a77209078ef8ade38c480dc32b46b01ea9eadac57eb14b614",
    "parts": "14896a136644b1b8f32a2a18b4f652011ac98e20cfe61aa13f600abd8035052b",
    "Parts": "3505959bfcb27ef28d658a0533ca205cf923f74ce3a76369a4c83d059faae79c",
    "train alone": "dd56af0a9411b9f5069bafc7112b1529e12be56124cbdfc6543fd8ffe0eed82f",
    "unlabelled test": "dd56af0a9411b9f5069bafc7112b1529e12be56124cbdfc6543fd8ffe0eed82f",
    "a class called train": "5cfcc552a086876318a6cdaf1d2cafe758b65f2b0a0e87c5da7adb16b29a6f71",
    "strays": "6cbc9b9a26178c53884f1d65ca5a8e1a3a657129ac5f09e2def7e67ae47c4f1a",
}
TREES = {
    "classes": ["ant/a.png", "ant/b.png", "bee/a.png", "bee/b.png"],
    "deeper": ["cat/2021/a.png", "cat/2022/b.png", "dog/2021/a.png", "dog/c.png"],
    "parts": ["train/ant/a.png", "train/bee/a.png", "val/ant/b.png", "val/bee/b.png", "test/ant/c.png", "test/bee/c.png"],
    "Parts": ["Train/ant/a.png", "Train/bee/a.png", "TEST/ant/c.png", "TEST/bee/c.png"],
    "train alone": ["train/ant/a.png", "train/bee/a.png"],
    "unlabelled test": ["train/ant/a.png", "train/bee/a.png", "test/1.png"],
    "a class called train": ["train/a.png", "bus/a.png"],
    "strays": ["ant/a.png", "bee/a.png", "cover.png", "ant/.hidden.png"],
}


@pytest.mark.parametrize("name", FROZEN)
def test_a_folder_that_was_read_rightly_keeps_its_digest(tmp_path: Path, name: str) -> None:
    for number, path in enumerate(TREES[name]):
        put(tmp_path / path, number % 3, number)
    assert look_at_own(tmp_path, None, StatCache()).content == FROZEN[name]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "TRAIN", "trn", "TrainSet", "trainset", "train_256x256", "trainval")
        ),
        *((name, "val") for name in ("val", "Valid", "validation", "dev", "eval", "Evaluation", "val2017", "DevImages")),
        *(
            (name, "test")
            for name in ("test", "TESTING", "seg_test", "test-images", "01_test", "testdata", "TestData", "test (1)")
        ),
        *(
            (name, "")
            for name in ("trainer", "training shoes", "contest", "devil", "valley", "evaluator", "validator", "tests")
        ),
        *(
            (name, "")
            for name in ("detrain", "attest", "medieval", "1", "", "Käfer", "set", "images", "train test", "test_train")
        ),
    ],
)
def test_a_folders_name_means_a_part_by_its_words(name: str, part: str) -> None:
    found, others = spelt(name)
    assert (found if not others else "") == part
    assert parts_among([name]) == ({name: part} if part else {})


def test_one_name_around_several_parts_does_not_matter() -> None:
    names = ["asl alphabet train", "asl_alphabet_test", "cat"]
    assert parts_among(names) == {"asl alphabet train": "train", "asl_alphabet_test": "test"}
    assert parts_among(["cat_test", "dog_val"]) == {}


NAMES = st.sampled_from(
    ["train", "Testing", "val", "dev", "cat", "dog", "owl", "a", "2021", "trainer", "images", "birds_train"]
)
PATHS = st.lists(NAMES, max_size=4).map(tuple)
TREE = st.dictionaries(PATHS, st.integers(0, 3), max_size=12)


def whole(tree: Mapping[Steps, int]) -> dict[Steps, int]:
    """With the folders above, too."""
    return {steps[:depth]: 0 for steps in tree for depth in range(len(steps) + 1)} | {(): 0} | dict(tree)


def read(tree: Mapping[Steps, int], classes: str = "outermost") -> Layout | tuple[int, bool]:
    try:
        return decide(whole(tree), classes, "set")
    except WbltrError as error:
        assert error.message.startswith("set")
        assert "\n" not in error.message
        assert error.hint
        return error.exit_code, True


@given(TREE, st.sampled_from(["outermost", "innermost"]))
@settings(max_examples=3000, deadline=None)
def test_every_tree_is_read_whole_or_refused(tree: dict[Steps, int], classes: str) -> None:
    layout = read(tree, classes)
    if not isinstance(layout, Layout):
        assert layout[0] in (2, 3)
        return
    holding = {steps for steps, images in tree.items() if images}
    assert {*layout.homes} <= holding
    assert holding - {*layout.homes} <= layout.above, "what belongs to no class is told as lying outside"
    assert len({label for label, _ in layout.homes.values()}) > 1
    parts = {part for _, part in layout.homes.values()}
    assert parts == {""} or (parts <= {"train", "val", "test"} and "train" in parts)
    for steps, (label, part) in layout.homes.items():
        assert label.split("/")[0] in steps
        assert not part or part in {spelt(name)[0] for name in steps}
    assert layout.said[0].startswith("reading set: ")


@given(TREE, st.lists(PATHS, min_size=1, max_size=4))
@settings(max_examples=1500, deadline=None)
def test_folders_without_an_image_never_decide(tree: dict[Steps, int], empty: list[Steps]) -> None:
    without, beside = read(tree), read(dict.fromkeys(empty, 0) | tree)
    if isinstance(without, Layout):
        assert isinstance(beside, Layout)
        assert (beside.homes, beside.said) == (without.homes, without.said)
    else:
        assert beside == without


@given(TREE, st.lists(st.sampled_from(["data", "archive", "v2"]), min_size=1, max_size=3).map(tuple))
@settings(max_examples=1500, deadline=None)
def test_a_folder_around_everything_changes_nothing(tree: dict[Steps, int], around: Steps) -> None:
    inside = {steps: images for steps, images in tree.items() if steps}
    bare, wrapped = read(inside), read({around + steps: images for steps, images in inside.items()})
    if isinstance(bare, Layout):
        assert isinstance(wrapped, Layout)
        assert wrapped.homes == {around + steps: home for steps, home in bare.homes.items()}
    else:
        assert wrapped == bare


@given(TREE, st.permutations(["cat", "dog", "owl"]))
@settings(max_examples=1000, deadline=None)
def test_what_classes_are_called_does_not_matter(tree: dict[Steps, int], names: list[str]) -> None:
    other = dict(zip(["cat", "dog", "owl"], names, strict=True))
    renamed = {tuple(other.get(name, name) for name in steps): images for steps, images in tree.items()}
    one, two = read(tree), read(renamed)
    assert isinstance(one, Layout) == isinstance(two, Layout)
    if isinstance(one, Layout) and isinstance(two, Layout):
        assert sorted(part for _, part in one.homes.values()) == sorted(part for _, part in two.homes.values())


def test_a_very_deep_tree_is_no_burden() -> None:
    chain = tuple(str(number) for number in range(1500))
    tree = whole({(*chain, "cat"): 1, (*chain, "dog"): 1})
    assert {label for label, _ in decide(tree, "outermost", "set").homes.values()} == {"cat", "dog"}
