from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_images import write_set
from PIL import Image

from wbltr.data.crops import centre, random_boxes
from wbltr.data.decode import decode
from wbltr.data.digests import StatCache, in_threads
from wbltr.data.imagefiles import look
from wbltr.data.index import Index, examine
from wbltr.data.listed import LISTED
from wbltr.data.stream import BLOCK, ImageFiles, StreamedImages, check_augment, training_images
from wbltr.errors import WbltrError
from wbltr.randomness import epoch_order, generator

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Index]:
    """A set of 62 training images, of which some are grey, CMYK, progressive or PNG."""
    root = write_set(tmp_path_factory.mktemp("images"), train=(30, 20, 8, 4))
    listed = look(LISTED["imagenet-lt"], [], [root], StatCache())
    shapes, bad = examine(listed, "train", 2, lambda _: None)
    assert not bad
    return root, Index.of(listed.parts["train"], shapes, np.arange(62))


def streamed(root: Path, index: Index, workers: int = 2, rows: int = 16, weights: torch.Tensor | None = None) -> StreamedImages:
    files = ImageFiles(index, [root], 24, workers)
    return StreamedImages(files, CPU, lambda epoch: generator(0, "epoch", epoch), weights, rows)


def steps_of(count: int, size: int, first: int = 0) -> list[list[range]]:
    return [[range(start, min(start + size, count))] for start in range(first, count, size)]


