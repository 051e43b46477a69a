"""Class folders and tables: what is read, what is passed over, what is refused."""

from __future__ import annotations

import os
import resource
import unicodedata
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from own_pictures import class_folders, put, table

from wbltr.data.digests import StatCache
from wbltr.data.own_images import OwnImages, look_at_own
from wbltr.errors import WbltrError


def look(place: Path, root: Path | None = None, said: list[str] | None = None) -> OwnImages:
    return look_at_own(place, root, StatCache(), notice=(said if said is not None else []).append)


def refused(place: Path, root: Path | None = None) -> WbltrError:
    with pytest.raises(WbltrError) as caught:
        look(place, root)
    assert caught.value.exit_code in (2, 3)
    assert caught.value.hint
    return caught.value


# Folders


def test_each_folder_is_a_class_and_deeper_folders_belong_to_it(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"dog": 3, "cat": 2})
    put(root / "cat" / "indoors" / "a.png", 1, 77)
    images = look(root)
    assert images.class_names == ("cat", "dog")
    assert images.files.paths == ["cat/000.png", "cat/001.png", "cat/indoors/a.png", *(f"dog/{n:03}.png" for n in range(3))]
    assert images.files.labels == [0, 0, 0, 1, 1, 1]
    assert set(images.given) == {""}


def test_first_folders_named_as_parts_are_parts_whatever_their_case(tmp_path: Path) -> None:
    for part in ("Train", "valid", "test"):
        class_folders(tmp_path / part, {"a": 2, "b": 2})
    images = look(tmp_path)
    assert images.given == ["train"] * 4 + ["test"] * 4 + ["val"] * 4
    assert images.class_names == ("a", "b")


def test_a_class_may_be_called_train_where_others_are_called_otherwise(tmp_path: Path) -> None:
    assert look(class_folders(tmp_path / "set", {"train": 2, "bus": 2})).class_names == ("bus", "train")


def test_what_is_no_picture_is_passed_over_with_a_word_and_hidden_files_in_silence(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"a": 2, "b": 2})
    for name in ("a/Thumbs.db", "a/notes.txt", "b/.hidden.png", ".DS_Store", "readme.md"):
        (root / name).write_text("x")
    (root / ".git").mkdir()
    (root / "empty").mkdir()
    said: list[str] = []
    assert len(look(root, said=said).files.paths) == 4
    assert said[1:] == [
        "no image in 1 folder: empty",
        "passing over files that are no images, 2: a/Thumbs.db, a/notes.txt",
        "passing over files outside the class folders, 1: readme.md",
    ]


def test_links_that_leave_the_root_are_passed_over_and_those_that_stay_are_followed(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"a": 2, "b": 2})
    outside = put(tmp_path / "outside.png", 5, 5)
    (root / "a" / "out.png").symlink_to(outside)
    (root / "away").symlink_to(tmp_path)
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "in.png").symlink_to(root / "b" / "000.png")
    said: list[str] = []
    assert "a/in.png" in look(root, said=said).files.paths
    assert len(said) == 2
    assert all(name in said[1] for name in ("3: ", "a/out.png", "away", "a/loop"))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_taken_in_the_unicode_form_that_they_have(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    name = unicodedata.normalize(form, "Käfer")
    images = look(class_folders(tmp_path / "set", {name: 2, "Ant": 2}))
    assert images.class_names == ("Ant", name)
    assert images.files.paths[-1] == f"{name}/001.png"


def test_the_same_pictures_have_the_same_content_wherever_they_lie(tmp_path: Path) -> None:
    one, two = (class_folders(tmp_path / where / "set", {"a": 3, "b": 2}) for where in ("here", "there"))
    assert look(one).content == look(two).content
    (two / "a" / "000.png").rename(two / "a" / "moved.png")
    assert look(one).content != look(two).content


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("Cat", "cat"), "the classes 'Cat' in t.csv:2 and 'cat' in t.csv:3 differ in"),
        (("big cat", "big  cat"), "the classes 'big  cat' in t.csv:3 and 'big cat' in t.csv:2 differ in"),
        (("K\u00e4fer", "Ka\u0308fer"), "the classes 'Ka\u0308fer' in t.csv:3 and 'K\u00e4fer' in t.csv:2 differ in"),
        (("1", "1.0"), "the classes '1' in t.csv:2 and '1.0' in t.csv:3 differ in"),
        (("only",), "only one class, 'only'"),
        (("a", "b\nc"), "holds a control character"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused_with_their_names(
    tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    place = table(tmp_path / "t.csv", "path,label\n" + "".join(f'{n}.png,"{name}"\n' for n, name in enumerate(names)))
    for number in range(len(names)):
        put(tmp_path / f"{number}.png", 0, number)
    assert words in refused(place).message


def test_an_empty_folder_a_missing_one_and_one_without_class_folders_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "flat" / "a.png", 0, 0)
    class_folders(tmp_path / "tested" / "test", {"a": 2, "b": 2})
    class_folders(tmp_path / "untrained" / "test", {"a": 2, "b": 2})
    class_folders(tmp_path / "untrained" / "train", {"a": 2})
    assert "has no images" in refused(tmp_path / "empty").message
    assert "no such folder" in refused(tmp_path / "nowhere").message
    assert "has 1 image, but no folder a class" in refused(tmp_path / "flat").message
    assert "no folder train" in refused(tmp_path / "tested").message
    assert "no training picture of 'b'" in refused(tmp_path / "untrained").message


def test_a_picture_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"a": 2, "b": 2})
    (root / "a" / "000.png").chmod(0)
    if os.access(root / "a" / "000.png", os.R_OK):
        pytest.skip("root reads everything")
    assert "'a/000.png' may not be read" in refused(root).message


