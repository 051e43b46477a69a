"""Features (first stage): the training images → a network and its head.

Gives: `network.*` (every weight and buffer), `head.weight` float32 `(C, D)`, `head.bias` `(C,)`, of a cosine head also
`head.scale` `()`; `history.loss`, `history.accuracy`, `history.lr` float64 `(E,)`, `history.norms` float32 `(E, C)`.
Under a constraint also `history.at_radius`, `history.projected` float64 `(E,)`, as `classifier` has them; with `select:
best-test` `history.test_accuracy` float64 `(E,)` and `selected` int64 `()`, the epoch from 0; with `snapshot_every`
`snapshots.steps` int64 `(S,)` and `snapshots.weight` float32 `(S, C, D)`. With `network: none` the dataset holds embeddings,
and there is no `network.*`; a head alone, as with `frozen`, has one `history.accuracy`, of the last epoch (NaN before).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from wbltr.config import Teacher, Weights
from wbltr.constraints import Constraint, what_max_norm_did
from wbltr.cores import free_cores, these_cores
from wbltr.data.augment import AugmentedImages
from wbltr.data.stream import StreamedImages, is_index, training_images
from wbltr.distributed import Team, team
from wbltr.errors import WbltrError
from wbltr.functional.logits import head_logits
from wbltr.functional.losses import ClassLoss
from wbltr.functional.sampling import image_weights
from wbltr.functional.schedules import cosine
from wbltr.machine import enough_memory, prepare
from wbltr.models import Classifier, Network, empty_network, new_head, new_network, parameter_count
from wbltr.pipeline import Runtime
from wbltr.randomness import generator
from wbltr.recipe import FeaturesConfig
from wbltr.stages import sharing_hint
from wbltr.stages._diverged import diverging
from wbltr.stages._head_alone import of_own_embeddings
from wbltr.stages._pretrained import frozen, pretrained
from wbltr.training import Epochs, batches, fit, flip_averaged_accuracy, usable
from wbltr.watchers import BestEpoch, Probe, Snapshots, Watcher


def run(config: FeaturesConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Train by SGD with momentum and weight decay on every parameter; see the module's docstring for the tensors.

    Under torchrun every process runs this, and the leader's result is the one that counts.
    """
    us = team()
    if config.network == "none":
        device = prepare(runtime.device, runtime.threads)
        runtime.witness.update(device=str(device), threads=torch.get_num_threads())
        with enough_memory("try --device cpu"), diverging(config):
            return of_own_embeddings(config, inputs["dataset"], device, runtime)
    if config.shards % us.size:
        raise WbltrError(
            f"{us.size} processes cannot share {config.shards} parts of a batch: features.micro_batch is {config.micro_batch}",
            sharing_hint(config.batch_size, us.size),
            "usage",
        )
    saved = runtime.restore(usable)
    # Other bits come from another number of threads, so a resumed run keeps the one it began with.
    alike = saved is not None and (saved[2].get("processes") or 1) == us.size
    threads = runtime.threads or (saved[2].get("threads") if saved and alike else None)
    device = prepare(runtime.device, threads, us.beside, us.place)
    runtime.witness.update(device=str(device), threads=torch.get_num_threads(), processes=us.size)
    if threads is None and device.type == "cpu" and (busy := str(these_cores())):
        runtime.notice(f"features: {busy}")
    _check_images(config, inputs["dataset"])
    if config.frozen:
        with enough_memory("try --device cpu"), diverging(config):
            return _on_cpu(frozen(config, inputs["dataset"], _network(config, runtime), device, runtime))
    lrs = cosine(config.lr, config.epochs, config.scheduler)
    with us.connected(device, lambda: runtime.tick(-1, -1)), enough_memory("use a smaller features.batch_size or network"):
        us.begin(str(config.hashed()))
        torch.set_num_threads(us.agree(torch.get_num_threads()))
        model, history, more = _train(config, inputs, runtime, device, us, lrs, saved)
    if config.max_norm is not None:
        runtime.notice(what_max_norm_did(history.projected.tolist(), config.max_norm.radius))
    return {
        **_on_cpu({f"network.{name}": value for name, value in model.network.state_dict().items()}),
        **_on_cpu(model.head()),
        "history.loss": history.loss,
        "history.accuracy": history.accuracy,
        "history.norms": history.norms,
        "history.lr": torch.tensor(lrs, dtype=torch.float64),
        **more,
    }