def epoch(images: StreamedImages, number: int, size: int = 16, first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """All crops and labels of an epoch, in its order."""
    steps = steps_of(len(images), size, first)
    images.draw(number, steps)
    taken = []
    for (places,) in steps:
        images.fetch()
        taken.append(images.take(torch.tensor([*places])))
    return torch.cat([crops for crops, _ in taken]), torch.cat([labels for _, labels in taken])


def test_without_mirroring_an_epoch_has_the_same_crops_as_they_are(images: tuple[Path, Index]) -> None:
    plain = streamed(*images)
    plain.mirror = False
    as_they_are, labels = epoch(plain, 0)
    mirrored, same = epoch(streamed(*images), 0)
    assert torch.equal(labels, same)
    flipped = [not torch.equal(one, other) for one, other in zip(as_they_are, mirrored, strict=True)]
    assert 0 < sum(flipped) < len(flipped)
    assert all(torch.equal(as_they_are[n].flip(2), mirrored[n]) for n, is_flipped in enumerate(flipped) if is_flipped)


def test_an_index_says_where_each_image_lies_and_what_it_is(images: tuple[Path, Index]) -> None:
    root, index = images
    assert len(index) == 62
    assert index.path(0) == "train/n00000000/train_n00000000_0.JPEG"
    assert [index.path(n) for n in range(62)] == sorted(index.path(n) for n in range(62))
    for number in range(0, 62, 7):
        with Image.open(root / index.path(number)) as picture:
            assert tuple(index.shapes[number]) == (picture.height, picture.width)
        assert int(index.path(number).split("/")[1][1:]) == index.labels[number]
    again = Index.load(index.tensors("val"), "val")
    assert again.fingerprint() == index.fingerprint()
    assert again.read(root, 3, verify=True) == (root / index.path(3)).read_bytes()


def test_an_epoch_takes_every_image_once_and_another_epoch_another_order(images: tuple[Path, Index]) -> None:
    stream = streamed(*images)
    crops, labels = epoch(stream, 0)
    assert crops.shape == (62, 3, 24, 24)
    assert crops.dtype == torch.uint8
    assert labels.bincount().tolist() == [30, 20, 8, 4]
    order = epoch_order(62, generator(0, "epoch", 0))
    assert labels.tolist() == images[1].labels[order.numpy()].tolist()
    assert not torch.equal(epoch(stream, 1)[1], labels)
    assert torch.equal(epoch(stream, 0)[0], crops), "an epoch can be drawn again"
    stream.close()


def test_crops_do_not_depend_on_workers_on_steps_or_on_where_an_epoch_is_taken_up(images: tuple[Path, Index]) -> None:
    crops, labels = epoch(streamed(*images, workers=1), 3)
    for workers, size in ((3, 16), (2, 5), (4, 62)):
        others = epoch(streamed(*images, workers=workers, rows=size), 3, size)
        assert torch.equal(others[0], crops), (workers, size)
        assert torch.equal(others[1], labels)
    assert torch.equal(epoch(streamed(*images), 3, first=32)[0], crops[32:]), "resumed within the epoch"


def test_the_members_of_a_team_take_the_crops_that_one_process_takes(images: tuple[Path, Index]) -> None:
    crops, labels = epoch(streamed(*images), 5)
    for rank in range(2):
        steps = [[range(s + 4 * part, min(s + 4 * part + 4, 62)) for part in (rank, rank + 2)] for s in range(0, 62, 16)]
        mine = streamed(*images)
        mine.draw(5, steps)
        for parts in steps:
            mine.fetch()
            for places in (torch.tensor([*part]) for part in parts if part):
                taken = mine.take(places)
                assert torch.equal(taken[0], crops[places])
                assert torch.equal(taken[1], labels[places])


def test_about_half_of_the_crops_are_mirrored_and_all_are_boxes_of_their_image(images: tuple[Path, Index]) -> None:
    root, index = images
    crops, _ = epoch(streamed(root, index), 0)
    source = generator(0, "epoch", 0)
    order = epoch_order(62, source)
    boxes = random_boxes(torch.from_numpy(index.shapes)[order], source)
    flipped = 0
    for place in range(62):
        top, left, height, width = boxes[place].tolist()
        pixels = decode((root / index.path(int(order[place]))).read_bytes())[:, top : top + height, left : left + width]
        plain = torch.nn.functional.interpolate(pixels[None], (24, 24), mode="bilinear", antialias=True)[0]
        flipped += torch.equal(crops[place], plain.flip(2))
        assert torch.equal(crops[place], plain) or torch.equal(crops[place], plain.flip(2))
    assert 15 < flipped < 47


def test_what_take_reads_stays_where_it_is(images: tuple[Path, Index]) -> None:
    stream = streamed(*images)
    before = (stream.images.data_ptr(), stream.facts.data_ptr())
    epoch(stream, 0)
    epoch(stream, 1, first=48)
    assert (stream.images.data_ptr(), stream.facts.data_ptr()) == before


def test_weights_draw_images_with_replacement(images: tuple[Path, Index]) -> None:
    weights = torch.zeros(62)
    weights[[7, 60]] = 1.0
    crops, labels = epoch(streamed(*images, weights=weights), 0)
    assert set(labels.tolist()) == {int(images[1].labels[7]), int(images[1].labels[60])}
    assert len(torch.unique(crops, dim=0)) > 40, "an image drawn again is cropped again"


def test_an_epoch_that_is_broken_off_leaves_nothing_behind(images: tuple[Path, Index]) -> None:
    stream = streamed(*images)
    stream.draw(0, steps_of(62, 16))
    stream.fetch()
    assert torch.equal(epoch(stream, 1)[0], epoch(streamed(*images), 1)[0])
    assert 0 <= stream.share <= 1
    assert stream.waited > 0


def test_views_decode_once_and_keep_the_order(images: tuple[Path, Index]) -> None:
    root, index = images
    files = ImageFiles(index, [root], 24, 2)
    boxes = torch.stack([random_boxes(torch.from_numpy(index.shapes), generator(0, "view", v)) for v in range(3)])
    blocks = [*files.views(boxes)]
    assert [block.shape[1] for block in blocks] == [min(BLOCK, 62)]
    whole = torch.cat(blocks, 1)
    assert whole.shape == (3, 62, 3, 24, 24)
    assert torch.equal(whole[2, 10], files.crop(10, tuple(boxes[2, 10].tolist())))
    centres = torch.cat([*files.views(None)], 1)
    assert torch.equal(centres[0, 33], centre(files.pixels(33), 24))


@pytest.fixture
def own(tmp_path: Path) -> tuple[Path, Index]:
    """A set that a test may damage."""
    root = write_set(tmp_path, train=(4, 3))
    listed = look(LISTED["imagenet-lt"], [], [root], StatCache())
    return root, Index.of(listed.parts["train"], examine(listed, "train", 1, lambda _: None)[0], np.arange(7))


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes() + b"x"), "integrity", "changed since the dataset was made"),
        (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x"), "integrity", "changed since the dataset was made"),
        (lambda file: file.unlink(), "missing", "cannot be read: No such file"),
    ],
)
def test_a_file_that_is_not_the_indexed_one_stops_the_epoch_and_is_named(
    own: tuple[Path, Index], damage: Callable[[Path], Any], code: str, words: str
) -> None:
    root, index = own
    stream = streamed(root, index, rows=7)
    damage(root / index.path(4))
    with pytest.raises(WbltrError, match=words) as caught:
        epoch(stream, 0, 7)
    assert caught.value.code == code
    assert index.path(4) in caught.value.message
    stream.close()


