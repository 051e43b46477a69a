from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, active_count, current_thread, main_thread
from typing import Any

import pytest
import torch
from torch import Tensor

from wbltr.errors import Diverged, Stopped
from wbltr.functional.losses import class_balanced_weights
from wbltr.functional.projections import max_norm, row_norms, unit_norm
from wbltr.functional.schedules import cosine
from wbltr.head_group import HeadGroup
from wbltr.heads import Heads, Trial, fit_heads
from wbltr.methods.losses import LossSettings
from wbltr.randomness import generator

V, N, C, D = 3, 157, 6, 8
COUNTS = torch.tensor([80, 40, 20, 10, 5, 2])


@pytest.fixture(scope="module")
def problem() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.repeat_interleave(torch.arange(C), COUNTS)
    centres = torch.randn(C, D, generator=generator)
    embeddings = centres[labels] + 0.5 * torch.randn(V, N, D, generator=generator)
    weight, bias = torch.randn(C, D, generator=generator) * 0.3, torch.zeros(C)
    return embeddings, labels, weight, bias


def fit(
    problem: tuple[Tensor, Tensor, Tensor, Tensor], trials: list[Trial], epochs: int = 4, seed: int = 0, **others: Any
) -> Heads:
    embeddings, labels, weight, bias = problem
    return fit_heads(
        embeddings, labels, COUNTS, weight, bias, trials,
        schedule=cosine(1.0, epochs), batch_size=32, momentum=0.9, seed=seed, **others,
    )  # fmt: skip


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads for torch's operators, and so many groups of heads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


