"""What a model says of images: its most likely classes, image by image as they are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wbltr.machine import enough_memory
from wbltr.serving.about import About
from wbltr.serving.images import batches
from wbltr.serving.model import Predictor


@dataclass(frozen=True)
class Answer:
    """What the model says of one image.

    Attributes:
        classes: the most likely ones with their probabilities, the likeliest first; empty where the image was not read.
        why: it was not read.
    """

    path: str
    classes: Sequence[tuple[str, float]] = ()
    why: str = ""


def answers(
    about: About,
    model: Predictor,
    paths: Iterable[str],
    top: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Iterator[Answer]:
    """An answer for every path, in order.

    Args:
        top: classes of each answer; of fewer classes all.
        advance: told how many images are done, after each batch.
    """
    done, top = 0, min(top, len(about.class_names))
    for block in batches(paths, about.input, torch.get_num_threads()):
        pixels = [what for _, what in block if isinstance(what, Tensor)]
        rows: Iterator[list[tuple[str, float]]] = iter(())
        if pixels:
            with enough_memory("try --device cpu"):
                found = model(torch.stack(pixels)).topk(top)
            names = [[about.class_names[label] for label in labels] for labels in found.indices.tolist()]
            rows = iter([[*zip(*row, strict=True)] for row in zip(names, found.values.tolist(), strict=True)])
        for path, what in block:
            yield Answer(path, next(rows)) if isinstance(what, Tensor) else Answer(path, why=what)
        done += len(block)
        advance(done)
