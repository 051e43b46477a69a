"""What separates a result from the paper's protocol: from the resolved recipe, and from what the artifacts behind it say.

Every field of a recipe's sections is held against the paper's value, so that a new one is told without a word here. What is
left out is `NO_DEPARTURE`, and what the result does not stand on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LOSSES
from wbltr.report.field_words import SECOND_STAGE, instead, network_name, told
from wbltr.report.paper import figures
from wbltr.report.protocol import ANY, SOME, Among, Protocol, protocol, published
from wbltr.report.words import selection

SECTIONS = ("dataset", "features", "embeddings", "classifier", "posthoc", "eval")
NO_DEPARTURE = frozenset({
    "dataset.source",  # of another set nothing is a departure
    "dataset.seed", "features.seed", "embeddings.seed", "classifier.seed",
    "dataset.on_bad_image",  # where it changed an image, the fingerprint is told
    "features.precision",
    "features.snapshot_every",  # changes no result
    # λ, δ and τ, which the paper tunes and does not print.
    "classifier.weight_decay", "classifier.max_norm.radius", "posthoc.tau",
    # What a head is, its name says: the paper has all that there are.
    "classifier.layers", "posthoc.of",
    "classifier.select",  # told with the first stage's
    "features.methods_file", "classifier.methods_file", "posthoc.methods_file",  # the names of the methods say it
})  # fmt: skip
ALWAYS = (
    "features.network", "dataset.normalize", "features.epochs", "features.weight_decay", "features.select", "eval.flip",
)  # fmt: skip
FIRST = (
    "features.network", "dataset.normalize", "features.stem", "features.image_size", "dataset.side", "features.weights",
    "features.frozen", "features.epochs", "features.batch_size", "features.weight_decay", "features.select", "eval.flip",
)  # fmt: skip
HEAD = ("head", "loss", "constraint")  # what of the second stage the name of a head says
ROW_FACTOR = 100  # the paper has every row of its own on CIFAR100-LT with this imbalance factor


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
class OfRow:
    """One row of a table.

    Attributes:
        recipe: with the sections of the artifacts that the row stands on.
        origin: what these say.
        named: fields of the second stage that the name of a row beside the paper's stands for.
    """

    recipe: Any
    origin: Origin
    named: Collection[str] = ()


@dataclass(frozen=True)
class Setting:
    """One thing that a result depends on.

    Attributes:
        path: section and field.
        words: as it is here.
        other: whether it is not what the paper has, or what is usual.
        differs: whether that is a departure from the paper.
    """

    path: str
    words: str
    other: bool
    differs: bool

    @property
    def section(self) -> str:
        """Of the recipe."""
        return self.path.partition(".")[0]


def departures(recipe: Any, origin: Origin | None = None) -> list[str] | None:
    """What separates a result from the paper's protocol, a few words each; None where the paper has no such set.

    Args:
        recipe: resolved.
        origin: what the artifacts say; a head that is a row of the paper's does not depart from it. None: no more than the
            recipe, which is held against the method of section 3.3.
    """
    if published(recipe) is None:
        return None
    return [setting.words for setting in _settings(recipe, origin) if setting.differs]


def other_settings(recipe: Any, origin: Origin | None = None) -> list[str]:
    """What a caption tells beside the departures: network, epochs, weight decay, selection, flip averaging, what is unusual."""
    return [setting.words for setting in _settings(recipe, origin) if _beside(setting)]


def of_table(recipe: Any, rows: Mapping[str, OfRow]) -> tuple[list[str], list[str] | None]:
    """The same of a table: settings beside the departures, and the departures.

    What the name of a row says is not told; what not all of its stage's rows have is told with the names of those that do.

    Args:
        recipe: of all rows.
        rows: name → row.
    """
    found = [one for one in _settings(recipe, Origin.of_all([row.origin for row in rows.values()])) if not _of_a_head(one)]
    own: dict[str, dict[Setting, list[str]]] = {}
    for name, row in rows.items():
        said = {f"classifier.{name}" for name in (*HEAD, *row.named)} if row.named else ()
        for one in _settings(row.recipe, row.origin):
            if _of_a_head(one) and one.section != "posthoc" and one.path not in said:
                own.setdefault(one.path, {}).setdefault(one, []).append(name)
    for settings in own.values():
        for one, names in settings.items():
            words = one.words
            if len(settings) > 1:
                words = words.replace(SECOND_STAGE, "") + f" ({', '.join(name.removeprefix('+ ') for name in names)})"
            found.append(replace(one, words=words))
    differing = [setting.words for setting in found if setting.differs]
    return [one.words for one in found if _beside(one)], None if published(recipe) is None else differing


def network_words(recipe: Any) -> str:
    """The first stage's network in a few words: `ResNet-18, from IMAGENET1K_V2 weights, frozen network`."""
    first = recipe.features
    found = [network_name(first.network)]
    found += [told("features.weights", first.weights)] if first.weights is not None else []
    return ", ".join(found + ([told("features.frozen", True)] if first.frozen else []))


def _beside(setting: Setting) -> bool:
    return not setting.differs and (setting.other or setting.path in ALWAYS)


def _of_a_head(setting: Setting) -> bool:
    return setting.section in ("embeddings", "classifier", "posthoc")