def test_a_digest_is_checked_once_and_the_size_always(own: tuple[Path, Index]) -> None:
    root, index = own
    stream = streamed(root, index, rows=7)
    epoch(stream, 0, 7)
    file = root / index.path(2)
    file.write_bytes(file.read_bytes()[:-2] + b"\xff\xd9")
    epoch(stream, 1, 7)
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(WbltrError, match="changed since"):
        epoch(stream, 2, 7)


def test_an_index_with_a_path_that_leaves_the_root_is_refused(own: tuple[Path, Index]) -> None:
    root, index = own
    path = b"../secret"
    bad = Index(
        np.frombuffer(path, np.uint8), np.array([0, len(path)]), index.sizes[:1], index.digests[:1], index.shapes[:1],
        index.labels[:1],
    )  # fmt: skip
    with pytest.raises(WbltrError, match="index is damaged"):
        bad.read(root, 0, verify=False)


def test_images_that_are_nowhere_are_missing_with_where_was_looked(own: tuple[Path, Index], tmp_path: Path) -> None:
    with pytest.raises(WbltrError, match="images are not here: looked for train/n00000000") as caught:
        own[1].root([tmp_path / "none"])
    assert "--root DIR" in caught.value.hint


def test_an_augmentation_of_the_other_kind_is_refused() -> None:
    with pytest.raises(WbltrError, match="different sizes"):
        check_augment("crop-flip", None, files=True)
    with pytest.raises(WbltrError, match="one size already"):
        check_augment("resized-crop-flip", 24, files=False)
    dataset = {"train.paths": np.empty(0, np.uint8)}
    with (
        pytest.raises(WbltrError, match="different sizes"),
        training_images(
            dataset, augment="none", pad=0, image_size=None, device=CPU, source=lambda e: generator(0, "epoch", e),
            weights=None, roots=(), span=lambda *_: (Path(), 0), workers=1, rows=1,
        ),
    ):  # fmt: skip
        pass


def test_work_in_threads_comes_in_order_a_bounded_number_ahead() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    done = in_threads(work, range(1000), 3, 10)
    first = [next(done) for _ in range(5)]
    assert first == [0, 1, 2, 3, 4]
    assert len(begun) <= 15
    assert [*done] == [*range(5, 1000)]


def test_a_failure_in_a_thread_is_raised_in_its_turn() -> None:
    done = in_threads(lambda n: 1 // (n - 3), range(100), 2)
    assert [next(done) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(done)


def test_threads_of_workers_leave_the_main_threads_number_alone(images: tuple[Path, Index]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    epoch(streamed(*images), 0)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
