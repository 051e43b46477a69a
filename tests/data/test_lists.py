from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_images import LISTS, write_json, write_set

from wbltr.data.digests import StatCache
from wbltr.data.imagefiles import ListedImages, look
from wbltr.data.listed import LISTED, counts_digest, list_digest
from wbltr.data.lists import Problems, find_lists, read_lists, unsafe
from wbltr.errors import WbltrError

PUBLISHED = json.loads((Path(__file__).parent / "published_counts.json").read_text())


def looked(root: Path, source: str = "imagenet-lt", cache: StatCache | None = None, **given: object) -> ListedImages:
    lists = given.get("lists", [])
    assert isinstance(lists, list)
    return look(LISTED[source], lists, [root], cache or StatCache())


def refused(root: Path, source: str = "imagenet-lt") -> str:
    with pytest.raises(WbltrError) as caught:
        looked(root, source)
    assert caught.value.exit_code == 3
    return caught.value.message


def edit(root: Path, part: str, change: Callable[[list[str]], list[str]]) -> None:
    file = root / LISTS["imagenet-lt"][part]
    file.write_text("".join(f"{line}\n" for line in change(file.read_text().splitlines())))


# The published sets


@pytest.mark.parametrize("source", ["imagenet-lt", "places-lt"])
def test_class_counts_and_totals_are_the_published_ones(source: str) -> None:
    facts, known = PUBLISHED[source], LISTED[source]
    counts = facts["train_counts"]
    assert (known.classes, known.images["train"]) == (len(counts), sum(counts))
    assert known.counts == counts_digest(counts)
    assert [sum(n > 100 for n in counts), sum(20 <= n <= 100 for n in counts), sum(n < 20 for n in counts)] == facts["splits"]
    for part in ("val", "test"):
        assert known.images[part] == facts[part]["images"] == facts[part]["per_class"] * known.classes


def test_the_totals_of_inaturalist_are_the_published_ones() -> None:
    facts, known = PUBLISHED["inaturalist18"], LISTED["inaturalist18"]
    assert known.classes == facts["classes"]
    assert known.images == {part: facts[part]["images"] for part in ("train", "test")}
    assert facts["test"]["per_class"] * known.classes == facts["test"]["images"]


def test_a_list_departs_from_the_published_one_by_its_size_its_counts_and_its_classes() -> None:
    counts = PUBLISHED["imagenet-lt"]["train_counts"]
    rows = [(f"train/{label}/{number}", label) for label, images in enumerate(counts) for number in range(images)]
    known = LISTED["imagenet-lt"]
    assert known.departures("train", rows) == []
    assert "names 115,845 images, the published one 115,846" in known.departures("train", rows[1:])[0]
    assert "other class counts" in known.departures("train", [*rows[1:], ("train/999/new", 999)])[0]
    assert "1,001 classes" in known.departures("train", [*rows[1:], ("train/new", 1000)])[0]
    assert "other images or labels" in known.departures("val", [(f"v{n}", n % 1000) for n in range(20_000)])[0]


needs_lists = pytest.mark.skipif("WBLTR_TEST_LISTS" not in os.environ, reason="WBLTR_TEST_LISTS names no folder with the lists")


@needs_lists
@pytest.mark.parametrize(("source", "part"), [(s, p) for s, names in LISTS.items() for p in names])
def test_the_real_lists_are_those_that_are_pinned(source: str, part: str) -> None:
    file = Path(os.environ["WBLTR_TEST_LISTS"]) / LISTS[source][part]
    if not file.is_file():
        pytest.skip(f"{file.name} is not there")
    problems = Problems()
    (listing,) = read_lists({part: file}, problems)
    assert problems.count == 0, problems.lines
    rows = sorted(zip(listing.paths, listing.labels, strict=True))
    assert LISTED[source].departures(part, rows) == []
    assert list_digest(rows) == LISTED[source].lists.get(part)
    counts = Counter(listing.labels)
    if part == "train":
        assert [counts[label] for label in range(len(counts))] == PUBLISHED[source]["train_counts"]
    else:
        assert set(counts.values()) == {PUBLISHED[source][part]["per_class"]}


