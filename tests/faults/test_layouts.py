"""Trees of folders as people have them: every image gets its class and part as they were laid out, or the tree is refused."""

from __future__ import annotations

import os
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Wbltr
from made_images import encoded, picture
from own_pictures import put

from faults.counted import Counted
from wbltr.data.folders import OwnRow, read_folder
from wbltr.errors import WbltrError

ROW = "layouts of folders"
PNG, JPEG = encoded(picture(0, 0, 8), "PNG"), encoded(picture(1, 1, 8))
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
BYTES = {".png": PNG, ".jpg": JPEG, ".JPG": JPEG, ".jfif": JPEG, "": PNG, ".jpeg": JPEG, ".dat": JPEG}

# Class folders: usual ones, and those that hold a part's word in another.
CLASSES = ["cat", "dog", "owl", "n01440764", "1", "02", "Käfer", "a b", "training shoes", "contest", "devil", "valley"]
CLASSES += ["evaluator", "trainer", "detrain", "Testudo", "attestation", "validator", "developer", "medieval", "test tube"]
SPELT: dict[str, list[str]] = {
    "train": [
        "train",
        "Training",
        "TRAIN",
        "trn",
        "training_set",
        "TrainSet",
        "trainset",
        "seg_train",
        "train-images",
        "01_train",
    ],
    "val": ["val", "valid", "Validation", "dev", "eval", "evaluation", "Val_Set", "valset", "val_data", "DevImages", "02-val"],
    "test": ["test", "Testing", "TEST", "testset", "images_test", "Test_Set", "test set", "seg_test", "03_test", "testData"],
}
WRAPPERS = ["data", "archive", "my pictures", "dataset-v2", "train_test_split", "pets (1)"]
Rows = set[tuple[str, str, str]]
Maker = Callable[[Path, random.Random], Rows]
Refused = Callable[[Path, random.Random], tuple[str, list[str]]]  # makes a tree: the error's code, and words that it has


def images(root: Path, folder: str, label: str, part: str, chance: random.Random, count: int = 0) -> Rows:
    """Some images of one class, of any ending; their rows."""
    rows = set()
    for number in range(count or chance.randint(1, 3)):
        ending = chance.choice([*BYTES])
        path = f"{folder}/{chance.choice(['', 'IMG_'])}{number}{ending}"
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(BYTES[ending])
        rows.add((path, label, part))
    return rows


def some(chance: random.Random) -> list[str]:
    return chance.sample(CLASSES, chance.randint(2, 5))


def spelling(chance: random.Random) -> dict[str, str]:
    """Folder name → part: train, and one or two others."""
    parts = ["train", *chance.choice([["test"], ["val"], ["val", "test"]])]
    if chance.random() < 0.2:  # one name around all
        return {f"birds_{part}": part for part in parts}
    return {chance.choice(SPELT[part]): part for part in parts}


def plain(root: Path, chance: random.Random) -> Rows:
    """CLASS/image"""
    return {row for name in some(chance) for row in images(root, name, name, "", chance)}


def deeper(root: Path, chance: random.Random) -> Rows:
    """CLASS/anything/image, the same inner names in every class."""
    inner = chance.choice([["2021", "2022"], ["indoors", "outdoors/night"], ["raw"], ["a", "b", "c"]])
    return {row for name in some(chance) for sub in inner for row in images(root, f"{name}/{sub}", name, "", chance)}


def parts_first(root: Path, chance: random.Random) -> Rows:
    """PART/CLASS/image, sometimes with folders below, sometimes a rare class without a test image."""
    names, rows = some(chance), set()
    doubled = chance.random() < 0.2
    for folder, part in spelling(chance).items():
        home = f"{folder}/{folder}" if doubled else folder
        for name in names if part == "train" or chance.random() < 0.7 else names[:2]:
            rows |= images(root, f"{home}/{name}", name, part, chance)
            if chance.random() < 0.2:
                rows |= images(root, f"{home}/{name}/more", name, part, chance)
    return rows


def parts_last(root: Path, chance: random.Random) -> Rows:
    """CLASS/PART/image."""
    parts, rows = spelling(chance), set()
    for name in some(chance):
        for folder, part in parts.items():
            rows |= images(root, f"{name}/{folder}", name, part, chance)
    return rows


def train_alone(root: Path, chance: random.Random) -> Rows:
    """train/CLASS/image, and nothing else."""
    folder = chance.choice(SPELT["train"])
    return {row for name in some(chance) for row in images(root, f"{folder}/{name}", name, "train", chance)}


