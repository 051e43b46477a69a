from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wbltr.functional.losses import class_balanced_weights, deferred_weights, ldam, ldam_margins, logit_adjusted
from wbltr.functional.priors import log_prior

SOURCE = torch.Generator().manual_seed(0)
COUNTS = torch.tensor([500, 100, 20, 5])
LOGITS = torch.randn(2, 23, 4, generator=SOURCE, dtype=torch.float64)
LABELS = torch.randint(0, 4, (23,), generator=SOURCE)
WEIGHTS = class_balanced_weights(COUNTS)


@given(st.lists(st.integers(1, 10**5), min_size=1, max_size=20), st.floats(0.01, 2))
def test_margins_fall_with_the_fourth_root_of_the_count_from_the_largest_at_the_rarest(
    counts: list[int], largest: float
) -> None:
    margins = ldam_margins(torch.tensor(counts), largest)
    assert float(margins.max()) == largest
    products = margins * torch.tensor(counts).double().pow(0.25)
    torch.testing.assert_close(products, products[:1].expand_as(products))


def test_margins_equal_the_released_codes() -> None:
    released = 1.0 / torch.tensor([500, 100, 20, 5]).double().sqrt().sqrt()
    torch.testing.assert_close(ldam_margins(COUNTS, 0.5), released * (0.5 / released.max()))


def test_ldam_equals_the_slow_loop() -> None:
    margins, scale = ldam_margins(COUNTS), 30.0
    total = 0.0
    for z, y in zip(LOGITS[1], LABELS.tolist(), strict=True):
        moved = [scale * (float(z[k]) - (float(margins[y]) if k == y else 0.0)) for k in range(4)]
        top = max(moved)
        total += float(WEIGHTS[y]) * (top + math.log(sum(math.exp(v - top) for v in moved)) - moved[y])
    assert float(ldam(LOGITS, LABELS, margins, scale, WEIGHTS)[1]) == pytest.approx(total / 23, rel=1e-9)


def test_a_larger_margin_is_a_larger_loss() -> None:
    losses = [float(ldam(LOGITS[0], LABELS, torch.full((4,), margin))) for margin in (0.0, 0.1, 0.5)]
    assert losses == sorted(losses)
    assert losses[0] < losses[2]


def test_deferred_weights_are_ones_until_their_epoch_and_the_given_ones_from_it_on() -> None:
    found = [deferred_weights(WEIGHTS, epoch, 160) for epoch in (0, 159, 160, 199)]
    assert [torch.equal(w, torch.ones_like(WEIGHTS)) for w in found] == [True, True, False, False]
    assert torch.equal(found[2], WEIGHTS)
    assert torch.equal(found[3], WEIGHTS)
    assert torch.equal(deferred_weights(WEIGHTS, 0, 0), WEIGHTS)


@pytest.mark.parametrize("tau", [-0.5, 0.3, 1.0, 2.0])
def test_logit_adjustment_equals_the_slow_loop(tau: float) -> None:
    total = 0.0
    for z, y in zip(LOGITS[0], LABELS.tolist(), strict=True):
        terms = [math.exp(float(z[k])) * (int(COUNTS[k]) / 625) ** tau for k in range(4)]
        total += float(WEIGHTS[y]) * -math.log(terms[y] / sum(terms))
    found = logit_adjusted(LOGITS, LABELS, log_prior(COUNTS), tau, WEIGHTS)[0]
    assert float(found) == pytest.approx(total / 23, rel=1e-9)


def test_at_tau_one_it_is_balanced_softmax() -> None:
    """Ren et al., NeurIPS 2020, section 3.1: each class counts as often as it has images."""
    total = 0.0
    for z, y in zip(LOGITS[0], LABELS.tolist(), strict=True):
        terms = [int(COUNTS[k]) * math.exp(float(z[k])) for k in range(4)]
        total -= math.log(terms[y] / sum(terms))
    assert float(logit_adjusted(LOGITS, LABELS, log_prior(COUNTS))[0]) == pytest.approx(total / 23, rel=1e-9)


def test_a_class_without_images_counts_as_one_image() -> None:
    none, one = torch.tensor([9, 4, 2, 0]), torch.tensor([9, 4, 2, 1])
    assert torch.equal(ldam_margins(none), ldam_margins(one))
    assert torch.equal(log_prior(none), log_prior(one))


def test_a_head_that_knows_nothing_learns_to_predict_nothing_where_the_prior_is_added() -> None:
    """On a batch with the classes' own frequencies the best logits of a constant head are equal under logit adjustment."""
    labels = torch.arange(4).repeat_interleave(COUNTS)
    constant = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    torch.autograd.backward(logit_adjusted(constant.expand(len(labels), 4), labels, log_prior(COUNTS)))
    assert constant.grad is not None
    torch.testing.assert_close(constant.grad, torch.zeros_like(constant), rtol=0, atol=1e-12)
