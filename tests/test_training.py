from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from wbltr.distributed import ALONE
from wbltr.errors import Diverged, Stopped
from wbltr.functional.losses import cross_entropy
from wbltr.functional.schedules import cosine
from wbltr.machine import warm_up
from wbltr.models import Classifier, new_head, new_network
from wbltr.training import Epochs, Step, batches, fit, usable

N, C = 45, 4
State = dict[str, Tensor]
IMAGES = torch.randint(0, 256, (N, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, C, (N,), generator=torch.Generator().manual_seed(1))


class Shuffled:
    """The images in another order each epoch."""

    def __init__(self, images: int = N) -> None:
        self.order = torch.zeros(images, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.order)

    def draw(self, epoch: int, steps: Sequence[Sequence[range]] = ()) -> None:
        self.order.copy_(torch.randperm(len(self.order), generator=torch.Generator().manual_seed(epoch)))

    def fetch(self) -> None:
        pass

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        index = self.order.index_select(0, places)
        return IMAGES[index], LABELS[index]


def order_of(epoch: int) -> Tensor:
    images = Shuffled()
    images.draw(epoch)
    return images.order


def new_model() -> Classifier:
    return Classifier(new_network("small", (0.3,), (0.4,), 0), *new_head(C, 64, 1))


def train(
    *,
    epochs: int = 3,
    lr: float = 0.05,
    batch_size: int = 16,
    shards: int = 1,
    momentum: float = 0.9,
    weight_decay: float = 5e-3,
    images: Shuffled | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy,
    precision: Any = "fp32",
    tick: Callable[[int, int], None] = lambda done, total: None,
    checkpoint: Callable[..., None] = lambda step, state, now: None,
    restored: tuple[int, State] | None = None,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> tuple[Classifier, Epochs]:
    torch.set_num_threads(1)
    model = new_model()
    history = fit(
        model, images or Shuffled(),
        lrs=cosine(lr, epochs), batch_size=batch_size, shards=shards, momentum=momentum, weight_decay=weight_decay, loss=loss,
        precision=precision, tick=tick, report=report, checkpoint=checkpoint, restored=restored,
    )  # fmt: skip
    return model, history


def same(a: tuple[Classifier, Epochs], b: tuple[Classifier, Epochs]) -> bool:
    pairs = zip(a[0].state_dict().values(), b[0].state_dict().values(), strict=True)
    history = all(torch.equal(getattr(a[1], n), getattr(b[1], n)) for n in ("loss", "accuracy", "norms"))
    return all(torch.equal(x, y) for x, y in pairs) and history


def test_fit_equals_the_obvious_loop_with_torchs_sgd_and_scheduler() -> None:
    model, history = train()
    reference = new_network("small", (0.3,), (0.4,), 0).train()
    head = torch.nn.Linear(64, C)
    with torch.no_grad():
        for parameter, value in zip((head.weight, head.bias), new_head(C, 64, 1), strict=True):
            parameter.copy_(value)
    optimizer = torch.optim.SGD([*reference.parameters(), *head.parameters()], 0.05, momentum=0.9, weight_decay=5e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3)
    for epoch in range(3):
        total = 0.0
        for index in torch.split(order_of(epoch), 16):
            loss = torch.nn.functional.cross_entropy(head(reference(IMAGES[index])), LABELS[index])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            total += float(loss.detach()) * len(index)
        scheduler.step()
        assert float(history.loss[epoch]) == pytest.approx(total / N, rel=1e-4)
    torch.testing.assert_close(model.weight, head.weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.bias, head.bias, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(model.network.state_dict().values(), reference.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_two_runs_give_the_same_bits() -> None:
    assert same(train(), train())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_restored_from_any_step_gives_the_bits_of_an_undisturbed_one(precision: str) -> None:
    saved: dict[int, State] = {}

    def keep(step: int, state: Callable[[], Mapping[str, Tensor]], now: bool) -> None:
        saved[step] = {name: value.detach().clone() for name, value in state().items()}

    whole = train(precision=precision, checkpoint=keep)
    assert sorted(saved) == list(range(1, 10))
    for step, state in saved.items():
        assert same(train(precision=precision, restored=(step, state)), whole), f"restored at step {step}"


def test_without_momentum_a_restored_run_gives_the_same_bits() -> None:
    saved: dict[int, State] = {}
    whole = train(
        momentum=0.0, checkpoint=lambda step, state, now: saved.update({step: {n: v.clone() for n, v in state().items()}})
    )
    assert same(train(momentum=0.0, restored=(4, saved[4])), whole)


def test_a_stop_asked_for_before_a_step_is_saved_first() -> None:
    seen: list[tuple[int, bool, set[str]]] = []

    def tick(done: int, total: int) -> None:
        if done == 32:
            raise Stopped("stop")

    with pytest.raises(Stopped):
        train(tick=tick, checkpoint=lambda step, state, now: seen.append((step, now, set(state()))))
    assert [(step, now) for step, now, _ in seen] == [(1, False), (2, False), (2, True)]
    assert {"head.weight", "momentum.0", "sums"} <= seen[-1][2]


def test_a_stop_asked_for_in_the_last_step_takes_nothing_away() -> None:
    def tick(done: int, total: int) -> None:
        if done == total:
            raise Stopped("too late")

    assert same(train(tick=tick), train())


def test_what_another_version_kept_is_not_usable() -> None:
    kept: list[State] = []
    train(epochs=1, checkpoint=lambda step, state, now: kept.append(dict(state())))
    assert usable(kept[-1])
    assert not usable({name: value for name, value in kept[-1].items() if name != "layout"})


@pytest.mark.parametrize("size", [16, 13])
def test_a_step_that_is_warmed_up_before_a_capture_leaves_no_trace_even_on_the_last_batch(size: int) -> None:
    torch.set_num_threads(1)
    models = [new_model().train() for _ in range(2)]
    for model, warm in zip(models, (False, True), strict=True):
        images = Shuffled()
        images.draw(0)
        step = Step(model, images, 1, 0.9, 5e-3, cross_entropy, "fp32", ALONE)
        step.lr.fill_(0.1)
        step.place.fill_(N - size)
        if warm:
            warm_up(partial(step, size), step.changed())
        step(size)
    for cold, warmed in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert torch.equal(cold, warmed)


def test_the_history_has_a_row_per_epoch_and_reports_it() -> None:
    told: list[Mapping[str, float]] = []
    model, history = train(report=told.append)
    assert [row["epoch"] for row in told] == [1, 2, 3]
    assert history.loss.tolist() == [row["loss"] for row in told]
    assert torch.isfinite(history.norms).all()
    torch.testing.assert_close(history.norms[-1], model.weight.detach().norm(dim=1))
    assert float(history.loss[-1]) < float(history.loss[0])


def test_weight_decay_acts_on_every_parameter_batch_norm_and_biases_too() -> None:
    before = [p.detach().clone() for p in new_model().parameters()]
    model, _ = train(
        epochs=1, lr=0.1, momentum=0.0, weight_decay=0.5, images=Shuffled(16), loss=lambda logits, y: 0.0 * logits.sum()
    )
    for old, new in zip(before, model.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old * (1 - 0.1 * 0.5))


def test_divergence_ends_in_one_clear_line() -> None:
    with pytest.raises(Diverged, match=r"diverged in epoch \d of 5: the loss is") as caught:
        train(epochs=5, lr=1e18)
    assert caught.value.exit_code == 8


def test_divergence_in_the_very_last_step_is_seen() -> None:
    with pytest.raises(Diverged, match="no longer finite"):
        train(epochs=1, lr=1e38, images=Shuffled(16), loss=lambda logits, y: 1e3 * cross_entropy(logits, y))  # one step


@pytest.mark.parametrize(
    ("images", "shards", "sizes"),
    [(64, 1, [32, 32]), (65, 1, [32, 33]), (66, 1, [32, 32, 2]), (1, 1, [1]), (67, 2, [32, 35]), (68, 2, [32, 32, 4])],
)  # fmt: skip
def test_a_last_batch_with_less_than_two_images_a_shard_joins_the_one_before(
    images: int, shards: int, sizes: list[int]
) -> None:
    assert batches(images, 32, shards) == sizes


def test_every_image_is_seen_once_an_epoch_in_the_drawn_order() -> None:
    seen: list[Tensor] = []

    class Watched(Shuffled):
        def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
            seen.append(self.order[places])
            return super().take(places)

    train(epochs=2, images=Watched(), shards=2)
    assert torch.equal(torch.cat(seen), torch.cat([order_of(0), order_of(1)]))


def test_images_are_told_the_places_of_every_step_that_is_to_come() -> None:
    told: list[list[range]] = []
    taken: list[range] = []

    class Told(Shuffled):
        def draw(self, epoch: int, steps: Sequence[Sequence[range]] = ()) -> None:
            super().draw(epoch)
            told.extend(list(parts) for parts in steps)

        def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
            taken.append(range(int(places[0]), int(places[-1]) + 1))
            return super().take(places)

    train(epochs=2, images=Told(), shards=3)
    assert [part for parts in told for part in parts] == taken
    assert sum(map(len, taken)) == 2 * N


def test_shards_equal_the_obvious_loop_over_parts_of_a_batch() -> None:
    model, history = train(epochs=1, shards=3)
    reference = new_model().train()
    optimizer = torch.optim.SGD(reference.parameters(), 0.05, momentum=0.9, weight_decay=5e-3)
    norms = [module for module in reference.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    total = 0.0
    for batch in torch.split(order_of(0), 16):
        optimizer.zero_grad()
        parts, left = batch.tensor_split(3), []
        before = [(n.running_mean.clone(), n.running_var.clone()) for n in norms]  # type: ignore[union-attr]
        for part in parts:
            for norm, (mean, variance) in zip(norms, before, strict=True):
                norm.running_mean, norm.running_var = mean.clone(), variance.clone()
            losses = torch.nn.functional.cross_entropy(reference(IMAGES[part]), LABELS[part], reduction="sum")
            torch.autograd.backward(losses / len(batch))
            left.append([(n.running_mean, n.running_var) for n in norms])
            total += float(losses.detach())
        for place, norm in enumerate(norms):
            norm.running_mean = torch.stack([shard[place][0] for shard in left]).mean(0)  # type: ignore[misc]
            norm.running_var = torch.stack([shard[place][1] for shard in left]).mean(0)  # type: ignore[misc]
        optimizer.step()
    assert float(history.loss[0]) == pytest.approx(total / N, rel=1e-5)
    ours = {n: v for n, v in model.state_dict().items() if "num_batches" not in n}
    for name, value in ours.items():
        torch.testing.assert_close(value, reference.state_dict()[name], rtol=1e-3, atol=1e-5)
    assert model.state_dict()["network.backbone.layers.1.num_batches_tracked"] == 3, "three batches, however cut"


@pytest.mark.parametrize("shards", [1, 2])
def test_a_step_leaves_every_tensor_where_it_was_and_lists_all_that_it_changes_as_a_captured_one_must(shards: int) -> None:
    model, images = new_model().train(), Shuffled()
    step = Step(model, images, shards=shards, momentum=0.9, weight_decay=5e-3, loss=cross_entropy, precision="fp32", team=ALONE)
    images.draw(0)
    step.lr.fill_(0.1)
    kept = [*model.parameters(), *model.buffers(), *(v for s in step.optimizer.state.values() for v in s.values())]
    kept += [value for value in vars(step).values() if isinstance(value, Tensor)]
    listed = {tensor.data_ptr() for tensor in step.changed()}
    for size in (16, 16, 13):
        before = [(tensor.data_ptr(), tensor.detach().clone()) for tensor in kept]
        step(size)
        for tensor, (address, value) in zip(kept, before, strict=True):
            assert tensor.data_ptr() == address
            assert torch.equal(tensor, value) or address in listed
    assert int(step.place) == N


def test_bf16_stays_near_fp32() -> None:
    exact, rough = train(epochs=1)[1].loss, train(epochs=1, precision="bf16")[1].loss
    assert not torch.equal(exact, rough)
    assert float(exact[0]) == pytest.approx(float(rough[0]), rel=0.02)


def test_an_empty_history_is_all_nan() -> None:
    empty: Any = Epochs.empty(2, 3)
    assert math.isnan(float(empty.loss[0]))
    assert empty.norms.shape == (2, 3)
