"""Real photographs: 3,013 of 81 groceries, by their table and as the folders that they lie in, three and four levels deep."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
from conftest import Wbltr

PLACE = os.environ.get("WBLTR_TEST_PHOTOS", "")
pytestmark = pytest.mark.skipif(not PLACE, reason="WBLTR_TEST_PHOTOS names no folder with the grocery photographs")
ROWS = [*csv.DictReader(Path(PLACE, "pictures.csv").read_text().splitlines())] if PLACE else []
TRAINING = Counter(row["label"] for row in ROWS if row["split"] == "train")


def test_a_table_and_the_innermost_folders_are_one_set(wbltr: Wbltr) -> None:
    table = wbltr("make-dataset", "--csv", Path(PLACE, "pictures.csv"), "--out", "table.yaml", "--json")
    assert table.code == 0, table.err
    assert table.document["class_counts"] == TRAINING
    assert (table.document["metrics"]["val"], table.document["metrics"]["test"]) == (296, 1204)
    folders = wbltr("make-dataset", "--images", PLACE, "--classes", "innermost", "--out", "folders.yaml", "--json")
    assert folders.code == 0, folders.err
    assert folders.document["artifact"] == table.document["artifact"]


def test_the_outermost_folders_are_classes_too_and_the_others_are_told(wbltr: Wbltr) -> None:
    made = wbltr("make-dataset", "--images", PLACE, "--out", "three.yaml", "--json")
    assert made.code == 0, made.err
    by_first = Counter(row["path"].split("/")[1] for row in ROWS if row["split"] == "train")
    assert made.document["class_counts"] == by_first
    assert "81: --classes innermost" in made.err
