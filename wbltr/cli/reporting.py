"""`report`: a page, or with --table the paper's tables with our finished figures beside them. Looks up, and makes nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from wbltr.cli.behind import behind
from wbltr.cli.console import Console
from wbltr.cli.request import Request
from wbltr.cli.seeds import seed_list, with_seed
from wbltr.cli.writing import expanded, suffix_of, write_file
from wbltr.errors import WbltrError, closest
from wbltr.pipeline import Artifact, Runtime, planned
from wbltr.recipe import Recipe
from wbltr.recipe_file import load_recipe, recipe_names
from wbltr.report import formats, tables
from wbltr.report.provenance import OfRow
from wbltr.report.results import Spread, accuracies, spread
from wbltr.report.tables import Table
from wbltr.report.words import count, label
from wbltr.stages import Chain, Lineage, datasets_of, settle_precision, settle_teachers, settle_weights
from wbltr.store import Store

RENDERED = {"markdown": formats.markdown, "latex": formats.latex, "csv": formats.comma_separated}
FORMATS = ("text", *RENDERED)
PAGE = "html"
ENDINGS = {".md": "markdown", ".tex": "latex", ".csv": "csv"}
DEFAULT = "cifar100-ir100"  # of tables 1, 2 and 4


@dataclass
class Finished:
    """What a store has of one recipe's rows.

    Attributes:
        recipe: as read, or None where wbltr has no such recipe.
        asked: how it is named on the command line.
        rows: row → its figures.
        artifacts: row → ids of the evals that they are from.
        behind: row as it is named → what its last eval came from.
        seeds: of the runs that are in them.
        missing: rows that are not finished.
    """

    recipe: Recipe | None
    asked: tuple[str, ...]
    rows: dict[str, dict[str, Spread]] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    behind: dict[str, OfRow] = field(default_factory=dict)
    seeds: set[int] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)


def report(request: Request, table: str | None, kind: str | None, out: Path | None) -> None:
    """Write a page of what is finished; with --table print one of the paper's tables, or write it to a file."""
    if table is None and _is_page(kind, out):
        from wbltr.cli import paging

        paging.report(request, out)
        return
    for option, given in (("--from", request.start), ("--root", request.root)):
        if given is not None:
            raise WbltrError(f"{option}: a table of the paper does not read it", "it belongs to the page: no --table", "usage")
    number = _number(table)
    kind = _format(kind, out)
    built, finished = _built(number, request, _store(request))
    missing = _missing(finished, request)
    if not (built.has_paper or built.has_ours):
        name, _, command = missing[0]
        raise WbltrError(f"{name}: none of these rows is finished, and the paper has no figures for them", command, "missing")
    console = Console(json=request.json, quiet=request.quiet, no_color=request.no_color)
    if out is not None:
        path = expanded(out)
        write_file(path, RENDERED[kind](built).encode())
    if request.json:
        told = {
            "artifacts": {one.asked[1]: one.artifacts for one in finished},
            "missing": [{"recipe": name, "rows": rows, "next": command} for name, rows, command in missing],
            "file": None if out is None else str(path),
        }
        body = {"title": built.title, "rows": tables.document(built), "caption": list(built.caption)}
        console.document({"schema": 1, "command": "report", "table": number, **body, **told})
        return
    if out is not None:
        console.result(str(path), one_line=True)
    elif kind == "text":
        show(console, built)
    else:
        console.carry_data()
        console.result(RENDERED[kind](built).rstrip("\n"))
    for name, rows, command in missing:
        console.notice(f"{name}: {count(len(rows), 'row')} not finished ({', '.join(rows)}); {command}")


def _is_page(kind: str | None, out: Path | None) -> bool:
    """Whether --format and --out, as far as they are given, are those of a page."""
    if kind is None:
        return out is None or out.suffix not in ENDINGS
    return kind == PAGE


def _number(table: str | None) -> int:
    if table is None:
        raise WbltrError("report: which table?", "wbltr report --table 1, 2, 3 or 4", "usage")
    if table not in ("1", "2", "3", "4"):
        raise WbltrError(f"--table: the paper has no table '{table}'", "use --table 1, 2, 3 or 4", "usage")
    return int(table)


def _format(kind: str | None, out: Path | None) -> str:
    """--format, or what --out ends in; refused where the two or the place do not fit."""
    if kind == PAGE:
        raise WbltrError("--format html: that is the page, which has no table of the paper", "leave --table out", "usage")
    if kind is not None and kind not in FORMATS:
        raise WbltrError(
            f"--format: no format '{kind}'.{closest(kind, list(FORMATS))}", f"one of {', '.join(FORMATS)}", "usage"
        )
    if out is None:
        return kind or "text"
    ending = ENDINGS[suffix_of(out, tuple(ENDINGS))]
    if kind not in (None, ending):
        raise WbltrError(f"--out {out}: its ending is that of {ending}, --format says {kind}", "leave --format out", "usage")
    return ending


def _store(request: Request) -> Store | None:
    """The store, or None where nothing was ever made: the paper's figures are worth printing then, too."""
    try:
        return Store.open(request.store, create=False)
    except WbltrError as error:
        if error.code != "missing":
            raise
        return None