def _train(
    config: FeaturesConfig,
    inputs: Mapping[str, Any],
    runtime: Runtime,
    device: torch.device,
    us: Team,
    lrs: Sequence[float],
    saved: tuple[int, Mapping[str, Any], Mapping[str, Any]] | None,
) -> tuple[Classifier, Epochs, dict[str, Tensor]]:
    """The model, its history, and what the config asks to keep beside them."""
    dataset = inputs["dataset"]
    counts = torch.from_numpy(dataset["class_counts"])
    loss = ClassLoss(config.loss, counts, config.settings, device)
    labels = torch.from_numpy(dataset["train.labels"])
    steps = batches(len(labels), config.batch_size, config.shards)
    network = _network(config, runtime)
    scale = config.scale if config.head == "cosine" else None
    model = Classifier(network, *new_head(len(counts), network.embedding_size, config.seed), scale).to(device)
    parameters = parameter_count(model)
    constraint = _constraint(config, model)
    watchers: list[Watcher] = []
    if config.select == "best-test":
        test = [torch.from_numpy(dataset[name]).to(device) for name in ("test.images", "test.labels")]
        best = BestEpoch(model, lambda: flip_averaged_accuracy(model, test[0], test[1], config.precision), config.epochs)
        watchers.append(best)
    if runtime.probe is not None:
        watchers.append(Probe(model, runtime.probe, config.precision))
    if config.snapshot_every is not None:
        snapshots = Snapshots(model, config.snapshot_every, config.epochs * len(steps))
        watchers.append(snapshots)
    source = training_images(
        dataset,
        augment=config.augment,
        pad=config.pad,
        image_size=config.image_size,
        device=device,
        source=lambda epoch: generator(config.seed, "epoch", epoch),
        weights=image_weights(labels, counts, config.sampling),
        roots=runtime.roots,
        span=runtime.span,
        workers=runtime.threads or free_cores(),
        rows=max(steps),
    )
    with diverging(config), source as images:
        history = fit(
            model,
            images,
            lrs=lrs,
            batch_size=config.batch_size,
            shards=config.shards,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            loss=loss,
            begin=loss.begin,
            teacher=_teacher(config, inputs["teacher"], device) if "teacher" in inputs else None,
            precision=config.precision,
            tick=runtime.tick,
            report=lambda metrics: runtime.report({**metrics, **_loader(images), "parameters": parameters}),
            checkpoint=lambda step, state, now: runtime.checkpoint(step, lambda: _on_cpu(state()), now=now),
            restored=(saved[0], {name: torch.from_numpy(value) for name, value in saved[1].items()}) if saved else None,
            team=us,
            constraint=constraint,
            watchers=watchers,
        )
    more: dict[str, Tensor] = {}
    if constraint is not None:
        more |= {"history.at_radius": history.at_radius, "history.projected": history.projected}
    if config.select == "best-test":
        best.settle()
        more |= {"history.test_accuracy": best.accuracy, "selected": torch.tensor(best.epoch)}
    if config.snapshot_every is not None:
        more |= {"snapshots.steps": snapshots.steps, "snapshots.weight": snapshots.weights}
    return model, history, more


def _network(config: FeaturesConfig, runtime: Runtime) -> Network:
    """The network before its first step: freshly initialised, or with pretrained weights."""
    network = new_network(config.network, config.mean, config.std, config.seed, config.stem, config.prelogit)
    if isinstance(config.weights, Weights):
        pretrained(network, config, config.weights, runtime)
    return network


def _check_images(config: FeaturesConfig, dataset: Mapping[str, Any]) -> None:
    """Refuse a config that these images do not fit."""
    listed, images = is_index(dataset, "train"), len(dataset["train.labels"])
    channels = 3 if listed else dataset["train.images"].shape[1]
    if channels != len(config.mean):
        raise WbltrError(
            f"features.mean has {len(config.mean)} channels, the images have {channels}",
            f"give one mean and std a channel: --set 'features.mean={[0.5] * channels}' and features.std",
            "recipe",
        )
    if images < 2 * config.shards:
        raise WbltrError(
            f"features.micro_batch={config.micro_batch} cuts {images} images into {config.shards} parts; "
            "batch-norm needs two images in each",
            f"--set features.micro_batch={min(config.batch_size, images)}",
            "recipe",
        )
    if listed and config.select == "best-test":
        raise WbltrError(
            "select: best-test is the released protocol's, which has no such dataset", "--set features.select=last", "recipe"
        )


def _loader(images: AugmentedImages | StreamedImages) -> dict[str, float]:
    """The share of an epoch that was spent waiting for images, where they are decoded on the way."""
    return {"loader": images.share} if isinstance(images, StreamedImages) else {}


def _constraint(config: FeaturesConfig, model: Classifier) -> Constraint | None:
    """What holds the classifier's rows, if anything does."""
    if config.constraint == "unit-norm":
        return Constraint.unit_norm(model.weight)
    ball = config.max_norm
    return Constraint([model.weight], [ball.radius], ball.per) if ball is not None else None


def _teacher(config: FeaturesConfig, given: Mapping[str, Any], device: torch.device) -> Callable[[Tensor], Tensor]:
    """The network to learn from, on the same images: `(B, C, H, W)` uint8 → logits `(B, classes)`, in eval mode."""
    spec = config.teacher
    assert isinstance(spec, Teacher), "a teacher is settled before any key"
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    network = empty_network(spec.network, spec.mean, spec.std, spec.stem, spec.prelogit)
    network.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
    network.requires_grad_(False).eval().to(device)
    head = {name: tensor.to(device) for name, tensor in tensors.items() if name.startswith("head.")}

    @torch.no_grad()
    def logits(images: Tensor) -> Tensor:
        embeddings = network(images)
        with torch.autocast(device.type, enabled=False):
            return head_logits(head, embeddings.float())

    return logits


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