# Content


def test_content_depends_on_paths_labels_and_bytes_and_on_nothing_else(tmp_path: Path) -> None:
    root = write_set(tmp_path / "one")
    first = looked(root)
    assert len(first.content) == 64
    assert first.parts["train"].paths == sorted(first.parts["train"].paths)
    edit(root, "train", lambda lines: ["", *reversed([line.replace(" ", "\t") + "\r" for line in lines])])
    assert looked(root).content == first.content
    assert (
        looked(write_set(tmp_path / "elsewhere", lists=tmp_path / "lists"), lists=[tmp_path / "lists"]).content == first.content
    )
    edit(root, "train", lambda lines: lines[:-1])
    fewer = looked(root).content
    (root / first.parts["test"].paths[0]).write_bytes(b"other")
    assert len({first.content, fewer, looked(root).content}) == 3


def test_json_and_text_lists_of_inaturalist_name_the_same_images(tmp_path: Path) -> None:
    text = looked(write_set(tmp_path, "inaturalist18"), "inaturalist18")
    write_json(tmp_path, tmp_path)
    told = looked(tmp_path, "inaturalist18")
    assert told.parts == text.parts
    assert set(told.parts) == {"train", "test"}, "its validation list is what it is tested on"
    assert told.class_names == tuple(f"Species {k}" for k in range(4))
    assert text.class_names == tuple(f"Plantae/{k}" for k in range(4))


