"""What separates a result from the paper's protocol: from the resolved recipe, and from what the artifacts behind it say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wbltr.report.words import ABBREVIATIONS, count, selection


@dataclass(frozen=True)
class Protocol:
    """How the paper measured on one set; None where neither its text nor its released code says.

    Where the two differ: the code's network, which figures and appendix point to, and otherwise the text.
    """

    network: str
    batch_size: int = 64
    epochs: int = 200
    first_loss: str = "ce"
    loss: str = "cb"  # of the balanced second stage
    per: str = "step"  # when MaxNorm projects
    relative: bool | None = None  # its radius
    exact: bool | None = None  # whether batch-norm drifts in the second stage
    weight_decay: float | None = None  # of the first stage
    best_on_test: bool | None = None
    flip: bool | None = None


CIFAR = Protocol("resnet34", relative=True, exact=True, best_on_test=True, flip=True)
PAPER: dict[tuple[str, float | None], Protocol] = {  # (source, imbalance factor)
    ("cifar100", 100): replace(CIFAR, weight_decay=5e-3),  # the released code's; the text prints none
    ("cifar100", 50): CIFAR,
    ("cifar100", 10): CIFAR,
    ("imagenet-lt", None): Protocol("resnext50"),  # tuned on its own validation list
    ("inaturalist18", None): Protocol("resnet50", batch_size=512, best_on_test=True),
}


# Settings whose defaults are the paper's; what is told apart from them stands by itself below.
FIRST_STAGE = (
    "lr", "momentum", "scheduler", "augment", "pad", "sampling", "constraint", "max_norm", "head", "stem", "prelogit",
    "micro_batch", "teacher",
)  # fmt: skip
SECOND_STAGE = ("epochs", "batch_size", "lr", "momentum", "scheduler", "init", "sampling", "beta", "head")


@dataclass(frozen=True)
class Origin:
    """What the artifacts behind a result say.

    Attributes:
        metrics: stage → metrics of its record, for each stage that the result stands on.
        test_accuracy: stage → `history.test_accuracy` `(E,)`, shares in [0, 1], of those that chose an epoch by it.
    """

    metrics: Mapping[str, Mapping[str, Any]]
    test_accuracy: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_all(cls, several: Sequence[Origin]) -> Origin:
        """What is behind a table of several results."""
        metrics = {stage: metrics for one in several for stage, metrics in one.metrics.items()}
        return cls(metrics, {stage: shares for one in several for stage, shares in one.test_accuracy.items()})

    @property
    def second_stage(self) -> bool:
        """Whether the head comes from a second stage."""
        return bool({"classifier", "finetune"} & set(self.metrics))

    def best_over_last(self) -> dict[str, float]:
        """Stage → points that the best epoch on the test set lies above the last one."""
        return {stage: round(100 * float(shares.max() - shares[-1]), 2) for stage, shares in self.test_accuracy.items()}


@dataclass(frozen=True)
class Setting:
    """One thing that a result depends on.

    Attributes:
        words: as it is here.
        differs: whether the paper has something else.
        paper: what that is, where the words do not say it.
        minor: told only where it differs.
    """

    words: str
    differs: bool
    paper: str = ""
    minor: bool = False


def network_name(network: str) -> str:
    """As the papers write it.

    >>> network_name("resnet32"), network_name("resnext50"), network_name("small"), network_name("none")
    ('ResNet-32', 'ResNeXt-50', 'small network', "embeddings of one's own")
    """
    if network == "none":
        return "embeddings of one's own"
    named = network.replace("resnet", "ResNet-").replace("resnext", "ResNeXt-")
    return named if named != network else f"{network} network"


def protocol(recipe: Any) -> Protocol | None:
    """The paper's protocol on the recipe's images; None where it did not use them."""
    dataset = recipe.dataset
    as_published = dataset.profile != "step" and dataset.largest is None
    return PAPER.get((dataset.source, dataset.imbalance_factor)) if as_published else None


def departures(recipe: Any, origin: Origin | None = None) -> list[str] | None:
    """What separates a result from the paper's protocol, a few words each; None where the paper has no such set.

    Args:
        recipe: resolved.
        origin: what the artifacts say; None: a second stage, and no more than the recipe.
    """
    if protocol(recipe) is None:
        return None
    differing = [setting for setting in _settings(recipe, origin) if setting.differs]
    return [s.words + (f" instead of {s.paper}" if s.paper else "") for s in differing]


def other_settings(recipe: Any, origin: Origin | None = None) -> list[str]:
    """What a caption tells beside the departures: network, epochs, weight decay, selection, flip averaging."""
    return [setting.words for setting in _settings(recipe, origin) if not (setting.differs or setting.minor)]


def _settings(recipe: Any, origin: Origin | None) -> list[Setting]:
    first, second, known = recipe.features, recipe.classifier, protocol(recipe)
    paper = known or CIFAR
    metrics = origin.metrics if origin is not None else {}
    dataset, parameters = metrics.get("dataset", {}), metrics.get("features", {}).get("parameters")
    size = f" ({parameters / 1e6:.2f} M parameters)" if parameters is not None else ""
    other = known is not None and not dataset.get("canonical", True)
    chosen = selection(recipe, second_stage=origin is None or origin.second_stage)

    def differ(ours: object, theirs: object) -> bool:
        return known is not None and theirs is not None and ours != theirs

    name = network_name(first.network)
    if first.network == "none":
        scaled = "each row scaled to unit norm" if recipe.dataset.normalize == "l2" else "not normalised"
        name = f"{name}, {scaled}"
    another = differ(first.network, paper.network)
    found = [
        Setting(name + (size if another else ""), another, network_name(paper.network)),
        Setting(count(first.epochs, "epoch"), differ(first.epochs, paper.epochs), str(paper.epochs)),
        Setting(f"batches of {first.batch_size}", differ(first.batch_size, paper.batch_size), str(paper.batch_size), True),
        Setting(
            f"weight decay {first.weight_decay:g}",
            differ(first.weight_decay, paper.weight_decay),
            f"{paper.weight_decay or 0:g}",
        ),
        Setting(chosen, differ(chosen != "last epoch", paper.best_on_test), "the best on test"),
        Setting("flip averaging" if recipe.eval.flip else "no flip averaging", differ(recipe.eval.flip, paper.flip)),
        Setting(f"{first.loss} loss in the first stage", differ(first.loss, paper.first_loss), "ce", True),
        Setting(f"other training images (fingerprint {dataset.get('fingerprint')})", other, minor=True),
    ]
    if known is not None and paper.relative is not None:  # of the set whose settings are the defaults of a recipe
        found += _unlike_the_defaults(first, FIRST_STAGE, "in the first stage")
    if origin is not None and not origin.second_stage:
        return found
    if known is not None and paper.relative is not None:
        found += _unlike_the_defaults(second, SECOND_STAGE, "in the second stage")
    if second.loss == "cb-bce":
        found.append(Setting(ABBREVIATIONS["cb-bce"], differ("cb-bce", paper.loss), ABBREVIATIONS["cb"], True))
    if second.max_norm is not None:
        relative = second.max_norm.relative
        found += [
            Setting("MaxNorm once an epoch", differ(second.max_norm.per, paper.per), "at each step", True),
            Setting("MaxNorm's radius absolute", differ(relative, paper.relative), "relative to the first stage's norms", True),
        ]
    still = "batch-norm standing still in the second stage" if second.through_network else "cached second stage"
    found.append(Setting(still, differ(second.mode == "exact", paper.exact), minor=True))
    return found


def _unlike_the_defaults(section: Any, names: Sequence[str], where: str) -> list[Setting]:
    """Settings that the paper has as a recipe has them by default."""
    fields = type(section).model_fields
    found = []
    for name in names:
        value, usual = getattr(section, name), fields[name].default
        if value != usual:
            told = getattr(value, "artifact", value)  # a teacher is named by its id
            told = told[:12] if name == "teacher" else f"{told:g}" if isinstance(told, float) else told
            instead = "" if usual is None else f"{usual:g}" if isinstance(usual, float) else str(usual)
            found.append(Setting(f"{name.replace('_', ' ')} {told} {where}", True, instead, True))
    return found


def document(recipe: Any, origin: Origin) -> dict[str, Any]:
    """What `--json` says of where a result comes from.

    Args:
        recipe: with the sections of the artifacts that the result stands on.
        origin: what these say.
    """
    first, second = recipe.features, recipe.classifier
    return {
        "network": first.network,
        "parameters": origin.metrics.get("features", {}).get("parameters"),
        **{name: getattr(first, name) for name in ("epochs", "batch_size", "weight_decay", "seed")},
        "selection": selection(recipe, second_stage=origin.second_stage),
        "best_over_last": origin.best_over_last(),
        "flip": recipe.eval.flip,
        "fingerprint": origin.metrics.get("dataset", {}).get("fingerprint"),
        "second_stage": second.hashed() if origin.second_stage else None,
        "departures": departures(recipe, origin),
    }
