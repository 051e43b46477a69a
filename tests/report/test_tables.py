from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wbltr.cli.console import Console
from wbltr.cli.reporting import show
from wbltr.recipe import Recipe
from wbltr.recipe_file import load_recipe
from wbltr.report import tables
from wbltr.report.formats import comma_separated, csv_line, escaped, latex, markdown
from wbltr.report.results import Spread
from wbltr.report.tables import COLUMNS, Found, Table, ablation, benchmark_cifar, benchmark_large

ENDS = ("a\rb", "a\nb", "\r\n", "\r", "\x1c", "\x85", "\u2028")
CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
CELLS |= st.sampled_from(("", " a", "a ", 'a"b', '"', '""', "a,b", "a;b", "a\tb", "=1", "\ufeff", *ENDS))


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe("cifar100-ir100")


def measured(*rows: str, sd: float | None = None) -> dict[str, dict[str, Spread]]:
    return {row: {column: Spread(10.0 + place, sd, 3) for place, column in enumerate(COLUMNS)} for row in rows}


def printed(table: Table) -> list[float]:
    return [figure for section in table.sections for line in section.lines for figure in line.paper if figure is not None]


def test_every_figure_of_table_1_is_in_table_4(recipe: Recipe) -> None:
    first, fourth = (
        {(section.title, line.row): line.paper for section in ablation(number, recipe, {}).sections for line in section.lines}
        for number in (1, 4)
    )
    assert len(first) == 13
    assert len(fourth) == 20
    assert {place: fourth[place] for place in first} == first


def test_columns_stand_in_the_papers_order(recipe: Recipe) -> None:
    table = ablation(4, recipe, measured("cb-wd-max"))
    assert table.columns == ("many", "medium", "few", "all")
    last = table.sections[0].lines[-1]
    assert last.paper == (72.60, 51.86, 32.63, 53.35)
    assert [spread.mean for spread in last.ours] == [10.0, 11.0, 12.0, 13.0]
    assert tables.headings(table, ours=True) == ["many", "medium", "few", "all", "ours: many", "medium", "few", "all"]


def test_table_2_has_table_4s_figures_at_factor_100(recipe: Recipe) -> None:
    table = benchmark_cifar(recipe, {})
    own = {line.row: line.paper[0] for line in table.sections[-1].lines}
    fourth = {line.row: line.paper[-1] for section in ablation(4, recipe, {}).sections for line in section.lines}
    assert own.pop("cb-max") == fourth["cb-max-default-wd"] == 50.24
    assert own == {row: fourth[row] for row in own}
    assert any("is Table 4's CB & MaxNorm & default-WD; CB & MaxNorm there is 50.20" in line for line in table.caption)


def test_table_2_sets_ours_beside_the_row_that_the_paper_prints(recipe: Recipe) -> None:
    table = benchmark_cifar(recipe, {100: measured("cb-max-default-wd"), 50: measured("cb-max")})
    line = next(line for line in table.sections[-1].lines if line.row == "cb-max")
    assert [spread.mean for spread in line.ours] == [13.0, 13.0, None]
    assert tables.rows_of(2, recipe) == ("naive", "first stage", "l2", "tau", "cb-wd", "cb-max-default-wd", "cb-wd-max")
    assert "cb-max" in tables.rows_of(2, load_recipe("cifar100-ir50"))


def test_table_3_has_both_large_sets_and_all_that_is_printed_of_them() -> None:
    table = benchmark_large({"imagenet-lt": measured("naive")})
    assert len(table.sections) == 6
    assert len(printed(table)) == 12 * 4 + 13 + 7 * 4 + 9 * 4 + 2 + 8 + 2 + 7 * 4
    assert [section.has_ours for section in table.sections] == [False, False, True, False, False, False]


def test_of_another_set_there_are_no_figures_of_the_papers_and_no_columns_for_them() -> None:
    digits = load_recipe("digits-ir50")
    table = ablation(1, digits, measured("naive"))
    assert not table.has_paper
    assert tables.headings(table, ours=True) == ["ours: many", "medium", "few", "all"]
    assert not any("paper" in line or "released" in line for line in table.caption)
    assert benchmark_cifar(digits, {}).sections[0].title == "weight balancing"


