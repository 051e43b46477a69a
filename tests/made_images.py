"""Small image sets laid out as the published long-tailed ones are: folders, lists, and pictures of many kinds."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

LISTS = {
    "imagenet-lt": {part: f"ImageNet_LT_{part}.txt" for part in ("train", "val", "test")},
    "places-lt": {part: f"Places_LT_{part}.txt" for part in ("train", "val", "test")},
    "inaturalist18": {"train": "iNaturalist18_train.txt", "test": "iNaturalist18_val.txt"},
}


def picture(label: int, number: int, side: int = 40) -> Image.Image:
    """A striped picture whose stripes and colour tell its class; size and phase differ from image to image."""
    source = np.random.default_rng([label, number])
    height, width = (int(side * scale) for scale in source.uniform(0.8, 1.6, 2))
    y, x = np.mgrid[:height, :width] / side
    angle = np.pi * label / 7
    wave = np.sin(2 * np.pi * (2 + label % 3) * (x * np.cos(angle) + y * np.sin(angle)) + source.uniform(0, 6))
    colour = np.random.default_rng(label).uniform(0.3, 1, 3)
    pixels = 127 + 100 * wave[..., None] * colour + source.normal(0, 8, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def file_bytes(label: int, number: int, side: int = 40) -> bytes:
    """Mostly colour JPEGs; one in ten is grey, one in ten CMYK, some progressive, some PNG under a JPEG's name."""
    image = picture(label, number, side)
    match number % 10:
        case 3:
            return encoded(image.convert("L"))
        case 5:
            return encoded(image.convert("CMYK"))
        case 7:
            return encoded(image, progressive=True)
        case 9:
            return encoded(image, "PNG")
    return encoded(image)


def relative_path(source: str, part: str, label: int, number: int) -> str:
    """Where the published set of this name would have such an image."""
    match source:
        case "imagenet-lt":
            name = f"n{label:08}_{number}.JPEG" if part != "test" else f"ILSVRC2012_val_{label:04}{number:04}.JPEG"
            return f"{'val' if part == 'test' else 'train'}/n{label:08}/{part}_{name}"
        case "places-lt":
            return f"{'val' if part == 'test' else 'train'}/place-{label}/{part}_{number:08}.jpg"
    name = hashlib.md5(f"{part} {label} {number}".encode(), usedforsecurity=False).hexdigest()
    return f"train_val2018/Plantae/{label}/{name}.jpg"


def write_set(
    root: Path,
    source: str = "imagenet-lt",
    train: Sequence[int] = (12, 8, 5, 3),
    val: int = 2,
    test: int = 2,
    side: int = 40,
    lists: Path | None = None,
) -> Path:
    """Make a set and its lists.

    Args:
        root: the image root.
        train: images of each class.
        val, test: images a class.
        lists: the lists' folder; None: the root.
    """
    lists = lists or root
    lists.mkdir(parents=True, exist_ok=True)
    sizes = {"train": train, "val": [val] * len(train), "test": [test] * len(train)}
    for part, name in LISTS[source].items():
        rows = []
        for label, images in enumerate(sizes[part]):
            for number in range(images):
                path = relative_path(source, part, label, number)
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(file_bytes(label, 1000 * ("train", "val", "test").index(part) + number, side))
                rows.append(f"{path} {label}\n")
        (lists / name).write_text("".join(rows))
    return root


def write_json(root: Path, lists: Path) -> None:
    """iNaturalist's JSON in place of its text lists."""
    for text, name in (("iNaturalist18_train.txt", "train2018.json"), ("iNaturalist18_val.txt", "val2018.json")):
        rows = [line.rsplit(" ", 1) for line in (root / text).read_text().splitlines()]
        document = {
            "images": [{"id": 7 + number, "file_name": path} for number, (path, _) in enumerate(rows)],
            "annotations": [{"image_id": 7 + number, "category_id": int(label)} for number, (_, label) in enumerate(rows)],
            "categories": [{"id": label, "name": f"Species {label}"} for label in sorted({int(label) for _, label in rows})],
        }
        (lists / name).write_text(json.dumps(document))
        (root / text).unlink()
