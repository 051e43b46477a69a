from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from wbltr.functional.adjustments import (
    isotonic_norms,
    logit_adjust,
    logit_adjust_multiplicative,
    retarget,
    tau_normalize,
    tau_sweep,
)
from wbltr.functional.metrics import class_accuracy, confusion_matrix, mean_accuracy
from wbltr.functional.projections import row_norms

TAUS = [0.0, 0.5, 1.0, 1.9, 3.0, -1.0]


def head(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of unlike norms, a bias, embeddings."""
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(9, 16, generator=source) * torch.logspace(-1, 1, 9).unsqueeze(1)
    return weight, torch.randn(9, generator=source), torch.randn(400, 16, generator=source).relu()


@pytest.mark.parametrize("seed", range(20))
def test_the_sweep_predicts_what_each_rescaled_head_predicts_but_for_near_ties(seed: int) -> None:
    weight, bias, embeddings = head(seed)
    labels = torch.arange(len(embeddings)) % len(weight)
    predictions = tau_sweep(embeddings @ weight.T, row_norms(weight), bias, TAUS)
    assert predictions.shape == (len(TAUS), len(embeddings))
    for tau, found in zip(TAUS, predictions, strict=True):
        logits = embeddings @ tau_normalize(weight, tau).T + bias
        chosen = logits.gather(1, found.unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(chosen, logits.amax(1), rtol=1e-5, atol=1e-5)
        assert (found != logits.argmax(1)).sum() <= 1
        accuracy = [mean_accuracy(class_accuracy(confusion_matrix(labels, p, len(weight)))) for p in (found, logits.argmax(1))]
        # Of 400 images one may fall to the other side of a tie, and a class has at least 44.
        torch.testing.assert_close(*accuracy, rtol=0, atol=1 / 44 / 9 + 1e-9)


def test_without_bias_tau_changes_only_which_norms_win() -> None:
    logits = torch.tensor([[2.0, 1.5], [2.0, 0.5]])
    assert tau_sweep(logits, torch.tensor([2.0, 1.0]), torch.zeros(2), [0.0, 1.0]).tolist() == [[0, 0], [1, 0]]


def test_a_zero_row_is_left_with_its_bias_at_every_tau() -> None:
    weight = torch.zeros(2, 3)
    weight[1] = 0.1
    embeddings = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]])
    predictions = tau_sweep(embeddings @ weight.T, row_norms(weight), torch.zeros(2), [0.0, 1.0, 2.5])
    assert predictions.tolist() == [[1, 0]] * 3


COUNTS = torch.tensor([500, 300, 100, 50, 40, 30, 20, 10, 0])


@pytest.mark.parametrize("tau", [0.0, 0.7, 1.0, 2.0])
def test_additive_adjustment_takes_the_log_prior_off_every_logit(tau: float) -> None:
    weight, bias, embeddings = head(0)
    prior = COUNTS.clamp(min=1) / COUNTS.clamp(min=1).sum()
    expected = embeddings @ weight.T + bias - tau * prior.log()
    torch.testing.assert_close(embeddings @ weight.T + logit_adjust(bias, COUNTS, tau), expected)
    torch.testing.assert_close(logit_adjust(embeddings @ weight.T + bias, COUNTS, tau), expected)


@pytest.mark.parametrize("tau", [0.0, 0.65, 1.6])
def test_multiplicative_adjustment_scales_every_logit_bias_included(tau: float) -> None:
    weight, bias, embeddings = (part.double() for part in head(0))
    prior = COUNTS.double().clamp(min=1) / COUNTS.clamp(min=1).sum()
    new_weight, new_bias = logit_adjust_multiplicative(weight, bias, COUNTS, tau)
    torch.testing.assert_close(embeddings @ new_weight.T + new_bias, (embeddings @ weight.T + bias) * prior.pow(-tau))


def test_tau_zero_adjusts_nothing_and_equal_classes_keep_their_predictions() -> None:
    weight, bias, embeddings = head(1)
    assert torch.equal(logit_adjust(bias, COUNTS, 0.0), bias)
    assert torch.equal(logit_adjust_multiplicative(weight, bias, COUNTS, 0.0)[0], weight)
    before = (embeddings @ weight.T + bias).argmax(1)
    alike = torch.full((9,), 7)
    scaled_weight, scaled_bias = logit_adjust_multiplicative(weight, bias, alike, 1.6)
    assert (embeddings @ weight.T + logit_adjust(bias, alike, 1.5)).argmax(1).equal(before)
    assert (embeddings @ scaled_weight.T + scaled_bias).argmax(1).equal(before)


def test_many_heads_are_adjusted_at_once() -> None:
    weights, biases = torch.stack([head(0)[0], head(1)[0]]), torch.stack([head(0)[1], head(1)[1]])
    found, found_bias = logit_adjust_multiplicative(weights, biases, COUNTS, 0.65)
    alone, alone_bias = logit_adjust_multiplicative(weights[1], biases[1], COUNTS, 0.65)
    assert torch.equal(found[1], alone)
    assert torch.equal(found_bias[1], alone_bias)
    assert torch.equal(logit_adjust(biases, COUNTS)[1], logit_adjust(biases[1], COUNTS))


def test_retargeting_rescales_the_probabilities_by_bayes_rule() -> None:
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 8, generator=source, dtype=torch.float64)
    target = torch.rand(8, generator=source)
    prior = COUNTS[:8] / COUNTS[:8].sum()
    rescaled = logits.softmax(1) * target / prior
    expected = rescaled / rescaled.sum(1, keepdim=True)
    torch.testing.assert_close(retarget(logits, COUNTS[:8], target).softmax(1), expected, rtol=1e-5, atol=1e-9)


def test_retargeting_to_the_training_prior_changes_nothing_and_there_and_back_neither() -> None:
    bias = torch.randn(8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(retarget(bias, COUNTS[:8], COUNTS[:8]), bias, rtol=0, atol=1e-12)
    there = retarget(bias, COUNTS[:8], torch.arange(1, 9))
    torch.testing.assert_close(retarget(there, torch.arange(1, 9), COUNTS[:8]), bias, rtol=0, atol=1e-12)


def test_retargeting_to_equal_classes_is_additive_adjustment_at_tau_one() -> None:
    bias = torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, adjusted = retarget(bias, COUNTS, torch.ones(9)), logit_adjust(bias, COUNTS)
    torch.testing.assert_close(found, adjusted - torch.tensor(9.0, dtype=torch.float64).log(), rtol=0, atol=1e-12)


def test_a_class_that_does_not_come_is_never_predicted() -> None:
    target = torch.ones(9)
    target[3] = 0
    probabilities = retarget(torch.zeros(9), COUNTS, target).softmax(0)
    assert probabilities[3] == 0
    assert probabilities.isfinite().all()


@pytest.mark.parametrize("direction", ["increasing", "decreasing"])
@pytest.mark.parametrize("seed", range(5))
def test_isotonic_norms_are_monotone_keep_mean_and_directions_and_twice_is_once(
    direction: Literal["increasing", "decreasing"], seed: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    weight = torch.randn(30, 6, generator=source, dtype=torch.float64) * torch.rand(30, 1, generator=source)
    counts = torch.randint(1, 15, (30,), generator=source)  # with ties
    found = isotonic_norms(weight, counts, direction)
    steps = row_norms(found)[counts.argsort()].diff() * (1 if direction == "increasing" else -1)
    assert (steps >= -1e-12).all()
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(found, weight), torch.ones(30, dtype=torch.float64))
    assert float(row_norms(found).mean()) == pytest.approx(float(row_norms(weight).mean()))
    torch.testing.assert_close(isotonic_norms(found, counts, direction), found)


def test_classes_of_one_size_get_one_norm_and_a_zero_row_stays_zero() -> None:
    found = isotonic_norms(torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), torch.tensor([5, 5, 1]), "increasing")
    assert found.tolist() == [[2.0, 0.0], [0.0, 2.0], [0.0, 0.0]]


def test_opposite_directions_pool_everything_that_goes_the_other_way() -> None:
    weight, counts = torch.diag(torch.tensor([4.0, 2.0, 3.0])), torch.tensor([100, 10, 1])
    assert row_norms(isotonic_norms(weight, counts, "increasing")).tolist() == [4.0, 2.5, 2.5]
    assert row_norms(isotonic_norms(weight, counts, "decreasing")).tolist() == [3.0, 3.0, 3.0]
