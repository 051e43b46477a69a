"""Tables of images as spreadsheets, pandas and people write them: read as meant, or refused in a line for each cause."""

from __future__ import annotations

import csv
import io
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Wbltr
from own_pictures import put

from faults.counted import Counted
from wbltr.data.digests import StatCache
from wbltr.data.own_images import OwnImages, look_at_own
from wbltr.errors import WbltrError

ROW = "tables of images"
CLASSES = ("cat", "dog", "owl")
EACH = 3
Rows = Sequence[tuple[str, ...]]  # path, label, split


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """`CLASS/N #N%20.png`, three of each class, in a folder of their own."""
    root = tmp_path / "my images"
    for k, name in enumerate(CLASSES):
        for number in range(EACH):
            put(root / name / f"{number} #{number}%20.png", k, 10 * k + number, side=8)
    return root


def paths(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))


def rows_of(root: Path, labels: Sequence[str] = CLASSES, splits: Sequence[str] = ()) -> Rows:
    """A row for each image, in an order of no meaning; of each class the images go to the splits in turn."""
    rows: list[tuple[str, ...]] = []
    for path in paths(root):
        name, number = path.split("/")[0], int(path.split("/")[1][0])
        rows.append((path, labels[CLASSES.index(name)], *([splits[number % len(splits)]] if splits else [])))
    random.Random(len(rows)).shuffle(rows)
    return rows