TRIALS = [
    Trial(loss="ce"),
    Trial(loss="cb", weight_decay=0.05),
    Trial(loss="cb", lr=0.1, weight_decay=5e-3, radius=0.7),
    Trial(loss="cb-bce", lr=0.05, radius=0.5, per="epoch"),
    Trial(loss="cb", settings=LossSettings(beta=0.99), unit_norm=True),
    Trial(loss="reweighted", settings=LossSettings(rho=0.5)),
    Trial(loss="cb", settings=LossSettings(reweight_from=2)),
    Trial(loss="focal-cb", weight_decay=5e-3, radius=0.7),
    Trial(loss="logit-adjusted", settings=LossSettings(tau=1.5)),
    Trial(loss="label-smooth", lr=0.1),
]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_many_heads_at_once_equal_one_at_a_time(problem: tuple[Tensor, Tensor, Tensor, Tensor], count: int) -> None:
    with threads(count):
        together = fit(problem, TRIALS)
    for number, trial in enumerate(TRIALS):
        alone = fit(problem, [trial])
        torch.testing.assert_close(together.weight[number], alone.weight[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(together.bias[number], alone.bias[0], rtol=1e-5, atol=1e-6)
        for name in ("loss", "norms", "at_radius", "projected"):
            both = (getattr(heads, name)[:, place] for heads, place in ((together, number), (alone, 0)))
            torch.testing.assert_close(*both, rtol=1e-5, atol=1e-7, equal_nan=True)


def test_heads_that_do_not_fit_the_cache_together_go_in_turn(
    problem: tuple[Tensor, Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fit(problem, TRIALS)
    monkeypatch.setattr("wbltr.heads.LARGEST", 1)
    with threads(2):
        found = fit(problem, TRIALS)
    torch.testing.assert_close(found.weight, expected.weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("trial", TRIALS[1:4], ids=str)
def test_a_head_alone_has_the_same_bits_on_any_number_of_threads(
    problem: tuple[Tensor, Tensor, Tensor, Tensor], trial: Trial
) -> None:
    with threads(1):
        one = fit(problem, [trial])
    with threads(2):
        two = fit(problem, [trial])
    assert torch.equal(one.weight, two.weight)
    assert torch.equal(one.bias, two.bias)
    assert torch.equal(one.loss, two.loss)


def test_a_batch_larger_than_the_images_is_all_of_them(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    embeddings, labels, weight, bias = problem
    heads = [
        fit_heads(embeddings, labels, COUNTS, weight, bias, TRIALS[:2], schedule=[1.0], batch_size=size, momentum=0.9, seed=0)
        for size in (N, 10**9)
    ]
    assert torch.equal(heads[0].weight, heads[1].weight)


def test_embeddings_that_are_gathered_in_stretches_give_the_bits_of_a_whole_epoch(
    problem: tuple[Tensor, Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(problem, TRIALS)
    monkeypatch.setattr("wbltr.heads.GATHERED", 1)
    pieces = fit(problem, TRIALS)
    for name in ("weight", "bias", "loss", "norms", "projected"):
        assert torch.equal(getattr(whole, name).nan_to_num(-1), getattr(pieces, name).nan_to_num(-1)), name


def test_products_in_bf16_change_a_head_by_less_than_a_hundredth(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    exact, narrow = fit(problem, TRIALS), fit(problem, TRIALS, precision="bf16")
    assert not torch.equal(exact.weight, narrow.weight)
    assert narrow.weight.dtype == narrow.bias.dtype == torch.float32
    for number in range(len(TRIALS)):
        assert (narrow.weight[number] - exact.weight[number]).norm() < 1e-2 * exact.weight[number].norm()
    torch.testing.assert_close(narrow.loss, exact.loss, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(row_norms(narrow.weight[4]), torch.ones(C))


def test_a_step_asks_the_device_nothing() -> None:
    """Meta tensors hold no numbers, so whoever reads one back fails, as it would wait for a GPU."""
    trials = [Trial(loss="cb", weight_decay=0.1, radius=0.5), Trial(loss="ce", unit_norm=True)]
    for kind in (trials, [Trial(loss="cb-bce")]):
        for precision in ("fp32", "bf16"):
            start = torch.zeros(C, D, device="meta"), torch.zeros(C, device="meta")
            group = HeadGroup(kind, COUNTS, *start, batch_size=32, momentum=0.9, precision=precision)
            x = torch.zeros(N, D + 1, device="meta", dtype=torch.float32 if precision == "fp32" else torch.bfloat16)
            group.walk(x, torch.zeros(N, dtype=torch.int64, device="meta"), 1.0, lambda done: None)
            with pytest.raises((RuntimeError, NotImplementedError)):
                group.losses.tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_heads_on_a_gpu_equal_those_on_the_cpu(problem: tuple[Tensor, Tensor, Tensor, Tensor], precision: str) -> None:
    embeddings, labels, weight, bias = (tensor.cuda() for tensor in problem)
    there, here = fit((embeddings, labels, weight, bias), TRIALS, precision=precision), fit(problem, TRIALS)
    torch.testing.assert_close(there.weight.cpu(), here.weight, rtol=1e-2, atol=1e-4 if precision == "fp32" else 2e-2)


def test_the_caller_hears_of_progress_in_its_own_thread_and_may_stop(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    for trials in ([Trial()], TRIALS):
        heard: list[tuple[int, int]] = []

        def tick(done: int, total: int, heard: list[tuple[int, int]] = heard) -> None:
            assert current_thread() is main_thread()
            heard.append((done, total))
            if done >= 2 * N:
                raise Stopped("enough", code="interrupted")

        with threads(2), pytest.raises(Stopped):
            fit(problem, trials, tick=tick)
        assert heard == sorted(heard)
        assert {total for _, total in heard} == {4 * N}
        assert heard[-1][0] < 4 * N


def test_a_stopped_sweep_leaves_no_thread_and_as_many_threads_for_operators_as_before(
    problem: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    def tick(done: int, total: int) -> None:
        raise Stopped("at once", code="interrupted")

    with threads(2):
        before = active_count()
        with pytest.raises(Stopped):
            fit(problem, TRIALS, tick=tick)
        fit(problem, TRIALS)
        assert active_count() == before
        assert torch.get_num_threads() == 2
        seen: list[int] = []
        later = Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [2]


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_one_head_equals_the_obvious_loop_with_torchs_sgd(problem: tuple[Tensor, Tensor, Tensor, Tensor], trial: Trial) -> None:
    embeddings, labels, weight, bias = problem
    layer = torch.nn.Linear(D, C)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
        if trial.unit_norm:
            layer.weight.copy_(unit_norm(weight))
    optimizer = torch.optim.SGD(layer.parameters(), lr=trial.lr, momentum=0.9, weight_decay=trial.weight_decay)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    settings = trial.settings
    balanced = class_balanced_weights(COUNTS, settings.beta).float()
    class_weights = COUNTS.float() ** -settings.rho if trial.loss == "reweighted" else balanced
    class_weights = C * class_weights / class_weights.sum()
    for epoch in range(4):
        order = torch.randperm(N, generator=generator(0, "second stage", epoch))
        for index in torch.split(order, 32):
            logits, y = layer(embeddings[epoch % V][index]), labels[index]
            if trial.loss == "cb-bce":
                target = torch.nn.functional.one_hot(y, C).float()
                each = class_weights[y].unsqueeze(1).expand(-1, C)
                loss = torch.nn.functional.binary_cross_entropy(logits.softmax(1), target, weight=each)
            elif trial.loss == "label-smooth":
                loss = torch.nn.functional.cross_entropy(logits, y, label_smoothing=settings.smoothing)
            else:
                if trial.loss == "logit-adjusted":
                    logits = logits + settings.tau * (COUNTS / N).log()
                losses = torch.nn.functional.cross_entropy(logits, y, reduction="none")
                if trial.loss == "focal-cb":
                    losses = losses * (1 - torch.exp(-losses)) ** settings.gamma
                weighted = trial.loss in ("cb", "reweighted", "focal-cb") and epoch >= (settings.reweight_from or 0)
                loss = (losses * class_weights[y] if weighted else losses).mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            with torch.no_grad():
                if trial.unit_norm:
                    layer.weight.copy_(unit_norm(layer.weight))
                elif trial.radius and trial.per == "step":
                    layer.weight.copy_(max_norm(layer.weight, trial.radius))
        if trial.radius and trial.per == "epoch":
            with torch.no_grad():
                layer.weight.copy_(max_norm(layer.weight, trial.radius))
        scheduler.step()
    heads = fit(problem, [trial])
    torch.testing.assert_close(heads.weight[0], layer.weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(heads.bias[0], layer.bias.detach(), rtol=1e-4, atol=1e-5)


def test_constraints_hold_at_the_end(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    heads = fit(problem, TRIALS)
    assert row_norms(heads.weight[2]).max() <= 0.7 * (1 + 1e-5)
    assert row_norms(heads.weight[3]).max() <= 0.5 * (1 + 1e-5)
    torch.testing.assert_close(row_norms(heads.weight[4]), torch.ones(C))


def test_the_share_of_classes_at_the_radius_is_recorded_per_epoch(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    heads = fit(problem, [Trial(radius=0.01), Trial(radius=100.0), Trial()])
    assert heads.at_radius[1:, 0].tolist() == [1.0] * 3
    assert heads.at_radius[:, 1].tolist() == [0.0] * 4
    assert heads.at_radius[:, 2].isnan().all()
    assert heads.projected[:, 0].tolist() == [1.0] * 4
    assert heads.projected[:, 1].tolist() == [0.0] * 4
    assert heads.projected[:, 2].isnan().all()


def test_a_head_that_shrinks_by_itself_is_not_said_to_be_projected(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    largest = float(row_norms(problem[2]).max())
    heads = fit(problem, [Trial(weight_decay=5.0, radius=largest)])
    assert heads.projected[-1].tolist() == [0.0]


def test_rounding_on_the_radius_is_not_said_to_be_a_projection(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    embeddings, labels, weight, bias = problem
    trials = [Trial(radius=radius) for radius in (0.3, 0.5, 0.7, 0.9)]
    heads = fit_heads(
        embeddings, labels, COUNTS, weight, bias, trials,
        schedule=cosine(1.0, 5, "released"), batch_size=32, momentum=0.9, seed=0,
    )  # fmt: skip
    assert heads.projected[0].min() > 0
    assert heads.projected[-1].tolist() == [0.0] * 4, "the last epoch has learning rate 0"


def test_divergence_in_the_last_step_is_seen(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    with pytest.raises(Diverged, match="diverged in epoch 1 of 1"):
        fit(problem, [Trial(lr=1e38)], epochs=1)


def test_the_starting_head_is_not_changed_and_the_seed_changes_the_result(
    problem: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    before = problem[2].clone()
    first, second, other = fit(problem, [Trial()]), fit(problem, [Trial()]), fit(problem, [Trial()], seed=1)
    assert torch.equal(problem[2], before)
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)


def test_a_head_that_diverges_leaves_the_others_alone(problem: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    trials = [Trial("cb"), Trial("cb", lr=1e30), Trial("ce", weight_decay=0.01)]
    together = fit(problem, trials, tolerant=True)
    sound = fit(problem, [trials[0], trials[2]])
    assert together.loss[-1].isfinite().tolist() == [True, False, True]
    torch.testing.assert_close(together.weight[[0, 2]], sound.weight, rtol=1e-4, atol=1e-5)


def test_a_diverging_head_ends_all_of_them_in_one_line_that_names_no_recipe(
    problem: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    with pytest.raises(Diverged, match=r"^diverged in epoch \d of 4$") as caught:
        fit(problem, [Trial(), Trial(weight_decay=1e30)])
    assert caught.value.exit_code == 8
    assert "classifier" not in caught.value.hint


def test_trials_are_one_family_where_a_closed_form_takes_their_class_weights_and_else_where_they_are_alike() -> None:
    def family(loss: str, **settings: float) -> object:
        return Trial(loss=loss, settings=LossSettings(**settings)).family

    assert family("ce") == family("cb", beta=0.9) == family("reweighted", rho=0.5)
    assert family("cb-bce") == family("cb-bce", beta=0.9) != family("cb")
    assert family("cb", reweight_from=2) != family("cb", reweight_from=3) != family("cb")
    assert family("focal") == family("focal", gamma=2.0) != family("focal", gamma=1.0)
    assert family("focal") != family("focal-cb")
