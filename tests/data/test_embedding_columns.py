"""Which columns are taken: by names and kinds alone."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Sequence
from typing import Literal

import pytest

from wbltr.data import embedding_columns
from wbltr.data.embedding_columns import Choice, Column, choose, words
from wbltr.errors import WbltrError, closest

GRID = " ".join(f"pixel_{r}_{c}" for r in range(3) for c in range(4))
KINDS: dict[str, Literal["float", "integer", "list", "other"]] = {"f": "float", "i": "integer", "l": "list", "o": "other"}


def chosen(table: str, asked: Sequence[str] = (), drop: Sequence[str] = ()) -> Choice:
    """Of `f0 f1 i:id o:path`, floats where nothing else is said."""
    columns = []
    for word in table.split():
        kind, _, name = word.rpartition(":")
        columns.append(Column(name.replace("_", " ") if name.startswith("Unnamed") else name, KINDS[kind or "f"]))
    return choose("x.parquet", [*columns, Column("label", "other")], ("label", "split"), asked, drop)


def refusal(table: str, asked: Sequence[str] = (), drop: Sequence[str] = ()) -> WbltrError:
    with pytest.raises(WbltrError) as caught:
        chosen(table, asked, drop)
    assert caught.value.code == "usage"
    assert caught.value.hint
    return caught.value


def test_the_examples_hold() -> None:
    assert doctest.testmod(embedding_columns).failed == 0


@pytest.mark.parametrize(
    ("table", "taken", "left"),
    [
        ("f0 f1 f2", "f0 f1 f2", ""),
        ("f2 f0 f1 score o:path", "f2 f0 f1", "score o:path"),  # in the file's order
        ("0 1 2 3 i:__index_level_0__", "0 1 2 3", "__index_level_0__"),
        ("x x.1 x.2 y", "x x.1 x.2", "y"),
        ("i:q0 i:q1 i:q2", "i:q0 i:q1 i:q2", ""),
        ("alcohol ash od280/od315", "alcohol ash od280/od315", ""),
        ("f0 f5 f17", "f0 f5 f17", ""),  # some were chosen, and nothing stands beside them
        ("x0 y0 z0", "x0 y0 z0", ""),
        ("f0 o:when", "f0", "when"),
        ("V1 V2 V3 V4 Time Amount", "V1 V2 V3 V4", "Time Amount"),
        ("l:embedding l:box i:id score", "embedding", "box id score"),
        ("l:vector i:id o:path score", "vector", "id path score"),
        (GRID, GRID, ""),
    ],
)
def test_what_is_an_embedding_is_taken_and_the_rest_is_named(table: str, taken: str, left: str) -> None:
    def names(text: str) -> tuple[str, ...]:
        return tuple(word.rpartition(":")[2] for word in text.split())

    choice = chosen(table)
    assert choice.taken == names(taken)
    assert choice.left == names(left)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("f0 f1 i:id", "id"),
        ("f0 f1 i:label_id o:path", "label_id"),
        ("i:0 1 2 3", "0"),  # a row's number that stands where the first dimension would
        ("i:q0 i:q1 i:id", "id"),
        ("i:a i:b", "a"),
        ("clip_0 clip_1 dino_0 dino_1", "clip_0"),
        ("layer3_0 layer3_1 layer4_0 layer4_1", "layer4_1"),
        ("v1_0 v1_1 v2_0 v2_1 v3_0 v3_1", "v2_0"),
        ("f0 f1 g2 g5 g9", "g5"),
        ("f0 f1 o:f2", "f2"),
        ("f0 f2 f5 score", "score"),
        ("x1 x2 a b c d e", "x1"),
        ("l:vector l:box", "box"),
        ("l:vector f0 f1", "vector"),
        ("l:embedding l:embeddings", "embedding"),
        ("o:embedding f0 f1", "embedding"),
        ("o:path", "path"),
        ("f0 f1 f1", "f1"),
    ],
)
def test_what_leaves_it_open_is_refused_by_name(table: str, told: str) -> None:
    assert told in refusal(table).message


@pytest.mark.parametrize(
    ("asked", "drop", "taken"),
    [
        (["f3", "f1"], [], "f3 f1"),  # in the user's order
        (["f*"], [], "f0 f1 f2 f3"),
        (["f[0-9]*"], ["f2"], "f0 f1 f3"),
        (["f1..f3"], [], "f1 f2 f3"),
        (["id"], [], "id"),
        ([], ["id"], "f0 f1 f2 f3"),
        ([], ["id", "f3"], "f0 f1 f2"),
        ([], ["id", "f1"], "f0 f2 f3"),  # the user's gap is none
    ],
)
def test_the_flags_decide(asked: list[str], drop: list[str], taken: str) -> None:
    assert chosen("i:id f0 f1 f2 f3 o:path", asked, drop).taken == tuple(taken.split())


def test_flags_that_name_nothing_or_no_numbers_are_refused() -> None:
    assert "'f9'" in refusal("f0 f1", ["f9"]).message
    assert "'nothing'" in refusal("f0 f1", [], ["nothing"]).message
    assert "'path'" in refusal("f0 o:path", ["path"]).message
    assert "'label'" in refusal("f0", ["label"]).message
    assert "'vector'" in refusal("f0 l:vector", ["vector", "f0"]).message
    assert refusal("f0", ["f0"], ["f0"]).message


def test_a_family_of_integers_beside_floats_is_what_the_hint_takes() -> None:
    error = refusal("i:f0 i:f1 i:f2 score")
    assert "f0" in error.message
    assert error.hint.endswith("--columns f0,f1,f2")
    assert "--drop f1" in refusal("f0 i:f1 f2").hint


def test_a_hint_that_drops_a_column_leads_on() -> None:
    table = "o:0 1 2 3"
    assert "--drop 0" in refusal(table).hint
    assert chosen(table, drop=["0"]).taken == ("1", "2", "3")


def test_very_many_columns_and_very_long_numbers_are_no_trouble() -> None:
    wide = " ".join(f"f{k}" for k in range(20_000))
    assert len(chosen(f"{wide} f{'9' * 6000}").taken) == 20_000
    assert "f[0-9]*" in refusal(f"{wide} g0 g1").hint


def test_a_hint_with_a_pattern_takes_what_it_names() -> None:
    numbers = " ".join(str(k) for k in range(1, 30))
    assert "NAME" in refusal(f"i:0 {numbers}").hint, "no pattern would leave out 0"
    named = " ".join(f"f{k}" for k in range(30))
    assert "f[0-9]*" in refusal(f"i:id {named}").hint
    assert chosen(f"i:id {named}", ["f[0-9]*"]).taken == tuple(named.split())


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("a b target", "target"),
        ("Label_smooth a b", "Label_smooth"),
        ("a b pred_ape pred_bee", "pred_bee"),
        ("class_score a b", "class_score"),
        ("a b c prob_0 prob_1", "prob_0"),  # a family, but of what is to be learned
        ("a b y", "y"),
        ("a b y_true", "y_true"),
        ("l:logits a b", "logits"),
        ("l:OneHot a b", "OneHot"),
    ],
)
def test_what_is_named_as_a_label_is_refused_and_both_flags_are_told(table: str, told: str) -> None:
    error = refusal(table)
    assert told in error.message
    assert "--columns" in error.hint


@pytest.mark.parametrize("table", ["prob_0 prob_1 prob_2", "l:logits", "pred_a pred_b", "l:logits o:path", "x y", "x y z", "y"])
def test_what_is_named_as_a_label_is_taken_where_nothing_stands_beside_it(table: str) -> None:
    assert chosen(table).taken


ODD = ["i d", "it's", 'say "hi"', '"', '"x"', "a,b", 'a,"b', " sp ", "sp ", "\ttab", "new\nline", "\x1b[31m", "-id", "--drop"]
ODD += ["$HOME `id`", "a[0]", "*", "?", "a\n[0]*", "\\", "é", "é\u200b", "x..y", "!", "#", "~", "A;B", "a=b", "\ufeffid"]


@pytest.mark.parametrize("name", ODD)
def test_a_hint_works_as_it_is_typed_whatever_a_column_is_called(name: str) -> None:
    columns = [Column("b", "float"), Column(name, "integer"), Column("c", "float"), Column("sp", "float")]
    with pytest.raises(WbltrError) as caught:
        choose("x.parquet", columns, ("label",))
    hint = caught.value.hint
    assert hint.isprintable()
    typed = shlex.split(re.sub("; .*--columns", " --columns", hint[hint.index("--drop") :]))
    assert typed[::2] == ["--drop", "--columns"]
    assert choose("x.parquet", columns, ("label",), drop=words("--drop", typed[1])).left == (name,)
    assert choose("x.parquet", columns, ("label",), words("--columns", typed[3])).left == (name,)


def test_a_column_without_a_name_is_a_rows_number_and_a_list_without_one_is_none() -> None:
    columns = [Column("", "integer"), Column("f0", "float"), Column("f1", "float")]
    choice = choose("x.parquet", columns, ("label",))
    assert choice.taken == ("f0", "f1")
    assert "''" in choice.told()
    assert choose("x.parquet", [Column("", "list"), Column("score", "float")], ("label",)).taken == ("",)
    for table in ([Column("Unnamed: 0", "float"), Column("Unnamed: 1", "float")], [Column("", "integer")]):
        with pytest.raises(WbltrError) as caught:
            choose("x.parquet", table, ("label",))
        assert (table[-1].name or "''") in caught.value.message
        assert "--columns" in caught.value.hint


def test_a_name_that_is_suggested_stays_on_one_line() -> None:
    assert closest("new line", ["new\nline"]).isprintable()
