from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wbltr.errors import Stopped, WbltrError
from wbltr.functional.logits import head_logits
from wbltr.functional.losses import ClassLoss
from wbltr.functional.projections import unit_norm
from wbltr.functional.schedules import cosine
from wbltr.head_forms import Fitted, Form, fit_form, new_form
from wbltr.heads import Trial, fit_heads
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LossSettings

V, C, D = 2, 6, 4  # fewer dimensions than a simplex of six classes would need
COUNTS = torch.tensor([80, 40, 20, 10, 5, 2])
CPU = torch.device("cpu")
every_form = pytest.mark.parametrize("name", [name for name, head in HEADS.items() if head.form])
Problem = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def problem() -> Problem:
    source = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(C), COUNTS)
    centres = torch.randn(C, D, generator=source)
    embeddings = centres[labels] + 0.5 * torch.randn(V, len(labels), D, generator=source)
    return embeddings, labels, torch.randn(C, D, generator=source), 0.1 * torch.randn(C, generator=source)


class Linear:
    """The form that `fit_heads` is for."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight.clone(), bias.clone()
        self.parameters = [self.weight, self.bias]

    def logits(self, embeddings: Tensor) -> Tensor:
        return embeddings @ self.weight.T + self.bias

    def head(self) -> dict[str, Tensor]:
        return {"head.weight": self.weight, "head.bias": self.bias}


def fit(form: Form, problem: Problem, name: str = "cb", epochs: int = 4, settings: LossSettings | None = None) -> Fitted:
    loss = ClassLoss(name, COUNTS, settings or LossSettings(), CPU)
    embeddings, labels, _, _ = problem
    return fit_form(
        form, loss, embeddings, labels, lrs=cosine(0.05, epochs), batch_size=32, momentum=0.9, weight_decay=1e-3, seed=3
    )


def started(name: str, problem: Problem) -> Form:
    return new_form(name, problem[2], problem[3], LossSettings(scale=10.0), seed=0)


@pytest.mark.parametrize("loss", ["ce", "cb", "cb-bce", "focal-cb", "logit-adjusted", "label-smooth"])
def test_a_linear_form_equals_the_head_that_many_are_fitted_as(problem: Problem, loss: str) -> None:
    embeddings, labels, weight, bias = problem
    expected = fit_heads(
        embeddings, labels, COUNTS, weight, bias, [Trial(loss=loss, lr=0.05, weight_decay=1e-3)],
        schedule=cosine(1.0, 4), batch_size=32, momentum=0.9, seed=3,
    )  # fmt: skip
    found = fit(Linear(weight, bias), problem, loss)
    torch.testing.assert_close(found.head["head.weight"], expected.weight[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.head["head.bias"], expected.bias[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.loss, expected.loss[:, 0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.norms, expected.norms[:, 0], rtol=1e-4, atol=1e-5)


@every_form
def test_what_is_kept_predicts_as_what_was_trained(problem: Problem, name: str) -> None:
    form = started(name, problem)
    head = fit(form, problem).head
    with torch.no_grad():
        trained, kept = form.logits(problem[0][0]), head_logits(head, problem[0][0])
    assert torch.equal(trained.argmax(1), kept.argmax(1))
    if name != "simplex":
        torch.testing.assert_close(kept, trained, rtol=1e-4, atol=1e-5)


@every_form
def test_training_lowers_the_loss_and_moves_nothing_it_was_given(problem: Problem, name: str) -> None:
    before = [tensor.clone() for tensor in problem]
    fitted = fit(started(name, problem), problem, epochs=8)
    assert fitted.loss[-1] < fitted.loss[0]
    assert all(torch.equal(tensor, earlier) for tensor, earlier in zip(problem, before, strict=True))


def test_lws_turns_no_row_and_disalign_changes_no_row(problem: Problem) -> None:
    scaled = fit(started("scaled", problem), problem).head
    cosines = (unit_norm(scaled["head.weight"]) * unit_norm(problem[2])).sum(1)
    torch.testing.assert_close(cosines.abs(), torch.ones(C))
    assert not torch.allclose(scaled["head.weight"], problem[2])
    gated = fit(started("gated", problem), problem).head
    assert torch.equal(gated["head.weight"], problem[2])
    assert torch.equal(gated["head.bias"], problem[3])
    assert gated["head.gate.weight"].any()


def test_forms_begin_as_the_head_that_they_start_from(problem: Problem) -> None:
    linear = {"head.weight": problem[2], "head.bias": problem[3]}
    for name in ("scaled", "gated"):
        form = new_form(name, problem[2], problem[3], LossSettings(), 0)
        torch.testing.assert_close(form.logits(problem[0][0]), head_logits(linear, problem[0][0]))
    simplex = started("simplex", problem).head()["head.weight"]
    centred = problem[2] - problem[2].mean(0)
    torch.testing.assert_close(unit_norm(simplex), unit_norm(centred), rtol=1e-4, atol=1e-5)


def test_the_rows_of_a_simplex_head_sum_to_zero(problem: Problem) -> None:
    weight = fit(started("simplex", problem), problem).head["head.weight"]
    torch.testing.assert_close(weight.sum(0), torch.zeros(D), atol=1e-4, rtol=0)


def test_deferred_weights_count_from_their_epoch_on(problem: Problem) -> None:
    plain = fit(started("cosine", problem), problem, "ldam", settings=LossSettings(scale=10.0))
    late = fit(started("cosine", problem), problem, "ldam", settings=LossSettings(scale=10.0, reweight_from=2))
    torch.testing.assert_close(late.loss[:2], plain.loss[:2])
    assert not torch.allclose(late.loss[2:], plain.loss[2:])


def test_a_form_that_diverges_is_named_and_one_that_is_stopped_stops(problem: Problem) -> None:
    embeddings, labels, *_ = problem
    loss = ClassLoss("ce", COUNTS, LossSettings(), CPU)
    with pytest.raises(WbltrError, match="diverged in epoch 1 of 2"):
        fit_form(
            started("scaled", problem), loss, embeddings, labels, lrs=[1e30] * 2, batch_size=8, momentum=0.9,
            weight_decay=0.0, seed=0,
        )  # fmt: skip

    def tick(done: int, total: int) -> None:
        assert done <= total == 2 * len(labels)
        if done:
            raise Stopped("enough", code="interrupted")

    with pytest.raises(Stopped):
        fit_form(
            started("cosine", problem), loss, embeddings, labels, lrs=[0.1] * 2, batch_size=8, momentum=0.9,
            weight_decay=0.0, seed=0, tick=tick,
        )  # fmt: skip