def unlabelled_test(root: Path, chance: random.Random) -> Rows:
    """train/CLASS/image and test/image, of which nobody knows the class."""
    images(root, chance.choice(SPELT["test"]), "", "", chance)
    return train_alone(root, chance)


def classes_named_as_parts(root: Path, chance: random.Random) -> Rows:
    """Images right in folders of which one is called as a part is."""
    names = [*chance.sample(CLASSES, 2), chance.choice(["test", "train", "valid", "dev"])]
    return {row for name in names for row in images(root, name, name, "", chance)}


def vehicles(root: Path, chance: random.Random) -> Rows:
    """A class train in every part."""
    rows: Rows = set()
    for part in ("train", "test"):
        for name in ("bus", "train", "car"):
            rows |= images(root, f"{part}/{name}", name, part, chance)
    return rows


def images_inside(root: Path, chance: random.Random) -> Rows:
    """PART/images/CLASS/image."""
    names, rows = some(chance), set()
    for folder, part in spelling(chance).items():
        for name in names:
            rows |= images(root, f"{folder}/images/{name}", name, part, chance)
    return rows


RIGHT: list[Maker] = [
    *(plain, deeper, parts_first, parts_last, train_alone, unlabelled_test, classes_named_as_parts, vehicles, images_inside),
]


def litter(root: Path, base: Path, rows: Rows, chance: random.Random) -> None:
    """What other programs and people leave beside images; none of it decides anything."""
    home = base / Path(chance.choice(sorted(rows))[0]).parent.relative_to(base.relative_to(root))
    outside = root.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "x.png").write_bytes(PNG)
    for kind in chance.sample(range(11), chance.randint(0, 5)):
        if kind == 0:
            for path, _, _ in rows:
                double = root / "__MACOSX" / path
                double.parent.mkdir(parents=True, exist_ok=True)
                (double.parent / f"._{double.name}").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        ")
        elif kind == 1:
            (home / "@eaDir" / "0.png").mkdir(parents=True)
            (home / "@eaDir" / "0.png" / "SYNOPHOTO_THUMB_M.jpg").write_bytes(JPEG)
        elif kind == 2:
            for folder in (base, home):
                (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
                (folder / "desktop.ini").write_text("[.ShellClassInfo]")
                (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500))
        elif kind == 3:
            (base / "annotations").mkdir()
            (base / "annotations" / "0.xml").write_text("<annotation><folder>cat</folder></annotation>")
        elif kind == 4:
            (base / chance.choice(["owls", "validation_", "empty"])).mkdir(exist_ok=True)
        elif kind == 5:
            (base / "linked").symlink_to(outside, target_is_directory=True)
        elif kind == 6:
            (home / "out.png").symlink_to(outside / "x.png")
        elif kind == 7:
            (base / "labels.csv").write_text("path,label\n")
            (base / "README").write_text("P1 is the first patient, BM the second")
            (home / "notes.txt").write_text("BMW")
        elif kind == 8:
            (base / ".git" / "train").mkdir(parents=True)
            (base / ".git" / "train" / "0.png").write_bytes(PNG)
        elif kind == 9:
            (home / "loop").symlink_to(root, target_is_directory=True)
            os.mkfifo(home / "pipe")
        else:
            (base / "labels" / "train").mkdir(parents=True)
            (base / "labels" / "train" / "0.json").write_text("{}")


def read(root: Path, classes: str = "outermost") -> tuple[Rows, list[str]]:
    said: list[str] = []
    rows: list[OwnRow] = read_folder(root, said.append, classes=classes)
    return {(row.path, row.label, row.part) for row in rows}, said


@pytest.mark.parametrize("make", RIGHT, ids=lambda make: make.__name__)
def test_every_image_gets_the_class_and_part_that_it_was_laid_out_with(tmp_path: Path, make: Maker, counted: Counted) -> None:
    for seed in range(25):
        chance = random.Random(f"{make.__name__} {seed}")
        root = (tmp_path / str(seed) / "set").resolve()
        wrapped = [chance.choice(WRAPPERS) for _ in range(chance.choice([0, 0, 0, 1, 2]))]
        base = root.joinpath(*wrapped)
        base.mkdir(parents=True)
        above = "".join(f"{name}/" for name in wrapped)
        rows = {(f"{above}{path}", label, part) for path, label, part in make(base, chance)}
        litter(root, base, rows, chance)
        found, said = read(root)
        assert found == rows, (seed, said)
        assert f"{len({label for _, label, _ in rows})} classes" in said[0]
        assert above in said[0]
        counted(ROW, 1)


