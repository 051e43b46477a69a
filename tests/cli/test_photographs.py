"""Real photographs: 3,013 of 81 groceries, by their table and as the folders that they lie in, three and four levels deep."""

from __future__ import annotations

import csv
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from conftest import Wbltr

PLACE = os.environ.get("WBLTR_TEST_PHOTOS", "")
pytestmark = pytest.mark.skipif(not PLACE, reason="WBLTR_TEST_PHOTOS names no folder with the grocery photographs")
ROWS = [*csv.DictReader(Path(PLACE, "pictures.csv").read_text().splitlines())] if PLACE else []
TRAINING = [row for row in ROWS if row["split"] == "train"]


def test_a_table_and_the_innermost_folders_give_the_same_classes(wbltr: Wbltr, tmp_path: Path) -> None:
    table = wbltr("make-dataset", "--csv", Path(PLACE, "pictures.csv"), "--out", "table.yaml", "--json")
    assert table.code == 0, table.err
    assert table.document["class_counts"] == Counter(row["label"] for row in TRAINING)
    assert (table.document["metrics"]["val"], table.document["metrics"]["test"]) == (296, 1204)
    # One class lies elsewhere in two of the parts: that is told, and nothing is guessed.
    odd = wbltr("make-dataset", "--images", PLACE, "--classes", "innermost", "--out", "odd.yaml")
    assert odd.code == 2
    assert "Mushroom/Brown-Cap-Mushroom" in odd.err
    mended = tmp_path / "mended"
    shutil.copytree(PLACE, mended)
    for folder in [*mended.rglob("Mushroom/Brown-Cap-Mushroom")]:
        folder.rename(folder.parent.parent / folder.name)
    folders = wbltr("make-dataset", "--images", mended, "--classes", "innermost", "--out", "folders.yaml", "--json")
    assert folders.code == 0, folders.err
    for name in ("train", "val", "test", "largest", "smallest", "classes"):
        assert folders.document["metrics"][name] == table.document["metrics"][name], name
    assert folders.document["class_counts"] == table.document["class_counts"]


def test_the_outermost_folders_are_the_classes_unless_asked_and_the_others_are_told(wbltr: Wbltr) -> None:
    made = wbltr("make-dataset", "--images", PLACE, "--out", "three.yaml", "--json")
    assert made.code == 0, made.err
    assert made.document["class_counts"] == Counter(row["path"].split("/")[1] for row in TRAINING)
    assert "82: --classes innermost" in made.err
