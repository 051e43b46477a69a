from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from wbltr.errors import Stopped, WbltrError
from wbltr.functional.losses import cross_entropy
from wbltr.functional.schedules import cosine
from wbltr.models import Network, new_head, new_network
from wbltr.training import Epochs, Take, batches, enough_memory, fit, prepare

N, C = 45, 4
State = dict[str, Tensor]
IMAGES = torch.randint(0, 256, (N, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, C, (N,), generator=torch.Generator().manual_seed(1))


def source(epoch: int) -> tuple[Tensor, Take]:
    order = torch.randperm(N, generator=torch.Generator().manual_seed(epoch))
    return order, lambda index: (IMAGES[index], LABELS[index])


def train(
    *,
    epochs: int = 3,
    lr: float = 0.05,
    momentum: float = 0.9,
    precision: str = "fp32",
    checkpoint: Callable[[int, Callable[[], Mapping[str, Tensor]]], None] = lambda step, state: None,
    restored: tuple[int, State] | None = None,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> tuple[Network, Tensor, Tensor, Epochs]:
    torch.set_num_threads(1)
    network = new_network("small", (0.3,), (0.4,), 0)
    weight, bias = new_head(C, 64, 1)
    history = fit(
        network, weight, bias, source,
        lrs=cosine(lr, epochs), batch_size=16, momentum=momentum, weight_decay=5e-3, loss=cross_entropy,
        precision=precision, device=torch.device("cpu"),  # type: ignore[arg-type]
        tick=lambda done, total: None, report=report, checkpoint=checkpoint, restored=restored,
    )  # fmt: skip
    return network, weight.detach(), bias.detach(), history


def same(a: tuple[Network, Tensor, Tensor, Epochs], b: tuple[Network, Tensor, Tensor, Epochs]) -> bool:
    pairs = zip(a[0].state_dict().values(), b[0].state_dict().values(), strict=True)
    history = all(torch.equal(getattr(a[3], n), getattr(b[3], n)) for n in ("loss", "accuracy", "norms"))
    return all(torch.equal(x, y) for x, y in pairs) and torch.equal(a[1], b[1]) and torch.equal(a[2], b[2]) and history


def test_fit_equals_the_obvious_loop_with_torchs_sgd_and_scheduler() -> None:
    network, weight, bias, history = train()
    reference = new_network("small", (0.3,), (0.4,), 0).train()
    head = torch.nn.Linear(64, C)
    with torch.no_grad():
        for parameter, value in zip((head.weight, head.bias), new_head(C, 64, 1), strict=True):
            parameter.copy_(value)
    optimizer = torch.optim.SGD([*reference.parameters(), *head.parameters()], 0.05, momentum=0.9, weight_decay=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    for epoch in range(3):
        total = 0.0
        for index in torch.split(source(epoch)[0], 16):
            loss = torch.nn.functional.cross_entropy(head(reference(IMAGES[index])), LABELS[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += float(loss.detach()) * len(index)
        scheduler.step()
        assert float(history.loss[epoch]) == pytest.approx(total / N, rel=1e-4)
    torch.testing.assert_close(weight, head.weight.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(bias, head.bias.detach(), rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(network.state_dict().values(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_two_runs_give_the_same_bits() -> None:
    assert same(train(), train())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_restored_from_any_step_gives_the_bits_of_an_undisturbed_one(precision: str) -> None:
    saved: dict[int, State] = {}

    def keep(step: int, state: Callable[[], Mapping[str, Tensor]]) -> None:
        saved[step] = {name: value.detach().clone() for name, value in state().items()}

    whole = train(precision=precision, checkpoint=keep)
    assert sorted(saved) == list(range(1, 10))
    for step, state in saved.items():
        assert same(train(precision=precision, restored=(step, state)), whole), f"restored at step {step}"


def test_without_momentum_a_restored_run_gives_the_same_bits() -> None:
    saved: dict[int, State] = {}
    whole = train(momentum=0.0, checkpoint=lambda step, state: saved.update({step: {n: v.clone() for n, v in state().items()}}))
    assert same(train(momentum=0.0, restored=(4, saved[4])), whole)


def test_a_stop_asked_for_before_a_step_is_saved_first() -> None:
    seen: list[tuple[int, set[str]]] = []

    def tick(done: int, total: int) -> None:
        if done == 32:
            raise Stopped("stop")

    network = new_network("small", (0.3,), (0.4,), 0)
    weight, bias = new_head(C, 64, 1)
    with pytest.raises(Stopped):
        fit(
            network, weight, bias, source,
            lrs=[0.1], batch_size=16, momentum=0.9, weight_decay=0.0, loss=cross_entropy, precision="fp32",
            device=torch.device("cpu"), tick=tick, report=lambda _: None,
            checkpoint=lambda step, state: seen.append((step, set(state()))), restored=None,
        )  # fmt: skip
    assert [step for step, _ in seen] == [1, 2, 2]
    assert {"head.weight", "momentum.0", "sums"} <= seen[-1][1]


def test_the_history_has_a_row_per_epoch_and_reports_it() -> None:
    told: list[Mapping[str, float]] = []
    _, weight, _, history = train(report=told.append)
    assert [row["epoch"] for row in told] == [1, 2, 3]
    assert history.loss.tolist() == [row["loss"] for row in told]
    assert torch.isfinite(history.norms).all()
    torch.testing.assert_close(history.norms[-1], weight.norm(dim=1))
    assert float(history.loss[-1]) < float(history.loss[0])


def test_weight_decay_acts_on_every_parameter_batch_norm_and_biases_too() -> None:
    torch.set_num_threads(1)
    network = new_network("small", (0.3,), (0.4,), 0)
    weight, bias = new_head(C, 64, 1)
    before = [p.detach().clone() for p in (*network.parameters(), weight, bias)]
    fit(
        network, weight, bias, lambda epoch: (torch.arange(16), lambda index: (IMAGES[index], LABELS[index])),
        lrs=[0.1], batch_size=16, momentum=0.0, weight_decay=0.5, loss=lambda logits, y: 0.0 * logits.sum(),
        precision="fp32", device=torch.device("cpu"), tick=lambda done, total: None, report=lambda _: None,
        checkpoint=lambda step, state: None, restored=None,
    )  # fmt: skip
    for old, new in zip(before, (*network.parameters(), weight, bias), strict=True):
        torch.testing.assert_close(new.detach(), old * (1 - 0.1 * 0.5))


def test_divergence_ends_in_one_clear_line() -> None:
    with pytest.raises(WbltrError, match=r"diverged in epoch \d of 5: the loss is") as caught:
        train(epochs=5, lr=1e18)
    assert caught.value.exit_code == 8
    assert "features.lr" in caught.value.hint


def test_divergence_in_the_very_last_step_is_seen() -> None:
    with pytest.raises(WbltrError, match="no longer finite"):
        train(epochs=1, lr=1e38)


@pytest.mark.parametrize(("images", "sizes"), [(64, [32, 32]), (65, [32, 33]), (66, [32, 32, 2]), (1, [1]), (31, [31])])
def test_a_last_batch_of_one_image_joins_the_one_before(images: int, sizes: list[int]) -> None:
    parts = batches(torch.arange(images), 32)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), torch.arange(images))


def test_bf16_stays_near_fp32() -> None:
    exact, rough = train(epochs=1)[3].loss, train(epochs=1, precision="bf16")[3].loss
    assert not torch.equal(exact, rough)
    assert float(exact[0]) == pytest.approx(float(rough[0]), rel=0.02)


def test_an_unknown_device_is_a_usage_error() -> None:
    for name in ("cuda:99", "toaster"):
        with pytest.raises(WbltrError) as caught:
            prepare(name, 1)
        assert caught.value.exit_code == 2


def test_running_out_of_memory_is_one_line_with_advice() -> None:
    with pytest.raises(WbltrError, match="out of memory") as caught, enough_memory("use less"):
        torch.empty(2**60, dtype=torch.uint8)
    assert (caught.value.exit_code, caught.value.hint) == (8, "use less")
    with pytest.raises(RuntimeError, match="other"), enough_memory("use less"):
        raise RuntimeError("other")


def test_an_empty_history_is_all_nan() -> None:
    empty: Any = Epochs.empty(2, 3)
    assert math.isnan(float(empty.loss[0]))
    assert empty.norms.shape == (2, 3)