def _settings(recipe: Any, origin: Origin | None) -> list[Setting]:
    """Every field that the result stands on, the ones that say most first."""
    paper, metrics = protocol(recipe), origin.metrics if origin is not None else {}
    heads = {} if origin is None else _as_the_paper_has_it(recipe, origin)
    found = []
    for path, ours, theirs, departs in _compared(recipe, paper, heads):
        if path in NO_DEPARTURE or not _stands_on(path, recipe, origin):
            continue
        if path == "features.select":  # with the second stage's
            ours = "last" if _chosen(recipe, origin) == "last epoch" else "best-test"
        other = not _is(ours, theirs)
        text, paper_has = _words(path, ours, recipe, origin, differs=other and departs), _named(theirs)
        instead_of = instead(path, paper_has) if other and departs else ""
        found.append(Setting(path, text + (f" instead of {instead_of}" if instead_of else ""), other, other and departs))
    dataset = metrics.get("dataset", {})
    if paper.published and not dataset.get("canonical", True):
        found.append(Setting("dataset", f"other training images (fingerprint {dataset.get('fingerprint')})", True, True))
    return sorted(found, key=lambda one: FIRST.index(one.path) if one.path in FIRST else len(FIRST))


def _compared(recipe: Any, paper: Protocol, heads: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any, bool]]:
    """Field, its value, the paper's or the usual one, and whether another one departs from the paper."""

    def fields(config: Any, at: str, defaults: Any) -> Iterator[tuple[str, Any, Any, bool]]:
        for name, about in type(config).model_fields.items():
            path, ours = f"{at}.{name}", getattr(config, name)
            theirs, departs = paper.of(path, getattr(defaults, name, about.get_default(call_default_factory=True)))
            theirs = heads.get(path, theirs)
            if hasattr(type(ours), "model_fields") and (theirs is SOME or hasattr(type(theirs), "model_fields")):
                yield from fields(ours, path, None if theirs is SOME else theirs)
            else:
                yield path, ours, theirs, departs

    for section in SECTIONS:
        yield from fields(getattr(recipe, section), section, None)


def _as_the_paper_has_it(recipe: Any, origin: Origin) -> dict[str, Any]:
    """Fields of a head at their own value, where that makes it one of the paper's: a row of Table 4, or its first stage's."""
    same: dict[str, Any] = {}
    section = recipe.classifier
    if not origin.second_stage and recipe.features.weight_decay == 0:
        same["features.weight_decay"] = 0  # the naive rows
    if section.max_norm is None:
        same["classifier.max_norm"] = None  # with or without, the name says it
    parts = ["cb" if section.loss == "cb-bce" else section.loss]
    parts += ["l2"] if section.constraint == "unit-norm" else []
    parts += ["wd"] if section.weight_decay else []
    parts += ["max"] if section.max_norm is not None else []
    parts += [f"last{section.layers}"] if section.layers > 1 else []
    if figures("cifar100", ROW_FACTOR, "-".join(parts)) is not None:
        same |= {"classifier.loss": parts[0], "classifier.constraint": section.constraint}
    return same


def _stands_on(path: str, recipe: Any, origin: Origin | None) -> bool:
    """Whether the field can have changed this result."""
    section, _, name = path.partition(".")
    own = getattr(recipe, section)
    second = origin is None or origin.second_stage
    match section, name:
        case "classifier", _ if not second or (name != "head" and not HEADS[own.head].trained):
            return False
        case "embeddings", _:
            return second and not (recipe.classifier.through_network or recipe.features.network == "none")
        case "posthoc", _ if origin is not None and "posthoc" not in origin.metrics:
            return False
        case "posthoc", "method":
            return not (own.method in ("l2", "tau") and own.of == "features")  # rows of the paper's
        case "posthoc", _ if name in ADJUSTMENTS.settings():
            return own.method != "none" and ADJUSTMENTS[own.method].has(name)
        case "dataset", "normalize":
            return bool(recipe.features.network == "none")
        case "features" | "classifier", "beta":
            return LOSSES[own.loss].has("beta")
        case "features", "pad":
            return own.augment in ("crop-flip", "crop")
        case "dataset", "imbalance_factor":
            return not re.search(rf"ir{own.imbalance_factor:g}(?!\d)", recipe.name) if own.imbalance_factor else False
    return True


def _is(ours: Any, theirs: Any) -> bool:
    if theirs is ANY:
        return True
    return ours in theirs.values if isinstance(theirs, Among) else bool(ours == theirs)


def _named(theirs: Any) -> Any:
    """The paper's value, as far as there is one to be named."""
    theirs = theirs.values[0] if isinstance(theirs, Among) else theirs
    return None if theirs in (ANY, SOME) else theirs


def _words(path: str, ours: Any, recipe: Any, origin: Origin | None, *, differs: bool) -> str:
    """A field here, and what is told along with it."""
    match path:
        case "features.network":
            parameters = (origin.metrics if origin is not None else {}).get("features", {}).get("parameters")
            whole = differs and not recipe.features.frozen  # else they are the head's alone
            size = f" ({parameters / 1e6:.2f} M parameters)" if whole and parameters is not None else ""
            return told(path, ours) + size
        case "features.select":
            return _chosen(recipe, origin)
        case "classifier.mode" if recipe.classifier.layers > 1 and ours == "cached":
            return "batch-norm standing still in the second stage"
    return told(path, ours)


def _chosen(recipe: Any, origin: Origin | None) -> str:
    return selection(recipe, second_stage=origin is None or origin.second_stage)


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
        "weights": first.weights.hashed() if hasattr(first.weights, "hashed") else first.weights,
        "frozen": first.frozen,
        **{name: getattr(first, name) for name in ("epochs", "batch_size", "weight_decay", "seed")},
        "selection": selection(recipe, second_stage=origin.second_stage),
        "best_over_last": origin.best_over_last(),
        "flip": recipe.eval.flip,
        "fingerprint": origin.metrics.get("dataset", {}).get("fingerprint"),
        "second_stage": second.hashed() if origin.second_stage else None,
        "settings": other_settings(recipe, origin),
        "departures": departures(recipe, origin),
    }
