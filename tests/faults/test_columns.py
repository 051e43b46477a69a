"""Tables and columns of strangers: which are the embeddings, which rows are of which class, or one line that says why not."""

from __future__ import annotations

import io
import itertools
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from conftest import Wbltr
from safetensors.numpy import save_file

from faults.counted import Counted
from wbltr.data.embedding_files import look
from wbltr.data.embedding_parquet import columns_of, departure
from wbltr.data.embedding_tables import OwnEmbeddings
from wbltr.data.layouts import PART_OF
from wbltr.errors import WbltrError
from wbltr.recipe_file import load_recipe
from wbltr.stages._own_embeddings import checked_rows

ROW = "tables and columns"
Array = np.ndarray[Any, Any]
N, D = 60, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)).astype(np.float32)
K = np.arange(N) % 3
NAMES = np.array(["ape", "bee", "cow"])[K]


def rows(file: OwnEmbeddings) -> Array:
    return np.concatenate([block for table in file.tables for block in checked_rows(table)])


def written(path: Path, columns: Mapping[str, Any]) -> Path:
    parquet.write_table(arrow.table(dict(columns)), path / "x.parquet", row_group_size=25)
    return path / "x.parquet"


def refusal(call: Callable[..., Any], *arguments: Any) -> WbltrError:
    with pytest.raises(WbltrError) as caught:
        call(*arguments)
    error = caught.value
    assert error.code in ("usage", "integrity")
    assert error.message.isprintable()
    assert error.hint.isprintable()
    assert error.hint
    return error


# Columns

