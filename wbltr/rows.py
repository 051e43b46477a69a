"""Rows: the named heads of a table, and what each makes of a recipe's classifier section. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import create_model

from wbltr.config import Config, NonNegative, Positive, Teacher, fields_of
from wbltr.errors import WbltrError
from wbltr.methods.heads import HEADS, SETTINGS
from wbltr.methods.losses import LOSSES

# The paper's Table 4, in its order; `-default-wd`: the first stage's weight decay; `-last2`: the last two layers.
Table4Row = Literal[
    "naive", "naive-tau",
    "first stage", "tau", "l2",
    "ce", "ce-l2", "ce-wd", "ce-max", "ce-max-default-wd", "ce-wd-max",
    "cb", "cb-l2", "cb-wd", "cb-max", "cb-max-default-wd", "cb-wd-max",
    "ce-wd-max-last2", "cb-wd-max-last2", "ce-wd-max-last5", "cb-wd-max-last5",
]  # fmt: skip
# What others do with the same embeddings: adjusted heads, heads of another form, losses.
OtherRow = Literal[
    "logit-adjust", "logit-adjust-mult", "isotonic",
    "ncm", "crt", "lws", "cosine", "etf", "disalign",
    "label-smooth", "focal", "focal-cb", "ldam", "logit-adjusted", "balanced-softmax", "distill",
]  # fmt: skip
Row = Literal[Table4Row, OtherRow]

# Settings of rows that were there before the table was: a study's name tells that they are not set, too.
FIRST = ("tau", "rho", "gamma", "smoothing", "scale", "teacher", "temperature", "alpha")

# What sets a row of the others apart from a linear head that is trained with cross entropy from the first stage's.
TRAINED: dict[Row, dict[str, Any]] = {
    "ncm": {"head": "means"},
    "crt": {"init": "fresh", "sampling": "class-balanced"},  # Kang et al., ICLR 2020, section 4.1
    "lws": {"head": "scaled", "sampling": "class-balanced", "init": "features"},  # the same
    "cosine": {"head": "cosine", "loss": "cb"},
    "etf": {"head": "simplex", "loss": "cb", "init": "features"},
    "disalign": {"head": "gated", "loss": "reweighted", "init": "features"},
    "label-smooth": {"loss": "label-smooth"},
    "focal": {"loss": "focal"},
    "focal-cb": {"loss": "focal-cb"},
    "ldam": {"head": "cosine", "loss": "ldam"},  # with deferred re-weighting
    "logit-adjusted": {"loss": "logit-adjusted"},
    "balanced-softmax": {"loss": "balanced-softmax"},
    "distill": {"loss": "distill"},
}
DEFERRED = 0.8  # of the epochs without class weights: 160 of 200, as Cao et al. released it


if TYPE_CHECKING:

    class _Settings(Config):
        tau: float | None = None
        teacher: str | Teacher | None = None
else:
    _Settings = create_model("_Settings", __base__=Config, **fields_of(SETTINGS, absent=True))


class HeadSettings(_Settings):
    """What one row has of its own, chosen on validation; null: the classifier section's, or the loss's default."""

    weight_decay: NonNegative | None = None  # null: of the paper's rows the section's, of the others 0
    radius: NonNegative | None = None  # of MaxNorm
    lr: Positive | None = None

    def hashed(self) -> dict[str, Any]:
        """As `Config.hashed`; see `FIRST`."""
        return dict.fromkeys(FIRST) | super().hashed()

    def idle(self, row: Row) -> list[str]:
        """What is set here and cannot change this row."""
        parts = row.split("-")
        if row in TRAINED:
            own = TRAINED[row]
            head = HEADS[own.get("head", "linear")]
            read = {"weight_decay", "lr"} if head.trained else set[str]()
            read |= {setting.name for setting in (*LOSSES[own.get("loss", "ce")].settings, *head.settings)}
        elif parts[0] in ("ce", "cb"):
            read = {"lr"} | ({"radius"} if "max" in parts else set())
            read |= {"weight_decay"} if "wd" in parts and "default" not in parts else set()
        else:
            read = {"tau"} if row in ("logit-adjust", "logit-adjust-mult") else set()
        return [name for name in type(self).model_fields if getattr(self, name) is not None and name not in read]


def section_of(row: Row, section: Mapping[str, Any], first_weight_decay: float, own: HeadSettings) -> dict[str, Any]:
    """The classifier section of one row, as plain values to be validated.

    Args:
        row: of the second stage.
        section: the recipe's own, as plain values; a row keeps the parts that its name has: cb-wd drops MaxNorm.
        first_weight_decay: the first stage's, which is the `default-wd`.
        own: what the recipe says of this row beside its section.

    Raises:
        WbltrError: for a row of another stage, or one that needs what the section has not.
    """
    lr = section["lr"] if own.lr is None else own.lr
    if section["layers"] > 1 and "-last" not in row:
        raise WbltrError(
            f"row '{row}' is of the last layer, but classifier.layers is {section['layers']}",
            "leave classifier.layers out: rows such as cb-wd-max-last2 say it themselves",
            "recipe",
        )
    if row in TRAINED:
        return _other(row, section, lr, own)
    loss, *parts = row.replace("default-wd", "default").split("-")
    if loss not in ("ce", "cb"):
        raise WbltrError(f"'{row}' is not a row of the second stage", code="usage")
    weight_decay = section["weight_decay"] if own.weight_decay is None else own.weight_decay
    ball = section["max_norm"]
    if own.radius is not None:
        ball = {**(ball or {}), "radius": own.radius}
    if "max" in parts and ball is None:
        raise WbltrError(f"row '{row}' needs classifier.max_norm", "add --set classifier.max_norm.radius=0.1", "recipe")
    if "wd" in parts and not weight_decay:
        raise WbltrError(f"row '{row}' needs classifier.weight_decay", "add --set classifier.weight_decay=0.01", "recipe")
    if "default" in parts:
        weight_decay = first_weight_decay
    layers = next((int(part.removeprefix("last")) for part in parts if part.startswith("last")), section["layers"])
    balanced = section["loss"] if section["loss"] in ("cb", "cb-bce") else "cb"
    return {
        **_plain(section),
        "loss": balanced if loss == "cb" else "ce",
        "beta": section["beta"],
        "weight_decay": weight_decay if {"wd", "default"} & set(parts) else 0.0,
        "max_norm": ball if "max" in parts else None,
        "constraint": "unit-norm" if "l2" in parts else "none",
        "layers": layers,
        "lr": lr,
    }


def _other(row: Row, section: Mapping[str, Any], lr: float, own: HeadSettings) -> dict[str, Any]:
    if row == "ncm":
        return dict(TRAINED[row])  # nothing is trained: whatever the section says, it is the same head
    if LOSSES[TRAINED[row].get("loss", "ce")].teacher and own.teacher is None:
        hint = f"name a finished first stage: --set heads.{row}.teacher=ID"
        raise WbltrError(f"row '{row}' needs a teacher", hint, "recipe")
    settings = {name: getattr(own, name) for name in SETTINGS}
    return {
        **_plain(section),
        "loss": "ce",
        "beta": section["beta"],
        "weight_decay": own.weight_decay or 0.0,
        "max_norm": None,
        "constraint": "none",
        "mode": "cached",
        "select": "last",
        "lr": lr,
        **TRAINED[row],
        **({"reweight_from": int(DEFERRED * section["epochs"])} if row == "ldam" else {}),
        **{name: value for name, value in settings.items() if value is not None},
    }


def _plain(section: Mapping[str, Any]) -> dict[str, Any]:
    """The section without what its own loss and form of head read: a row has its own."""
    return {name: value for name, value in section.items() if name not in (*SETTINGS, "head")}
