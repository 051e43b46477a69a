"""The paper's tables as plain data: its rows, what others published, and our own figures beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wbltr.report import paper
from wbltr.report.provenance import OfRow, departures, of_table, other_settings
from wbltr.report.results import SPLITS, Spread
from wbltr.report.words import label, selection

Found = Mapping[str, Mapping[str, Spread]]  # row → `all`, `many`, `medium`, `few` → what was measured; of one recipe

COLUMNS = (*SPLITS, "all")
FACTORS = (100, 50, 10)
LAST_LAYER = (
    "naive", "naive-tau", "first stage", "tau", "l2",
    "ce-l2", "ce-wd", "ce-max", "ce-max-default-wd", "ce-wd-max",
    "cb", "cb-l2", "cb-wd", "cb-max", "cb-max-default-wd", "cb-wd-max",
)  # fmt: skip
TABLE_4_ALONE = ("ce-max", "ce-max-default-wd", "ce-wd-max", "cb-max-default-wd")
ABLATIONS: dict[int, dict[str, tuple[str, ...]]] = {
    1: {
        "the last layer": tuple(row for row in LAST_LAYER if row not in TABLE_4_ALONE),
        "the last two layers": ("cb-wd-max-last2",),
    },
    4: {
        "the last layer": LAST_LAYER,
        "the last two layers": ("ce-wd-max-last2", "cb-wd-max-last2"),
        "the last five layers": ("ce-wd-max-last5", "cb-wd-max-last5"),
    },
}  # fmt: skip
BENCHMARK = ("naive", "first stage", "l2", "tau", "cb-wd", "cb-max", "cb-wd-max")  # Tables 2 and 3
LARGE = {"imagenet-lt": "ImageNet-LT", "inaturalist18": "iNaturalist 2018"}
PROTOCOL = (
    "paper: tuned on the test set, which is its validation set on CIFAR-100 and iNaturalist; its code keeps the epoch that "
    "is best on test, and averages over an image and its mirror image"
)


@dataclass(frozen=True)
class Line:
    """One row of a table.

    Attributes:
        label: as the paper names it.
        row: our name of it; empty for another system.
        paper: what the paper prints, a figure a column; None for a dash.
        ours: what was measured here, a figure a column; empty where nothing is finished.
    """

    label: str
    row: str
    paper: tuple[float | None, ...]
    ours: tuple[Spread, ...] = ()


@dataclass(frozen=True)
class Section:
    """Rows under one heading."""

    title: str
    lines: tuple[Line, ...]

    @property
    def has_ours(self) -> bool:
        """Whether any figure was measured here."""
        return any(line.ours for line in self.lines)


@dataclass(frozen=True)
class Table:
    """A table to be rendered.

    Attributes:
        number: the paper's.
        title: one line.
        columns: of the paper's figures and, again, of ours.
        sections: in order.
        caption: what the figures are of, and how ours were measured; a line each.
        digits: decimals that the paper prints.
    """

    number: int
    title: str
    columns: tuple[str, ...]
    sections: tuple[Section, ...]
    caption: tuple[str, ...]
    digits: int = 2

    @property
    def has_paper(self) -> bool:
        """Whether the paper prints anything of this."""
        return any(figure is not None for section in self.sections for line in section.lines for figure in line.paper)

    @property
    def has_ours(self) -> bool:
        """Whether any figure was measured here."""
        return any(section.has_ours for section in self.sections)

    def with_caption(self, lines: Iterable[str]) -> Table:
        """The same with more lines below it."""
        return replace(self, caption=(*self.caption, *lines))


def rows_of(number: int, recipe: Any) -> tuple[str, ...]:
    """Our names of the rows that a table has of one recipe."""
    if number == 2:
        return tuple(_at(row, recipe.dataset.source, recipe.dataset.imbalance_factor) for row in BENCHMARK)
    return BENCHMARK if number == 3 else tuple(row for rows in ABLATIONS[number].values() for row in rows)


def ablation(number: int, recipe: Any, found: Found) -> Table:
    """Table 1 or 4: the second stage's rows, each with many, medium, few and all.

    Args:
        number: 1 or 4.
        recipe: resolved; the paper has figures for CIFAR100-LT, at factors 50 and 10 of Table 2's rows alone.
        found: what is finished.
    """
    source, factor = recipe.dataset.source, recipe.dataset.imbalance_factor
    sections = tuple(
        Section(title, tuple(_line(row, source, factor, found, recipe.classifier.loss) for row in rows))
        for title, rows in ABLATIONS[number].items()
    )
    where = source if factor is None else f"{source}, imbalance factor {factor:g}"
    caption = [f"{where}; per cent, mean over classes of top-1 accuracy"]
    if source == "cifar100" and factor == 100:
        caption += [f"{PROTOCOL}; τ 1.0 for naive, 1.9 for the first stage", *_released()]
    title = f"Table {number}: " + ("ablation study" if number == 1 else "detailed ablation study") + f", {where}"
    return Table(number, title, COLUMNS, sections, tuple(caption))


def benchmark_cifar(recipe: Any, found: Mapping[int, Found]) -> Table:
    """Table 2: CIFAR100-LT at three imbalance factors, all classes.

    Args:
        recipe: resolved, of any factor.
        found: imbalance factor → what is finished.
    """
    source = recipe.dataset.source
    sections = []
    if source == "cifar100":
        others = tuple(Line(name, "", figures) for name, figures in paper.others_at(FACTORS).items())
        sections.append(Section("other systems", others))
    lines = []
    for row in BENCHMARK:
        rows = [_at(row, source, factor) for factor in FACTORS]
        printed = [paper.figures(source, factor, at) for factor, at in zip(FACTORS, rows, strict=True)]
        own = tuple(
            found.get(factor, {}).get(at, {}).get("all", Spread(None, None, 0))
            for factor, at in zip(FACTORS, rows, strict=True)
        )
        figures = tuple(None if one is None else one.all for one in printed)
        lines.append(Line(_label(row, recipe.classifier.loss), row, figures, own if any(s.n for s in own) else ()))
    sections.append(Section("weight balancing", tuple(lines)))
    caption = ["per cent, mean over all classes of top-1 accuracy, at imbalance factors 100, 50 and 10"]
    if source == "cifar100":
        single, decayed = (label(row).removeprefix("+ ") for row in ("cb-max", "cb-max-default-wd"))
        same = paper.figures(source, 100, "cb-max")
        assert same is not None
        caption += [PROTOCOL, f"at factor 100 the row {single} is Table 4's {decayed}; {single} there is {same.all:.2f}"]
    columns = tuple(f"IF {factor}" for factor in FACTORS)
    return Table(2, f"Table 2: benchmark, {source} at three imbalance factors", columns, tuple(sections), tuple(caption))


def benchmark_large(found: Mapping[str, Found]) -> Table:
    """Table 3: ImageNet-LT and iNaturalist 2018, each with many, medium, few and all.

    Args:
        found: `imagenet-lt`, `inaturalist18` → what is finished.
    """
    sections = []
    for source, name in LARGE.items():
        for apart, title in ((False, "other systems"), (True, "others, bells and whistles")):
            listed = paper.others(source, bells_and_whistles=apart).items()
            sections.append(Section(f"{name}: {title}", tuple(Line(system, "", _figures(row)) for system, row in listed)))
        lines = tuple(_line(row, source, None, found.get(source, {}), "cb") for row in BENCHMARK)
        sections.append(Section(f"{name}: weight balancing", lines))
    caption = (
        "per cent, mean over classes of top-1 accuracy; paper: ResNeXt-50 on ImageNet-LT, tuned on its validation set; "
        "ResNet-50 on iNaturalist 2018, tuned on the set that is reported",
        "bells and whistles: ensembles, aggressive augmentation, self-supervised pretraining",
    )
    return Table(3, "Table 3: benchmark, ImageNet-LT and iNaturalist 2018", COLUMNS, tuple(sections), caption, digits=1)


def protocol(recipe: Any, seeds: Iterable[int], rows: Mapping[str, OfRow] | None = None) -> list[str]:
    """How our figures of one recipe were measured, so that nobody takes them for the paper's protocol; a line each.

    Args:
        recipe: resolved.
        seeds: of the runs.
        rows: name → what is behind it; None: no more than the recipe.
    """
    several = sorted(set(seeds))
    settings, differing = (other_settings(recipe), departures(recipe)) if rows is None else of_table(recipe, rows)
    chosen = selection(recipe)
    if chosen != "last epoch":
        settings = [f"{words}, which flatters" if words == chosen else words for words in settings]
    tau = "τ chosen on validation" if recipe.posthoc.tau == "val" else f"τ {recipe.posthoc.tau:g}"
    runs = f"mean ± standard deviation over seeds {', '.join(map(str, several))}" if len(several) > 1 else f"seed {several[0]}"
    lines = [f"ours: {', '.join([recipe.name, *settings])}, {tau}, {recipe.eval.on} part, {runs}"]
    return lines + ([f"ours differs from the paper: {', '.join(differing)}"] if differing else [])


def _at(row: str, source: str, factor: float | None) -> str:
    """Table 2's rows under the names that Table 4 has for them."""
    return "cb-max-default-wd" if (row, source, factor) == ("cb-max", "cifar100", 100) else row


