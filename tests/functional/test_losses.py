from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wbltr.functional.losses import (
    balanced_binary_cross_entropy,
    class_balanced_weights,
    cross_entropy,
    inverse_frequency_weights,
)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 17, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 5, (17,), generator=generator)
    return logits, labels, torch.tensor([500, 100, 50, 20, 5])


def test_class_balanced_weights_sum_to_the_number_of_classes_and_favour_rare_ones() -> None:
    weights = class_balanced_weights(torch.tensor([500, 100, 20, 5]))
    assert float(weights.sum()) == pytest.approx(4)
    assert weights.tolist() == sorted(weights.tolist())


def test_class_balanced_weights_equal_the_written_formula() -> None:
    counts = [500, 100, 20, 5]
    raw = [(1 - 0.999) / (1 - 0.999**n) for n in counts]
    expected = [4 * w / sum(raw) for w in raw]
    assert class_balanced_weights(torch.tensor(counts), 0.999).tolist() == pytest.approx(expected, rel=1e-9)


def test_beta_zero_weighs_all_classes_alike() -> None:
    assert class_balanced_weights(torch.tensor([500, 5]), 0.0).tolist() == [1.0, 1.0]


def test_inverse_frequency_weights_equal_the_written_formula_and_rho_zero_weighs_all_alike() -> None:
    raw = [n**-0.5 for n in (500, 20, 5)]
    found = inverse_frequency_weights(torch.tensor([500, 20, 5]), 0.5).tolist()
    assert found == pytest.approx([3 * w / sum(raw) for w in raw], rel=1e-12)
    assert inverse_frequency_weights(torch.tensor([500, 20, 0]), 0.0).tolist() == [1.0, 1.0, 1.0]


def test_cross_entropy_equals_torch(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, labels, _ = batch
    for head in range(3):
        expected = torch.nn.functional.cross_entropy(logits[head], labels)
        torch.testing.assert_close(cross_entropy(logits, labels)[head], expected)


def test_weighted_cross_entropy_divides_by_the_batch_size_not_by_the_weights(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, labels, counts = batch
    weights = class_balanced_weights(counts)
    each = torch.nn.functional.cross_entropy(logits[0], labels, weight=weights, reduction="none")
    torch.testing.assert_close(cross_entropy(logits[0], labels, weights), each.sum() / 17)
    mean = torch.nn.functional.cross_entropy(logits[0], labels, weight=weights)
    assert not torch.isclose(cross_entropy(logits[0], labels, weights), mean)


def test_the_released_loss_equals_the_slow_loop(batch: tuple[Tensor, Tensor, Tensor]) -> None:
    logits, labels, counts = batch
    weights = class_balanced_weights(counts)
    total = 0.0
    for i in range(17):
        probabilities = logits[1, i].softmax(0).tolist()
        for k, p in enumerate(probabilities):
            hit = k == int(labels[i])
            total += float(weights[labels[i]]) * -(math.log(p) if hit else math.log(1 - p))
    assert float(balanced_binary_cross_entropy(logits, labels, weights)[1]) == pytest.approx(total / (17 * 5), rel=1e-9)
