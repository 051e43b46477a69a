"""Posthoc: a trained head adjusted, by its own norms, by the classes' counts, or on the validation embeddings.

Gives: the tensors of the head, as they were in shape and dtype. Methods with a τ also: `tau` float64 `()`; `sweep.tau`,
`sweep.accuracy` float64 `(S,)` (mean of per-class accuracy on the validation part, empty where τ was given). Temperature also:
`temperature` float64 `()`.

What is fitted on validation images, temperature and vector, minimises the plain mean over these images: each counts alike, so
classes count by how many images the part has of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from wbltr.errors import WbltrError, closest
from wbltr.functional.adjustments import (
    isotonic_norms,
    l2_normalize,
    logit_adjust,
    logit_adjust_multiplicative,
    retarget,
    tau_normalize,
    tau_sweep,
)
from wbltr.functional.calibration import negative_log_likelihood
from wbltr.functional.logits import affine_head, head_kind, head_logits
from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.functional.projections import row_norms
from wbltr.functional.scaling import temperature_fit, vector_scale, vector_scaling_fit
from wbltr.machine import prepare
from wbltr.pipeline import Runtime
from wbltr.recipe import Adjustment
from wbltr.stages import PosthocStageConfig, refuse_adjustment

SWEEP = tuple(round(0.1 * step, 1) for step in range(31))  # 0, 0.1 … 3
Head = Mapping[str, Tensor]


def run(config: PosthocStageConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Adjust the head; of several best τ the smallest is taken."""
    runtime.witness.update(device=str(prepare("cpu", runtime.threads)), threads=torch.get_num_threads())
    head: Head = {name: torch.from_numpy(values) for name, values in inputs["head"].items()}
    refuse_adjustment(config.method, head_kind(head))
    match config.method:
        case "temperature" | "vector":
            made = _fitted(config.method, head, inputs, runtime)
        case "isotonic":
            assert config.direction is not None
            made = {**head, "head.weight": isotonic_norms(head["head.weight"], _counts(inputs), config.direction)}
            norms = row_norms(made["head.weight"])
            runtime.report({"norm_min": float(norms.min()), "norm_max": float(norms.max())})
        case "prior":
            counts = _counts(inputs)
            names = json.loads(bytes(inputs["dataset"]["class_names"]))
            shift = retarget(torch.zeros(len(counts), dtype=torch.float64), counts, _target(config.prior, names))
            made = affine_head(head, torch.ones(()), shift)
            runtime.report({"prior": "uniform" if config.prior == "uniform" else "given"})
        case _:
            made = _with_tau(config, head, inputs, runtime)
    if any((head[name].isfinite() & ~made[name].isfinite()).any() for name in head):
        hint = "choose a τ nearer to 0" if config.tau is not None else "see what the head is like: wbltr diagnose"
        raise WbltrError(f"posthoc {config.method}: numbers too large for float32", hint, "usage")
    return made


def _counts(inputs: Mapping[str, Any]) -> Tensor:
    return torch.from_numpy(inputs["dataset"]["class_counts"])


def _validation(inputs: Mapping[str, Any], why_not: str, hint: str) -> tuple[Tensor, Tensor]:
    """Plain embeddings `(N, D)` and labels `(N,)` of the validation part."""
    labels = torch.from_numpy(inputs["embeddings"]["val.labels"])
    if not len(labels):
        raise WbltrError(f"{why_not}: the validation part is empty", hint, "missing")
    return torch.from_numpy(inputs["embeddings"]["val.embeddings"][0]), labels