def _line(row: str, source: str, factor: float | None, found: Found, loss: str) -> Line:
    printed = paper.figures(source, factor, row)
    own = tuple(found[row][column] for column in COLUMNS) if row in found else ()
    return Line(_label(row, loss), row, (None,) * 4 if printed is None else _figures(printed), own)


def _label(row: str, loss: str) -> str:
    """A row's name where its section already says how many layers."""
    return label(row, loss).partition(", last ")[0]


def _figures(row: paper.PaperRow) -> tuple[float | None, ...]:
    return (row.many, row.medium, row.few, row.all)


def _released() -> list[str]:
    return [
        f"released code (ResNet-34, 320 epochs), all classes, {how}: "
        + ", ".join(f"{label(row)} {figure:.1f}" for row, figure in rows.items())
        for how, rows in paper.released().items()
    ]


def document(table: Table) -> list[dict[str, Any]]:
    """The table's rows as JSON values."""
    return [
        {
            "section": section.title,
            "label": line.label,
            "row": line.row or None,
            "paper": dict(zip(table.columns, line.paper, strict=True)),
            "ours": dict(zip(table.columns, (_json(spread) for spread in line.ours), strict=True)) if line.ours else None,
        }
        for section in table.sections
        for line in section.lines
    ]


def _json(spread: Spread) -> dict[str, Any]:
    return {"mean": spread.mean, "sd": spread.sd, "n": spread.n}


