"""Every adjustment on digits, against a slow obvious reference; and what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from small_chain import RECIPE, RUNTIME, Tensors, as_arrays

from wbltr.errors import WbltrError
from wbltr.functional.calibration import negative_log_likelihood
from wbltr.functional.logits import head_logits
from wbltr.methods.heads import KINDS
from wbltr.recipe import EvalConfig, PosthocConfig
from wbltr.stages import POSTHOC, EmbeddingsStageConfig, PosthocStageConfig, embeddings, posthoc
from wbltr.stages import eval as evaluation

CLASSES = [str(digit) for digit in range(10)]
SHARES = {name: float(1 + k) for k, name in enumerate(CLASSES)}


@pytest.fixture(scope="module")
def embedded(images: Tensors, first: Tensors) -> Tensors:
    """Validation and test embeddings."""
    network = {name: value for name, value in first.items() if name.startswith("network.")}
    settings: dict[str, Any] = {"network": "small", "mean": RECIPE.features.mean, "std": RECIPE.features.std, "augment": "none",
                                "precision": "fp32", "pad": 0, "views": 2, "seed": 0}  # fmt: skip
    configs = [EmbeddingsStageConfig(part=part, **settings) for part in ("val", "test")]
    return {
        name: value
        for config in configs
        for name, value in as_arrays(embeddings.run(config, {"dataset": images, "features": network}, RUNTIME)).items()
    }


def of_kind(kind: str, first: Tensors) -> dict[str, Any]:
    """The first stage's head; as a cosine head; with a gate."""
    head = {name: first[name] for name in ("head.weight", "head.bias")}
    if kind == "cosine":
        return {**head, "head.scale": np.array(8.0, np.float32)}
    if kind == "gated":
        random = np.random.default_rng(0)
        sizes: dict[str, Any] = {"weight": 64, "bias": (), "scale": 10, "shift": 10}
        return {**head, **{f"head.gate.{n}": np.asarray(random.normal(size=s), np.float32) for n, s in sizes.items()}}
    return head


def adjust(head: Tensors, images: Tensors, embedded: Tensors, **settings: Any) -> Tensors:
    """One method as `make` would run it: handed what it reads, no more."""
    config = PosthocStageConfig.of(PosthocConfig.model_validate(settings))
    given = {"head": head, "embeddings": embedded, "dataset": images}
    inputs = {
        name: {tensor: value for tensor, value in given[name].items() if tensor.startswith(prefixes)}
        for name, prefixes in POSTHOC.reads(config).items()
    }
    return as_arrays(posthoc.run(config, inputs, RUNTIME))


def logits_of(head: Tensors, embedded: Tensors, part: str = "val") -> torch.Tensor:
    tensors = {name: torch.as_tensor(value) for name, value in head.items() if name.startswith("head.")}
    return head_logits(tensors, torch.from_numpy(embedded[f"{part}.embeddings"][0]))