def test_lists_may_be_named_one_by_one_and_then_by_any_name_that_tells_the_part(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    content = looked(root).content
    mine = []
    for part, name in LISTS["imagenet-lt"].items():
        mine.append((root / name).rename(tmp_path / f"my-{part}.txt"))
    assert looked(root, lists=mine).content == content
    with pytest.raises(WbltrError, match=r"needs its train list .*val list .*test list") as caught:
        looked(root)
    assert "--list DIR" in caught.value.hint
    with pytest.raises(WbltrError, match="two train lists"):
        looked(root, lists=[*mine, mine[0]])
    with pytest.raises(WbltrError, match="one of the words train, val, test"):
        looked(root, lists=[mine[0].rename(tmp_path / "images.txt")])
    with pytest.raises(WbltrError, match="no such file or folder"):
        looked(root, lists=[tmp_path / "nowhere"])


def test_the_image_root_is_where_the_listed_files_are(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    root = write_set(tmp_path / "images", lists=lists)
    (tmp_path / "other").mkdir()
    found = look(LISTED["imagenet-lt"], [lists], [tmp_path / "none", tmp_path / "other", root], StatCache())
    assert found.root == root
    with pytest.raises(WbltrError, match="ImageNet-LT not found") as caught:
        look(LISTED["imagenet-lt"], [lists], [tmp_path / "none"], StatCache())
    assert "--root DIR" in caught.value.hint


# Mistakes


def test_all_problems_of_a_run_are_told_together_with_their_lines(tmp_path: Path) -> None:
    root = write_set(tmp_path, train=(6, 5, 4, 3))
    lines = (root / LISTS["imagenet-lt"]["train"]).read_text().splitlines()
    (root / lines[17].rsplit(" ", 1)[0]).unlink()

    def spoil(rows: list[str]) -> list[str]:
        rows[1] = rows[0]
        rows[3] = rows[3].rsplit(" ", 1)[0] + " -1"
        rows[4] = rows[4].rsplit(" ", 1)[0] + " 1.0"
        rows[7] = rows[7].rsplit(" ", 1)[0] + " 0"
        rows[8] = "no-label"
        rows[9] = f"{root}/train/x.JPEG 1"
        rows[10] = "train/../../x.JPEG 1"
        return [*rows, "train/n00000009/x.JPEG 9", ""]

    edit(root, "train", spoil)
    edit(root, "test", lambda rows: [row for row in rows if not row.endswith(" 2")])
    message = refused(root)
    name = "ImageNet_LT_train.txt"
    for wanted in (
        f"{name}:2: 'train/n00000000/train_n00000000_0.JPEG' is named in {name}:1 already",
        f"{name}:4: the label -1 is negative",
        f"{name}:5: expected a whole number as label, found '1.0'",
        f"{name}:8: label 0 for the folder 'n00000001', which has label 1 in {name}:7",
        f"{name}:8: folder 'n00000001' for the label 0, which has 'n00000000' in {name}:1",
        f"{name}:9: expected 'path label', found 'no-label'",
        f"{name}:10: the path '{root}/train/x.JPEG' is absolute",
        f"{name}:11: the path 'train/../../x.JPEG' leaves the image root",
        f"{name}:18: 'train/n00000003/train_n00000003_2.JPEG' is missing in {root}",
        f"{name}:19: 'train/n00000009/x.JPEG' is missing in {root}",
        f"{name}: labels leave gaps: no training image of class 4, 5, 6, 7, 8",
        "ImageNet_LT_test.txt: no test image of class 2, 9",
    ):
        assert wanted in message.splitlines(), f"{wanted}\n--\n{message}"


def test_twenty_problems_are_spelt_out_and_the_others_counted(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    edit(root, "train", lambda rows: [f"train/missing/{number}.jpg 0" for number in range(200)] + rows)
    lines = refused(root).splitlines()
    assert len(lines) == 21
    assert lines[-1].startswith("and 1")


def test_a_path_may_be_named_once_over_all_lists(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    first = (root / LISTS["imagenet-lt"]["train"]).read_text().splitlines()[0]
    edit(root, "test", lambda rows: [*rows, first])
    assert f"ImageNet_LT_test.txt:9: {first.split()[0]!r} is named in ImageNet_LT_train.txt:1 already" in refused(root)


def test_a_label_without_training_images_is_told(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    edit(root, "train", lambda rows: [row for row in rows if not row.endswith(" 3")])
    message = refused(root)
    assert "label 3 has no training image; likewise" in message
    assert "ImageNet_LT_test.txt:7" in message
    assert "ImageNet_LT_val.txt:7: label 3 has no training image" in message


def test_text_that_is_no_list_is_told_by_line(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    file = root / LISTS["imagenet-lt"]["val"]
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes() + b"train/\xff.jpg 1\ntrain/a\0b.jpg 1\n")
    message = refused(root)
    assert "ImageNet_LT_val.txt:9: not UTF-8 text" in message
    assert "ImageNet_LT_val.txt:10: the path 'train/a\\x00b.jpg' holds a control character" in message
    assert len(message.splitlines()) == 2, "a byte order mark is not part of the first path"
    edit(root, "train", lambda _: [])
    assert "ImageNet_LT_train.txt: names no images" in refused(root)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("[]", "expected iNaturalist's JSON"),
        ("{", "expected iNaturalist's JSON"),
        ('{"images": [{"id": 1, "file_name": "a/b.jpg"}], "annotations": []}', "train2018.json: image 1: has no annotation"),
        ('{"images": [{"id": 1, "file_name": 3}], "annotations": [{"image_id": 1, "category_id": 0}]}', "expected a file name"),
        ('{"images": [{"id": 1, "file_name": "\\ud800"}], "annotations": [{"image_id": 1, "category_id": 0}]}', "no Unicode"),
        ('{"images": [{"id": 1, "file_name": "x"}], "annotations": [{"image_id": 1, "category_id": true}]}', "whole number"),
    ],
)
def test_json_that_is_no_list_is_told(tmp_path: Path, document: str, words: str) -> None:
    root = write_set(tmp_path, "inaturalist18")
    write_json(root, root)
    (root / "train2018.json").write_text(document)
    assert words in refused(root, "inaturalist18")


def test_links_may_point_inside_the_image_root_but_not_out_of_it(tmp_path: Path) -> None:
    root = write_set(tmp_path / "images")
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(b"secret")
    paths = [line.rsplit(" ", 1)[0] for line in (root / LISTS["imagenet-lt"]["train"]).read_text().splitlines()]
    (root / paths[0]).unlink()
    (root / paths[0]).symlink_to(outside)
    (root / paths[1]).unlink()
    (root / paths[1]).symlink_to(root / paths[2])
    (root / "train" / "n00000003").rename(tmp_path / "moved")
    (root / "train" / "n00000003").symlink_to(tmp_path / "moved")
    lines = refused(root).splitlines()
    assert lines[0] == f"ImageNet_LT_train.txt:1: {paths[0]!r} is a link that leaves the image root"
    assert all("lies behind a link that leaves the image root" in line for line in lines[1:])
    assert len(lines) == 1 + 3 + 2  # three training and two validation images lie in that folder
    (tmp_path / "link").symlink_to(root)
    assert paths[0] in refused(tmp_path / "link"), "the image root itself may be a link"


def test_a_folder_in_place_of_an_image_is_told(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    path = (root / LISTS["imagenet-lt"]["val"]).read_text().split()[0]
    (root / path).unlink()
    (root / path).mkdir()
    assert f"{path!r} is no regular file" in refused(root)


def test_names_are_taken_in_the_unicode_form_that_they_have(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    composed, apart = (unicodedata.normalize(form, "é.JPEG") for form in ("NFC", "NFD"))
    first = (root / LISTS["imagenet-lt"]["train"]).read_text().split()[0]
    folder = (root / first).parent
    (root / first).rename(folder / apart)
    if (folder / composed).exists():
        pytest.skip("this file system does not tell the two forms apart")
    edit(root, "train", lambda rows: [f"train/n00000000/{composed} 0", *rows[1:]])
    assert "which has it in Unicode's NFD form" in refused(root)
    edit(root, "train", lambda rows: [f"train/n00000000/{apart} 0", *rows[1:]])
    assert f"train/n00000000/{apart}" in looked(root).parts["train"].paths


@given(st.text())
def test_no_path_that_is_accepted_leaves_its_folder(path: str) -> None:
    if not unsafe(path):
        whole = os.path.normpath(f"/images/{path}")
        assert whole == f"/images/{path}"


# The stat cache


def test_a_second_look_reads_no_file_and_a_changed_file_is_read_again(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    for file in root.rglob("*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    kept: list[str] = []
    first = looked(root, cache=StatCache("", kept.append))
    hashed: list[int] = []
    again = look(LISTED["imagenet-lt"], [], [root], StatCache(kept[-1]), tick=lambda done, total: hashed.append(total))
    assert (again.content, hashed) == (first.content, [])
    changed = root / first.parts["train"].paths[0]
    changed.write_bytes(changed.read_bytes()[::-1])
    os.utime(changed, (1_000_000_001, 1_000_000_001))
    third = look(LISTED["imagenet-lt"], [], [root], StatCache(kept[-1]), tick=lambda done, total: hashed.append(total))
    assert hashed == [1]
    assert third.content != first.content


def test_a_file_written_a_moment_ago_is_not_trusted_to_its_time_stamp(tmp_path: Path) -> None:
    kept: list[str] = []
    looked(write_set(tmp_path), cache=StatCache("", kept.append))
    assert kept == []


@given(st.text())
def test_a_garbled_cache_knows_nothing_and_says_nothing(text: str) -> None:
    StatCache(text)
    StatCache(f"wbltr-stat 1\n{text}")


def test_a_stop_while_hashing_keeps_what_was_hashed(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    for file in root.rglob("*"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    kept: list[str] = []

    def stop(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        look(LISTED["imagenet-lt"], [], [root], StatCache("", kept.append), tick=stop)
    totals: list[int] = []
    look(LISTED["imagenet-lt"], [], [root], StatCache(kept[-1]), tick=lambda done, total: totals.append(total))
    assert set(totals) == {44 - 10}


def test_lists_are_found_beside_the_images_or_where_they_are_said_to_be(tmp_path: Path) -> None:
    root = write_set(tmp_path / "images")
    assert find_lists(LISTED["imagenet-lt"], [], [root]) == {p: root / n for p, n in LISTS["imagenet-lt"].items()}