def figure(value: float | None, digits: int, nothing: str) -> str:
    """A figure of a table; `nothing` stands for what is not there."""
    return nothing if value is None else f"{value:.{digits}f}"


def cells(table: Table, section: Section, nothing: str = "n/a", *, ours: bool, narrow: bool = False) -> list[list[str]]:
    """A section's rows as text: label, the paper's figures, ours.

    Args:
        nothing: what stands for a figure that is not there.
        ours: whether to give our columns.
        narrow: for a terminal: of four columns only the last one, all classes, has its deviation.
    """
    empty: Sequence[Spread] = (Spread(None, None, 0),) * len(table.columns)
    rows = []
    for line in section.lines:
        printed = [figure(value, table.digits, nothing) for value in line.paper] if table.has_paper else []
        measured = line.ours or empty
        if narrow and len(measured) == len(COLUMNS):
            measured = [*(replace(spread, sd=None) for spread in measured[:-1]), measured[-1]]
        own = [_spread(spread, table.digits, nothing) for spread in measured] if ours else []
        rows.append([line.label, *printed, *own])
    return rows


def _spread(spread: Spread, digits: int, nothing: str) -> str:
    mean = figure(spread.mean, digits, nothing)
    return mean if spread.sd is None else f"{mean} ± {spread.sd:.{digits}f}"


def headings(table: Table, *, ours: bool) -> list[str]:
    """Names of the columns after the label's: the paper's, then ours."""
    own = [f"ours: {table.columns[0]}", *table.columns[1:]] if ours else []
    return [*(table.columns if table.has_paper else ()), *own]