def shares_of(images: Tensors) -> list[float]:
    return [float(n) / float(images["class_counts"].sum()) for n in images["class_counts"]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tau", [0.0, 1.0, 0.7])
def test_logit_adjustment_takes_tau_times_the_log_share_from_each_logit(
    images: Tensors, first: Tensors, embedded: Tensors, kind: str, tau: float
) -> None:
    head = of_kind(kind, first)
    found = logits_of(adjust(head, images, embedded, method="logit-adjust", tau=tau), embedded)
    before, shares = logits_of(head, embedded), shares_of(images)
    expected = [[z - tau * math.log(share) for z, share in zip(row, shares, strict=True)] for row in before.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["linear", "gated"])
def test_multiplicative_logit_adjustment_divides_each_logit_by_the_share_to_the_tau(
    images: Tensors, first: Tensors, embedded: Tensors, kind: str
) -> None:
    head = of_kind(kind, first)
    found = logits_of(adjust(head, images, embedded, method="logit-adjust-mult", tau=0.65), embedded)
    before, shares = logits_of(head, embedded), shares_of(images)
    expected = [[z / share**0.65 for z, share in zip(row, shares, strict=True)] for row in before.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["tau", "logit-adjust", "logit-adjust-mult"])
def test_tau_is_the_smallest_of_the_best_on_validation(images: Tensors, first: Tensors, embedded: Tensors, method: str) -> None:
    head = of_kind("linear", first)
    made = adjust(head, images, embedded, method=method, tau="val")
    taus = [round(0.1 * step, 1) for step in range(31)]
    assert made["sweep.tau"].tolist() == taus
    for place in (0, 7, 30):
        given = adjust(head, images, embedded, method=method, tau=taus[place])
        right = (logits_of(given, embedded).argmax(1).numpy() == embedded["val.labels"]).astype(float)
        per_class = [right[embedded["val.labels"] == k].mean() for k in range(10)]
        assert made["sweep.accuracy"][place] == pytest.approx(np.mean(per_class), abs=0.006), "up to one near-tie"
    assert float(made["tau"]) == taus[made["sweep.accuracy"].tolist().index(made["sweep.accuracy"].max())]
    again = adjust(head, images, embedded, method=method, tau=float(made["tau"]))
    assert np.array_equal(made["head.weight"], again["head.weight"])
    assert np.array_equal(made["head.bias"], again["head.bias"])


@pytest.mark.parametrize("direction", ["decreasing", "increasing"])
def test_isotonic_norms_go_one_way_and_keep_their_mean_and_the_rows_directions(
    images: Tensors, first: Tensors, embedded: Tensors, direction: str
) -> None:
    made = adjust(of_kind("linear", first), images, embedded, method="isotonic", direction=direction)
    before, after = (np.linalg.norm(head["head.weight"], axis=1) for head in (first, made))
    by_size = after[np.argsort(-images["class_counts"])]  # from the most common class to the rarest
    steps = np.diff(by_size) * (1 if direction == "decreasing" else -1)
    assert (steps >= -1e-5).all()
    assert after.mean() == pytest.approx(before.mean(), rel=1e-5)
    np.testing.assert_allclose(made["head.weight"] / after[:, None], first["head.weight"] / before[:, None], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_temperature_is_the_best_of_a_fine_grid_and_keeps_every_prediction(
    images: Tensors, first: Tensors, embedded: Tensors, kind: str
) -> None:
    head = of_kind(kind, first)
    made = adjust(head, images, embedded, method="temperature")
    labels, before = torch.from_numpy(embedded["val.labels"]), logits_of(head, embedded)
    grid = np.geomspace(0.05, 20, 2000)
    losses = [float(negative_log_likelihood(before / t, labels)) for t in grid]
    assert float(made["temperature"]) == pytest.approx(grid[int(np.argmin(losses))], rel=0.01)
    np.testing.assert_allclose(logits_of(made, embedded), before / float(made["temperature"]), rtol=1e-4, atol=1e-4)
    for part in ("val", "test"):
        assert torch.equal(logits_of(made, embedded, part).argmax(1), logits_of(head, embedded, part).argmax(1))


@pytest.mark.parametrize("on", ["val", "test"])
def test_temperature_lowers_nll_and_ece_and_leaves_every_accuracy(
    images: Tensors, first: Tensors, embedded: Tensors, on: str
) -> None:
    head = of_kind("linear", first)
    own = {"class_counts": images["class_counts"], "class_names": images["class_names"], **embedded}
    config = EvalConfig.model_validate({"on": on, "many": 50, "few": 10})
    one, two = (
        as_arrays(evaluation.run(config, {"head": measured, "embeddings": own}, RUNTIME))
        for measured in (head, adjust(head, images, embedded, method="temperature"))
    )
    assert np.array_equal(one["predictions"], two["predictions"])
    assert np.array_equal(one["confusion"], two["confusion"])
    assert two["ece.all"] <= one["ece.all"]
    assert two["nll.all"] <= one["nll.all"] or on == "test"


@pytest.mark.parametrize("kind", ["linear", "gated"])
def test_vector_scaling_is_no_worse_than_a_temperature_and_no_small_step_makes_it_better(
    images: Tensors, first: Tensors, embedded: Tensors, kind: str
) -> None:
    head, labels = of_kind(kind, first), torch.from_numpy(embedded["val.labels"])
    made = logits_of(adjust(head, images, embedded, method="vector"), embedded)
    plain = logits_of(adjust(head, images, embedded, method="temperature"), embedded)
    least = float(negative_log_likelihood(made, labels))
    assert least <= float(negative_log_likelihood(plain, labels)) + 1e-6
    for k in range(10):
        for factor, shift in ((1.05, 0.0), (0.95, 0.0), (1.0, 0.1), (1.0, -0.1)):
            moved = made.clone()
            moved[:, k] = factor * moved[:, k] + shift
            assert float(negative_log_likelihood(moved, labels)) >= least - 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_reweights_every_probability_by_bayes(images: Tensors, first: Tensors, embedded: Tensors, kind: str) -> None:
    head = of_kind(kind, first)
    shuffled = dict(sorted(SHARES.items(), key=lambda item: -item[1]))  # by name, not by place
    found = logits_of(adjust(head, images, embedded, method="prior", prior=shuffled), embedded).softmax(1)
    old, new = shares_of(images), [(1 + k) / 55 for k in range(10)]
    for row, before in zip(found[:20].tolist(), logits_of(head, embedded)[:20].double().softmax(1).tolist(), strict=True):
        weighed = [p * b / a for p, a, b in zip(before, old, new, strict=True)]
        np.testing.assert_allclose(row, np.array(weighed) / sum(weighed), rtol=1e-3, atol=1e-6)


def test_a_uniform_prior_predicts_as_logit_adjustment_at_tau_1(images: Tensors, first: Tensors, embedded: Tensors) -> None:
    head = of_kind("linear", first)
    uniform, adjusted = (
        logits_of(adjust(head, images, embedded, **settings), embedded).softmax(1)
        for settings in ({"method": "prior"}, {"method": "logit-adjust", "tau": 1.0})
    )
    torch.testing.assert_close(uniform, adjusted)


@pytest.mark.parametrize(
    ("kind", "method"),
    [("cosine", method) for method in ("l2", "tau", "isotonic", "logit-adjust-mult", "vector")]
    + [("gated", method) for method in ("l2", "tau", "isotonic")],
)
def test_what_a_kind_of_head_does_not_have_is_refused_by_name(
    images: Tensors, first: Tensors, embedded: Tensors, kind: str, method: str
) -> None:
    with pytest.raises(WbltrError, match=rf"posthoc {method} .* {kind} head") as told:
        adjust(of_kind(kind, first), images, embedded, method=method)
    assert "wbltr posthoc temperature" in told.value.hint
    assert told.value.code == "usage"


@pytest.mark.parametrize(
    ("prior", "told"),
    [
        ({**SHARES, "6O": 1.0}, r"prior: no class '6O'\."),
        ({"0": 1.0, "1": 2.0}, "8 of 10 classes have no share: 2, 3, 4, 5, 6, …$"),
        ({"cat": 1.0}, r"10 of 10 classes have no share: 0, 1, 2, 3, 4, …; no class 'cat'\.$"),
    ],
)
def test_a_prior_names_every_class_and_no_other(
    images: Tensors, first: Tensors, embedded: Tensors, prior: dict[str, float], told: str
) -> None:
    assert json.loads(bytes(images["class_names"])) == CLASSES
    with pytest.raises(WbltrError, match=told) as caught:
        adjust(of_kind("linear", first), images, embedded, method="prior", prior=prior)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("method", ["tau", "logit-adjust", "temperature", "vector"])
def test_an_empty_validation_part_is_named(images: Tensors, first: Tensors, embedded: Tensors, method: str) -> None:
    empty = {"val.embeddings": embedded["val.embeddings"][:, :0], "val.labels": embedded["val.labels"][:0]}
    with pytest.raises(WbltrError, match="the validation part is empty"):
        adjust(of_kind("linear", first), images, empty, method=method)


def test_numbers_beyond_float32_are_refused(images: Tensors, first: Tensors, embedded: Tensors) -> None:
    counts = np.array([10**9, *[1] * 9])
    with pytest.raises(WbltrError, match="too large"):
        adjust(of_kind("linear", first), {**images, "class_counts": counts}, embedded, method="logit-adjust-mult", tau=5.0)
