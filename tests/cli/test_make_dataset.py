"""Pictures of one's own through the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Wbltr
from own_pictures import class_folders, put, table

COUNTS = {"bee": 40, "ant": 12, "wasp": 5}
SHORT = (
    *("--set", "features.network=small", "--set", "features.epochs=1", "--set", "features.precision=fp32"),
    *("--set", "classifier.epochs=1", "--set", "embeddings.views=1", "--threads", "1"),
)


@pytest.mark.parametrize("side", [20, 80], ids=["held", "streamed"])
def test_a_folder_goes_to_a_table_of_accuracies_and_is_cached_without_torch(tmp_path: Path, wbltr: Wbltr, side: int) -> None:
    root = class_folders(tmp_path / "my set", COUNTS, side=side)
    made = wbltr("make-dataset", "--images", root)
    assert made.code == 0, made.err
    assert "next: wbltr run --recipe ./my-set.yaml" in made.err
    assert "largest class bee with" in made.err
    own = SHORT if side == 20 else (*SHORT, "--set", "features.image_size=16")
    done = wbltr("run", "--recipe", "./my-set.yaml", *own, "--json")
    assert done.code == 0, done.err
    assert done.document["stages"][0]["artifact"] == made.out.strip(), "the dataset that make-dataset made"
    assert done.document["stages"][0]["cached"]
    again = [sys.executable, "-c", "import sys; sys.modules['torch'] = None; from wbltr.cli.app import main; main()"]
    command = [*again, "run", "--recipe", "./my-set.yaml", *own, "--json"]
    cached = subprocess.run(command, capture_output=True, text=True, check=False)
    assert cached.returncode == 0, cached.stderr
    assert f'"artifact": "{done.document["artifact"]}"' in cached.stdout


def test_later_commands_go_on_without_a_recipe_and_a_held_set_needs_its_pictures_no_more(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    dataset = wbltr("make-dataset", "--images", root, "--set", "features.network=small", "-q").out.strip()
    shutil.rmtree(root)
    trained = wbltr("train-features", "--set", "features.epochs=1", "--threads", "1", "--json")
    assert trained.code == 0, trained.err
    assert trained.document["inputs"]["dataset"] == dataset
    again = wbltr("make-dataset", "--recipe", "./set.yaml")
    assert again.out.strip() == dataset
    assert f"{root} is not here; using the dataset {dataset[:12]}" in again.err
    elsewhere = wbltr("make-dataset", "--recipe", "./set.yaml", "--store", tmp_path / "other")
    assert elsewhere.code == 3
    assert "no such folder" in elsewhere.err


def test_two_sets_with_one_section_are_not_taken_for_each_other(tmp_path: Path, wbltr: Wbltr) -> None:
    one = class_folders(tmp_path / "one", COUNTS)
    other = class_folders(tmp_path / "other", COUNTS)
    first = wbltr("make-dataset", "--images", one, "-q").out
    second = wbltr("make-dataset", "--images", other, "-q").out
    assert first != second
    shutil.rmtree(one)
    assert wbltr("make-dataset", "--recipe", "./one.yaml", "-q").out == first
    assert wbltr("make-dataset", "--recipe", "./one.yaml", "--images", other, "-q").out == second


def test_a_recipe_of_other_pictures_does_not_go_with_an_artifact(tmp_path: Path, wbltr: Wbltr) -> None:
    for name in ("one", "other"):
        same = ("--set", "features={mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}")
        assert wbltr("make-dataset", "--images", class_folders(tmp_path / name, COUNTS), *same, "-q").code == 0
    dataset = wbltr("make-dataset", "--recipe", "./one.yaml", "-q").out.strip()
    assert wbltr("train-features", "--recipe", "./one.yaml", "--from", dataset, "-n").code == 0
    refused = wbltr("train-features", "--recipe", "./other.yaml", "--from", dataset, "-n")
    assert refused.code == 2
    assert "its files are not those that the artifact of --from was made of" in refused.err
    shutil.rmtree(tmp_path / "one")
    assert wbltr("train-features", "--recipe", "./one.yaml", "--from", dataset, "-n").code == 0


def test_a_set_with_nothing_to_test_on_is_refused(tmp_path: Path, wbltr: Wbltr) -> None:
    refused = wbltr("make-dataset", "--images", class_folders(tmp_path / "set", {"bee": 1, "ant": 1}))
    assert refused.code == 2
    assert "no picture to test on" in refused.err
    assert not Path("set.yaml").exists()


def test_pictures_that_change_are_another_dataset(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    first = wbltr("make-dataset", "--images", root, "-q").out
    put(root / "ant" / "000.png", 0, 999)
    os.utime(root / "ant" / "000.png")
    second = wbltr("make-dataset", "--recipe", "./set.yaml", "-q")
    assert second.code == 0
    assert second.out != first


def test_a_recipe_of_that_name_is_kept_unless_it_says_the_same(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    first = wbltr("make-dataset", "--images", root, "--out", "mine.yaml", "--json")
    assert first.document["recipe"] == "mine.yaml"
    assert first.document["class_counts"] == {"ant": 9, "bee": 28, "wasp": 3}
    text = Path("mine.yaml").read_bytes()
    again = wbltr("make-dataset", "--images", root, "--out", "mine.yaml")
    assert again.code == 0
    assert "is there already, as it would be written" in again.err
    Path("mine.yaml").write_bytes(text + b"# mine\n")
    refused = wbltr("make-dataset", "--images", root, "--out", "mine.yaml")
    assert refused.code == 2
    assert "is there already and says something else" in refused.err
    assert "--out FILE" in refused.err
    assert Path("mine.yaml").read_bytes() == text + b"# mine\n"


def test_a_recipe_beside_its_pictures_may_move_with_them(tmp_path: Path, wbltr: Wbltr) -> None:
    here = Path.cwd()
    class_folders(here / "set", COUNTS)
    dataset = wbltr("make-dataset", "--images", "set", "-q").out
    assert "\nimages: set\n" in Path("set.yaml").read_text()
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move("set", moved / "set")
    shutil.move("set.yaml", moved / "set.yaml")
    assert wbltr("make-dataset", "--recipe", moved / "set.yaml", "--store", tmp_path / "new", "-q").out == dataset


def test_a_table_remembers_where_its_paths_start(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "pictures", COUNTS)
    paths = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    place = table(tmp_path / "tables" / "mine.csv", "path,label\n" + "".join(f"{p},{p.parent}\n" for p in paths))
    missing = wbltr("make-dataset", "--csv", place)
    assert missing.code == 3
    assert "--root DIR" in missing.err
    made = wbltr("make-dataset", "--csv", place, "--root", root, "-q")
    assert made.code == 0, made.err
    again = wbltr("make-dataset", "--recipe", "./mine.yaml", "--store", tmp_path / "new", "-q")
    assert again.out == made.out


def test_a_dry_run_writes_nothing(tmp_path: Path, wbltr: Wbltr) -> None:
    done = wbltr("make-dataset", "--images", class_folders(tmp_path / "set", COUNTS), "-n")
    assert done.code == 0
    assert "would write set.yaml" in done.err
    assert not Path("set.yaml").exists()
    assert not [*Path(".wbltr").glob("objects/*/*")]


ADDRESSES = {
    "s3://bucket/pets": "aws s3 cp",
    "gs://bucket/pets": "gcloud storage cp",
    "hf://datasets/me/pets": "hf download me/pets",
    "https://example.org/pets": "curl -LO https://example.org/pets",
}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--images", "nowhere"), 3, "no such folder"),
        (("--images", "set", "--csv", "t.csv"), 2, "both name pictures"),
        (("--csv", "set"), 2, "is a folder"),
        (("--images", "set", "--out", "x.txt"), 2, "known endings"),
        (("--images", "set", "--recipe", "digits-ir50"), 2, "digits-ir50 has images of its own"),
        (("--images", "set", "--set", "features.epoch=1"), 2, "no such field"),
        (("--images", "set", "--set", "dataset.test_share=0"), 2, "--set dataset.test_share=0.2"),
        (("--recipe", "digits-ir50", "--out", "x.yaml"), 2, "--out"),
        *((("--images", place), 2, words) for place, words in ADDRESSES.items()),
        *((("--csv", f"{place}.csv"), 2, words) for place, words in ADDRESSES.items()),
    ],
)
def test_what_cannot_be_done_is_one_line(wbltr: Wbltr, arguments: tuple[str, ...], code: int, words: str) -> None:
    class_folders(Path("set"), {"a": 5, "b": 5})
    done = wbltr("make-dataset", *arguments)
    assert done.code == code, done.err
    assert words in done.err
    assert done.err.count("error:") == 1


@pytest.mark.parametrize(("place", "words"), ADDRESSES.items())
def test_a_recipe_that_names_an_address_says_how_to_fetch_it(wbltr: Wbltr, place: str, words: str) -> None:
    Path("set.yaml").write_text(
        f"name: set\nimages: {place}\ndataset: {{source: images, imbalance_factor: null, profile: natural, val: holdout}}\n"
    )
    for verb in ("make-dataset", "run"):
        done = wbltr(verb, "--recipe", "./set.yaml")
        assert done.code == 2, done.err
        assert words in done.err
        assert done.err.count("error:") == 1


def test_unreadable_pictures_are_named_or_skipped_and_the_recipe_says_so(wbltr: Wbltr) -> None:
    root = class_folders(Path("set"), COUNTS)
    (root / "ant" / "[bold]\x1b.png").write_bytes(b"no picture")
    (root / "ant" / "[red]odd.png").write_bytes(b"no picture")
    unnamed = wbltr("make-dataset", "--images", "set")
    assert unnamed.code == 4
    assert "2 images cannot be read: 'ant' 2 (a control character in the name, no image inside)" in unnamed.err
    assert "\x1b" not in unnamed.err
    (root / "ant" / "[bold]\x1b.png").rename(root / "ant" / "b.heic")
    (root / "bee" / "001.png").write_bytes(b"")
    for lacking in (
        "'ant' 2 (HEIC, no image inside), 'bee' 1 (no image inside)",
        "set/ant/[red]odd.png: no image of a known format",
    ):
        failed = wbltr("make-dataset", "--images", "set")
        assert failed.code == 4
        assert lacking in failed.err
        assert not Path("set.yaml").exists()
        (root / "ant" / "b.heic").unlink(missing_ok=True)
    assert "by class: ant 1, bee 1" in failed.err
    (root / "ant" / "b.heic").touch()
    done = wbltr("make-dataset", "--images", "set", "--on-bad-image", "skip", "--json")
    assert done.document["metrics"]["skipped"] == 2
    assert "on_bad_image: skip" in Path("set.yaml").read_text()


def test_a_finished_set_is_computed_again_to_the_same_bytes(tmp_path: Path, wbltr: Wbltr) -> None:
    class_folders(tmp_path / "set", COUNTS)
    wbltr("make-dataset", "--images", tmp_path / "set", "-q")
    checked = wbltr("rerun", "--check", "latest/dataset")
    assert checked.code == 0, checked.err