# Refused


def extra(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Parts beside another folder with the same folders."""
    rows = parts_first(root, chance)
    label = min(label for _, label, part in rows if part == "train")
    images(root, "extra/" + label, "", "", chance)
    return "recipe", ["extra/", "two readings"]


def twins(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Two folders that mean one part."""
    part = chance.choice(["train", "val", "test"])
    names = chance.sample(SPELT[part], 2)
    for folder in [*names, "train"]:
        for name in ("cat", "dog"):
            images(root, f"{folder}/{name}", "", "", chance)
    return "recipe", [part]


def flat(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Parts without classes."""
    folders = spelling(chance)
    for folder in folders:
        images(root, folder, "", "", chance)
    return "missing", [*folders]


def half_split(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Some classes have parts inside, one has images beside."""
    rows = parts_last(root, chance)
    name = min(label for _, label, _ in rows)
    images(root, chance.choice([name, f"{name}/other", "whole"]), "", "", chance)
    return "recipe", ["has parts inside"]


def no_train(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Something to test on, nothing to train on; an empty train/ does not help."""
    for name in ("cat", "dog"):
        images(root, f"{chance.choice(SPELT['test'][:1])}/{name}", "", "", chance)
    if chance.random() < 0.5:
        (root / "train" / "cat").mkdir(parents=True)
    return "missing", ["train"]


def links_alone(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Class folders that are links, all or all but one."""
    images(root.parent / "elsewhere", "cat", "", "", chance)
    for name in ("cat", "dog")[chance.randint(0, 1) :]:
        (root / name).symlink_to(root.parent / "elsewhere" / "cat", target_is_directory=True)
    if not (root / "cat").is_symlink():
        images(root, "cat", "", "", chance)
        return "recipe", ["links to folders", "dog"]
    return "missing", ["links to folders", "cat", "dog"]


def unreadable(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Images of a kind that nobody reads here: counted by class."""
    name = min(label for _, label, _ in parts_first(root, chance))
    home = next(path for path in sorted(root.rglob(name)) if path.is_dir())
    count = chance.randint(1, 4)
    for number in range(count):
        (home / f"phone{number}{chance.choice(['.HEIC', '.heif', '', '.avif', '.jfif'])}").write_bytes(HEIC)
    return "integrity", [f"{name!r} {count}", "HEIC"]


def no_text(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """A class folder whose name is no text, or has a control character."""
    plain(root, chance)
    name = chance.choice([b"caf\xe9", b"\xff\xfe", b"a\nb", b"\x1b[31m", b"tab\t"])
    (root / os.fsdecode(name)).mkdir()
    (root / os.fsdecode(name) / "0.png").write_bytes(PNG)
    return "recipe", ["class folder"]


def one_class(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """A single class, perhaps beside empty ones."""
    name = chance.choice(CLASSES)
    images(root, name, "", "", chance)
    (root / "empty").mkdir()
    return "recipe", ["only one class"]


def nothing(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Folders and files, and no image."""
    (root / chance.choice(CLASSES)).mkdir()
    (root / "notes.txt").write_text("x")
    return "missing", ["has no images"]


def class_and_part_in_one_name(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """cat_train, cat_test, dog_train, dog_test."""
    inner = chance.choice(["", "/a"])
    for name in ("cat", "dog"):
        for part in ("train", "test"):
            images(root, f"{name}_{part}{inner}", "", "", chance)
    return "recipe", ["cat_test/"]


def parts_inside_one_of_several(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """images/PART/CLASS and masks/PART/CLASS; folds likewise."""
    tops = chance.choice([["images", "masks"], ["fold1", "fold2"], ["rgb", "depth", "ir"]])
    for top in tops:
        for part in ("train", "test"):
            for name in ("cat", "dog"):
                images(root, f"{top}/{part}/{name}", "", "", chance)
    return "recipe", ["--images"]


def validation_beside_classes(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Classes at the top, and a part with the same classes beside them."""
    for folder in ("", f"{chance.choice(SPELT['val'])}/"):
        for name in ("cat", "dog"):
            images(root, folder + name, "", "", chance)
    return "recipe", ["two readings"]


def named_after_another(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """`rps/` and `rps-test-set/`, with the same folders inside."""
    stem, word = (
        chance.choice(["rps", "horse-or-human", "My Birds"]),
        chance.choice(["test", "validation", "test-set", "train"]),
    )
    other = chance.choice([f"{stem}-{word}", f"{word}_{stem}"])
    for folder in (stem, other):
        for name in ("cat", "dog"):
            images(root, f"{folder}/{name}", "", "", chance)
    return "recipe", ["two readings", f"{stem}/", f"{other}/"]


def several_beside_parts(root: Path, chance: random.Random) -> tuple[str, list[str]]:
    """Parts beside several folders with the same folders: masks, copies."""
    folders = [
        "train",
        "test",
        *chance.sample(["masks", "test - Copy", "extra", "Holdout", "depth maps"], chance.randint(1, 3)),
    ]
    for folder in folders:
        for name in ("cat", "dog"):
            images(root, f"{folder}/{name}", "", "", chance)
    return "recipe", ["two readings", *(f"{folder}/" for folder in folders)]


WRONG: list[Refused] = [extra, twins, flat, half_split, no_train, links_alone, unreadable, no_text, one_class, nothing]
TWO_READINGS: list[Refused] = [extra, validation_beside_classes, named_after_another, several_beside_parts]
WRONG += [class_and_part_in_one_name, parts_inside_one_of_several, *TWO_READINGS[1:]]


@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)
def test_a_tree_that_cannot_be_read_as_meant_is_refused_with_the_names(tmp_path: Path, make: Refused, counted: Counted) -> None:
    for seed in range(6):
        root = (tmp_path / str(seed) / "set").resolve()
        root.mkdir(parents=True)
        chance = random.Random(f"{make.__name__} {seed}")
        code, words = make(root, chance)
        if seed % 2:  # names that are no text, in a folder that decides nothing and in a link
            (root / "odd\n\x1b[31m\udcff").mkdir()
            (root / "link\r\udce9").symlink_to(tmp_path, target_is_directory=True)
        with pytest.raises(WbltrError) as caught:
            read_folder(root)
        assert caught.value.code == code, caught.value.message
        assert caught.value.hint
        told = f"{caught.value.message} {caught.value.hint}"
        assert all(word in told for word in words), told
        assert "\n" not in told
        assert told.isprintable()
        counted(ROW, 1)


@pytest.mark.parametrize("make", TWO_READINGS, ids=lambda make: make.__name__)
def test_of_two_readings_each_is_taken_once_what_the_hint_says_is_typed(
    tmp_path: Path, make: Refused, counted: Counted
) -> None:
    for seed in range(4):
        for choice in ("parts", "classes"):
            root = (tmp_path / f"{choice}{seed}" / "set").resolve()
            root.mkdir(parents=True)
            make(root, random.Random(f"{make.__name__} {seed}"))
            tops = [path.name for path in root.iterdir()]
            with pytest.raises(WbltrError) as caught:
                read_folder(root)
            line = next(part for part in caught.value.hint.split("; ") if part.startswith(f"{choice}: "))
            subprocess.run(line[re.search(r"\b(mv|mkdir) '", line).start() :], shell=True, check=True)  # type: ignore[union-attr]
            rows, _ = read(root)
            if choice == "parts":
                assert {label for _, label, _ in rows} == {"cat", "dog"} or make is extra
                assert "train" in {part for _, _, part in rows}
            else:
                assert {label.removeprefix("class-") for _, label, _ in rows} == {*tops}
            counted(ROW, 1)


def test_folders_named_after_another_are_classes_where_their_own_folders_differ(tmp_path: Path) -> None:
    for folder in ("shoes/red", "training shoes/blue", "tubes/a", "test tubes/b"):
        put(tmp_path / folder / "0.png", 0, 0)
    rows, _ = read(tmp_path)
    assert {label for _, label, _ in rows} == {"shoes", "training shoes", "tubes", "test tubes"}


def test_images_are_counted_at_any_depth_where_no_folder_is_a_class(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / "cars_train" / "cars_train" / f"{number}.png", 0, number)
    put(tmp_path / "cars_test" / "0.png", 0, 0)
    with pytest.raises(WbltrError, match="3 in cars_train/"):
        read_folder(tmp_path)


def test_what_only_claims_to_be_an_image_is_told_together_with_what_cannot_be_read(tmp_path: Path) -> None:
    for name in ("cat", "dog", "owl"):
        put(tmp_path / name / "0.png", 0, 0)
    (tmp_path / "cat" / "a.heic").write_bytes(HEIC)
    (tmp_path / "dog" / "a.jpg").write_bytes(b"<!DOCTYPE html>")
    (tmp_path / "dog" / "b.png").write_bytes(HEIC)
    (tmp_path / "owl" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(WbltrError) as caught:
        read_folder(tmp_path)
    assert caught.value.code == "integrity"
    for words in ("4 images", "'cat' 1 (HEIC)", "'dog' 2 (HEIC, no image inside)", "'owl' 1 (a link to nothing)"):
        assert words in caught.value.message
    assert len(read_folder(tmp_path, on_bad_image="skip")) == 5, "those that claim to be images are judged when decoded"


def test_the_innermost_folders_are_classes_where_that_is_asked_for(tmp_path: Path, counted: Counted) -> None:
    tree = ["Fruit/Apple/Red", "Fruit/Apple/Green", "Fruit/Pear/Red", "Fruit/Banana", "Nut/Walnut"]
    for folder in tree:
        put(tmp_path / folder / "0.png", 0, 0)
    outer, said = read(tmp_path)
    assert {label for _, label, _ in outer} == {"Fruit", "Nut"}
    assert any("innermost would be 5" in line and "--classes innermost" in line for line in said)
    inner, _ = read(tmp_path, classes="innermost")
    assert {label for _, label, _ in inner} == {"Apple/Red", "Green", "Pear/Red", "Banana", "Walnut"}
    for part in ("train", "test"):
        for folder in tree:
            put(tmp_path / "split" / part / folder / "0.png", 0, 0)
    both, _ = read(tmp_path / "split", classes="innermost")
    assert {(label, part) for _, label, part in both} == {(label, part) for _, label, _ in inner for part in ("train", "test")}
    counted(ROW, 3)


# Through the command


@pytest.mark.parametrize("make", [extra, flat, half_split, links_alone, unreadable, no_text, one_class])
def test_the_command_refuses_it_in_one_line(tmp_path: Path, make: Refused, wbltr: Wbltr, counted: Counted) -> None:
    root = tmp_path / "set"
    root.mkdir()
    code, _ = make(root, random.Random(0))
    said = wbltr("make-dataset", "--images", root, "-n")
    assert said.code == {"recipe": 2, "missing": 3, "integrity": 4}[code], said.err
    assert said.err.count("error:") == 1
    assert not Path("set.yaml").exists()
    counted(ROW, 1)


@pytest.mark.parametrize("order", ["{part}/{name}", "{name}/{part}", "data/{part}_set/{name}", "x/{part}/images/{name}"])
def test_the_command_takes_the_parts_as_they_are(tmp_path: Path, order: str, wbltr: Wbltr, counted: Counted) -> None:
    for part, count in (("Training", 4), ("dev", 2), ("TEST", 3)):
        for label, name in enumerate(("ant", "bee")):
            for number in range(count + label):
                put(tmp_path / "set" / order.format(part=part, name=name) / f"{number}.png", label, 10 * count + number)
    made = wbltr("make-dataset", "--images", tmp_path / "set", "--json")
    assert made.code == 0, made.err
    assert made.document["class_counts"] == {"ant": 4, "bee": 5}
    assert [made.document["metrics"][part] for part in ("train", "val", "test")] == [9, 5, 7]
    counted(ROW, 1)


def test_a_recipe_is_read_again_as_its_folder_was_read_first(tmp_path: Path, wbltr: Wbltr, counted: Counted) -> None:
    for top, inner in (("Fruit", ("Apple", "Pear")), ("Nut", ("Walnut",))):
        for label, name in enumerate(inner):
            for number in range(5):
                put(tmp_path / "set" / top / name / f"{number}.png", label, number + 10 * len(top))
    (tmp_path / "set" / "Nut" / "Walnut" / "p.heic").write_bytes(HEIC)
    words = ("--classes", "innermost", "--on-bad-image", "skip")
    made = wbltr("make-dataset", "--images", tmp_path / "set", *words, "--json")
    assert made.code == 0, made.err
    assert "skipping 1 image" in made.err
    assert set(made.document["class_counts"]) == {"Apple", "Pear", "Walnut"}
    assert "classes: innermost" in Path("set.yaml").read_text()
    again = wbltr("make-dataset", "--recipe", "./set.yaml", "--store", tmp_path / "other", "--json")
    assert again.document["artifact"] == made.document["artifact"]
    assert wbltr("make-dataset", "--images", tmp_path / "set", "--classes", "inner").code == 2
    counted(ROW, 3)