def _with_tau(config: PosthocStageConfig, head: Head, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Tensor]:
    """τ given, or chosen by the mean of per-class accuracy on the validation part."""
    accuracy = torch.empty(0, dtype=torch.float64)
    if config.tau == "val":
        embeddings, labels = _validation(inputs, "τ cannot be chosen", "give it: --tau 1.0")
        classes = len(head["head.bias"])
        without = classes - len(torch.unique(labels))
        if without:
            runtime.notice(f"τ: {without} of {classes} classes have no validation images and are left out of the mean")
        predictions = sweep(config.method, head, embeddings, inputs)
        accuracy = torch.stack([mean_accuracy(class_accuracy(confusion_matrix(labels, p, classes))) for p in predictions])
        tau = SWEEP[int(accuracy.argmax())]
    else:
        assert config.tau is not None
        tau = config.tau
    runtime.report({"tau": tau} | ({"val_accuracy": float(accuracy.max())} if len(accuracy) else {}))
    match config.method:
        case "l2":
            made = {**head, "head.weight": l2_normalize(head["head.weight"])}
        case "tau":
            made = {**head, "head.weight": tau_normalize(head["head.weight"], tau)}
        case _:
            made = affine_head(head, *_scale_and_shift(config.method, _counts(inputs), tau))
    return {
        **made,
        "tau": torch.tensor(tau, dtype=torch.float64),
        "sweep.tau": torch.tensor(SWEEP if len(accuracy) else [], dtype=torch.float64),
        "sweep.accuracy": accuracy,
    }


def sweep(method: Adjustment, head: Head, embeddings: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """What the head predicts at each τ of `SWEEP`, from one product: `(S, N)` int64."""
    if method == "tau":
        weight = head["head.weight"]
        return tau_sweep(embeddings @ weight.T, row_norms(weight), head["head.bias"], SWEEP)
    logits, counts = head_logits(head, embeddings), _counts(inputs)
    adjusted = (vector_scale(logits, *(v.to(logits) for v in _scale_and_shift(method, counts, tau))) for tau in SWEEP)
    return torch.stack([values.argmax(1) for values in adjusted])


def _scale_and_shift(method: Adjustment, counts: Tensor, tau: float) -> tuple[Tensor, Tensor]:
    """What logit adjustment does to each class's logit, float64: `()` or `(C,)`, `(C,)`."""
    none = torch.zeros(len(counts), dtype=torch.float64)
    if method == "logit-adjust":
        return torch.ones(()), logit_adjust(none, counts, tau)
    ones = torch.ones_like(none)
    return logit_adjust_multiplicative(ones.unsqueeze(1), ones, counts, tau)[1], none


def _fitted(method: Adjustment, head: Head, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Tensor]:
    """Logits scaled to least cross entropy over the validation images."""
    embeddings, labels = _validation(inputs, f"{method} cannot be fitted", "it needs images that the head has not learned from")
    logits = head_logits(head, embeddings)
    before = {"val_nll_before": float(negative_log_likelihood(logits, labels))}
    extra: dict[str, Tensor] = {}
    if method == "temperature":
        found = temperature_fit(logits, labels)
        if bool((logits.argmax(1) == labels).all()):
            runtime.notice(
                f"temperature: all {len(labels):,} validation images are told right, so the nearer to 0 the better it fits: "
                "probabilities will be 0 and 1, which is not calibrated"
            )
        made = affine_head(head, torch.tensor(1 / found, dtype=torch.float64), torch.zeros(()))
        extra["temperature"] = torch.tensor(found, dtype=torch.float64)
        before["temperature"] = found
    else:
        without = logits.shape[1] - len(torch.unique(labels))
        if without:
            runtime.notice(f"vector: {without} classes have no validation images; it learns never to predict them")
        made = affine_head(head, *vector_scaling_fit(logits, labels))
    runtime.report({**before, "val_nll": float(negative_log_likelihood(head_logits(made, embeddings), labels))})
    return {**made, **extra}


def _target(prior: Any, names: list[str]) -> Tensor:
    """The prior as shares in label order, `(C,)` float64.

    Raises:
        WbltrError: code "recipe" where shares and classes do not have the same names.
    """
    if prior == "uniform":
        return torch.ones(len(names), dtype=torch.float64)
    known = set(names)
    unknown, missing = [n for n in prior if n not in known], [n for n in names if n not in prior]
    more = ", …" if len(missing) > 5 else ""
    told = [f"{len(missing)} of {len(names)} classes have no share: {', '.join(missing[:5])}{more}"] if missing else []
    told += [f"no class {unknown[0]!r}.{closest(unknown[0], names)}"] if unknown else []
    if told:
        raise WbltrError(f"posthoc prior: {'; '.join(told)}", "give a share to each class by its name", "recipe")
    return torch.tensor([prior[name] for name in names], dtype=torch.float64)
