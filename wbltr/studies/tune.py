"""tune: weight decay, radius and what else is asked for, by what they give on the validation part alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from wbltr.config import Config
from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.rows import Row
from wbltr.pipeline import Made, Node
from wbltr.recipe import ClassifierConfig, Recipe
from wbltr.stages import Chain
from wbltr.studies.space import Space, Target, classifier_of, features_of
from wbltr.studies.study import Study, Trial, best, hopeless

LOOKS = 20  # at a training on its way
Load = Callable[[Node], tuple[Made, dict[str, Any]]]


@dataclass(frozen=True)
class Budget:
    """When a study ends.

    Attributes:
        trials: in all, those of earlier commands and other processes included; None: no bound.
        over: whether the time is up.
    """

    trials: int | None
    over: Callable[[], bool]

    def left(self, finished: Sequence[Trial]) -> int | None:
        """How many trials may still be asked for; None: as many as the time allows."""
        if self.over() or hopeless(finished):
            return 0
        return None if self.trials is None else max(0, self.trials - len(finished))


def study_name(target: Target, recipe: Recipe, on: str, space: Space, row: Row | None = None) -> str:
    """A name that two studies share exactly when they ask the same: the sections, what they stand on, the ranges.

    Args:
        on: id of the features, or of the dataset.
        row: of a study of features, which of its rows judges them.
    """
    sections = ("dataset", "embeddings", "classifier") if target == "classifier" else ("dataset", "features", "eval")
    asked: dict[str, Any] = {name: getattr(recipe, name).hashed() for name in sections}
    for name in space:
        asked[target].pop("max_norm" if name == "radius" else name, None)
    if row is not None:
        asked["row"] = [row, *(judge.hashed() for judge in _judge(recipe, row))]
    asked |= {"on": on, "space": {name: str(wanted) for name, wanted in sorted(space.items())}}
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return f"{target}-{recipe.name}-{digest[:12]}"


def _judge(recipe: Recipe, row: Row) -> list[Config]:
    """The settings of a row that judges first stages."""
    own = [recipe.heads[row]] if row in recipe.heads else []
    if row == "first stage":
        return []
    if row in ADJUSTMENTS:
        return [recipe.posthoc, *own]
    return [recipe.classifier.as_row(row, recipe.features, recipe.heads.get(row)), recipe.embeddings]


def tune_features(
    study: Study,
    recipe: Recipe,
    judge: Callable[[Recipe, Callable[[int, Any], None]], float],
    validation: tuple[Any, Any],
    budget: Budget,
    told: Callable[[Sequence[Trial]], None],
) -> tuple[Trial, Recipe]:
    """Search the first stage's settings, one training after another; each that comes to its end is a plain artifact.

    Args:
        recipe: what is varied.
        judge: a recipe and the probe of its training → accuracy on the validation part, share.
        validation: images `(N, C, H, W)` uint8 and labels `(N,)`, numpy, by which a trial is looked at on its way.
        told: called with all finished trials after each.

    Returns:
        The best trial, and its recipe.

    Raises:
        WbltrError: code "training" when every trial diverged.
    """
    images, labels = (torch.from_numpy(array) for array in validation)
    every = max(1, recipe.features.epochs // LOOKS)

    def measure(values: Mapping[str, Any], report: Callable[[int, float], None]) -> float:
        def probe(epochs: int, predict: Callable[[Tensor], Tensor]) -> None:
            if epochs % every == 0 and epochs < recipe.features.epochs:
                logits = predict(images)
                confusion = confusion_matrix(labels, logits.argmax(1), logits.shape[1])
                report(epochs, float(mean_accuracy(class_accuracy(confusion))))

        return judge(recipe.model_copy(update={"features": features_of(recipe.features, values)}), probe)

    finished = study.finished()
    while budget.left(finished) != 0:
        study.run_one(measure)
        finished = study.finished()
        told(finished)
    winner = best(finished)
    return winner, recipe.model_copy(update={"features": features_of(recipe.features, winner.values)})


def tune_classifier(
    study: Study,
    chain: Chain,
    load: Load,
    budget: Budget,
    *,
    at_once: int,
    precision: Literal["bf16", "fp32"],
    told: Callable[[Sequence[Trial]], None],
) -> tuple[Trial, ClassifierConfig]:
    """Search the second stage's settings, many heads at once on the same embeddings.

    Args:
        load: makes a node and reads its tensors.
        at_once: trials of one sweep.
        precision: of a sweep's products; the winner is made again by itself, in full.
        told: called with all finished trials after each sweep.

    Returns:
        The best trial, and its section.

    Raises:
        WbltrError: code "training" when every trial diverged.
    """
    section = chain.recipe.classifier

    def measure(asked: Sequence[Mapping[str, Any]]) -> list[float]:
        sections = [classifier_of(section, values) for values in asked]
        accuracies: dict[int, float] = {}
        # Heads of different lengths cannot share their batches.
        for epochs in sorted({one.epochs for one in sections}):
            places = [place for place, one in enumerate(sections) if one.epochs == epochs]
            _, tensors = load(chain.sweep([sections[place] for place in places], precision))
            accuracies |= dict(zip(places, tensors["accuracy"].tolist(), strict=True))
        return [accuracies[place] for place in range(len(sections))]

    finished = study.finished()
    while (left := budget.left(finished)) != 0:
        study.run(at_once if left is None else min(at_once, left), measure)
        finished = study.finished()
        told(finished)
    winner = best(finished)
    return winner, classifier_of(section, winner.values)