def written(header: Sequence[str], rows: Rows, sign: str = ",", end: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=sign, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writerows([header, *rows])
    return out.getvalue()


def read(root: Path, text: str | bytes, said: list[str] | None = None) -> OwnImages:
    file = root.parent / "table.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return look_at_own(file, root, StatCache(), notice=(said if said is not None else []).append, order=None)


def refused(root: Path, text: str | bytes, most: int = 1) -> WbltrError:
    """The refusal: a documented code, a hint, the table's name in every line, and no more lines than causes."""
    with pytest.raises(WbltrError) as caught:
        read(root, text)
    error = caught.value
    assert error.code in ("recipe", "missing"), error.message
    assert error.hint
    lines = error.message.split("\n")
    assert len(lines) <= most, error.message
    assert all("table.csv" in line and line.isprintable() for line in lines), error.message
    return error


def as_rows(found: OwnImages) -> Rows:
    """What was understood, sorted by path."""
    labels = [found.class_names[label] for label in found.files.labels]
    return sorted(zip(found.files.paths, labels, found.given, strict=True))


def expected(root: Path, part: Callable[[int], str] = lambda number: "", labels: Sequence[str] = CLASSES) -> Rows:
    told = [(path, *path.split("/")) for path in paths(root)]
    return [(path, labels[CLASSES.index(name)], part(int(file[0]))) for path, name, file in told]


SIGNS = (",", ";", "\t", "|")
ENDS = ("\n", "\r\n", "\r")
HEADERS = (("path", "label"), ("PATH", " Label "), ("Path ", "LABEL"))


@pytest.mark.parametrize("sign", SIGNS)
def test_signs_ends_quotes_marks_and_cases_change_nothing(images: Path, sign: str, counted: Counted) -> None:
    tried = 0
    for end, header, quoting, mark in itertools.product(
        ENDS, HEADERS, (csv.QUOTE_MINIMAL, csv.QUOTE_ALL), (b"", b"\xef\xbb\xbf")
    ):
        text = written(header, rows_of(images), sign, end, quoting)
        if tried % 3 == 0:  # the last line without an end
            text = text.removesuffix(end)
        if tried % 4 == 0:
            text = f"sep={sign}{end}{text}"
        if tried % 5 == 0:
            text += sign + end  # a row of empty fields
        found = read(images, mark + text.encode())
        assert as_rows(found) == expected(images), text
        assert found.class_names == CLASSES
        tried += 1
    counted(ROW, tried)


@dataclass(frozen=True)
class Blanks:
    """Blanks around the fields of a row, as text around each of them."""

    before: str
    after: str
    quote: str = ""


BLANKS = [
    Blanks(before, after, quote)
    for before, after, quote in itertools.product(("", " ", "  ", "\u00a0"), ("", " ", "\t"), ("", '"'))
]


@pytest.mark.parametrize("place", ["label", "all", "inside"])
def test_blanks_around_fields_are_no_part_of_them(images: Path, place: str, counted: Counted) -> None:
    tried = 0
    for blanks in BLANKS:
        outside = f"{blanks.before}{blanks.quote}{{}}{blanks.quote}{blanks.after}"
        if place == "inside":
            outside = f"{blanks.quote}{blanks.before}{{}}{blanks.after}{blanks.quote}"
        elif blanks.quote and blanks.before == "\u00a0":
            continue  # a sign of its own in front of a quote
        lines = ["path,label,split"]
        for path, label, part in rows_of(images, splits=("train", "val", "test")):
            fields = [path if place == "label" else outside.format(path), outside.format(label), outside.format(part)]
            lines.append(",".join(fields))
        found = read(images, "\n".join(lines))
        assert as_rows(found) == expected(images, ("train", "val", "test").__getitem__), lines[1]
        tried += 1
    counted(ROW, tried)


def test_file_names_with_blanks_around_them_are_found_as_they_are(images: Path, counted: Counted) -> None:
    odd = (" a.png", "b.png ", " c\\d .png", "  e.png")
    for number, name in enumerate(odd):
        put(images / name, 0, 50 + number, side=8)
    for turn in range(2):  # the second time others are there without the blanks
        found = read(images, "path,label\n" + "".join(f"{name},{name == odd[0]}\n" for name in odd))
        assert set(found.files.paths) == set(odd)
        for number, name in enumerate(odd):
            put(images / name.strip(), 0, 60 + number, side=8)
        counted(ROW, len(odd) - turn)


PARTS = {
    "train": ("train", "Train", "TRAINING", "train_set", "TrainSet", " train "),
    "val": ("val", "valid", "Validation", "dev", "EVAL", "evaluation", "dev_set"),
    "test": ("test", "Testing", "TEST", "test-set", "testset", '"test"'),
}


def test_split_words_in_any_usual_spelling_are_parts(images: Path, counted: Counted) -> None:
    longest = max(map(len, PARTS.values()))
    for turn in range(longest):
        words = [spelt[turn % len(spelt)] for spelt in PARTS.values()]
        text = "path,label,Split\n" + "".join(",".join(row) + "\n" for row in rows_of(images, splits=words))
        assert as_rows(read(images, text)) == expected(images, tuple(PARTS).__getitem__), words
    for word in ("prod", "1", "unlabeled", "trainer", "contest", "train val test", "???", "not train", "train, unlabeled"):
        error = refused(images, written(("path", "label", "split"), rows_of(images, splits=(word, "train", "test"))), most=2)
        assert repr(word) in error.message
    counted(ROW, longest + 9)


SAME = [("1", "1.0"), ("1", "+1"), ("1", "1e0"), ("10", "1e1"), ("0.5", ".5"), ("-1", "-1.0"), ("0", "-0"), ("2.50", "2.5")]
SAME += [("cat", "Cat"), ("big cat", "big  cat"), ("K\u00e4fer", "Ka\u0308fer"), ("cat", "cat\u200b"), ("STRASSE", "straße")]
APART = [("1", "01"), ("1", "10"), ("nan", "inf"), ("1", "one"), ("1.0", "v1"), ("NA", "None"), ("null", "0"), ("1", "1.5")]
APART += [
    ("0x1", "1"),
    ("1_0", "10"),
    ("1,000", "1000"),
    ("1/2", "0.5"),
    ("\u0661", "1"),
    ("true", "1"),
    ("e", "1"),
    ("=1", "1"),
]


def test_two_spellings_of_one_label_are_refused_with_both_and_other_labels_are_classes(images: Path, counted: Counted) -> None:
    for one, other in SAME:
        third = "7" if one[-1].isdigit() else "owl"
        error = refused(images, written(("path", "label"), rows_of(images, (one, other, third))))
        assert error.code == "recipe"
        assert repr(one) in error.message
        assert repr(other) in error.message
        assert error.message.count("in table.csv:") == 2, "where each of them stands"
    for one, other in APART:
        found = read(images, written(("path", "label"), rows_of(images, (one, other, "7"))))
        assert as_rows(found) == expected(images, labels=(one, other, "7"))
    counted(ROW, len(SAME) + len(APART))


def test_classes_that_are_whole_numbers_count_as_numbers(images: Path, counted: Counted) -> None:
    orders = {
        ("10", "9", "2"): ("2", "9", "10"),
        ("-1", "1", "0"): ("-1", "0", "1"),
        ("10.0", "9.0", "2.0"): ("2.0", "9.0", "10.0"),
        ("010", "002", "1"): ("1", "002", "010"),
        ("1e1", "9", "11"): ("9", "1e1", "11"),
        ("10", "9", "2.5"): ("10", "2.5", "9"),
        ("10", "9", "two"): ("10", "9", "two"),
        ("nan", "9", "10"): ("10", "9", "nan"),
    }
    for labels, order in orders.items():
        found = read(images, written(("path", "label"), rows_of(images, labels)))
        assert found.class_names == order
        assert as_rows(found) == expected(images, labels=labels), "each image keeps its own class"
    counted(ROW, len(orders))


def in_form(path: str, form: str, root: Path) -> str:
    match form:
        case "windows":
            return path.replace("/", "\\")
        case "windows-here":
            return ".\\" + path.replace("/", "\\")
        case "doubled":
            return path.replace("/", "\\\\")
        case "here":
            return f"./{path}"
        case "absolute":
            return f"{root}/{path}"
        case "absolute-windows":
            return f" {root}/{path}".replace("/", "\\").replace("\\", "/", str(root).count("/") + 1)
    return path


FORMS = ("plain", "windows", "windows-here", "doubled", "here", "absolute", "absolute-windows")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sign", [",", ";"])
def test_a_path_is_read_in_the_form_that_it_was_meant_in(images: Path, form: str, sign: str, counted: Counted) -> None:
    said: list[str] = []
    rows: Rows = [(in_form(path, form, images), label) for path, label in rows_of(images)]
    found = read(images, written(("path", "label"), rows, sign), said)
    assert as_rows(found) == expected(images)
    assert sum("\\" in line for line in said) == ("windows" in form or form == "doubled"), "said once"
    counted(ROW, 1)


def test_a_backslash_that_is_in_the_name_of_a_file_stays(images: Path, counted: Counted) -> None:
    put(images / "a\\b.png", 0, 70, side=8)
    put(images / "a" / "b.png", 1, 71, side=8)
    said: list[str] = []
    found = read(images, "path,label\na\\b.png,one\na/b.png,two\n", said)
    assert [(row[0], row[1]) for row in as_rows(found)] == [("a/b.png", "two"), ("a\\b.png", "one")]
    assert not said
    counted(ROW, 1)


HEAD = "path,label\n"
WRONG: dict[str, Callable[[Rows], str | bytes]] = {
    "a drive": lambda rows: HEAD + "".join(f"C:\\data\\{p},{n}\n".replace("/", "\\") for p, n in rows),
    "a drive with /": lambda rows: HEAD + "".join(f"d:/data/{p},{n}\n" for p, n in rows),
    "a server": lambda rows: HEAD + "".join(f"\\\\nas\\{p},{n}\n".replace("/", "\\") for p, n in rows),
    "no header": lambda rows: "".join(f"{p},{n}\n" for p, n in rows),
    "other names": lambda rows: written(("image_id", "class"), rows),
    "a title above": lambda rows: "my images\n" + written(("path", "label"), rows),
    "UTF-16": lambda rows: written(("path", "label"), rows).encode("utf-16"),
    "UTF-16 without a mark": lambda rows: written(("path", "label"), rows).encode("utf-16-le"),
    "UTF-32": lambda rows: written(("path", "label"), rows).encode("utf-32"),
    "Latin-1": lambda rows: written(("path", "label"), [(p, n + "é") for p, n in rows]).encode("latin-1"),
    "a label too few": lambda rows: written(("path", "label"), [*rows[1:], (rows[0][0], "")]),
    "no labels": lambda rows: written(("path", "label"), [(p, "") for p, _ in rows]),
    "blanks for a label": lambda rows: written(("path", "label"), [*rows[1:], (rows[0][0], " \u00a0")]),
    "two labels": lambda rows: written(("path", "label"), [*rows, (rows[0][0], "other")]),
    "a row twice": lambda rows: written(("path", "label"), [*rows, rows[0]]),
    "a row twice, once for Windows": lambda rows: written(
        ("path", "label"), [*rows, (rows[0][0].replace("/", "\\"), rows[0][1])]
    ),
    "a field too many": lambda rows: written(("path", "label"), [*rows[1:], (*rows[0], "other")]),
    "a field too few": lambda rows: written(("path", "label"), [*rows[1:], rows[0][:1]]),
    "an open quote": lambda rows: (
        written(("path", "label", "note"), [*((*row, "x") for row in rows)]) + 'cat/9.png,cat,"5 inch\n' * 2
    ),
    "an open quote above": lambda rows: (
        "path,label,note\n" + f'{rows[0][0]},cat,"5 inch\n' + "".join(f"{p},{n},\n" for p, n in rows[1:])
    ),
    "an open quote after a blank": lambda rows: HEAD + "".join(f'{p}, "{n}\n' for p, n in rows),
    "a quote that swallows rows": lambda rows: (
        "path,label,note\n" + "".join(f"{p},{n},{chr(34) if k in (1, 4) else ''}x\n" for k, (p, n) in enumerate(rows))
    ),
    "a comma in no quotes": lambda rows: "path,label\n" + "".join(f"{p},{n}, or so\n" for p, n in rows),
    "a NUL": lambda rows: HEAD + "".join(f"{p},{n}\0\n" for p, n in rows),
    "half a split": lambda rows: written(
        ("path", "label", "split"), [(*row, "test" if k % 2 else "") for k, row in enumerate(rows)]
    ),
    "test rows without labels": lambda rows: written(
        ("path", "label", "split"), [(p, n if k % 2 else "", "train" if k % 2 else "test") for k, (p, n) in enumerate(rows)]
    ),
    "nothing to train on": lambda rows: written(("path", "label", "split"), [(*row, "test") for row in rows]),
    "one class": lambda rows: written(("path", "label"), [(p, "cat") for p, _ in rows]),
    "one class but for blanks": lambda rows: written(
        ("path", "label"), [(p, " cat" if k % 2 else "cat") for k, (p, _) in enumerate(rows)]
    ),
    "another folder": lambda rows: written(("path", "label"), [(f"/elsewhere/{rows[0][0]}", rows[0][1]), *rows[1:]]),
    "out of the folder": lambda rows: written(("path", "label"), [("..\\table.csv", "cat"), *rows]),
    "a file that is not there": lambda rows: written(("path", "label"), [("cat\\nine.png", "cat"), *rows]),
    "nothing": lambda rows: b"",
    "a header alone": lambda rows: HEAD,
    "a sep line alone": lambda rows: "sep=,\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_meant_is_refused_in_one_line(images: Path, name: str, counted: Counted) -> None:
    rows: Rows = [(path, label) for path, label in rows_of(images)]
    refused(images, WRONG[name](rows))
    counted(ROW, 1)


CAUSES: dict[str, Callable[[str, str], str]] = {  # a row that is wrong in this way
    "no label": lambda path, label: f"{path},,train",
    "a drive": lambda path, label: f"C:\\{path},{label},train",
    "elsewhere": lambda path, label: f"/elsewhere/{path},{label},train",
    "above": lambda path, label: f"../{path},{label},train",
    "no part": lambda path, label: f"{path},{label},prod",
    "too few fields": lambda path, label: path,
    "too many fields": lambda path, label: f"{path},{label},train,more",
    "twice": lambda path, label: f"{path},{label},train\n{path},{label},train",
    "two labels": lambda path, label: f"{path},{label},train\n{path},{label}s,train",
}


@pytest.mark.parametrize("form", ["utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_text_in_another_encoding_is_refused_with_the_command_that_converts_it(
    images: Path, form: str, counted: Counted
) -> None:
    rows = [(path, f"{label} \u00e9") for path, label in rows_of(images)]
    hint = refused(images, written(("path", "label"), rows).encode(form)).hint
    assert f"iconv -f {'WINDOWS-1252' if form == 'cp1252' else 'UTF-16'} -t UTF-8" in hint
    counted(ROW, 1)


@pytest.mark.parametrize("name", CAUSES)
def test_one_cause_is_one_line_with_its_first_places_and_their_number(images: Path, name: str, counted: Counted) -> None:
    rows = rows_of(images)
    wrong = [CAUSES[name](path, label) for path, label in rows]
    message = refused(images, "path,label,split\n" + "\n".join(wrong)).message
    each = 1 + wrong[0].count("\n")
    first, *others = (each + 1 + each * number for number in range(4))
    assert message.startswith(f"table.csv:{first}: ")
    assert all(f"table.csv:{line}" in message for line in others)
    assert f"{len(rows) - 4} more" in message
    counted(ROW, 1)


def test_two_causes_are_two_lines(images: Path, counted: Counted) -> None:
    for one, other in itertools.combinations(CAUSES, 2):
        first, *rest = rows_of(images)
        wrong = [CAUSES[one](*first), *(CAUSES[other](path, label) for path, label in rest)]
        error = refused(images, "path,label,split\n" + "\n".join(wrong), most=2)
        assert error.message.count("\n") == 1, error.message
    counted(ROW, 36)


def test_notes_of_several_lines_and_with_signs_are_passed_over(images: Path, counted: Counted) -> None:
    notes = ["two\nlines", 'a, "b"', "", "; | \t", "'", "\r\n", '5" wide', "\u2028", "x" * 1000]
    rows: Rows = [(note, label, path) for note, (path, label) in zip(notes, rows_of(images), strict=True)]
    for sign, quoting in itertools.product(SIGNS, (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)):
        assert as_rows(read(images, written(("note", "label", "path"), rows, sign, quoting=quoting))) == expected(images)
    counted(ROW, 8)


# Through the command


GOOD = {
    "Windows paths": lambda rows: HEAD + "".join(f"{p},{n}\n".replace("/", "\\") for p, n in rows),
    "blanks": lambda rows: "path, label\n" + "".join(f"{p}, {n}\n" for p, n in rows),
    "sep": lambda rows: "sep=;\n" + written(("path", "label"), rows, ";"),
    "quotes after blanks": lambda rows: '"path", "label"\n' + "".join(f'"{p}", "{n}" \n' for p, n in rows),
    "a spreadsheet": lambda rows: (
        "\ufeff" + written(("", "path", "label"), [("1", *row) for row in rows], ";", "\r\n", csv.QUOTE_ALL)
    ),
    "ends of an old Mac": lambda rows: written(("path", "label"), rows, end="\r"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_table_as_it_was_meant_is_a_dataset(images: Path, wbltr: Wbltr, name: str, counted: Counted) -> None:
    (images.parent / "table.csv").write_bytes(GOOD[name]([(p, n) for p, n in rows_of(images)]).encode())
    made = wbltr("make-dataset", "--csv", images.parent / "table.csv", "--root", images, "--threads", 1, "--json")
    assert made.code == 0, made.err
    assert [*made.document["class_counts"]] == [*CLASSES]
    counted(ROW, 1)


@pytest.mark.parametrize(
    "name", ["a drive", "UTF-16", "other names", "two labels", "test rows without labels", "an open quote"]
)
def test_a_table_that_cannot_be_meant_leaves_nothing_behind(images: Path, wbltr: Wbltr, name: str, counted: Counted) -> None:
    text = WRONG[name]([(p, n) for p, n in rows_of(images)])
    (images.parent / "table.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = wbltr("make-dataset", "--csv", images.parent / "table.csv", "--root", images, "--threads", 1)
    assert done.code in (2, 3), done.err
    assert done.err.count("error:") == 1
    assert not Path("table.yaml").exists()
    counted(ROW, 1)


def test_numbers_are_classes_in_their_order_also_when_the_recipe_is_read_again(
    images: Path, wbltr: Wbltr, counted: Counted
) -> None:
    text = written(("path", "label"), rows_of(images, ("10", "9", "2")))
    (images.parent / "table.csv").write_text(text)
    made = wbltr("make-dataset", "--csv", images.parent / "table.csv", "--root", images, "--threads", 1, "--json")
    assert made.code == 0, made.err
    assert [*made.document["class_counts"]] == ["2", "9", "10"]
    assert "class_order: number" in Path("table.yaml").read_text()
    again = wbltr("make-dataset", "--recipe", "./table.yaml", "--store", "other", "--json")
    assert again.document["key"] == made.document["key"]
    by_text = ("--set", "dataset.class_order=text", "--out", "text.yaml")
    other = wbltr("make-dataset", "--csv", images.parent / "table.csv", "--root", images, "--threads", 1, "--json", *by_text)
    assert [*other.document["class_counts"]] == ["10", "2", "9"]
    counted(ROW, 3)
