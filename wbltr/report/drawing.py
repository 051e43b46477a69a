"""From artifacts' tensors to a figure with its caption: which arrays each of the paper's figures is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wbltr.report.figures import (
    accuracy,
    filters,
    frequencies,
    likelihood,
    max_norm,
    norms,
    study,
    style,
    weight_decay,
    weights_2d,
)
from wbltr.report.provenance import network_words
from wbltr.report.results import SPLITS, accuracies
from wbltr.report.words import count, selection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Any]  # tensor name → array, of one artifact
Found = Mapping[str, Tensors]  # what is drawn, by name → its tensors


@dataclass(frozen=True)
class Drawing:
    """A figure that is ready to be written.

    Attributes:
        figure: the still.
        caption: as it stands inside the image.
        series: what is plotted, by name; numbers for those who do not look.
        moving: gives the figure as a GIF, where there is one.
    """

    figure: Figure
    caption: str
    series: Mapping[str, Array]
    moving: Callable[[], bytes] | None = None

    def written(self, ending: str) -> bytes:
        """The bytes of a file with this ending: `.svg`, `.png`, or `.gif` where it moves."""
        if ending == ".gif":
            assert self.moving is not None, "only a figure that moves has a GIF"
            return self.moving()
        return style.svg(self.figure) if ending == ".svg" else style.png(self.figure)

    def summary(self) -> dict[str, Any]:
        """Each series' shape, smallest, mean and largest value."""
        return {name: style.summary(values) for name, values in self.series.items()}


def protocol(recipe: Any, *, measured: bool = False) -> str:
    """Recipe, network, epochs, seeds; with `measured` also the part, and whether its mirror images are averaged in."""
    first = recipe.features
    text = f"{recipe.name}: {network_words(recipe)}, {count(first.epochs, 'epoch')}, seed {first.seed}"
    text += "" if selection(recipe) == "last epoch" else f", {selection(recipe)}"
    return text + (f"; {recipe.eval.on} part, flip averaging {'on' if recipe.eval.flip else 'off'}" if measured else "")


def draw_accuracy(recipe: Any, found: Found, counts: Array) -> Drawing:
    """Fig. 1a from `accuracy.per_class` of evals."""
    series = {name: tensors["accuracy.per_class"] for name, tensors in found.items()}
    text = (
        f"{protocol(recipe, measured=True)}. Points: classes; lines: running mean over a tenth of them. "
        f"Naive: the first stage without weight decay. Medium: {recipe.eval.few} to {recipe.eval.many} training images."
    )
    figure = accuracy.accuracy(series, counts, recipe.eval.many, recipe.eval.few, text)
    return Drawing(figure, text, series)


def draw_norms(recipe: Any, found: Found, counts: Array) -> Drawing:
    """Fig. 1b from `head.weight` of heads."""
    series = {name: np.linalg.norm(tensors["head.weight"], axis=1) for name, tensors in found.items()}
    text = f"{protocol(recipe)}. Weight decay {recipe.features.weight_decay:g} in the first stage, 0 for naive."
    return Drawing(norms.norms(series, counts, text), text, series)


def draw_norm_evolution(recipe: Any, found: Found, counts: Array, radius: float) -> Drawing:
    """Fig. 2 from `history.norms` of first stages."""
    series = {name: tensors["history.norms"] for name, tensors in found.items()}
    text = (
        f"{protocol(recipe)}. Norms of the classifier's rows after each epoch of five first stages. WD: weight decay "
        f"{recipe.features.weight_decay:g}; MaxNorm: radius {radius:g}. All share one scale."
    )
    return Drawing(norms.norm_evolution(series, counts, text), text, series)


def middle_norm(tensors: Tensors) -> float:
    """The median norm of a first stage's rows after its last epoch, to three digits: MaxNorm's radius where none is given."""
    return float(f"{float(np.median(tensors['history.norms'][-1])):.3g}")