FAMILIES: dict[str, list[str]] = {
    "f#": [f"f{k}" for k in range(D)],
    "from one": [f"f{k + 1}" for k in range(D)],
    "#": [str(k) for k in range(D)],
    "dim_#": [f"dim_{k}" for k in range(D)],
    "padded": [f"emb_{k:03d}" for k in range(D)],
    "PC#": [f"PC{k + 1}" for k in range(D)],
    "x.#": ["x", *(f"x.{k}" for k in range(1, D))],
    "in the middle": [f"feature {k} (mean)" for k in range(D)],
    "a number before": [f"resnet50_{k}" for k in range(D)],
    "no order": [f"f{k}" for k in (3, 1, 5, 0, 2, 4)],
    "grid": [f"{r}x{c}" for r in (1, 2, 3) for c in (1, 2)],
    "odd letters": [f"ä, {k}" for k in range(D)],
}
TYPES = ("float32", "float64", "float16", "int8", "int64")
BESIDE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a score": {"score": X[:, 0] * 2},
    "a box": {"width": X[:, 1], "height": X[:, 2]},
    "text": {"path": [f"{k}.jpg" for k in range(N)]},
    "flags": {"flag": arrow.array(X[:, 0] > 0)},
    "dates": {"when": arrow.array(np.arange(N), arrow.timestamp("s"))},
    "pictures": {"image": [{"bytes": b"x", "path": "p"}] * N},
    "pandas' index": {"__index_level_0__": np.arange(N)},
    "an index of a CSV": {"Unnamed: 0": np.arange(N), "Unnamed: 0.1": np.arange(N)},
    "nothing at all": {"empty": arrow.nulls(N)},
}
DOUBTFUL: dict[str, dict[str, Any]] = {
    "ids": {"image_id": 100_000 + np.arange(N)},
    "the label as a number": {"label_id": K},
    "its name": {"target": K.astype(np.int8)},
    "a row's number": {"index": np.arange(N, dtype=np.uint32)},
    "a second family": {f"other_{k}": X[:, k] for k in range(3)},
    "one-hot labels": {f"class_{k}": np.equal(K, k).astype(np.float32) for k in range(3)},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_family_is_taken_whatever_stands_beside_it(tmp_path: Path, family: str, counted: Counted) -> None:
    names = FAMILIES[family]
    for (beside, more), kind in itertools.product(BESIDE.items(), TYPES):
        floats = kind.startswith("float")
        if not floats and any(getattr(values, "dtype", None) == np.float32 for values in more.values()):
            continue  # floats beside integers: see below
        values = (X * 20).astype(kind)
        path = written(tmp_path, {"label": NAMES, **more, **{name: values[:, k] for k, name in enumerate(names)}})
        choice = columns_of(path)
        assert choice.taken == tuple(names), (family, beside, kind)
        assert choice.left == tuple(more)
        file = look(path, choice.taken)
        assert np.array_equal(rows(file), values.astype(np.float32))
        assert file.labels.tolist() == K.tolist()
        counted(ROW, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_may_be_the_label_in_disguise_is_refused_by_name_and_dropped_by_its_name(
    tmp_path: Path, family: str, counted: Counted
) -> None:
    names = FAMILIES[family]
    for (beside, more), first in itertools.product(DOUBTFUL.items(), (True, False)):
        own = {name: X[:, k] for k, name in enumerate(names)}
        path = written(tmp_path, {"label": NAMES, **more, **own} if first else {**own, **more, "label": NAMES})
        error = refusal(columns_of, path)
        assert next(iter(more)) in error.message, beside
        assert "--columns" in error.hint or "--drop" in error.hint
        assert columns_of(path, drop=list(more)).taken == tuple(names)
        assert columns_of(path, asked=names).taken == tuple(names)
        counted(ROW, 1)


def test_a_column_that_goes_with_the_labels_is_refused_wherever_it_stands(tmp_path: Path, counted: Counted) -> None:
    plain = {f"f{k}": X[:, k] for k in range(3)}
    apart = {name: X[:, k] for k, name in enumerate(("alpha", "beta", "gamma"))}
    telling: dict[str, Array] = {
        "numbers": K.astype(np.float64),
        "codes": np.array([7.25, -3.5, 1e9])[K],
        "reversed": (2 - K).astype(np.float32),
    }
    for values, labels in itertools.product(telling.values(), (NAMES, K, arrow.array(NAMES).dictionary_encode())):
        for columns, name in ((plain, "f3"), (apart, "target")):
            path = written(tmp_path, {"label": labels, **columns, name: values})
            assert name in refusal(columns_of, path).message
            assert columns_of(path, drop=[name]).taken == tuple(columns)
            counted(ROW, 1)
    superclass = np.array([0.0, 1.0, 1.0])[K]  # of several labels one value
    assert "group" in refusal(lambda: columns_of(written(tmp_path, {"label": K, **apart, "group": superclass}))).message
    for harmless in (np.zeros(N), X[:, 4], np.where(np.arange(N) == 59, 9.0, K)):
        assert columns_of(written(tmp_path, {"label": NAMES, **plain, "f3": harmless})).taken == ("f0", "f1", "f2", "f3")
        counted(ROW, 1)


def test_a_column_that_goes_with_the_labels_of_very_many_rows_is_found_and_one_that_ends_otherwise_is_not(
    tmp_path: Path,
) -> None:
    many = 20_000
    labels = np.arange(many) % 7
    telling = {"a": RNG.normal(size=many), "shade": labels * 1.5}
    assert "shade" in refusal(lambda: columns_of(written(tmp_path, {"label": labels, **telling}))).message
    telling["shade"][-1] = 99
    assert columns_of(written(tmp_path, {"label": labels, **telling})).taken == ("a", "shade")


WHOLE: dict[str, Array] = {
    "ids": 100_000.0 + np.arange(N),
    "rows sorted by class": np.argsort(np.argsort(K, kind="stable")).astype(np.float32),
    "finer labels": K * 10.0 + np.arange(N) % 2,
    "a flag": (K > 0).astype(np.float64),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_numbers_kept_as_floats_are_refused_beside_other_floats_as_integers_are(
    tmp_path: Path, name: str, counted: Counted
) -> None:
    plain = {letter: X[:, k] for k, letter in enumerate("abcd")}
    for columns in (plain | {"odd": WHOLE[name]}, {"odd": WHOLE[name]} | plain):
        path = written(tmp_path, {"label": NAMES, **columns})
        error = refusal(columns_of, path)
        assert "column odd " in error.message
        assert "--drop odd" in error.hint
        assert "--columns a,b,c,d" in error.hint
        assert columns_of(path, drop=["odd"]).taken == tuple("abcd")
        assert set(columns_of(path, asked=list(columns)).taken) == {*"abcd", "odd"}
    late = WHOLE[name].copy()
    late[-1] += 0.5
    harmless = {"late": late, "constant": np.zeros(N)} if name in ("ids", "rows sorted by class") else {"constant": np.zeros(N)}
    assert columns_of(written(tmp_path, {"label": NAMES, **plain, **harmless})).taken == (*"abcd", *harmless)
    whole = {letter: np.round(X[:, k] * 9) for k, letter in enumerate("abcd")}
    assert columns_of(written(tmp_path, {"label": NAMES, **whole})).taken == tuple("abcd")
    counted(ROW, 4)


ONE_HOT = np.eye(3, dtype=np.float32)[K]


@pytest.mark.parametrize(
    "columns",
    [
        {"onehot": arrow.array(list(ONE_HOT))},
        {"onehot": arrow.array(list(ONE_HOT.astype(np.int64)))},
        {"scores": arrow.FixedSizeListArray.from_arrays(arrow.array((ONE_HOT * 7 - 2).ravel()), 3)},
        {f"v{k}": ONE_HOT[:, k] for k in range(3)},
        {f"v{k}": ONE_HOT[:, k].astype(np.uint8) for k in range(3)},
        {"code": arrow.array(list(RNG.normal(size=(3, 8))[K]))},
    ],
)
def test_vectors_that_are_the_labels_are_refused_and_taken_by_name(
    tmp_path: Path, columns: Mapping[str, Any], counted: Counted
) -> None:
    for labels in (NAMES, K):
        path = written(tmp_path, {"label": labels, "path": [f"{k}.jpg" for k in range(N)], **columns})
        error = refusal(columns_of, path)
        assert next(iter(columns)) in error.message
        assert columns_of(path, asked=list(columns)).taken == tuple(columns)
        changed = K.copy()
        changed[-1] = (changed[-1] + 1) % 3  # one row says otherwise
        columns_of(written(tmp_path, {"label": changed, **columns}))
        counted(ROW, 2)


def test_a_column_alone_that_goes_with_the_labels_is_taken_as_the_hint_says(tmp_path: Path, counted: Counted) -> None:
    path = written(tmp_path, {"label": NAMES, "v": K * 1.5})
    assert "--columns v" in refusal(lambda: columns_of(path)).hint
    assert columns_of(path, asked=["v"]).taken == ("v",)
    counted(ROW, 1)


def test_what_is_not_finite_is_named_with_its_column(tmp_path: Path, counted: Counted) -> None:
    for value in (np.nan, np.inf, -np.inf, 1e300):
        columns = {f"f{k}": X[:, k].astype(np.float64) for k in range(3)}
        columns["f2"][5] = value
        path = written(tmp_path, {"label": NAMES, **columns})
        message = refusal(lambda path: rows(look(path, ("f0", "f1", "f2"))), path).message
        assert "row 5 " in message
        assert "'f2'" in message
        counted(ROW, 1)


def test_words_of_parts_in_every_usual_spelling_are_read(tmp_path: Path, counted: Counted) -> None:
    spellings: tuple[Callable[[str], str], ...] = (str, str.upper, str.title, " {} ".format)
    for (word, part), spell in itertools.product(PART_OF.items(), spellings):
        split = np.where(np.arange(N) % 4 == 0, spell(word), "test" if part == "train" else "train")
        wanted = np.where(np.arange(N) % 4 == 0, part, "test" if part == "train" else "train")
        np.savez(tmp_path / "x.npz", embeddings=X, labels=K, split=split)
        assert look(tmp_path / "x.npz").parts.tolist() == wanted.tolist()
        path = written(tmp_path, {"label": NAMES, "split": split, "f0": X[:, 0]})
        assert look(path, ("f0",)).parts.tolist() == wanted.tolist()
        counted(ROW, 2)


def test_arrays_of_a_part_in_another_word_are_never_passed_over(tmp_path: Path, counted: Counted) -> None:
    for word, part in PART_OF.items():
        if word != part:
            arrays: dict[str, Any] = (
                {"labels": K, "embeddings": X} if part == "train" else {"train_labels": K, "train_embeddings": X}
            )
            np.savez(tmp_path / "x.npz", **arrays | {f"{word}_embeddings": X, f"{word}_labels": K})
            assert f"{word}_embeddings" in refusal(lambda: look(tmp_path / "x.npz")).message
            counted(ROW, 1)


def test_an_array_that_is_there_twice_is_refused(tmp_path: Path, counted: Counted) -> None:
    np.savez(tmp_path / "x.npz", embeddings=X, labels=K)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("embeddings.npy", archive.read("embeddings.npy"))
    assert refusal(lambda: look(tmp_path / "x.npz")).code == "integrity"
    counted(ROW, 1)


@pytest.mark.parametrize("coded", [True, False])
def test_labels_of_a_small_file_that_swell_are_refused_before_they_are_read(
    tmp_path: Path, coded: bool, counted: Counted
) -> None:
    long = ["a" * (1 << 27), "b", "a", "b"]
    many = [f"{k} {'a' * 900}" for k in range(120_000)]
    for labels in (long, many):
        columns = {"label": arrow.array(labels, arrow.large_string()), "f0": np.zeros(len(labels))}
        parquet.write_table(arrow.table(columns), tmp_path / "x.parquet", compression="zstd", use_dictionary=coded)
        message = refusal(lambda: look(tmp_path / "x.parquet", ("f0",))).message
        assert "more than is read" in message
        assert "characters" not in message, "it was read"
        counted(ROW, 1)


LISTS: dict[str, Callable[[], Any]] = {
    "list": lambda: arrow.array(list(X)),
    "large": lambda: arrow.array([row.tolist() for row in X], arrow.large_list(arrow.float64())),
    "fixed": lambda: arrow.FixedSizeListArray.from_arrays(arrow.array(X.ravel()), D),
    "half": lambda: arrow.array([row.astype(np.float16) for row in X], arrow.list_(arrow.float16())),
    "int8": lambda: arrow.array([row.astype(np.int8) for row in X * 20], arrow.list_(arrow.int8())),
    "tensor": lambda: arrow.ExtensionArray.from_storage(
        arrow.fixed_shape_tensor(arrow.float32(), [D]), arrow.FixedSizeListArray.from_arrays(arrow.array(X.ravel()), D)
    ),
}


@pytest.mark.parametrize("kind", LISTS)
def test_one_column_of_lists_is_taken_by_what_it_is(tmp_path: Path, kind: str, counted: Counted) -> None:
    lists = LISTS[kind]()
    others: dict[str, Array] = {"half": X.astype(np.float16), "int8": (X * 20).astype(np.int8)}
    wanted = others.get(kind, X).astype(np.float32)
    for name in ("embedding", "embeddings", "vector", "features", "my vec", "a.b"):
        for more in ({}, {"image_id": np.arange(N), "score": X[:, 0]}, {"label_id": K, "path": NAMES}):
            path = written(tmp_path, {"label": NAMES, **more, name: lists})
            choice = columns_of(path)
            assert (choice.taken, choice.left) == ((name,), tuple(more))
            assert np.array_equal(rows(look(path, choice.taken)), wanted)
            counted(ROW, 1)
    both = {"label": NAMES, "vector": lists, "box": lists}
    assert "box" in refusal(lambda: columns_of(written(tmp_path, both))).message
    assert columns_of(written(tmp_path, both), asked=["box"]).taken == ("box",)
    named = {"label": NAMES, "embedding": lists, "box": lists}
    assert columns_of(written(tmp_path, named)).taken == ("embedding",)
    family = {"label": NAMES, "box": lists, **{f"f{k}": X[:, k] for k in range(D)}}
    assert "f0" in refusal(lambda: columns_of(written(tmp_path, family))).message
    counted(ROW, 3)


def test_lists_that_are_no_vectors_are_refused_with_their_row(tmp_path: Path, counted: Counted) -> None:
    good: list[Any] = X.tolist()
    wrong: dict[str, tuple[Any, str]] = {
        "the first is none": ([None, *good[1:]], "row 0 "),
        "one is none": ([*good[:31], None, *good[32:]], "row 31 "),
        "one is short": ([*good[:31], good[31][:2], *good[32:]], "row 31 "),
        "one is empty": ([*good[:31], [], *good[32:]], "row 31 "),
        "a number is none": ([*good[:31], [None, *good[31][1:]], *good[32:]], "row 31 "),
        "a number is infinite": ([*good[:31], [float("inf"), *good[31][1:]], *good[32:]], "row 31 "),
        "all are empty": (arrow.array([[]] * N, arrow.list_(arrow.float32())), "nothing in it"),
        "text": ([["a"]] * N, "embedding"),
        "text that looks like a list": (["[1, 2]"] * N, "embedding"),
        "lists of lists": ([[[1.0]]] * N, "embedding"),
        "a fixed one is none": (arrow.array([*good[:31], None, *good[32:]], arrow.list_(arrow.float32(), D)), "row 31 "),
    }
    for name, (lists, told) in wrong.items():
        path = written(tmp_path, {"label": NAMES, "embedding": lists})
        error = refusal(lambda path: rows(look(path, columns_of(path).taken)), path)
        assert told in error.message, name
        counted(ROW, 1)


def test_columns_of_one_name_and_names_that_no_recipe_holds_are_refused(tmp_path: Path, counted: Counted) -> None:
    def table(names: list[str]) -> Path:
        columns = [arrow.array(NAMES), *(arrow.array(X[:, k]) for k in range(len(names) - 1))]
        parquet.write_table(arrow.Table.from_arrays(columns, names=names), tmp_path / "x.parquet")
        return tmp_path / "x.parquet"

    for names in (["label", "f0", "f0"], ["label", "f\x1b[31m0", "f\x1b[31m1"], ["label", "f\n0"], ["labl", "f0"]):
        path = table(names)
        refusal(columns_of, path)
        counted(ROW, 1)
    twice = table(["label", "label", "f0"])
    assert "label" in refusal(lambda: columns_of(twice)).message
    dotted = table(["label", "a", "a.b", "c"])
    assert np.array_equal(rows(look(dotted, ("c", "a"))), X[:, [2, 0]])


def test_a_recipe_without_columns_reads_what_it_read_and_says_where_that_is_another_choice(
    tmp_path: Path, counted: Counted
) -> None:
    own = {f"f{k}": X[:, k] for k in range(D)}
    for more, differs in (
        ({}, False),
        ({"id": np.arange(N)}, True),
        ({"__index_level_0__": np.arange(N)}, True),
        ({"score": X[:, 0]}, True),
    ):
        path = written(tmp_path, {"label": NAMES, **own, **more})
        read = rows(look(path))
        assert read.shape == (N, D + len(more))
        assert bool(departure(path)) is differs
        counted(ROW, 1)
    lists = written(tmp_path, {"label": NAMES, "embedding": list(X), "id": np.arange(N)})
    assert np.array_equal(rows(look(lists)), X)
    assert departure(lists) == ""


# Labels

SPELLINGS: dict[str, tuple[list[str], bool]] = {
    "plain": (["ape", "bee", "cow"], True),
    "case": (["ape", "bee", "Ape"], False),
    "blank before": (["ape", "bee", " ape"], False),
    "blank behind": (["ape", "bee", "ape "], False),
    "two blanks": (["red ape", "bee", "red  ape"], False),
    "a tab": (["red ape", "bee", "red\tape"], False),
    "a blank that does not break": (["red ape", "bee", "red\u00a0ape"], False),
    "no width": (["ape", "bee", "ape\u200b"], False),
    "a mark of bytes": (["ape", "bee", "\ufeffape"], False),
    "another form": (["caf\u00e9", "bee", "cafe\u0301"], False),
    "whole and float": (["1", "2", "1.0"], False),
    "float twice": (["1.5", "2", "1.50"], False),
    "exponent": (["100", "2", "1e2"], False),
    "sign": (["1", "2", "+1"], False),
    "minus nothing": (["0", "2", "-0"], False),
    "zeros in front": (["1", "01", "001"], True),
    "codes": (["007", "07", "7"], True),
    "versions": (["v1", "v1.0", "v2"], True),
    "numbers beside text": (["1", "1.0", "none"], True),
    "negative": (["-1", "0", "1"], True),
    "floats": (["0.5", "1.5", "10.5"], True),
    "other digits": (["1", "2", "\u0661"], True),
    "empty": (["ape", "bee", ""], False),
    "blank": (["ape", "bee", "  "], False),
    "very long": (["ape", "bee", "x" * 1001], False),
    "no text": (["ape", "bee", "\ud800"], False),
}


def as_npz(path: Path, labels: Array) -> Path:
    np.savez(path / "x.npz", embeddings=X, labels=labels)
    return path / "x.npz"


def as_columns(path: Path, labels: Array) -> Path:
    return written(path, {"label": labels.tolist(), **{f"f{k}": X[:, k] for k in range(D)}})


def as_dictionary(path: Path, labels: Array) -> Path:
    return written(path, {"label": arrow.array(labels.tolist()).dictionary_encode(), "embedding": list(X)})


@pytest.mark.parametrize("write", [as_npz, as_columns, as_dictionary])
def test_one_label_in_two_spellings_is_refused_and_two_labels_stay_two(
    tmp_path: Path, write: Callable[[Path, Array], Path], counted: Counted
) -> None:
    for name, (labels, good) in SPELLINGS.items():
        if name == "no text" and write is not as_npz:
            continue  # Arrow refuses to write it
        text = np.array([labels[k] for k in K])
        path = write(tmp_path, text)
        if good:
            file = look(path)
            assert [file.class_names[k] for k in file.labels] == text.tolist(), name
            assert len(file.class_names) == 3
        else:
            refusal(look, path)
        counted(ROW, 1)


def test_classes_that_are_numbers_count_as_numbers_where_the_recipe_says_so(tmp_path: Path, counted: Counted) -> None:
    labels = RNG.permutation(N) % 12
    for write, spelling in itertools.product((as_npz, as_columns, as_dictionary), ("{}", "{}.0", "{:02d}", "-{}")):
        text = np.array([spelling.format(k) for k in labels])
        by_number = look(write(tmp_path, text), order="number")
        values = [float(name) for name in by_number.class_names]
        assert values == sorted(values)
        assert [by_number.class_names[k] for k in by_number.labels] == text.tolist()
        by_text = look(write(tmp_path, text))
        assert list(by_text.class_names) == sorted(set(text.tolist()))
        counted(ROW, 2)
    refusal(lambda: look(as_npz(tmp_path, NAMES), order="number"))


OTHER_LABELS: dict[str, Any] = {
    "floats": (K.astype(float), "astype(int)"),
    "halves": (K + 0.5, "astype(str)"),
    "flags": (K > 0, "astype(int)"),
    "a column": (K[:, None], "ravel()"),
    "a row": (K[None], "ravel()"),
    "one-hot": (np.eye(3, dtype=int)[K], "argmax(1)"),
    "one-hot floats": (np.eye(3)[K], "argmax(1)"),
    "objects": (NAMES.astype(object), "astype(str)"),
    "dates": (K.astype("M8[D]"), "astype(str)"),
    "complex": (K.astype(complex), "astype(str)"),
}


@pytest.mark.parametrize("name", OTHER_LABELS)
def test_the_hint_for_labels_of_another_type_works(tmp_path: Path, name: str, counted: Counted) -> None:
    labels, way = OTHER_LABELS[name]
    error = refusal(lambda: look(as_npz(tmp_path, labels)))
    code = error.hint[error.hint.index("labels") :]
    assert code.endswith(way)
    np.savez(tmp_path / "x.npz", embeddings=X, labels=eval(code, {"labels": labels}))  # what the user would type
    wanted = (K > 0 if name == "flags" else K).tolist()
    pairs = set(zip(look(tmp_path / "x.npz").labels.tolist(), wanted, strict=True))
    assert len(pairs) == len(set(wanted)), "the same rows are of one class"
    counted(ROW, 1)


@pytest.mark.parametrize("order", "<>")
def test_text_that_is_beyond_unicode_is_refused(tmp_path: Path, order: str, counted: Counted) -> None:
    for letter in (0x110000, 0x7FFFFFFF, 0xFFFFFFFF, 0xD800):
        odd = np.array([letter, 97, 98], f"{order}u4")[K].view(f"{order}U1")
        np.savez(tmp_path / "x.npz", embeddings=X, labels=odd)
        refusal(lambda: look(tmp_path / "x.npz"))
        np.savez(tmp_path / "x.npz", embeddings=X, labels=K, split=odd)
        refusal(lambda: look(tmp_path / "x.npz"))
        np.savez(tmp_path / "x.npz", embeddings=X, labels=K, class_names=odd[:3])
        refusal(lambda: look(tmp_path / "x.npz"))
        counted(ROW, 3)


def test_labels_that_are_missing_have_their_row_in_the_hint(tmp_path: Path, counted: Counted) -> None:
    labels = K.astype(float)
    labels[7] = np.nan
    path = written(tmp_path, {"label": arrow.array(labels, from_pandas=False), "f0": X[:, 0]})
    assert "dropna" in refusal(lambda: look(path, ("f0",))).hint  # as text it would be a class of its own
    assert "row 7 " in refusal(lambda: look(as_npz(tmp_path, labels))).hint
    values = arrow.array([*NAMES[:7], None, *NAMES[8:]])
    for column in (values, values.dictionary_encode()):
        path = written(tmp_path, {"label": column, "f0": X[:, 0]})
        assert "row 7 " in refusal(look, path).message
    counted(ROW, 3)


# Arrays


def test_arrays_say_the_same_in_every_order_and_type(tmp_path: Path, counted: Counted) -> None:
    for kind, turned, save in itertools.product(
        ("<f4", ">f4", "<f8", ">f8", "<f2", "i1", "<i4", ">i8", "u1"), (True, False), (np.savez, np.savez_compressed)
    ):
        values = (np.abs(X) * 20).astype(kind)
        save(tmp_path / "x.npz", embeddings=np.asfortranarray(values) if turned else values, labels=K)
        assert np.array_equal(rows(look(tmp_path / "x.npz")), values.astype(np.float32))
        counted(ROW, 1)
    for kind in ("f2", "f4", "f8", "i1", "i8", "u1"):
        save_file({"embeddings": (np.abs(X) * 20).astype(kind), "labels": K}, tmp_path / "x.safetensors")
        assert np.array_equal(rows(look(tmp_path / "x.safetensors")), (np.abs(X) * 20).astype(kind).astype(np.float32))
        counted(ROW, 1)


def test_an_array_in_columns_is_read_in_parts_to_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = RNG.normal(size=(1000, 7))
    np.savez_compressed(tmp_path / "x.npz", embeddings=np.asfortranarray(values), labels=np.arange(1000) % 3)
    monkeypatch.setattr("wbltr.data.embedding_npz.HELD", 7 * 8 * 90)
    monkeypatch.setattr("wbltr.data.embedding_files.BLOCK", 7 * 8 * 13)
    assert np.array_equal(rows(look(tmp_path / "x.npz")), values.astype(np.float32))


def test_halves_with_a_long_exponent_are_read_exactly(tmp_path: Path, counted: Counted) -> None:
    import torch
    from safetensors.torch import save_file as save_tensors

    values = torch.from_numpy(X).bfloat16()
    save_tensors({"embeddings": values, "labels": torch.from_numpy(K)}, tmp_path / "x.safetensors")
    assert np.array_equal(rows(look(tmp_path / "x.safetensors")), values.float().numpy())
    counted(ROW, 1)


def test_arrays_under_other_names_are_named_with_the_line_that_renames_them(tmp_path: Path, counted: Counted) -> None:
    import os

    for one, other in (("X", "y"), ("features", "targets"), ("arr_0", "arr_1"), ("embeddings", "target"), ("x", "labels")):
        arrays: dict[str, Any] = {one: X, other: K}
        np.savez(tmp_path / "x.npz", **arrays)
        error = refusal(lambda: look(tmp_path / "x.npz"))
        assert one in error.message
        assert other in error.message
        line = error.hint[error.hint.index("d = ") :]
        here = Path.cwd()
        os.chdir(tmp_path)
        try:
            exec(line, {"numpy": np})  # what the user would type
        finally:
            os.chdir(here)
        assert look(tmp_path / "x-named.npz").labels.tolist() == K.tolist()
        counted(ROW, 1)
    np.savez(tmp_path / "x.npz", X_train=X, y_train=K, X_test=X, y_test=K)
    assert "test_labels=d['y_test']" in refusal(lambda: look(tmp_path / "x.npz")).hint


HEAD = "{{'descr': '{}', 'fortran_order': False, 'shape': {}}}\n"
HEADERS: dict[str, bytes] = {
    "brackets": b"[" * 9000,
    "parentheses": b"(" * 4000 + b")" * 4000,
    "minus": b"-" * 9000 + b"1",
    "nothing": b"",
    "no text": bytes(range(128, 256)),
    "below 0": HEAD.format("<f4", (-N, -D)).encode(),
    "flags": HEAD.format("<f4", (N, True)).encode(),
    "huge": HEAD.format("<f4", (1 << 60, 1 << 60)).encode(),
    "many digits": HEAD.format("<f4", f"(0x{'f' * 9000}, 1)").encode(),
    "no letters": HEAD.format("<U0", (N,)).encode(),
    "a type in a type": HEAD.format("<f4", (N,)).replace("'<f4'", "('<f4', (6,))").encode(),
    "fields": HEAD.format("<f4", (N,)).replace("'<f4'", "[('a', '<f4'), ('b', '<f4')]").encode(),
    "objects": HEAD.format("|O", (N, D)).encode(),
    "no shape": b"{'descr': '<f4', 'fortran_order': False}\n",
    "a list for a shape": HEAD.format("<f4", [N, D]).encode(),
    "an unknown type": HEAD.format("<q9", (N, D)).encode(),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_of_an_enemy_is_refused_in_one_line(tmp_path: Path, name: str, counted: Counted) -> None:
    good = io.BytesIO()
    np.save(good, K)
    for version, place in itertools.product(((1, 0), (2, 0), (3, 0)), ("embeddings", "labels")):
        length = struct.pack("<H" if version[0] == 1 else "<I", len(HEADERS[name]))
        odd = b"\x93NUMPY" + bytes(version) + length + HEADERS[name] + bytes(4 * N * D)
        rest = io.BytesIO()
        np.save(rest, X)
        arrays = {"embeddings": rest.getvalue(), "labels": good.getvalue()} | {place: odd}
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            for array, content in arrays.items():
                archive.writestr(f"{array}.npy", content)
        refusal(lambda: rows(look(tmp_path / "x.npz")))
        counted(ROW, 1)


def test_a_header_that_promises_four_gigabytes_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embeddings.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xFFFFFFF0) + bytes(1 << 20))
    assert "header of" in refusal(lambda: look(tmp_path / "x.npz")).message


@pytest.mark.parametrize("kind", ["npz", "safetensors", "parquet"])
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path: Path, kind: str, counted: Counted) -> None:
    if kind == "npz":
        np.savez(tmp_path / "x.npz", embeddings=X, labels=NAMES, class_names=np.array(["ape", "bee", "cow"]))
    elif kind == "safetensors":
        save_file({"embeddings": X, "labels": K}, tmp_path / "x.safetensors")
    else:
        written(tmp_path, {"label": NAMES, "embedding": list(X), "id": np.arange(N)})
    path = tmp_path / f"x.{kind}"
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    for trial in range(120):
        data = bytearray(whole)
        if trial % 4 == 0:
            del data[int(rng.integers(len(data))) :]
        near = int(rng.integers(max(1, len(data) - 700), len(data) + 1)) if data else 0  # where formats keep what they promise
        for at in (near - 1, int(rng.integers(max(1, len(data))))):
            if 0 <= at < len(data):
                data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        try:
            taken = columns_of(path).taken if kind == "parquet" else None
            rows(look(path, taken))
        except WbltrError as error:
            assert error.code in ("usage", "integrity")
            assert error.message.isprintable()
        counted(ROW, 1)


def test_labels_that_decode_to_gigabytes_are_kept_once_each_or_refused(tmp_path: Path, counted: Counted) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = 300_000
    for length, read in ((900, True), (30_000, False)):  # 270 MB and 9 GB as text, four times as many as numpy has it
        codes = arrow.array((np.arange(many) % 3).astype(np.int32))
        labels = arrow.DictionaryArray.from_arrays(codes, arrow.array([letter * length for letter in "abc"]))
        path = written(tmp_path, {"label": labels, "f0": RNG.normal(size=many)})
        if read:
            assert look(path, ("f0",)).labels.tolist() == (np.arange(many) % 3).tolist()
        else:
            refusal(look, path, ("f0",))
        counted(ROW, 1)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 250_000_000


# Through the command


def test_the_columns_that_are_taken_stand_in_the_recipe_and_are_read_again(
    wbltr: Wbltr, tmp_path: Path, counted: Counted
) -> None:
    path = written(
        tmp_path, {"image_id": np.arange(N), "label": NAMES, "score": X[:, 0], **{f"f{k}": X[:, k] for k in range(D)}}
    )
    refused = wbltr("embed", "--import", path)
    assert refused.code == 2
    assert "image_id" in refused.err
    assert "--drop" in refused.err
    assert not Path("x.yaml").exists()
    made = wbltr("embed", "--import", path, "--drop", "image_id", "--json")
    assert made.code == 0, made.err
    assert made.document["columns"] == [f"f{k}" for k in range(D)]
    assert made.document["left"] == ["image_id", "score"]
    assert "left: image_id, score" in made.err
    assert load_recipe("./x.yaml").dataset.columns == tuple(f"f{k}" for k in range(D))
    again = wbltr("make-dataset", "--recipe", "./x.yaml", "--json")
    assert (again.document["artifact"], again.document["cached"]) == (made.document["artifact"], True)
    counted(ROW, 3)


def test_flags_and_settings_choose_the_columns_of_a_command(wbltr: Wbltr, tmp_path: Path, counted: Counted) -> None:
    path = written(tmp_path, {"id": np.arange(N), "label": K, **{f"f{k}": X[:, k] for k in range(D)}, "a, b": X[:, 0]})
    flags: tuple[str, ...]
    for flags, wanted in (
        (("--columns", "f0,f2"), ["f0", "f2"]),
        (("--columns", "f[0-9]*"), [f"f{k}" for k in range(D)]),
        (("--columns", "f1..f3"), ["f1", "f2", "f3"]),
        (("--columns", 'f0,"a, b"'), ["f0", "a, b"]),
        (("--set", "dataset.columns=[f4, f1]"), ["f4", "f1"]),
    ):
        done = wbltr("embed", "--import", path, *flags, "--out", "y.yaml", "--json")
        assert done.code == 0, done.err
        assert done.document["columns"] == wanted
        Path("y.yaml").unlink()
        counted(ROW, 1)
    mistakes: tuple[tuple[str, ...], ...] = (
        ("--columns", "nothing"),
        ("--columns", ""),
        ("--drop", ","),
        ("--columns", "id", "--drop", "id"),
    )
    for flags in mistakes:
        assert wbltr("embed", "--import", path, *flags).code == 2
        counted(ROW, 1)
    np.savez(tmp_path / "x.npz", embeddings=X, labels=K)
    assert wbltr("embed", "--import", tmp_path / "x.npz", "--drop", "id").code == 2
    assert wbltr("embed", "--columns", "id").code == 2


def test_a_column_that_is_gone_is_named_and_a_recipe_without_columns_says_what_it_reads(
    wbltr: Wbltr, tmp_path: Path, counted: Counted
) -> None:
    own = {f"f{k}": X[:, k] for k in range(D)}
    path = written(tmp_path, {"label": NAMES, **own})
    assert wbltr("embed", "--import", path, "-q").code == 0
    written(tmp_path, {"label": NAMES, **{("g" if name == "f3" else name): values for name, values in own.items()}})
    gone = wbltr("make-dataset", "--recipe", "./x.yaml")
    assert gone.code == 2
    assert "'f3'" in gone.err
    written(tmp_path, {"label": NAMES, **own, "id": np.arange(N)})
    old = wbltr("make-dataset", "--recipe", "./x.yaml", "--set", "dataset.columns=null", "--json")
    assert old.code == 0, old.err
    assert old.document["metrics"]["dimensions"] == D + 1
    assert "no dataset.columns" in old.err
    counted(ROW, 2)


def test_classes_that_are_numbers_stand_in_their_order_in_the_recipe(wbltr: Wbltr, tmp_path: Path, counted: Counted) -> None:
    labels = np.arange(N) % 12
    np.savez(tmp_path / "x.npz", embeddings=X, labels=labels.astype(str))
    done = wbltr("embed", "--import", tmp_path / "x.npz", "--json")
    assert done.code == 0, done.err
    assert list(done.document["class_counts"]) == [str(k) for k in range(12)]
    assert load_recipe("./x.yaml").dataset.class_order == "number"
    as_text = wbltr("embed", "--import", tmp_path / "x.npz", "--set", "dataset.class_order=text", "--out", "y.yaml", "--json")
    assert list(as_text.document["class_counts"]) == sorted(str(k) for k in range(12))
    np.savez(tmp_path / "z.npz", embeddings=X, labels=labels)
    assert wbltr("embed", "--import", tmp_path / "z.npz", "-q").code == 0
    assert load_recipe("./z.yaml").dataset.class_order == "text", "integers are in their order as they are"
    counted(ROW, 3)


def test_nothing_is_written_before_everything_was_looked_at(wbltr: Wbltr, tmp_path: Path, counted: Counted) -> None:
    late = np.repeat(X, 3, 0)
    late[-1, 2] = np.nan
    np.savez(tmp_path / "x.npz", embeddings=late, labels=np.repeat(K, 3))
    for flags in ((), ("-n",)):
        done = wbltr("embed", "--import", tmp_path / "x.npz", *flags)
        assert done.code == 2
        assert f"row {3 * N - 1} " in done.err
        assert "written:" not in done.err
        assert not Path("x.yaml").exists()
        counted(ROW, 1)


@pytest.mark.parametrize(
    "place", ["hf://datasets/a/b/x.parquet", "s3://a/x.npz", "https://a/x.npz", "folder", "nothing.npz", "/dev/zero"]
)
def test_a_place_that_is_no_file_has_a_hint_of_its_own(wbltr: Wbltr, tmp_path: Path, place: str, counted: Counted) -> None:
    (tmp_path / "folder").mkdir()
    done = wbltr("embed", "--import", place if "/" in place else tmp_path / place)
    assert done.code in (2, 3)
    assert "\n  " in done.err
    if "://" in place:
        assert place in done.err
        assert "fetch it" in done.err
    counted(ROW, 1)