def test_a_caption_names_how_ours_were_measured(recipe: Recipe) -> None:
    ours, differing = tables.protocol(recipe, [2, 0, 1])
    for word in ("cifar100-ir100", "ResNet-34", "200 epochs", "weight decay 0.005", "τ chosen on validation"):
        assert word in ours
    assert ours.endswith("mean ± standard deviation over seeds 0, 1, 2")
    assert "differs from the paper: last epoch instead of the best on test, no flip averaging" in differing
    flattering = load_recipe("cifar100-ir100", ["eval.flip=true", "features.select=best-test"])
    told = "\n".join(tables.protocol(flattering, [0]))
    assert "best epoch on the test set (features), which flatters, flip averaging" in told
    assert "test part, seed 0" in told
    frozen = ["features={network: resnet18, stem: imagenet, weights: IMAGENET1K_V1, frozen: true}", "classifier.loss=focal"]
    told = "\n".join(tables.protocol(load_recipe("cifar100-ir100", frozen), [0]))
    for word in ("from IMAGENET1K_V1 weights", "frozen network", "ResNet-18 instead of ResNet-34", "focal loss"):
        assert word in told


@pytest.fixture(params=["one run", "three seeds", "nothing"])
def table(request: pytest.FixtureRequest, recipe: Recipe) -> Table:
    found: dict[str, Found] = {
        "one run": measured("naive", "tau"),
        "three seeds": measured("naive", "cb-wd-max-last2", sd=0.25),
        "nothing": {},
    }
    return ablation(4, recipe, found[request.param])


def test_markdown_has_every_row_with_as_many_cells_as_the_heading(table: Table) -> None:
    lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 3 + 20
    assert ("ours: many" in lines[0]) == table.has_ours
    assert "| + CB & WD & MaxNorm | 72.60 | 51.86 | 32.63 | 53.35 |" in markdown(table)
    for line in table.caption:
        assert line in markdown(table)


def test_latex_has_every_row_with_as_many_cells_as_columns_and_no_bare_special_character(table: Table) -> None:
    text = latex(table)
    columns = len(re.findall(r"\\begin\{tabular\}\{(l r*|lr+)\}", text)[0])
    rows = [line for line in text.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {columns - 1}
    assert len(rows) == 1 + 20
    assert text.count("{") == text.count("}")
    assert not re.search(r"(?<!\\)%", text.partition("\n")[2]), "the rest of a line would be lost"
    assert not set("τ±—–") & set(text)


def test_csv_is_read_back_with_the_figures_that_went_in(table: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(comma_separated(table))))
    assert len(rows) == 20
    assert not any(row["label"].startswith("+") for row in rows), "a spreadsheet would take it for a formula"
    by_row = {row["row"]: row for row in rows}
    assert float(by_row["cb-wd-max"]["paper all"]) == 53.35
    ours = {row: (figures["ours many"], figures["ours many sd"], figures["ours many n"]) for row, figures in by_row.items()}
    for section in table.sections:
        for line in section.lines:
            first = line.ours[0] if line.ours else None
            expected = ("", "", "") if first is None else (str(first.mean), "" if first.sd is None else str(first.sd), "3")
            assert ours[line.row] == expected


def test_characters_that_latex_reads_as_commands_are_escaped() -> None:
    assert escaped(r"a_b & 5 % {x} \y τ ± ~^#$") == (
        r"a\_b \& 5 \% \{x\} \textbackslash{}y $\tau$ $\pm$ \textasciitilde{}\textasciicircum{}\#\$"
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_on_a_terminal_keeps_every_figure_whole(
    table: Table, columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    show(Console(), table)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    for figure in printed(table):
        assert f"{figure:.2f}" in out
    assert ("13.00 ± 0.25" in out) == any(spread.sd for s in table.sections for line in s.lines for spread in line.ours)


def test_a_dash_of_the_paper_is_never_a_zero(capsys: pytest.CaptureFixture[str]) -> None:
    table = benchmark_large({})
    show(Console(), table)
    out = capsys.readouterr().out
    assert re.search(r"ACE +n/a +n/a +n/a +56\.6", out)
    assert "| ACE | — | — | — | 56.6 |" in markdown(table)
    assert "ACE,,,,56.6" in comma_separated(table)


@given(st.lists(CELLS, min_size=2, max_size=4))
def test_python_reads_back_every_row_of_csv(cells: list[str]) -> None:
    text = f"{csv_line(cells)}\n"
    assert list(csv.reader(io.StringIO(text * 2, newline=""))) == [cells, cells]
    assert list(csv.reader(io.StringIO(text, newline=""), strict=True)) == [cells]