def draw_filters(recipe: Any, found: Found) -> Drawing:
    """Fig. 3 from `network.*` of first stages."""
    series = {name: filters.filter_norms(tensors) for name, tensors in found.items()}
    layers, width = next(iter(series.values())).shape
    text = (
        f"{protocol(recipe)}. The {layers} convolutions with {width} filters: mean over the layers, band: one standard "
        f"deviation. Weight decay {recipe.features.weight_decay:g}; naive: 0."
    )
    return Drawing(filters.filters(series, text), text, series)


def draw_weight_decay(recipe: Any, decays: Sequence[float], found: Sequence[Tensors]) -> Drawing:
    """Fig. 4 from evals of first stages, one for each λ."""
    measured = [accuracies(tensors) for tensors in found]
    series = {name: [figures[name] for figures in measured] for name in ("all", *SPLITS)}
    text = f"{protocol(recipe, measured=True)}. First stages alone, each trained with one λ on every parameter."
    arrays = {name: np.array(values, dtype=float) for name, values in series.items()}
    return Drawing(weight_decay.weight_decay(decays, series, text), text, {"λ": np.array(decays), **arrays})


def draw_frequencies(more: Mapping[str, Array]) -> Drawing:
    """Fig. 5, from facts alone.

    Args:
        more: title → class sizes of sets that are beside CIFAR100-LT and ImageNet-LT.
    """
    panels = {"CIFAR100-LT": frequencies.cifar100_lt(), "ImageNet-LT": {"": frequencies.imagenet_lt()}}
    panels |= {title: {"": counts} for title, counts in more.items()}
    text = "CIFAR100-LT: n_k = ⌊500·IF^(−k/99)⌋, IF: imbalance factor. ImageNet-LT: the list of Liu et al., CVPR 2019."
    if not any("iNaturalist" in title for title in more):
        text += " iNaturalist 2018 is left out: its training list does not come with wbltr, and no such dataset is made here."
    series = {f"{title} {name}".strip(): counts for title, sets in panels.items() for name, counts in sets.items()}
    return Drawing(frequencies.frequencies(panels, text), text, series)


def draw_likelihood(recipe: Any, heads: Found, parts: Found, counts: Array) -> Drawing:
    """Fig. 6 from heads and the embeddings of one part through the network of each."""
    on = recipe.eval.on
    sizes = {name: np.linalg.norm(tensors["head.weight"], axis=1) for name, tensors in heads.items()}
    found = {}
    for name, tensors in heads.items():
        views = parts[name][f"{on}.embeddings"]
        seen = views[:2].mean(0) if recipe.eval.flip else views[0]
        found[name] = likelihood.marginal_likelihood(seen, tensors["head.weight"], tensors["head.bias"])
    text = (
        f"{protocol(recipe, measured=True)}. Above: norms of the rows; below: mean probability of each class over all images "
        f"of the part; dashed: uniform. Classes from common to rare. Weight decay {recipe.features.weight_decay:g}; naive: 0."
    )
    series = {f"norms {name}": values for name, values in sizes.items()}
    series |= {f"likelihood {name}": values for name, values in found.items()}
    return Drawing(likelihood.likelihood(sizes, found, counts, text), text, series)


def draw_weights_2d(recipe: Any, found: Found, counts: Array, radius: float) -> Drawing:
    """Fig. 7 from `snapshots.*` of first stages with two pre-logit dimensions."""
    of = {
        name: weights_2d.Path2D(tensors["snapshots.steps"], tensors["snapshots.weight"], radius if name == "MaxNorm" else None)
        for name, tensors in found.items()
    }
    text = (
        f"{protocol(recipe)}, two pre-logit dimensions. A point is a class's weights, dark: common, light: rare; "
        f"dashed: radius {radius:g}. Weight decay {recipe.features.weight_decay:g}, 0 for the others. "
        "Each model has its own scale."
    )
    series = {name: one.weights for name, one in of.items()}
    figure = weights_2d.weights_2d(of, counts, text)
    return Drawing(figure, text, series, lambda: weights_2d.animation(of, counts, text))


