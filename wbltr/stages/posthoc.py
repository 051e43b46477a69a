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
from wbltr.functional.calibration import negative_log_likelihood
from wbltr.functional.logits import affine_head, head_kind, head_logits
from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.functional.projections import row_norms
from wbltr.functional.scaling import vector_scale
from wbltr.machine import prepare
from wbltr.methods.adjustments import ADJUSTMENTS, Adjustment
from wbltr.methods.settings import load, taken
from wbltr.pipeline import Runtime
from wbltr.stages import PosthocStageConfig, refuse_adjustment

SWEEP = tuple(round(0.1 * step, 1) for step in range(31))  # 0, 0.1 … 3
Head = Mapping[str, Tensor]


def run(config: PosthocStageConfig, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Any]:
    """Adjust the head; of several best τ the smallest is taken."""
    runtime.witness.update(device=str(prepare("cpu", runtime.threads)), threads=torch.get_num_threads())
    head: Head = {name: torch.from_numpy(values) for name, values in inputs["head"].items()}
    refuse_adjustment(config.method, head_kind(head))
    entry, given = ADJUSTMENTS[config.method], _given(config, inputs)
    if entry.fitted:
        made = _fitted(entry, head, inputs, runtime)
    elif config.tau is not None:
        made = _with_tau(config, head, given, inputs, runtime)
    else:
        made = _adjusted(entry, head, _applied(entry, head, given))
        norms = row_norms(made["head.weight"])
        told = {s.name: "given" if isinstance(value := getattr(config, s.name), dict) else value for s in entry.settings}
        runtime.report({"norm_min": float(norms.min()), "norm_max": float(norms.max())} if entry.gives == "rows" else told)
    if any((head[name].isfinite() & ~made[name].isfinite()).any() for name in head):
        hint = "choose a τ nearer to 0" if config.tau is not None else "see what the head is like: wbltr diagnose"
        raise WbltrError(f"posthoc {config.method}: numbers too large for float32", hint, "usage")
    return made


