from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wbltr.functional.adjustments import tau_normalize, tau_sweep
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
