from __future__ import annotations

import pytest
import torch

from wbltr.data.augment import Augment, AugmentedImages, crop_and_flip, draw, padded
from wbltr.randomness import generator

IMAGES = torch.randint(0, 256, (20, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def epoch(seed: int, number: int) -> torch.Generator:
    return generator(seed, "epoch", number)


def test_crops_equal_the_slow_loop() -> None:
    draws = draw(20, "crop-flip", 2, epoch(5, 3))
    index = draws.order[:7]
    fast = crop_and_flip(padded(IMAGES, 2), 2, index, draws.top[index], draws.left[index], draws.flip[index])
    for row, image in enumerate(index.tolist()):
        canvas = torch.zeros(3, 12, 12, dtype=torch.uint8)
        canvas[:, 2:10, 2:10] = IMAGES[image]
        top, left = int(draws.top[image]), int(draws.left[image])
        crop = canvas[:, top : top + 8, left : left + 8]
        assert torch.equal(fast[row], crop.flip(2) if draws.flip[image] else crop)


def test_without_augmentation_images_come_back_as_they_are() -> None:
    draws = draw(20, "none", 4, epoch(0, 0))
    index = torch.arange(20)
    assert torch.equal(crop_and_flip(padded(IMAGES, 4), 4, index, draws.top, draws.left, draws.flip), IMAGES)


def test_crop_alone_never_mirrors() -> None:
    assert not draw(1000, "crop", 4, epoch(0, 0)).flip.any()
    assert draw(1000, "crop-flip", 4, epoch(0, 0)).flip.any()


@pytest.mark.parametrize("augment", ["crop-flip", "crop", "none"])
def test_the_order_is_a_permutation_and_does_not_depend_on_the_augmentation(augment: Augment) -> None:
    order = draw(50, augment, 4, epoch(1, 2)).order
    assert sorted(order.tolist()) == list(range(50))
    assert torch.equal(order, draw(50, "none", 4, epoch(1, 2)).order)


def test_seed_and_epoch_fix_every_draw_and_each_changes_them() -> None:
    first, again = (draw(100, "crop-flip", 4, epoch(1, 2)) for _ in range(2))
    assert all(torch.equal(getattr(first, n), getattr(again, n)) for n in ("order", "top", "left", "flip"))
    for other in (draw(100, "crop-flip", 4, epoch(1, 3)), draw(100, "crop-flip", 4, epoch(2, 2))):
        assert not torch.equal(first.order, other.order)


def test_offsets_cover_every_place_evenly() -> None:
    draws = draw(90_000, "crop-flip", 4, epoch(0, 0))
    for offsets in (draws.top, draws.left):
        counts = torch.bincount(offsets, minlength=9)
        assert len(counts) == 9
        assert (counts.float() / 10_000 - 1).abs().max() < 0.05


LABELS = torch.tensor([0] * 16 + [1] * 4)


def test_an_epoch_takes_each_image_once_as_drawn_for_it() -> None:
    images = AugmentedImages(IMAGES, LABELS, "crop-flip", 2, lambda number: epoch(7, number))
    images.draw(3)
    draws = draw(20, "crop-flip", 2, epoch(7, 3))
    index = draws.order[5:12]
    expected = crop_and_flip(padded(IMAGES, 2), 2, index, draws.top[index], draws.left[index], draws.flip[index])
    taken, labels = images.take(torch.arange(5, 12))
    assert torch.equal(taken, expected)
    assert torch.equal(labels, LABELS[index])


def test_an_image_drawn_twice_has_two_crops() -> None:
    only_the_last = torch.zeros(20).index_fill(0, torch.tensor([19]), 1.0)
    images = AugmentedImages(IMAGES, LABELS, "crop-flip", 2, lambda number: epoch(7, number), only_the_last)
    images.draw(0)
    taken, labels = images.take(torch.arange(20))
    assert labels.tolist() == [1] * 20
    assert len({bytes(crop.numpy()) for crop in taken}) > 10


def test_weights_say_how_often_an_image_is_drawn() -> None:
    weights = torch.tensor([1.0, 3.0]).repeat(10_000)
    order = draw(20_000, "none", 0, epoch(0, 0), weights).order
    assert abs(float((order % 2).double().mean()) - 0.75) < 0.01
