"""Rows: the named heads of a table. The paper's by their names, the others as losses, heads and adjustments say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LOSSES
from wbltr.methods.settings import Method, Table

# The paper's Table 4, in its order; `-default-wd`: the first stage's weight decay; `-last2`: the last two layers.
Table4Row = Literal[
    "naive", "naive-tau",
    "first stage", "tau", "l2",
    "ce", "ce-l2", "ce-wd", "ce-max", "ce-max-default-wd", "ce-wd-max",
    "cb", "cb-l2", "cb-wd", "cb-max", "cb-max-default-wd", "cb-wd-max",
    "ce-wd-max-last2", "cb-wd-max-last2", "ce-wd-max-last5", "cb-wd-max-last5",
]  # fmt: skip
Row = str  # the name of an entry of `ROWS`
PARTS = {"wd": "WD", "max": "MaxNorm", "l2": "L2", "default": "default-WD"}  # of the paper's rows
PAPER = "Alshammari et al., CVPR 2022, Table 4"


@dataclass(frozen=True)
class TableRow(Method):
    """One row, on a recipe's first stage.

    Attributes:
        loss, parts, layers: of a row of the paper's second stage, as its name has them.
        sets: fields of the classifier section, of another row that is trained or fitted.
        adjustment: of the first stage's head; of the paper's rows with the τ of the posthoc section.
    """

    loss: str = ""
    parts: tuple[str, ...] = ()
    layers: int = 1
    sets: Mapping[str, Any] | None = None
    adjustment: str = ""

    @property
    def own_settings(self) -> bool:
        """Whether an adjustment has settings of its own for this row: `heads.ROW`."""
        return bool(self.adjustment) and self.name not in get_args(Table4Row)


def _papers(name: str) -> TableRow:
    if name in ADJUSTMENTS:
        return TableRow(name, f"+ {ADJUSTMENTS[name].label}", ADJUSTMENTS[name].words, PAPER, adjustment=name)
    loss, *parts = name.replace("default-wd", "default").split("-")
    if loss not in LOSSES:
        of = {"naive": "the first stage without weight decay", "naive-tau": "the naive one, τ-normalised"}
        return TableRow(name, name.replace("-tau", " + τ-norm"), of.get(name, "the first stage's own head"), PAPER)
    layers = next((int(part.removeprefix("last")) for part in parts if part.startswith("last")), 1)
    kept = tuple(part for part in parts if part in PARTS)
    label = "+ " + " & ".join([LOSSES[loss].label, *(PARTS[part] for part in kept)])
    label += f", last {layers} layers" if layers > 1 else ""
    words = LOSSES[loss].words + (f"; with {' & '.join(PARTS[part] for part in kept)}" if kept else "")
    words += f", of the last {layers} layers" if layers > 1 else ""
    return TableRow(name, label, words, PAPER, loss=loss, parts=kept, layers=layers)


def _others() -> list[TableRow]:
    rows = [TableRow(a.name, f"+ {a.label}", a.words, a.source, adjustment=a.name) for a in ADJUSTMENTS.values() if a.row]
    words, sets = (
        "the linear head again, from fresh weights, classes drawn alike",
        {"init": "fresh", "sampling": "class-balanced"},
    )
    rows.append(TableRow("crt", "+ cRT", words, "Kang et al., ICLR 2020, section 4.1", sets=sets))
    for head in (head for head in HEADS.values() if head.row is not None):
        start = {"init": "features"} if head.starts_from != "any" else {}
        sets = {"head": head.value, **start, **(head.row or {})}
        rows.append(TableRow(head.name, f"+ {head.label}", head.words, head.source, sets=sets))
    for loss in (loss for loss in LOSSES.values() if loss.row is not None):
        label, sets = loss.row_label or loss.label, {"loss": loss.name, **(loss.row or {})}
        rows.append(TableRow(loss.name, f"+ {label}", loss.words, loss.source, sets=sets))
    return rows


ROWS = Table(
    "row",
    "heads of a table on one first stage: rows, heads.NAME, wbltr compare --heads NAME",
    *map(_papers, get_args(Table4Row)),
    *_others(),
)
