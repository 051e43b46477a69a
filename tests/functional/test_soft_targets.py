from __future__ import annotations

import math

import pytest
import torch

from wbltr.functional.losses import cross_entropy, distillation, smoothed_cross_entropy

SOURCE = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(2, 23, 4, generator=SOURCE, dtype=torch.float64)
TEACHER = 2 * torch.randn(23, 4, generator=SOURCE, dtype=torch.float64)
LABELS = torch.randint(0, 4, (23,), generator=SOURCE)


def test_plain_smoothing_equals_torchs() -> None:
    expected = torch.nn.functional.cross_entropy(LOGITS[0], LABELS, label_smoothing=0.1)
    torch.testing.assert_close(smoothed_cross_entropy(LOGITS, LABELS, 0.1)[0], expected)


def test_smoothing_equals_the_slow_loop() -> None:
    total = 0.0
    for z, y in zip(LOGITS[1], LABELS.tolist(), strict=True):
        for k, p in enumerate(z.softmax(0).tolist()):
            total -= (0.02 * (k == y) + 0.98 / 4) * math.log(p)
    assert float(smoothed_cross_entropy(LOGITS, LABELS, 0.98)[1]) == pytest.approx(total / 23, rel=1e-9)


def test_distillation_equals_the_slow_loop() -> None:
    total, t, alpha = 0.0, 4.0, 0.7
    for z, v, y in zip(LOGITS[1], TEACHER, LABELS.tolist(), strict=True):
        taught, learned = (v / t).softmax(0).tolist(), (z / t).softmax(0).tolist()
        divergence = sum(p * math.log(p / q) for p, q in zip(taught, learned, strict=True))
        total += (1 - alpha) * -math.log(float(z.softmax(0)[y])) + alpha * t**2 * divergence
    assert float(distillation(LOGITS, LABELS, TEACHER, t, alpha)[1]) == pytest.approx(total / 23, rel=1e-9)


def test_a_head_that_is_its_teacher_has_nothing_to_learn_from_it() -> None:
    logits = LOGITS[0].clone().requires_grad_()
    value = distillation(logits, LABELS, LOGITS[0], 3.0, 1.0)
    (slope,) = torch.autograd.grad(value, logits)
    assert float(value.detach()) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(slope, torch.zeros_like(slope), rtol=0, atol=1e-12)


def test_a_hot_teacher_teaches_its_logits() -> None:
    """As T grows, T² times the slope tends to (z − v) / C, both with mean 0: Hinton et al., eq. 4."""
    z = (LOGITS[0] - LOGITS[0].mean(1, keepdim=True)).requires_grad_()
    v = TEACHER - TEACHER.mean(1, keepdim=True)
    (slope,) = torch.autograd.grad(distillation(z, LABELS, v, 1e4, 1.0), z)
    torch.testing.assert_close(slope * 23, (z.detach() - v) / 4, rtol=1e-3, atol=1e-3)


def test_alpha_mixes_the_two_losses_in_proportion() -> None:
    hard, soft = cross_entropy(LOGITS, LABELS), distillation(LOGITS, LABELS, TEACHER, 2.0, 1.0)
    torch.testing.assert_close(distillation(LOGITS, LABELS, TEACHER, 2.0, 0.25), 0.75 * hard + 0.25 * soft)


def test_each_head_may_have_its_own_teacher() -> None:
    teachers = torch.stack([TEACHER, TEACHER.flip(0)])
    together = distillation(LOGITS, LABELS, teachers, 2.0, 0.5)
    torch.testing.assert_close(together[1], distillation(LOGITS[1], LABELS, TEACHER.flip(0), 2.0, 0.5))
