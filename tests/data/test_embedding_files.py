"""Files of embeddings of strangers: three formats that say the same, and what is refused in one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from wbltr.data.embedding_files import look
from wbltr.data.embedding_tables import OwnEmbeddings
from wbltr.errors import WbltrError

Array = np.ndarray[Any, Any]
X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.array([0, 1, 0, 1, 2, 2])
SPLIT = np.array(["train", "train", "test", "valid", "train", "test"])


def rows(file: OwnEmbeddings) -> Array:
    return np.concatenate([np.asarray(block, np.float32) for table in file.tables for block in table.blocks()])


def as_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "x.npz", **arrays)
    return path / "x.npz"


def as_compressed(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path / "x.npz", **arrays)
    return path / "x.npz"


def as_safetensors(path: Path, **arrays: Any) -> Path:
    save_file(dict(arrays), path / "x.safetensors")
    return path / "x.safetensors"


def as_parquet(path: Path, embeddings: Array, labels: Array, listed: bool = True, **others: Array) -> Path:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    columns: dict[str, Any] = {"label": labels, **others}
    columns |= {"embedding": list(embeddings)} if listed else {f"e{k}": embeddings[:, k] for k in range(embeddings.shape[1])}
    parquet.write_table(arrow.table(columns), path / "x.parquet", row_group_size=4)
    return path / "x.parquet"


@pytest.mark.parametrize("write", [as_npz, as_compressed, as_safetensors, as_parquet])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_every_format_says_the_same(tmp_path: Path, write: Callable[..., Path], kind: type[np.floating[Any]]) -> None:
    file = look(write(tmp_path, embeddings=X.astype(kind), labels=Y))
    assert np.array_equal(rows(file), X)
    assert file.labels.tolist() == Y.tolist()
    assert list(file.class_names) == ["0", "1", "2"]
    assert set(file.parts.tolist()) == {""}


@pytest.mark.parametrize("listed", [True, False])
def test_a_table_of_columns_and_one_of_lists_are_read_with_their_splits(tmp_path: Path, listed: bool) -> None:
    names = np.array(["cat", "dog", "cat", "dog", "eel", "eel"])
    file = look(as_parquet(tmp_path, X, names, listed=listed, split=SPLIT))
    assert np.array_equal(rows(file), X)
    assert list(file.class_names) == ["cat", "dog", "eel"]
    assert file.parts.tolist() == ["train", "train", "test", "val", "train", "test"]


def test_parts_that_lie_in_arrays_of_their_own_come_one_after_another(tmp_path: Path) -> None:
    parts = {"train_embeddings": X[:4], "train_labels": Y[:4], "test_embeddings": X[4:], "test_labels": Y[4:]}
    file = look(as_npz(tmp_path, **parts))
    assert np.array_equal(rows(file), X)
    assert file.parts.tolist() == ["train"] * 4 + ["test"] * 2


def test_labels_that_are_numbers_count_class_names_where_there_are_some(tmp_path: Path) -> None:
    names = np.frombuffer(json.dumps(["ä", "b", "c", "d"]).encode(), np.uint8)
    file = look(as_safetensors(tmp_path, embeddings=X, labels=Y, class_names=names))
    assert list(file.class_names) == ["ä", "b", "c", "d"]
    of_text = look(as_npz(tmp_path, embeddings=X, labels=np.array(list("bcbcdd")), class_names=np.array(list("abcd"))))
    assert of_text.labels.tolist() == (Y + 1).tolist()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"embeddings": X}, "no labels"),
        ({"labels": Y}, "holds labels"),
        ({"embeddings": X[0], "labels": Y}, r"expected \(N, D\)"),
        ({"embeddings": X[:0], "labels": Y[:0]}, "nothing in it"),
        ({"embeddings": X.astype(complex), "labels": Y}, "expected numbers"),
        ({"embeddings": X, "labels": Y[:5]}, "expected one a row of 6"),
        ({"embeddings": X, "labels": Y.astype(float)}, "expected integers or text"),
        ({"embeddings": X, "labels": np.zeros(6, int)}, "only one class"),
        ({"embeddings": X, "labels": np.array(["a", "A", "b", "b", "b", "b"])}, "'A' and 'a' differ in case or blanks"),
        ({"embeddings": X, "labels": np.array(["a", "a ", "b", "b", "b", "b"])}, "'a' and 'a ' differ in case or blanks"),
        ({"embeddings": X, "labels": np.array(["", "a", "b", "b", "b", "b"])}, "a label is empty"),
        ({"embeddings": X, "labels": Y, "split": np.array(["train"] * 5 + ["dove"])}, "row 5 .*split 'dove'"),
        ({"embeddings": X, "labels": Y, "class_names": np.array(["a", "b"])}, "label 2, but class_names has 2"),
        ({"embeddings": X, "labels": np.array(list("aabbcx")), "class_names": np.array(list("abc"))}, "label 'x' is not among"),
        ({"embeddings": X, "labels": np.array([*"abcab", None], object)}, "pickled Python objects, which are not read"),
        (
            {"train_embeddings": X, "train_labels": Y, "test_embeddings": X[:, :3], "test_labels": Y},
            "3 dimensions, .*train_embeddings has 4",
        ),
    ],
)
def test_what_is_no_labelled_table_is_refused_in_one_line(tmp_path: Path, arrays: Mapping[str, Any], words: str) -> None:
    with pytest.raises(WbltrError, match=words) as caught:
        look(as_npz(tmp_path, **arrays))
    assert caught.value.code == "usage"
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_rows_of_other_lengths_are_named_in_a_parquet_file(tmp_path: Path) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    parquet.write_table(arrow.table({"label": [0, 1, 1], "embedding": [[1.0, 2.0], [1.0, 2.0], [1.0]]}), tmp_path / "x.parquet")
    with pytest.raises(WbltrError, match=r"row 2 .*has 1 dimensions, the first row has 2"):
        rows(look(tmp_path / "x.parquet"))
    parquet.write_table(arrow.table({"label": [0, None], "e": [1.0, 2.0]}), tmp_path / "x.parquet")
    with pytest.raises(WbltrError, match=r"label: row 1 .*has none"):
        look(tmp_path / "x.parquet")
    parquet.write_table(arrow.table({"label": [0, 1], "e": ["a", "b"]}), tmp_path / "x.parquet")
    with pytest.raises(WbltrError, match="column 'e' holds no numbers"):
        look(tmp_path / "x.parquet")


def test_an_archive_that_promises_more_than_it_has_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"

    def write(shape: tuple[int, ...], content: bytes) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            with archive.open("embeddings.npy", "w") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
                file.write(content)
            with archive.open("labels.npy", "w") as file:
                np.lib.format.write_array(file, Y)

    write((6, 1 << 30), b"")
    with pytest.raises(WbltrError, match="cut short") as caught:
        look(path)
    assert caught.value.code == "integrity"
    write((6, 4), bytes(10_000_000))
    with pytest.raises(WbltrError, match="cut short"):
        look(path)


@pytest.mark.parametrize("name", ["x.npz", "x.safetensors", "x.parquet"])
def test_damaged_and_foreign_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    writers: dict[str, Callable[..., Path]] = {"x.npz": as_npz, "x.safetensors": as_safetensors, "x.parquet": as_parquet}
    whole = writers[name](tmp_path, embeddings=X, labels=Y).read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(WbltrError) as caught:
            look(path)
        assert caught.value.code == "integrity"
        assert "\n" not in caught.value.message
    with pytest.raises(WbltrError, match="no such file"):
        look(tmp_path / "nowhere.npz")
    (tmp_path / "x.pkl").write_bytes(b"")
    with pytest.raises(WbltrError, match=r"files '\.pkl' are not read"):
        look(tmp_path / "x.pkl")


def test_labels_of_two_integer_types_stay_integers(tmp_path: Path) -> None:
    arrays = {f"{part}_embeddings": np.ones((2, 3)) for part in ("train", "test")}
    file = look(as_npz(tmp_path, **arrays, train_labels=np.array([0, 7]), test_labels=np.array([7, 0], np.uint64)))
    assert list(file.class_names) == ["0", "7"]
    assert file.labels.tolist() == [0, 1, 1, 0]