def _built(number: int, request: Request, store: Store | None) -> tuple[Table, list[Finished]]:
    if number == 3:
        found = {source: _finished(store, request, number, _large(source, request)) for source in tables.LARGE}
        built = tables.benchmark_large({source: one.rows for source, one in found.items()})
        return _captioned(built, found.values()), list(found.values())
    asked = request.recipe or DEFAULT
    if number != 2:
        one = _finished(store, request, number, ("--recipe", asked))
        return _captioned(tables.ablation(number, one.recipe, one.rows), [one]), [one]
    at = {factor: _finished(store, request, number, _at(asked, factor)) for factor in tables.FACTORS}
    built = tables.benchmark_cifar(at[100].recipe, {factor: one.rows for factor, one in at.items()})
    return _captioned(built, at.values()), list(at.values())


def _large(source: str, request: Request) -> tuple[str, ...]:
    """The recipe of one half of table 3: --recipe where its name begins alike."""
    asked = request.recipe
    if asked is not None and not any(Path(asked).name.startswith(name) for name in tables.LARGE):
        known = " or ".join(tables.LARGE)
        raise WbltrError(f"--recipe {asked}: table 3 is of {known}", f"name a recipe that begins with {known}", "usage")
    return ("--recipe", asked if asked is not None and Path(asked).name.startswith(source) else source)


def _at(asked: str, factor: int) -> tuple[str, ...]:
    """The same recipe at another imbalance factor: the one that is named so, else with the factor set."""
    named = asked.replace("ir100", f"ir{factor}")
    if named in recipe_names() and "ir100" in asked:
        return ("--recipe", named)
    return ("--recipe", asked, "--set", f"dataset.imbalance_factor={factor}")


def _finished(store: Store | None, request: Request, number: int, asked: tuple[str, ...]) -> Finished:
    """Look up every row of a table."""
    if number == 3 and asked[1] in tables.LARGE and asked[1] not in recipe_names():
        return Finished(None, asked, missing=list(tables.BENCHMARK))
    recipe = load_recipe(asked[1], [*asked[3:], *request.set])
    if store is not None:
        recipe, _ = settle_weights(store, recipe)
    found = Finished(recipe, asked)
    seeds = seed_list(request) or (recipe.features.seed,)
    several = [recipe if request.seeds is None else with_seed(recipe, seed) for seed in seeds]
    for row in tables.rows_of(number, recipe):
        evals: dict[str, tuple[int, dict[str, float | None]]] = {}
        for one in several if store is not None else []:
            assert store is not None
            made = _look_up(store, one, row)
            if made is not None:
                tensors = store.load(made.object_id, ("accuracy.",))
                evals.setdefault(made.object_id, (one.features.seed, accuracies(tensors)))
                found.behind[label(row, recipe.classifier.loss)] = behind(store, one, made, row)
        if not evals:
            found.missing.append(row)
            continue
        measured = [figures for _, figures in evals.values()]
        found.rows[row] = {column: spread(figures[column] for figures in measured) for column in tables.COLUMNS}
        found.artifacts[row] = list(evals)
        found.seeds |= {seed for seed, _ in evals.values()}
    return found


def _look_up(store: Store, recipe: Recipe, row: str) -> Artifact | None:
    """The finished eval of a row; None also where the recipe lacks what the row needs."""
    if not (recipe.dataset.listed or recipe.dataset.own):
        return _look_up_of(store, recipe, row, "")
    # Where the images lie is not known here, but what was made of them is; the newest that has this row.
    found = (_look_up_of(store, recipe, row, one.inputs["source"]) for one in datasets_of(store, recipe))
    return next((one for one in found if one is not None), None)


def _look_up_of(store: Store, recipe: Recipe, row: str, source: str) -> Artifact | None:
    try:
        recipe, teachers = settle_teachers(store, recipe)
        settled = settle_precision(store, recipe, Runtime(), source, teachers)
        node = Chain(settled, Lineage(source=source, teachers=teachers)).measured(row)
    except WbltrError as error:
        if error.code not in ("recipe", "usage"):
            raise
        return None
    return planned(store, node)[-1][1]


def _captioned(table: Table, finished: Iterable[Finished]) -> Table:
    """The table with how our figures were measured."""
    ours = (one for one in finished if one.recipe is not None and one.rows)
    return table.with_caption(line for one in ours for line in tables.protocol(one.recipe, one.seeds, one.behind))


def _missing(finished: Iterable[Finished], request: Request) -> list[tuple[str, list[str], str]]:
    """Rows that are not finished, with what makes them."""
    told = []
    for one in finished:
        if not one.missing:
            continue
        if one.recipe is None:
            told.append((one.asked[1], one.missing, f"there is no recipe {one.asked[1]} here"))
            continue
        words = ["wbltr", "run", *one.asked, *(word for text in request.set for word in ("--set", text))]
        words += ["--set", f"rows=[{', '.join(one.missing)}]", *(("--seeds", request.seeds) if request.seeds else ())]
        told.append((one.asked[1], one.missing, f"make them: {shlex.join(words)}"))
    return told


def show(console: Console, table: Table) -> None:
    """A table a section, their columns in line."""
    width = max(len(line.label) for section in table.sections for line in section.lines)
    width = max(width, *(len(section.title) for section in table.sections))
    console.notice(table.title)
    for section in table.sections:
        ours = section.has_ours or not table.has_paper
        columns = (section.title.ljust(width), *tables.headings(table, ours=ours))
        rows = [[row[0].ljust(width), *row[1:]] for row in tables.cells(table, section, ours=ours, narrow=True)]
        last = section is table.sections[-1]
        console.table(columns, rows, "\n".join(table.caption) if last else "")
