"""Finetune: a second stage that changes more than the head: the last layers, or batch-norm's statistics as released.

Gives: `network.*`, `head.weight` float32 `(C, D)`, `head.bias` `(C,)`; `history.loss`, `history.accuracy` float64 `(E,)`,
`history.norms` float32 `(E, C)`, `history.at_radius`, `history.projected` float64 `(E,)`, `radius` float64 `()` as
`classifier` has them; with `select: best-test` `history.test_accuracy` float64 `(E,)` and `selected` int64 `()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wbltr.constraints import Constraint, what_max_norm_did
from wbltr.cores import free_cores
from wbltr.data.stream import is_index, training_images
from wbltr.errors import WbltrError
from wbltr.functional.losses import ClassLoss
from wbltr.functional.projections import relative_radius, row_norms
from wbltr.functional.sampling import image_weights
from wbltr.functional.schedules import cosine
from wbltr.machine import enough_memory, prepare
from wbltr.models import Classifier, empty_network
from wbltr.pipeline import Runtime
from wbltr.randomness import generator
from wbltr.stages import FinetuneStageConfig
from wbltr.stages._diverged import diverging
from wbltr.stages._second_stage import absolute_radius, starting_head
from wbltr.training import batches, fit, flip_averaged_accuracy, usable
from wbltr.watchers import BestEpoch


def run(config: FinetuneStageConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Train the last layers again, on freshly augmented images; see the module's docstring for the tensors."""
    saved = runtime.restore(usable)
    device = prepare(runtime.device, runtime.threads or (saved[2].get("threads") if saved else None))
    runtime.witness.update(device=str(device), threads=torch.get_num_threads())
    second, dataset = config.classifier, {name: torch.from_numpy(array) for name, array in inputs["dataset"].items()}
    loss = ClassLoss(second.loss, dataset["class_counts"], second.settings, device)
    labels = dataset["train.labels"]
    model, radius = _starting_model(config, inputs["features"], device)
    constraint = _constraint(config, model, radius)
    best = None
    if second.select == "best-test":
        if is_index(dataset, "test"):
            words = "select: best-test is the released protocol's, which has no such dataset"
            raise WbltrError(words, "--set classifier.select=last", "recipe")
        test = [dataset[name].to(device) for name in ("test.images", "test.labels")]
        best = BestEpoch(model, lambda: flip_averaged_accuracy(model, test[0], test[1], config.precision), second.epochs)
    images_of_an_epoch = training_images(
        inputs["dataset"],
        augment=config.augment,
        pad=config.pad,
        image_size=config.image_size,
        device=device,
        source=lambda epoch: generator(second.seed, "second stage", epoch),
        weights=image_weights(labels, dataset["class_counts"], second.sampling),
        roots=runtime.roots,
        span=runtime.span,
        workers=runtime.threads or free_cores(),
        rows=max(batches(len(labels), second.batch_size)),
    )
    with enough_memory("use a smaller classifier.batch_size"), diverging(second, runtime.section), images_of_an_epoch as images:
        history = fit(
            model,
            images,
            lrs=cosine(second.lr, second.epochs, second.scheduler),
            batch_size=second.batch_size,
            momentum=second.momentum,
            weight_decay=second.weight_decay,
            loss=loss,
            begin=loss.begin,
            precision=config.precision,
            tick=runtime.tick,
            report=lambda metrics: runtime.report({**metrics, "layers": second.layers}),
            checkpoint=lambda step, state, now: runtime.checkpoint(step, lambda: _on_cpu(state()), now=now),
            restored=(saved[0], {name: torch.from_numpy(value) for name, value in saved[1].items()}) if saved else None,
            constraint=constraint,
            watchers=[best] if best is not None else [],
        )
    if radius is not None and constraint is not None:
        of = "classes" if len(constraint.weights) == 1 else "rows and filters"
        runtime.notice(what_max_norm_did(history.projected.tolist(), radius, of))
    more = {}
    if best is not None:
        best.settle()
        more = {"history.test_accuracy": best.accuracy, "selected": torch.tensor(best.epoch)}
    return {
        **_on_cpu({f"network.{name}": value for name, value in model.network.state_dict().items()}),
        **_on_cpu(model.head()),
        "history.loss": history.loss,
        "history.accuracy": history.accuracy,
        "history.norms": history.norms,
        "history.at_radius": history.at_radius,
        "history.projected": history.projected,
        "radius": torch.tensor(float("nan") if radius is None else radius, dtype=torch.float64),
        **more,
    }


def _starting_model(
    config: FinetuneStageConfig, features: Mapping[str, Any], device: torch.device
) -> tuple[Classifier, float | None]:
    """The first stage's network with the head to start from, and MaxNorm's radius."""
    network = empty_network(config.network, config.mean, config.std, config.stem, config.prelogit)
    prefix = "network."
    network.load_state_dict({n.removeprefix(prefix): torch.from_numpy(v) for n, v in features.items() if n.startswith(prefix)})
    radius = absolute_radius(config.classifier.max_norm, torch.from_numpy(features["head.weight"]))
    model = Classifier(network, *starting_head(config.classifier, features)).to(device)
    model.finetune(config.classifier.layers, drift=config.classifier.mode == "exact")
    return model, radius


def _constraint(config: FinetuneStageConfig, model: Classifier, radius: float | None) -> Constraint | None:
    """What holds the classifier's rows, if anything does."""
    if config.classifier.constraint == "unit-norm":
        return Constraint.unit_norm(model.weight)
    ball = config.classifier.max_norm
    if radius is None or ball is None:
        return None
    # As they come from the first stage: a relative radius is each layer's own.
    layers = model.network.last_layers(config.classifier.layers - 1) if ball.on == "trained" else []
    filters = [module.weight for module in layers if isinstance(module, nn.Conv2d)]
    norms = [row_norms(weight.detach().flatten(1)) for weight in filters]
    radii = [relative_radius(values, ball.radius) if ball.relative else ball.radius for values in norms]
    return Constraint([model.weight, *filters], [radius, *radii], ball.per)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
