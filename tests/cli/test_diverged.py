"""A training that diverges is told by the field of the recipe that can mend it, whichever stage it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import SHORT, Answer, Wbltr

FIRST = ("train-features", "--recipe", "digits-ir50", *SHORT)
SECOND = ("train-classifier", "--set", "classifier.epochs=2", "--threads", "1")
EVERY = (*FIRST[1:], "--set", "rows=[cb-wd, lws]")


def told(said: Answer, field: str, value: str) -> None:
    """One line, and a hint that lowers this field and no other."""
    assert said.code == 8, said.err
    line, hint = said.err.splitlines()[-2:]
    assert "diverged in epoch 1 of" in line
    assert f"--set {field}={value}" in hint
    other = {"features.lr", "classifier.lr", "heads.lws.lr"} - {field}
    assert not [name for name in other if name in line + hint]
    assert "Trial(" not in said.err


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("--set", "features.head=cosine"),
        ("--set", "features.max_norm={radius: 1, relative: false}"),
        ("--set", "features.constraint=unit-norm"),
    ],
)
def test_a_first_stage(wbltr: Wbltr, settings: tuple[str, ...]) -> None:
    told(wbltr(*FIRST, "--set", "features.lr=1e30", "--set", "features.weight_decay=1e9", *settings), "features.lr", "1e+29")


@pytest.mark.parametrize("settings", [(), ("--set", "features.head=cosine")])
def test_a_first_stage_of_a_head_alone(wbltr: Wbltr, tmp_path: Path, settings: tuple[str, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", embeddings=x, labels=np.arange(60) % 3)
    assert wbltr("embed", "--import", tmp_path / "mine.npz").code == 0
    lr = ("--set", "features.lr=1e30", "--set", "features.weight_decay=1e9")
    told(wbltr("train-features", "--recipe", "./mine.yaml", "--threads", "1", *lr, *settings), "features.lr", "1e+29")


@pytest.mark.parametrize(
    "settings",
    [
        (),
        ("--set", "classifier.max_norm=null"),
        ("--set", "classifier.head=cosine", "--set", "classifier.max_norm=null"),
        ("--set", "classifier.mode=exact"),
        ("--set", "classifier.layers=2"),
    ],
)
def test_a_second_stage(copied: Wbltr, settings: tuple[str, ...]) -> None:
    lr = ("--set", "classifier.lr=1e30", "--set", "classifier.weight_decay=1e9")
    told(copied(*SECOND, *lr, *settings), "classifier.lr", "1e+29")


@pytest.mark.parametrize(
    ("field", "settings"),
    [("classifier.lr", ("classifier.lr=1e30",)), ("heads.lws.lr", ("heads.lws.lr=1e30", "heads.lws.weight_decay=1e9"))],
)
def test_a_row_names_the_section_that_its_learning_rate_stands_in(copied: Wbltr, field: str, settings: tuple[str, ...]) -> None:
    told(copied("run", *EVERY, *[word for one in settings for word in ("--set", one)]), field, "1e+29")
