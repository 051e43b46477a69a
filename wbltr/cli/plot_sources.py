"""What each of the paper's figures stands on: first stages beside the recipe's own, heads, evals, as nodes to be made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from wbltr.cli.maker import Maker
from wbltr.cli.session import Session
from wbltr.methods.rows import Row
from wbltr.pipeline import Artifact, Node, planned
from wbltr.recipe import MaxNormConfig
from wbltr.report.words import label
from wbltr.stages import Lineage
from wbltr.store import Store

Name = Literal[
    "accuracy", "norms", "norm-evolution", "filters", "weight-decay", "frequencies", "likelihood", "weights-2d", "max-norm"
]  # fmt: skip
NAMES: tuple[Name, ...] = get_args(Name)
WITH_RADIUS = ("norm-evolution", "weights-2d", "max-norm")
SNAPSHOTS = 34  # of a run of any length: the 4th, 8th and 16th stand where the paper's do


@dataclass(frozen=True)
class Wanted:
    """Something that a figure stands on.

    Attributes:
        maker: who makes it.
        node: what it is.
        prefixes: of the tensors that are drawn.
    """

    maker: Maker
    node: Node | Artifact
    prefixes: tuple[str, ...]


def class_counts(store: Store, dataset: Artifact) -> Any:
    """Training images of each class: `(C,)`."""
    return store.load(dataset.object_id, ("class_counts",))["class_counts"]


def finished(store: Store, node: Node | Artifact) -> Artifact | None:
    """What the store has of it."""
    return node if isinstance(node, Artifact) else planned(store, node)[-1][1]


class Sources:
    """What one figure stands on.

    Args:
        session: of the command.
        name: of the figure; not `frequencies`, which stands on facts.
        decays: the weight decays of `weight-decay`.
        radius: MaxNorm's; None while nobody has settled it.
    """

    def __init__(self, session: Session, name: Name, decays: Sequence[float], radius: float | None) -> None:
        self.session, self.name, self.decays, self.radius = session, name, decays, radius
        self.recipe, self.chain = session.recipe, session.chain

    def variant(self, label: str, **fields: Any) -> Maker:
        """Who makes the recipe with other fields of its first stage, on the same images."""
        maker = self.session.maker
        recipe = self.recipe.with_features(**fields)
        if recipe.features == self.recipe.features:
            return maker
        known = {name: found for name, found in maker.line.known.items() if name == "dataset"}
        line = Lineage(known, teachers=maker.line.teachers)
        other = replace(maker, recipe=recipe, line=line, label=label)
        other.chain.dataset = self.chain.dataset
        return other

    def first_stage(self, name: str, prefixes: tuple[str, ...], **fields: Any) -> Wanted:
        """A first stage without constraints, but for what is given."""
        maker = self.variant(name, **{"constraint": "none", "max_norm": None, **fields})
        return Wanted(maker, maker.chain.features, prefixes)

    def naive(self, prefixes: tuple[str, ...], **fields: Any) -> Wanted:
        """The first stage without weight decay."""
        return self.first_stage("naive", prefixes, weight_decay=0.0, **fields)

    def regularised(self, prefixes: tuple[str, ...], *, both: bool, **fields: Any) -> dict[str, Wanted]:
        """The first stages of Figs. 2 and 7.

        Args:
            both: whether weight decay and MaxNorm together are one of them.
        """
        ball = MaxNormConfig(radius=self.radius or 1.0, relative=False)  # 1: a plan before the radius is known
        decay = self.recipe.features.weight_decay
        sphere = {"constraint": "unit-norm", "weight_decay": 0.0}
        wanted = {
            "naive": self.naive(prefixes, **fields),
            "L2": self.first_stage("L2", prefixes, **sphere, **fields),
            "WD": self.first_stage("WD", prefixes, **fields),
            "MaxNorm": self.first_stage("MaxNorm", prefixes, max_norm=ball, weight_decay=0.0, **fields),
        }
        if both:
            name = "WD + MaxNorm"
            wanted[name] = self.first_stage(name, prefixes, max_norm=ball, weight_decay=decay, **fields)
        return wanted

    def row(self, row: Row, prefixes: tuple[str, ...]) -> Wanted:
        """The head of one of Table 4's rows."""
        maker = self.naive(()).maker if row.startswith("naive") else self.session.maker
        return Wanted(maker, maker.chain.row("first stage" if row == "naive" else row), prefixes)

    def max_norm_heads(self) -> dict[tuple[str, str], Wanted]:
        """Second stages with and without weight decay; each projected per step and per epoch, to either kind of radius."""
        wanted = {}
        rows: tuple[Row, ...] = ("cb-max", "cb-wd-max")
        for row in rows:
            section = self.recipe.classifier.as_row(row, self.recipe.features, self.recipe.heads.get(row))
            assert section.max_norm is not None, "as_row refuses a row that needs MaxNorm and has none"
            share = section.max_norm.radius if section.max_norm.relative else 0.1
            for per in get_args(Literal["step", "epoch"]):
                for relative, size in ((False, self.radius or 1.0), (True, share)):
                    ball = MaxNormConfig(radius=size, relative=relative, per=per)
                    own = section.model_copy(update={"max_norm": ball, "mode": "cached", "layers": 1, "select": "last"})
                    name = f"per {per}, radius {size:g}{' (relative)' if relative else ''}"
                    node = self.chain.classifier(own)
                    wanted[label(row, own.loss).removeprefix("+ "), name] = Wanted(
                        self.session.maker, node, ("history.at_radius", "history.projected", "radius")
                    )
        return wanted

    def wanted(self) -> dict[str, Wanted]:
        """Everything that this figure stands on, by the name that it is drawn under."""
        maker, on = self.session.maker, self.recipe.eval.on
        loss = self.recipe.classifier.loss
        match self.name:
            case "accuracy":
                row = self.recipe.rows[-1]
                naive = self.naive(()).maker
                shown = label(row, loss).removeprefix("+ ")
                prefixes = ("accuracy.per_class",)
                return {
                    "naive": Wanted(naive, naive.chain.measured("first stage"), prefixes),
                    shown: Wanted(maker, maker.chain.measured(row), prefixes),
                }
            case "norms":
                heads: dict[str, Row] = {
                    "naive": "naive",
                    "weight decay": "first stage",
                    label("cb-wd-max", loss)[2:]: "cb-wd-max",
                }
                return {name: self.row(row, ("head.weight",)) for name, row in heads.items()}
            case "norm-evolution":
                return self.regularised(("history.norms",), both=True)
            case "filters":
                return {"naive": self.naive(("network.",)), "weight decay": self.row("first stage", ("network.",))}
            case "weight-decay":
                makers = [self.first_stage(f"λ {decay}", (), weight_decay=decay).maker for decay in self.decays]
                evals = [Wanted(one, one.chain.measured("first stage"), ("accuracy.",)) for one in makers]
                return {f"λ {decay}": one for decay, one in zip(self.decays, evals, strict=True)}
            case "likelihood":
                rows: tuple[Row, ...] = ("naive", "first stage", "l2", "cb-wd", "cb-wd-max")
                found = {label(row, loss).removeprefix("+ "): self.row(row, ("head.",)) for row in rows}
                parts = {
                    f"{on} {name}": Wanted(one.maker, one.maker.chain.embeddings(on, one.node), (f"{on}.embeddings",))
                    for name, one in found.items()
                }
                return found | parts
            case "weights-2d":
                return self.regularised(("snapshots.",), both=False, **self.on_a_plane())
            case "max-norm":
                return {f"{group}, {name}": one for (group, name), one in self.max_norm_heads().items()}
        raise AssertionError(self.name)

    def meets_max_norm(self) -> Wanted:
        """The first stage whose norms MaxNorm's radius is chosen by."""
        prefixes = ("history.norms",)
        match self.name:
            case "max-norm":
                return Wanted(self.session.maker, self.chain.features, prefixes)
            case "weights-2d":
                return self.naive(prefixes, **self.on_a_plane())
            case _:
                return self.naive(prefixes)

    def on_a_plane(self) -> dict[str, Any]:
        """Fields of a first stage with two pre-logit dimensions that keeps its head along the way (appendix C)."""
        return {"prelogit": 2, "snapshot_every": max(1, self.steps() // SNAPSHOTS)}

    def steps(self) -> int:
        """Optimizer steps of the first stage; 1 in a plan before there are images."""
        known = finished(self.session.store, self.chain.dataset)
        if known is None:
            if self.session.request.dry_run:
                return 1
            known = self.session.make(self.chain.dataset).artifact
        first = self.recipe.features
        images = int(class_counts(self.session.store, known).sum())
        return first.epochs * -(-images // first.batch_size)
