from __future__ import annotations

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from wbltr.data.crops import RATIO, SCALE, TRIES, centre, cut, random_boxes


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(height: int, width: int) -> torch.Tensor:
    return torch.randint(0, 256, (3, height, width), generator=source(height), dtype=torch.uint8)


def test_every_box_lies_in_its_image_whatever_its_shape() -> None:
    shapes = torch.tensor([[1, 1], [1, 500], [500, 1], [2, 3], [375, 500], [4000, 30], [8, 8]]).repeat(300, 1)
    top, left, height, width = random_boxes(shapes, source()).unbind(1)
    assert (torch.stack((top, left)) >= 0).all()
    assert (torch.stack((height, width)) >= 1).all()
    assert (top + height <= shapes[:, 0]).all()
    assert (left + width <= shapes[:, 1]).all()


def test_areas_and_ratios_are_distributed_as_torchvision_draws_them() -> None:
    image, count = torch.empty(3, 375, 500), 4000
    torch.manual_seed(0)
    rule = v2.RandomResizedCrop(8, scale=SCALE, ratio=RATIO)
    drawn = [rule.make_params([image]) for _ in range(count)]
    theirs = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn]).double()
    ours = random_boxes(torch.tensor([[375, 500]]).expand(count, 2), source()).double()

    def measures(boxes: torch.Tensor) -> list[torch.Tensor]:
        top, left, height, width = boxes.unbind(1)
        return [height * width, (width / height).log(), top, left]

    for one, two in zip(measures(ours), measures(theirs), strict=True):
        mine, other = one.sort().values, two.sort().values
        spread = other.max() - other.min()
        assert (mine - other).abs().max() < 0.06 * spread, "the two samples' quantiles"


def test_an_image_that_no_box_fits_gives_as_much_of_its_centre_as_the_ratios_allow() -> None:
    boxes = random_boxes(torch.tensor([[10, 1000], [1000, 10]]), source())
    assert boxes.tolist() == [[0, 493, 10, 13], [493, 0, 13, 10]]


def test_the_stream_of_random_numbers_does_not_depend_on_the_shapes() -> None:
    one, two = source(), source()
    random_boxes(torch.full((50, 2), 300), one)
    random_boxes(torch.full((50, 2), 7), two)
    assert torch.equal(one.get_state(), two.get_state())
    fresh = source()
    torch.rand(TRIES * 4 * 50, generator=fresh, dtype=torch.float64)
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=fresh))


def test_a_cut_is_torchvisions_resized_crop_to_the_bit() -> None:
    image = picture(375, 500)
    for box in ((0, 0, 375, 500), (20, 31, 200, 260), (370, 490, 5, 10), (0, 0, 64, 64)):
        assert torch.equal(cut(image, box, 64), F.resized_crop(image, *box, size=[64, 64], antialias=True))


def test_a_centre_is_torchvisions_resize_and_centre_crop_to_the_bit() -> None:
    for height, width in ((375, 500), (500, 375), (60, 70), (256, 256), (1000, 31)):
        image = picture(height, width)
        theirs = F.center_crop(F.resize(image, [256], antialias=True), [224, 224])
        assert torch.equal(centre(image, 224), theirs), (height, width)
