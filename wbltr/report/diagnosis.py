"""What a chain's settings did, one line of plain words each, with a warning where a knob does nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from wbltr.functional.diagnostics import decay_left, rank_correlation, relative_distance
from wbltr.functional.geometry import fisher_discriminant_ratio, mean_pairwise_cosine
from wbltr.functional.priors import predicted_prior, total_variation
from wbltr.functional.prototypes import class_means
from wbltr.functional.schedules import cosine
from wbltr.methods.heads import HEADS

Array = np.ndarray[Any, Any]
Tensors = Mapping[str, Any]  # tensor name → array, of one artifact

NEGLIGIBLE = 0.01  # of a weight lost to decay over a whole schedule: less than its row's norm differs between seeds
CHANCE = 1.96  # standard errors, 1 / √(C − 1): a correlation over C classes that chance exceeds one time in twenty
ROUNDING = 1e-4  # norms that differ by less were meant to be equal
TOO_OFTEN = 3  # classes that are named,
BY = 1.05  # if they are predicted so many times as often as they come
STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        name: what was looked at.
        words: what was found.
        warning: what does nothing, and what to do about it; empty where all is well.
        figures: JSON values.
    """

    name: str
    words: str
    warning: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As `--json` gives it."""
        return {"words": self.words, "warning": self.warning or None, **self.figures}


def constraint(stage: str, config: Any, tensors: Tensors) -> Finding:
    """Which rows a constraint held, epoch by epoch.

    Args:
        stage: in words.
        config: its recipe section.
        tensors: `history.at_radius`, `history.projected` float64 `(E,)`, where it has a constraint.
    """
    name = f"constraint, {stage}"
    ball = config.max_norm
    if ball is None:
        words = "none" if config.constraint == "none" else "every row has unit norm after each step"
        return Finding(name, words)
    held, moved = (tensors[f"history.{what}"] for what in ("at_radius", "projected"))
    radius = float(tensors["radius"]) if "radius" in tensors else ball.radius
    epochs, last = len(moved), int(np.flatnonzero(moved > 0).max(initial=-1)) + 1
    words = f"MaxNorm (radius {radius:.3g}): {_per_cent(held[0])} of the rows at it after the first epoch"
    words += f", {_per_cent(held[-1])} after the last; " + (f"it moved rows until epoch {last} of {epochs}" if last else "")
    warning = ""
    if not last:
        words += "it never moved a row"
        kept = (
            f"weight decay {config.weight_decay:g} keeps every row inside" if config.weight_decay else "every row stays inside"
        )
        warning = f"MaxNorm does nothing here: {kept}; lower its radius, or leave it out"
    figures = {"radius": radius, "at_radius": _json(held), "projected": _json(moved), "last_moving_epoch": last}
    return Finding(name, words, warning, figures)


def norms_by_count(norms: Array, counts: Array) -> Finding:
    """Whether rows of common classes are longer.

    Args:
        norms: `(C,)` L2 norms of the head's rows.
        counts: `(C,)` training images.
    """
    smallest, largest = float(norms.min()), float(norms.max())
    ratio = largest / smallest if smallest > 0 else math.nan
    alike = ratio < 1 + ROUNDING
    correlation = math.nan if alike else rank_correlation(torch.from_numpy(norms), torch.from_numpy(counts))
    if alike:
        words = f"all rows have the norm {largest:.3g}"
    elif math.isnan(correlation):
        words = f"{smallest:.3g} to {largest:.3g}; all classes have as many training images"
    else:
        weak = abs(correlation) < min(CHANCE / math.sqrt(len(norms) - 1), 0.9)
        follow = "hardly follow" if weak else "rise with" if correlation > 0 else "fall with"
        words = f"{follow} the training images (Spearman's correlation {correlation:+.2f}); {smallest:.3g} to {largest:.3g}"
        words += f", the largest {ratio:.1f} times the smallest" if not math.isnan(ratio) else ""
    return Finding("row norms", words, figures={"spearman": _json(correlation), "largest_over_smallest": _json(ratio)})


def geometry(embeddings: Array, labels: Array, classes: int, part: str) -> Finding:
    """How classes lie apart in what the head is given.

    Args:
        embeddings: `(N, D)`.
        labels: `(N,)` int64.
        classes: C.
        part: in words.
    """
    x, y = torch.from_numpy(embeddings), torch.from_numpy(labels)
    ratio = float(fisher_discriminant_ratio(x, y))
    between = float(mean_pairwise_cosine(class_means(x, y, classes)))
    words = f"{part}: Fisher's discriminant ratio {ratio:.3g}, mean cosine between class means {between:.2f}"
    return Finding("embeddings", words, figures={"part": part, "fisher": _json(ratio), "cosine": _json(between)})


def prior(confusion: Array, names: Sequence[str], part: str) -> Finding:
    """Whether classes are predicted as often as they come.

    Args:
        confusion: `(C, C)` int64, images of class i predicted as class j.
        names: of the classes.
        part: which was measured.
    """
    matrix = torch.from_numpy(confusion)
    predicted, true = predicted_prior(matrix), predicted_prior(matrix.T)
    distance = float(total_variation(predicted, true))
    shares = sorted(zip(names, predicted.tolist(), true.tolist(), strict=True), key=lambda share: share[2] - share[1])
    worst = [(name, often, right) for name, often, right in shares[:TOO_OFTEN] if often > BY * right]
    words = f"{part}: {_per_cent(distance)} of the predictions would have to move for each class to come as often as it does"
    if worst:
        told = (f"{name} ({_per_cent(often)}, not {_per_cent(right)})" for name, often, right in worst)
        words += f"; too often: {', '.join(told)}"
    too_often = [{"class": name, "predicted": _json(often), "true": _json(right)} for name, often, right in worst]
    figures = {"part": part, "total_variation": _json(distance), "too_often": too_often}
    return Finding("predicted prior", words, figures=figures)


def batch_norm(first: Tensors, second: Tensors | None) -> Finding:
    """How far the second stage moved batch-norm's running statistics.

    Args:
        first: `network.*` of the first stage.
        second: likewise after the second; None where it did not run the network.
    """
    name = "batch-norm drift"
    layers = sorted({tensor.rpartition(".")[0] for tensor in first if tensor.endswith(STATISTICS)})
    if second is None or not layers:
        return Finding(
            name, "none: the second stage did not run the network" if layers else "none: the network has no batch-norm"
        )
    words, figures = [], {}
    for what, told in zip(STATISTICS, ("means", "variances"), strict=True):
        before, after = ([torch.from_numpy(of[f"{layer}.{what}"]) for layer in layers] for of in (first, second))
        moved = {layer: relative_distance(*pair) for layer, *pair in zip(layers, before, after, strict=True)}
        whole, worst = relative_distance(torch.cat(before), torch.cat(after)), max(moved, key=lambda layer: moved[layer])
        short = worst.removeprefix("network.backbone.")
        words.append(
            f"running {told} {_per_cent(whole)} away from the first stage's, at most {_per_cent(moved[worst])} in {short}"
        )
        figures[told] = {"whole": _json(whole), "worst": _json(moved[worst]), "layer": short}
    return Finding(name, "; ".join(words), figures=figures)


def weight_decay(stage: str, config: Any, images: int) -> Finding:
    """What weight decay alone does to a weight over the whole schedule.

    Args:
        stage: in words.
        config: its recipe section.
        images: of the training part.
    """
    name, decay = f"weight decay, {stage}", config.weight_decay
    if not HEADS[config.head].trained:
        return Finding(name, "none: nothing is trained")
    lrs, steps = cosine(config.lr, config.epochs, config.scheduler), math.ceil(images / config.batch_size)
    left = decay_left(lrs, decay, config.momentum, steps)
    first = decay_left(lrs[:1], decay, config.momentum, steps)
    figures = {"lr_times_weight_decay": config.lr * decay, "left_after_first_epoch": first, "left": left}
    if not decay:
        naive = stage == "first stage"
        warning = "without weight decay the first stage is the naive one; find a better: wbltr tune features" if naive else ""
        return Finding(name, "none", warning, figures)
    words = f"lr·λ = {config.lr * decay:.2g}: a weight that no gradient reaches keeps {_per_cent(first)} of itself "
    words += f"after one epoch, {_per_cent(left)} after {config.epochs}"
    warning = f"weight decay {decay:g} does nothing here: raise it, or leave it out" if left > 1 - NEGLIGIBLE else ""
    return Finding(name, words, warning, figures)


def _per_cent(share: float) -> str:
    """Two digits of a small share, whole numbers of a large one: `0.031 %`, `4.2 %`, `87 %`; the smallest as a bound."""
    if 0 < share < 1e-4:
        return "less than 0.01 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.2g} %"


def _json(values: Any) -> Any:
    """Numbers as JSON has them: no NaN, no infinities, six decimals."""
    if isinstance(values, np.ndarray):
        return [_json(float(value)) for value in values]
    return round(values, 6) if math.isfinite(values) else None