def _given(config: PosthocStageConfig, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What an adjustment may take beside the head: its settings, shares in label order, and the classes' counts."""
    given: dict[str, Any] = {}
    for setting in ADJUSTMENTS[config.method].settings:
        given[setting.name] = getattr(config, setting.name)
        if setting.kind == "shares":
            names = json.loads(bytes(inputs["dataset"]["class_names"]))
            given[setting.name] = _shares(f"posthoc {config.method}", given[setting.name], names)
    if "dataset" in inputs:
        given["counts"] = torch.from_numpy(inputs["dataset"]["class_counts"])
    return given


def _applied(entry: Adjustment, head: Head, given: Mapping[str, Any]) -> Any:
    """What the entry's function gives."""
    own, function = {"weight": head["head.weight"], "bias": head["head.bias"]}, load(entry.apply)
    if entry.gives != "rows":  # of a head whose logits are its one embedding
        ones = torch.ones(len(own["bias"]), dtype=torch.float64)
        own = {"weight": ones.unsqueeze(1), "bias": torch.zeros_like(ones)}
    return function(**taken(function, {**own, **given, **entry.fixed}))


def _adjusted(entry: Adjustment, head: Head, found: Any) -> dict[str, Tensor]:
    """The head, with what the entry's function has given."""
    if entry.gives == "rows":
        return {**head, "head.weight": found}
    return affine_head(head, *_scale_and_shift(entry, found))


def _scale_and_shift(entry: Adjustment, found: Any) -> tuple[Tensor, Tensor]:
    """What is done to each class's logit: `()` or `(C,)`, both."""
    match entry.gives:
        case "shift":
            return torch.ones(()), found
        case "temperature":
            return torch.tensor(1 / found, dtype=torch.float64), torch.zeros(())
    scale, shift = found
    return scale.flatten(), shift


def _validation(inputs: Mapping[str, Any], why_not: str, hint: str) -> tuple[Tensor, Tensor]:
    """Plain embeddings `(N, D)` and labels `(N,)` of the validation part."""
    labels = torch.from_numpy(inputs["embeddings"]["val.labels"])
    if not len(labels):
        raise WbltrError(f"{why_not}: the validation part is empty", hint, "missing")
    return torch.from_numpy(inputs["embeddings"]["val.embeddings"][0]), labels


def _with_tau(
    config: PosthocStageConfig, head: Head, given: Mapping[str, Any], inputs: Mapping[str, Any], runtime: Runtime
) -> dict[str, Tensor]:
    """τ given, or chosen by the mean of per-class accuracy on the validation part."""
    entry, tau = ADJUSTMENTS[config.method], config.tau
    accuracy = torch.empty(0, dtype=torch.float64)
    if tau == "val":
        embeddings, labels = _validation(inputs, "τ cannot be chosen", "give it: --tau 1.0")
        classes = len(head["head.bias"])
        without = classes - len(torch.unique(labels))
        if without:
            runtime.notice(f"τ: {without} of {classes} classes have no validation images and are left out of the mean")
        predictions = sweep(entry, head, embeddings, given)
        accuracy = torch.stack([mean_accuracy(class_accuracy(confusion_matrix(labels, p, classes))) for p in predictions])
        tau = SWEEP[int(accuracy.argmax())]
    runtime.report({"tau": tau} | ({"val_accuracy": float(accuracy.max())} if len(accuracy) else {}))
    return {
        **_adjusted(entry, head, _applied(entry, head, {**given, "tau": tau})),
        "tau": torch.tensor(tau, dtype=torch.float64),
        "sweep.tau": torch.tensor(SWEEP if len(accuracy) else [], dtype=torch.float64),
        "sweep.accuracy": accuracy,
    }


def sweep(entry: Adjustment, head: Head, embeddings: Tensor, given: Mapping[str, Any]) -> Tensor:
    """What the head predicts at each τ of `SWEEP`: `(S, N)` int64; from one product, where that is possible."""
    if entry.sweep:
        weight = head["head.weight"]
        predicted: Tensor = load(entry.sweep)(embeddings @ weight.T, row_norms(weight), head["head.bias"], SWEEP)
        return predicted
    found = (_applied(entry, head, {**given, "tau": tau}) for tau in SWEEP)
    if entry.gives == "rows":
        return torch.stack([head_logits(_adjusted(entry, head, rows), embeddings).argmax(1) for rows in found])
    logits = head_logits(head, embeddings)
    moves = (_scale_and_shift(entry, one) for one in found)
    return torch.stack([vector_scale(logits, scale.to(logits), shift.to(logits)).argmax(1) for scale, shift in moves])


def _fitted(entry: Adjustment, head: Head, inputs: Mapping[str, Any], runtime: Runtime) -> dict[str, Tensor]:
    """Logits moved to least cross entropy over the validation images."""
    hint = "it needs images that the head has not learned from"
    embeddings, labels = _validation(inputs, f"{entry.name} cannot be fitted", hint)
    logits = head_logits(head, embeddings)
    found = _applied(entry, head, {"logits": logits, "labels": labels})
    made = _adjusted(entry, head, found)
    one = {"temperature": found} if entry.gives == "temperature" else {}
    if one and bool((logits.argmax(1) == labels).all()):
        runtime.notice(
            f"{entry.name}: all {len(labels):,} validation images are told right, so the nearer to 0 the better it fits: "
            "probabilities will be 0 and 1, which is not calibrated"
        )
    if not one and (without := logits.shape[1] - len(torch.unique(labels))):
        runtime.notice(f"{entry.name}: {without} classes have no validation images; it learns never to predict them")
    after = negative_log_likelihood(head_logits(made, embeddings), labels)
    runtime.report({"val_nll_before": float(negative_log_likelihood(logits, labels)), **one, "val_nll": float(after)})
    return {**made, **{name: torch.tensor(value, dtype=torch.float64) for name, value in one.items()}}


def _shares(method: str, shares: str | Mapping[str, float], names: list[str]) -> Tensor:
    """How common each class is, in label order: `(C,)` float64.

    Raises:
        WbltrError: code "recipe" where shares and classes do not have the same names.
    """
    if isinstance(shares, str):
        return torch.ones(len(names), dtype=torch.float64)
    known = set(names)
    unknown, missing = [n for n in shares if n not in known], [n for n in names if n not in shares]
    more = ", …" if len(missing) > 5 else ""
    told = [f"{len(missing)} of {len(names)} classes have no share: {', '.join(missing[:5])}{more}"] if missing else []
    told += [f"no class {unknown[0]!r}.{closest(unknown[0], names)}"] if unknown else []
    if told:
        raise WbltrError(f"{method}: {'; '.join(told)}", "give a share to each class by its name", "recipe")
    return torch.tensor([shares[name] for name in names], dtype=torch.float64)