@dataclass(frozen=True)
class Constrained:
    """A second stage under MaxNorm in the figure of what MaxNorm did.

    Attributes:
        group: its column.
        name: its line.
        tensors: `history.at_radius`, `history.projected`, `radius`.
    """

    group: str
    name: str
    tensors: Tensors = field(repr=False)


def draw_max_norm(recipe: Any, heads: Sequence[Constrained]) -> Drawing:
    """Shares of classes at the radius and moved to it, from classifiers."""
    groups: dict[str, dict[str, max_norm.Shares]] = {head.group: {} for head in heads}
    for head in heads:
        groups[head.group][head.name] = (head.tensors["history.at_radius"], head.tensors["history.projected"])
    relative = [float(head.tensors["radius"]) for head in heads if "relative" in head.name]
    stood_for = f" The relative radius comes to {relative[0]:.3g} here." if relative else ""
    text = (
        f"{protocol(recipe)}. Second stages of {count(recipe.classifier.epochs, 'epoch')} under MaxNorm, projected after "
        f"each step or once an epoch.{stood_for}"
    )
    series = {f"{group}, {name}: at radius": shares[0] for group, of in groups.items() for name, shares in of.items()}
    series |= {f"{group}, {name}: moved": shares[1] for group, of in groups.items() for name, shares in of.items()}
    return Drawing(max_norm.max_norm(groups, text), text, series)


@dataclass(frozen=True)
class Searched:
    """A finished trial of a study.

    Attributes:
        values: what was tried, by name.
        accuracy: on the validation part, share; of a stopped one where it was stopped, None of a diverged one.
        stopped: whether others had left it behind.
    """

    values: Mapping[str, Any]
    accuracy: float | None
    stopped: bool = False


def draw_study(recipe: Any, judged: str, trials: Sequence[Searched]) -> Drawing:
    """Accuracy on the validation part over what `tune` tried: against λ, or over λ and δ where a radius was tried.

    Args:
        judged: what the accuracy is of.
        trials: at least one finished with a λ above 0.
    """
    drawn = [_tried(trial) for trial in trials if trial.values["weight_decay"] > 0]
    done = sum(one.end == "finished" for one in drawn)
    ends = {name: sum(one.end == name for one in drawn) for name in ("stopped", "diverged")}
    told = "".join(f", {number} {name}" for name, number in ends.items() if number)
    text = f"{protocol(recipe)}. Accuracy of {judged} on the validation part; {count(done, 'finished trial')}{told}."
    if len(drawn) < len(trials):
        text += f" Left out: {count(len(trials) - len(drawn), 'trial')} with λ 0."
    others = sorted({name for trial in trials for name in trial.values} - {"weight_decay", "radius"})
    if others:
        text += f" Also tried: {', '.join(others)}."
    if np.isfinite(drawn[0].radius):
        relative = recipe.classifier.max_norm is None or recipe.classifier.max_norm.relative
        text += " Colour: the best trial of each cell."
        text += " δ: 0 is the smallest row norm of the first stage, 1 the largest." if relative else ""
        figure = study.decay_radius_map(drawn, text)
    else:
        text += " Stopped ones stand where they were stopped." if ends["stopped"] else ""
        figure = study.decay_curve(drawn, None if "lr" in others else recipe.features.lr, text)
    series = {
        "λ": [one.decay for one in drawn],
        "δ": [one.radius for one in drawn],
        "accuracy": [one.accuracy for one in drawn],
    }
    return Drawing(figure, text, {name: np.array(values) for name, values in series.items()})


def _tried(trial: Searched) -> study.Tried:
    end: Any = "stopped" if trial.stopped else "diverged" if trial.accuracy is None else "finished"
    accuracy = np.nan if trial.accuracy is None else 100 * trial.accuracy
    return study.Tried(trial.values["weight_decay"], trial.values.get("radius", np.nan), accuracy, end)
