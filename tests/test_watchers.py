from __future__ import annotations

from collections.abc import Iterator

import torch

from wbltr.models import Classifier, new_head, new_network
from wbltr.watchers import BestEpoch, Probe, Snapshots


def new_model() -> Classifier:
    return Classifier(new_network("small", (0.3,), (0.4,), 0), *new_head(3, 64, 1))


def change(model: Classifier) -> None:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor += 1


def test_snapshots_are_the_head_every_so_many_steps_and_before_the_first() -> None:
    model = new_model()
    first = model.weight.detach().clone()
    snapshots = Snapshots(model, 2, 5)
    for done in range(1, 6):
        change(model)
        snapshots.after_step(done)
    assert snapshots.steps.tolist() == [0, 2, 4]
    for weight, steps in zip(snapshots.weights, (0, 2, 4), strict=True):
        torch.testing.assert_close(weight, first + steps)


def measurements(values: list[float], model: Classifier) -> Iterator[float]:
    for value in values:
        assert not model.training
        yield value


def test_the_first_of_the_best_epochs_is_kept_with_its_buffers() -> None:
    model = new_model()
    told = measurements([0.1, 0.5, 0.4, 0.5], model)
    best = BestEpoch(model, lambda: next(told), 4)
    states = []
    for epoch in range(4):
        change(model)
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        assert best.after_epoch(epoch) == {"measured": float(best.accuracy[epoch])}
        assert model.training
    best.settle()
    assert best.epoch == 1
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, states[1][name]), name


def test_what_is_best_survives_a_checkpoint() -> None:
    model = new_model()
    best = BestEpoch(model, lambda: 0.7, 2)
    change(model)
    best.after_epoch(0)
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    saved = {name: tensor.clone() for name, tensor in best.state().items()}
    change(model)
    other = BestEpoch(model, lambda: 0.6, 2)
    for name, tensor in other.state().items():
        tensor.copy_(saved[name])
    other.after_epoch(1)
    other.settle()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())


def test_a_probe_sees_the_model_in_eval_mode_and_leaves_it_as_it_was() -> None:
    model = new_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[int, torch.Tensor]] = []
    model.train()
    Probe(model, lambda epochs, predict: seen.append((epochs, predict(images))), "fp32").after_epoch(3)
    assert model.training
    assert seen[0][0] == 4
    torch.testing.assert_close(seen[0][1], model.eval()(images).detach())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
