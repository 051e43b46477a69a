"""Images of one's own that are added later, through the command line: what had a part keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import Wbltr
from own_pictures import class_folders, put, table

from wbltr.data.digests import StatCache
from wbltr.data.index import Index
from wbltr.data.own_images import look_at_own
from wbltr.store import Store

COUNTS = {"bee": 40, "ant": 12, "wasp": 5}
ADDED = 10


def parts_of(place: Path, dataset: str) -> dict[bytes, str]:
    """Content of a file → its part in a dataset; the files must be those that it was made of."""
    tensors = Store.open(create=False).load(dataset)
    paths = look_at_own(place, None, StatCache()).files.paths
    found: dict[bytes, str] = {}
    for part in ("train", "val", "test"):
        if f"{part}.paths" in tensors:
            index = Index.load(tensors, part)
            names = [index.path(number) for number in range(len(index))]
        else:
            names = [paths[row] for row in tensors[f"{part}.index"]]
        found |= {(place / name).read_bytes(): part for name in names}
    return found


def grow(root: Path, first: int, side: int = 20) -> None:
    """More images of ants, and one bee by another name."""
    for number in range(ADDED):
        put(root / "ant" / f"more{first + number}.png", 1, 9000 + first + number, side)
    moved = min((root / "bee").iterdir())
    moved.rename(moved.with_name(f"z{first}.png"))


def field(file: str) -> object:
    return yaml.safe_load(Path(file).read_text())["dataset"].get("parts_from")


@pytest.mark.parametrize("side", [20, 80], ids=["held", "streamed"])
@pytest.mark.parametrize("typed", ["--images", "--recipe", "another --out"])
def test_images_that_are_added_move_none_however_it_is_typed(tmp_path: Path, wbltr: Wbltr, side: int, typed: str) -> None:
    root = class_folders(tmp_path / "set", COUNTS, side=side)
    first = wbltr("make-dataset", "--images", root, "-q").out.strip()
    had, written = parts_of(root, first), Path("set.yaml").read_text()
    words = {
        "--images": ("--images", root),
        "--recipe": ("--recipe", "./set.yaml"),
        "another --out": ("--images", root, "--out", "new.yaml"),
    }[typed]
    file = "new.yaml" if typed == "another --out" else "set.yaml"
    for step in range(2):
        grow(root, ADDED * step, side)
        again = wbltr("make-dataset", *words, "--json")
        assert again.code == 0, again.err
        second, now = again.document["artifact"], parts_of(root, again.document["artifact"])
        assert {content: now[content] for content in had} == had
        told = {"known": len(had), "new": ADDED, "moved": 0, "gone": 0}
        assert again.document["metrics"]["earlier"] == told
        assert field(file) == first, "the dataset before it, in a chain"
        first, had = second, now
        if typed == "another --out":
            file, words = "newer.yaml", (*words[:-1], "newer.yaml")
    if typed != "another --out":
        kept = [line for line in Path("set.yaml").read_text().splitlines() if "parts_from" not in line]
        assert kept == written.splitlines(), "nothing else in the recipe has changed"
    cached = wbltr("make-dataset", *((*words[:-1], "set3.yaml") if typed == "another --out" else words), "--json")
    assert (cached.document["artifact"], cached.document["cached"]) == (first, True)


@pytest.mark.parametrize(
    "settings", [("--classes", "innermost"), ("--set", "dataset.seed=3"), ("--on-bad-image", "skip", "--set", "dataset.seed=3")]
)
def test_the_same_command_with_its_settings_goes_on_and_with_others_is_refused(
    tmp_path: Path, wbltr: Wbltr, settings: tuple[str, ...]
) -> None:
    root = class_folders(tmp_path / "set", {"pets/ant": 8, "pets/bee": 8, "wild/wasp": 8})
    words = ("make-dataset", "--images", root, *settings, "--json")
    first = wbltr(*words)
    assert first.code == 0, first.err
    put(root / "wild" / "wasp" / "new.png", 1, 9000)
    again = wbltr(*words)
    assert again.code == 0, again.err
    assert again.document["metrics"]["earlier"] == {"known": 24, "new": 1, "moved": 0, "gone": 0}
    put(root / "wild" / "wasp" / "newer.png", 1, 9001)
    assert wbltr("make-dataset", "--images", root, "--set", "dataset.seed=4").code == 2


def test_what_the_hint_of_a_bad_image_says_works_when_images_were_added_and_stays_in_the_recipe(
    tmp_path: Path, wbltr: Wbltr
) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    words = ("make-dataset", "--images", root, "--json")
    first, written = wbltr(*words).document["artifact"], Path("set.yaml").read_text()
    (root / "ant" / "bad.jpg").write_text("<html>")
    refused = wbltr(*words)
    assert "--on-bad-image skip" in refused.document["error"]["hint"]
    made = wbltr(*words, "--on-bad-image", "skip")
    assert made.code == 0, made.err
    assert made.document["metrics"]["earlier"]["moved"] == 0
    kept = yaml.safe_load(Path("set.yaml").read_text())["dataset"]
    assert (kept["parts_from"], kept["on_bad_image"]) == (first, "skip")
    new = [line for line in Path("set.yaml").read_text().splitlines() if line not in written.splitlines()]
    assert len(new) == 2, "nothing else in the recipe has changed"
    for more in ((), ("--on-bad-image", "skip")):
        assert wbltr(*words, *more).document["artifact"] == made.document["artifact"]
    assert wbltr("run", "--recipe", "./set.yaml", "-n").code == 0


def test_no_other_command_draws_parts_anew_unless_it_is_told_to(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    first = wbltr("make-dataset", "--images", root, "-q").out.strip()
    grow(root, 0)
    for verb in ("run", "train-features", "tune classifier"):
        refused = wbltr(*verb.split(), "--recipe", "./set.yaml", "--json")
        assert refused.code == 2, refused.err
        assert refused.document["error"]["code"] == "usage"
        assert first[:12] in refused.document["error"]["message"]
        assert "wbltr make-dataset --recipe ./set.yaml" in refused.document["error"]["hint"]
    anew = wbltr("make-dataset", "--recipe", "./set.yaml", "--set", "dataset.parts_from=null", "--json").document
    assert "earlier" not in anew["metrics"]
    assert field("set.yaml") is None
    assert wbltr("run", "--recipe", "./set.yaml", "-n").code == 0, "that dataset is finished: nothing is drawn"


def test_what_the_hint_says_is_what_helps(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    wbltr("make-dataset", "--images", root, "-q")
    grow(root, 0)
    assert wbltr("run", "--recipe", "./set.yaml", "-n").code == 2
    made = wbltr("make-dataset", "--recipe", "./set.yaml", "-q").out.strip()
    planned = wbltr("run", "--recipe", "./set.yaml", "-n", "--json").document
    assert planned["steps"][0] == {"stage": "dataset", "artifact": made, "cached": True}


def test_a_dataset_whose_parts_are_kept_is_an_ancestor(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    first = wbltr("make-dataset", "--images", root, "-q").out.strip()
    grow(root, 0)
    second = wbltr("make-dataset", "--images", root, "-q").out.strip()
    wbltr("store", "gc", "--older-than", "0", "--yes")
    store = Store.open(create=False)
    assert store.has(first), "latest/dataset stands on it"
    assert wbltr("store", "push", tmp_path / "far", second).code == 0
    assert Store.open(tmp_path / "far").has(first)
    checked = wbltr("rerun", "--check", second)
    assert checked.code == 0, checked.err
    assert wbltr("store", "rm", first, "--yes").code != 0, "not while something stands on it"


def test_a_lost_dataset_is_missing_only_where_its_parts_are_needed(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    first = wbltr("make-dataset", "--images", root, "-q").out.strip()
    grow(root, 0)
    second = wbltr("make-dataset", "--images", root, "-q").out.strip()
    Store.open(create=False).path(first).unlink()
    again = wbltr("make-dataset", "--recipe", "./set.yaml", "-q")
    assert (again.code, again.out.strip()) == (0, second)
    elsewhere = wbltr("make-dataset", "--recipe", "./set.yaml", "--store", tmp_path / "other", "--json")
    assert elsewhere.code == 3
    assert first[:12] in elsewhere.document["error"]["message"]
    assert "store pull" in elsewhere.document["error"]["hint"]


@pytest.mark.parametrize(("named", "code"), [("latest/dataset", 2), ("latest/features", 2)])
def test_parts_come_from_a_dataset_of_images_alone(tmp_path: Path, copied: Wbltr, named: str, code: int) -> None:
    other = Store.open(create=False).resolve(named)
    root = class_folders(tmp_path / "set", COUNTS)
    refused = copied("make-dataset", "--images", root, "--set", f"dataset.parts_from={other}", "--json")
    assert refused.code == code
    assert "no dataset of images" in refused.document["error"]["message"]
    assert not Path("set.yaml").exists()


def test_a_set_that_names_its_parts_itself_needs_no_earlier_one(tmp_path: Path, wbltr: Wbltr) -> None:
    for part, count in (("train", 6), ("val", 3), ("test", 3)):
        class_folders(tmp_path / "set" / part, {"a": count, "b": count})
    wbltr("make-dataset", "--images", tmp_path / "set", "-q")
    put(tmp_path / "set" / "train" / "a" / "more.png", 0, 1)
    done = wbltr("make-dataset", "--recipe", "./set.yaml", "--json")
    assert done.code == 0, done.err
    assert "earlier" not in done.document["metrics"]
    assert field("set.yaml") is None


def test_a_recipe_that_the_user_has_changed_keeps_the_changes(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    wbltr("make-dataset", "--images", root, "-q")
    mine = Path("set.yaml").read_text().replace("epochs: 200", "epochs: 7") + "# mine: ünïcode\n"
    Path("set.yaml").write_bytes(b"\xef\xbb\xbf" + mine.replace("\n", "\r\n").encode())
    grow(root, 0)
    assert wbltr("make-dataset", "--images", root, "-q").code == 0
    data = Path("set.yaml").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf#")
    lines = data.decode("utf-8-sig").split("\r\n")
    assert [line for line in lines if "parts_from" not in line] == mine.split("\n")


def test_another_draw_is_asked_for_by_the_fields_that_draw(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    wbltr("make-dataset", "--images", root, "-q")
    grow(root, 0)
    other = wbltr("make-dataset", "--recipe", "./set.yaml", "--set", "dataset.seed=1", "--json")
    assert other.code == 0
    assert "earlier" not in other.document["metrics"]
    same = wbltr("make-dataset", "--recipe", "./set.yaml", "--on-bad-image", "skip", "--json")
    assert same.document["metrics"]["earlier"]["known"] == sum(COUNTS.values()), "that draws no other parts"


def test_a_dry_run_leaves_the_recipe_as_it_is(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    wbltr("make-dataset", "--images", root, "-q")
    before = Path("set.yaml").read_bytes()
    grow(root, 0)
    assert wbltr("make-dataset", "--images", root, "-n").code == 0
    assert Path("set.yaml").read_bytes() == before


def test_images_of_another_place_than_the_recipes_leave_its_file_alone(tmp_path: Path, wbltr: Wbltr) -> None:
    one, other = (class_folders(tmp_path / name, COUNTS) for name in ("one", "other"))
    wbltr("make-dataset", "--images", one, "-q")
    first = wbltr("make-dataset", "--recipe", "./one.yaml", "--images", other, "-q").out.strip()
    before = Path("one.yaml").read_bytes()
    grow(other, 0)
    made = wbltr("make-dataset", "--recipe", "./one.yaml", "--images", other, "--json")
    assert made.document["metrics"]["earlier"]["known"] == sum(COUNTS.values())
    assert f"--set dataset.parts_from={first}" in made.err
    assert Path("one.yaml").read_bytes() == before
    refused = wbltr("run", "--recipe", "./one.yaml", "--images", other, "-n")
    assert refused.code == 2
    setting = f"dataset.parts_from={first}"
    assert f"--set {setting}" in refused.err
    planned = wbltr("run", "--recipe", "./one.yaml", "--images", other, "--set", setting, "-n", "--json").document
    assert planned["steps"][0]["artifact"] == made.document["artifact"]


def test_a_table_that_grows_keeps_the_parts_of_its_images(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "pictures", COUNTS)

    def write() -> Path:
        paths = sorted(path.relative_to(root) for path in root.rglob("*.png"))
        return table(tmp_path / "tables" / "mine.csv", "path,label\n" + "".join(f"{p},{p.parent}\n" for p in paths))

    first = wbltr("make-dataset", "--csv", write(), "--root", root, "-q").out.strip()
    had = parts_of(root, first)
    grow(root, 0)
    again = wbltr("make-dataset", "--csv", write(), "--root", root, "--json")
    assert again.code == 0, again.err
    now = parts_of(root, again.document["artifact"])
    assert {content: now[content] for content in had} == had
    assert field("mine.yaml") == first


def test_a_class_made_of_images_that_are_all_tested_on_is_refused(tmp_path: Path, wbltr: Wbltr) -> None:
    root = class_folders(tmp_path / "set", COUNTS)
    had = parts_of(root, wbltr("make-dataset", "--images", root, "-q").out.strip())
    (root / "hornet").mkdir()
    for path in [path for path in (root / "bee").iterdir() if had[path.read_bytes()] == "test"]:
        path.rename(root / "hornet" / path.name)
    before = Path("set.yaml").read_bytes()
    refused = wbltr("make-dataset", "--images", root, "--json")
    assert (refused.code, refused.document["error"]["code"]) == (2, "recipe")
    assert "hornet" in refused.document["error"]["message"]
    assert "dataset.parts_from=null" in refused.document["error"]["hint"]
    assert Path("set.yaml").read_bytes() == before
    assert wbltr("make-dataset", "--recipe", "./set.yaml", "--set", "dataset.parts_from=null").code == 0