# Tables


def test_a_table_names_path_and_label_and_if_it_likes_split_and_group(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", {"a": 2, "b": 2})
    rows = ["Label ; PATH;extra;Split;group", "x;a/000.png;1;TRAIN;p1", f"y;{root}/b/000.png;2;validation;p2", ";;;;", ""]
    place = table(tmp_path / "t.csv", "\ufeff" + "\r\n".join([*rows, "y;./b/001.png;3;train;"]))
    images = look(place, root)
    assert images.files.paths == ["a/000.png", "b/000.png", "b/001.png"]
    assert images.class_names == ("x", "y")
    assert images.given == ["train", "val", "train"]
    assert images.groups == ["p1", "p2", ""]


def test_paths_of_a_table_start_from_its_own_folder(tmp_path: Path) -> None:
    class_folders(tmp_path / "set", {"a": 1, "b": 1})
    place = table(tmp_path / "set" / "t.csv", 'path,label\na/000.png,"one, two"\nb/000.png,three\n')
    assert look(place).class_names == ("one, two", "three")


def test_every_bad_row_is_told_with_its_line(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 2, "b": 2})
    rows = ["a/000.png,a,train", "a/001.png,a,", "a/000.png,a,train", "../x.png,b,train", "/etc/passwd,b,train", "a/001.png"]
    place = table(tmp_path / "t.csv", "path,label,split\n" + "\n".join([*rows, "a/001.png,a,tomorrow"]))
    assert refused(place).message.splitlines() == [
        "t.csv:3: names no split, the rows before it do",
        "t.csv:4: 'a/000.png' is named in t.csv:2 already",
        f"t.csv:5: the path '../x.png' leaves the image root; paths are relative to {tmp_path}",
        f"t.csv:6: the path '/etc/passwd' is absolute; paths are relative to {tmp_path}",
        "t.csv:7: expected 3 fields, found 1",
        "t.csv:8: expected train, val or test as split, found 'tomorrow'",
    ]
    missing = table(tmp_path / "u.csv", "path,label\na/000.png,a\ngone.png,b\n")
    assert refused(missing).message == f"u.csv:3: 'gone.png' is missing in {tmp_path}"
    assert (refused(place).code, refused(missing).code) == ("recipe", "missing")


def test_a_table_whose_paths_start_elsewhere_is_refused_in_one_line(tmp_path: Path) -> None:
    place = table(tmp_path / "t.csv", "path,label\n" + "".join(f"x/{number}.png,{number % 2}\n" for number in range(50)))
    message = refused(place).message
    assert message.startswith("t.csv:2: 'x/0.png' is missing")
    assert "46 more" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column path and label; found nothing"),
        ("file,class\n", "no column path and label; found 'file', 'class'"),
        ("path,label,PATH\n", "two columns path"),
        ("path,label\n", "names no pictures"),
        ("path,label," + ",".join("c" * 1001) + "\n", "1,003 columns"),
        ("c," * 1_000_000, "t.csv:1: a line of more than 1,048,576 characters"),
        ('path,label\n"' + "x\n" * 100_000, "field larger than field limit"),
    ],
)
def test_what_is_no_such_table_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    message = refused(table(tmp_path / "t.csv", text)).message
    assert words in message
    assert len(message.splitlines()) == 1


def test_bytes_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"path,label\na.png,\xff\n")
    assert "t.csv:2: not UTF-8 text" in refused(tmp_path / "t.csv").message


def test_a_gigabyte_without_a_line_break_is_refused_without_being_read(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, size in (("huge.csv", 10**9), ("large.csv", 5 * 10**8)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
        assert "a line of more than" in (told := refused(tmp_path / name).message) or f"{size:,} bytes" in told
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_table_or_refused(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "t.csv"
        place.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(WbltrError):
            look(place)
