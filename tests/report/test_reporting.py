"""`wbltr report --table`: our finished figures beside the paper's; nothing is made."""

from __future__ import annotations

import csv
import io
import shlex
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import SHORT, Wbltr

from wbltr.recipe_file import load_recipe
from wbltr.store import Store

SHORT_RECIPE = ("--recipe", "digits-ir50", *(word for word in SHORT if word not in ("--threads", "1")))


@pytest.mark.parametrize(
    ("table", "figures"), [(1, ["53.35", "53.55"]), (2, ["68.67", "64.20"]), (3, ["53.9", "73.1"]), (4, ["51.45"])]
)
def test_without_anything_finished_the_papers_figures_stand_alone(wbltr: Wbltr, table: int, figures: list[str]) -> None:
    said = wbltr("report", "--table", table)
    assert said.code == 0, said.err
    assert all(figure in said.out for figure in figures)
    assert "ours" not in said.out
    assert "rows not finished" in said.err
    assert "wbltr run --recipe" in said.err
    assert list(Path().iterdir()) == [], "and no store is made"


def test_ours_are_what_eval_measured_and_nothing_is_made(copied: Wbltr) -> None:
    before = sorted(Path().rglob("*"))
    document = copied("report", "--table", "1", *SHORT_RECIPE, "--json").document
    measured = copied("eval", "--json").document
    ours = {row["row"]: row["ours"] for row in document["rows"]}
    assert {column: ours["cb-wd-max"][column]["mean"] for column in ("all", "many", "medium", "few")} == measured["accuracy"]
    assert ours["cb-wd-max"]["all"] == {"mean": measured["accuracy"]["all"], "sd": None, "n": 1}
    assert document["artifacts"]["digits-ir50"]["cb-wd-max"] == [measured["artifact"]]
    assert [row for row in ours if ours[row] is not None] == ["first stage", "tau", "l2", "cb-wd-max"]
    assert ours["naive"] is None
    assert sorted(path for path in Path().rglob("*") if "latest" not in path.parts) == sorted(
        path for path in before if "latest" not in path.parts
    )


def test_the_command_that_is_named_makes_what_is_missing(copied: Wbltr) -> None:
    wanted = ("report", "--table", "2", *SHORT_RECIPE)
    missing = copied(*wanted, "--json").document["missing"]
    assert [len(one["rows"]) for one in missing] == [7, 3, 7]
    command = shlex.split(missing[1]["next"].removeprefix("make them: "))
    made = copied(*command[1:], "--threads", "1", "-q")
    assert made.code == 0, made.err
    left = copied(*wanted, "--json").document["missing"]
    assert [one["rows"] for one in left] == [one["rows"] for one in missing if one is not missing[1]]


def test_over_seeds_there_is_a_mean_of_what_is_finished(copied: Wbltr) -> None:
    assert copied("run", "--recipe", "digits-ir50", *SHORT, "--seed", "1", "-q").code == 0
    document = copied("report", "--table", "1", *SHORT_RECIPE, "--seeds", "0,1,2", "--json").document
    row = next(row for row in document["rows"] if row["row"] == "cb-wd-max")
    assert row["ours"]["all"]["n"] == 2
    assert row["ours"]["all"]["sd"] is not None
    assert any("seeds 0, 1" in line for line in document["caption"])
    said = copied("report", "--table", "1", *SHORT_RECIPE, "--seeds", "0,1,2")
    assert "±" in said.out
    assert "--seeds 0,1,2" in said.err


def test_a_set_that_neither_the_paper_nor_the_store_has_is_an_error_with_the_command_to_type(wbltr: Wbltr) -> None:
    said = wbltr("report", "--table", "4", "--recipe", "digits-ir50")
    assert said.code == 3
    assert said.out == ""
    assert "none of these rows is finished" in said.err
    assert "wbltr run --recipe digits-ir50 --set 'rows=[naive, naive-tau, first stage," in said.err


def test_a_table_is_written_in_the_format_of_its_ending(copied: Wbltr) -> None:
    for name, beginning in (("t.md", "**Table 1"), ("t.tex", "% needs"), ("t.csv", "section,row,label")):
        said = copied("report", "--table", "1", *SHORT_RECIPE, "--out", name)
        assert (said.code, said.out) == (0, f"{name}\n"), said.err
        assert Path(name).read_text().startswith(beginning)
        kind = {"md": "markdown", "tex": "latex", "csv": "csv"}[name.partition(".")[2]]
        assert copied("report", "--table", "1", *SHORT_RECIPE, "--format", kind).out == Path(name).read_text()
    rows = list(csv.DictReader(io.StringIO(Path("t.csv").read_text())))
    assert [row["row"] for row in rows if row["ours all"]] == ["first stage", "tau", "l2", "cb-wd-max"]


@pytest.mark.parametrize("recipe", ["cifar100-ir100", "cifar100-ir100-resnet32", "digits-ir50"])
def test_table_2_looks_at_the_same_recipe_at_each_factor(wbltr: Wbltr, recipe: str) -> None:
    given = ("--recipe", recipe, "--set", "features.epochs=7")
    said = wbltr("report", "--table", "2", *given, "--json")
    if said.code == 3:  # digits, which the paper does not have
        assert "dataset.imbalance_factor=100" in said.document["error"]["hint"]
        return
    commands = [shlex.split(one["next"].removeprefix("make them: ")) for one in said.document["missing"]]
    found = [load_recipe(command[3], [word for before, word in pairwise(command) if before == "--set"]) for command in commands]
    assert [one.dataset.imbalance_factor for one in found] == [100, 50, 10]
    assert {one.features.network for one in found} == {load_recipe(recipe).features.network}
    assert {one.features.epochs for one in found} == {7}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--format", "text"], 2, ["which table", "--table 1"]),
        (["--table", "5"], 2, ["no table '5'"]),
        (["--table", "one"], 2, ["no table 'one'"]),
        (["--table", "1", "--format", "markdwon"], 2, ["Did you mean 'markdown'?"]),
        (["--table", "1", "--out", "t.html"], 2, ["'.html'", ".md, .tex, .csv"]),
        (["--table", "1", "--out", "t.md", "--format", "csv"], 2, ["t.md", "csv"]),
        (["--table", "1", "--out", "no/such/t.md"], 6, ["no/such"]),
        (["--table", "1", "--recipe", "cifar100-ir1000"], 2, ["Did you mean 'cifar100-ir100'?"]),
        (["--table", "3", "--recipe", "digits-ir50"], 2, ["table 3 is of imagenet-lt or inaturalist18"]),
        (["--table", "1", "--set", "features.epoch=1"], 2, ["Did you mean 'epochs'?"]),
        (["--table", "1", "--seeds", "0,x"], 2, ["'x'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_bad_input_gets_one_line_and_its_exit_code(wbltr: Wbltr, arguments: list[str], code: int, words: list[str]) -> None:
    said = wbltr("report", *arguments)
    assert said.code == code, said.err
    assert said.out == ""
    assert said.err.count("error:") == 1
    for word in words:
        assert word in said.err, said.err
    assert list(Path().iterdir()) == []


def test_a_damaged_measurement_is_not_printed(copied: Wbltr) -> None:
    store = Store.open(create=False)
    evals = [record["object"] for _, record in store.records() if record["stage"] == "eval"]
    victim = next(path for path in Path().rglob("*.safetensors") if evals[0] in "".join(path.parts).replace(".safetensors", ""))
    victim.chmod(0o644)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    said = copied("report", "--table", "1", *SHORT_RECIPE)
    assert said.code == 4, said.err
    assert said.out == ""
