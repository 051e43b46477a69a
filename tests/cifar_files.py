"""A small archive in the CIFAR layout, made up, in all four forms: 20 + 20 train and 10 test images of 10 classes."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import struct
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wbltr.data.known import CIFAR10, Archive, Form, Member
from wbltr.data.sources import Source, content_digest

PARTS: dict[str, tuple[Literal["train", "test"], int]] = {"one": ("train", 20), "two": ("train", 20), "last": ("test", 10)}


def python2_pickle(value: object) -> bytes:
    """`value` as Python 2 pickled the published batches: protocol 2, byte strings, numpy.core."""
    match value:
        case bytes() if len(value) < 256:
            return b"U" + bytes([len(value)]) + value
        case bytes():
            return b"T" + struct.pack("<I", len(value)) + value
        case int():
            return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)
        case list():
            return b"](" + b"".join(python2_pickle(item) for item in value) + b"e"
        case dict():
            return b"}(" + b"".join(python2_pickle(item) for pair in value.items() for item in pair) + b"u"
        case np.ndarray():
            empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
            dtype = b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
            shape = b"(" + b"".join(python2_pickle(size) for size in value.shape) + b"t"
            return empty + b"(K\x01" + shape + dtype + b"\x89" + python2_pickle(value.tobytes()) + b"tb"
    raise TypeError(type(value))


@dataclass(frozen=True)
class Made:
    """An archive, what it holds, and the bytes of its members under `folder/name`."""

    archive: Archive
    source: Source
    files: dict[str, bytes]

    def write_folder(self, form: Form, root: Path) -> Path:
        folder = root / form.folder
        folder.mkdir(parents=True)
        for member in form.members:
            (folder / member.name).write_bytes(self.files[f"{form.folder}/{member.name}"])
        return folder

    def write_tar(self, form: Form, root: Path) -> Path:
        names = [f"{form.folder}/{member.name}" for member in form.members]
        return write_tar(root / form.archive, [regular(name, self.files[name]) for name in names])


def regular(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    return entry, data


def write_tar(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for entry, data in entries:
            tar.addfile(entry, io.BytesIO(data))
    return path


def make(label_bytes: int = 1, spoil: dict[str, object] | None = None, content: bool = True) -> Made:
    """An archive with its own pins. `spoil` replaces keys of the pickled batch `two`; its pins then fit the spoilt bytes."""
    generator = np.random.default_rng(0)
    key = "labels" if label_bytes == 1 else "fine_labels"
    files: dict[str, bytes] = {}
    images: dict[str, list[NDArray[np.uint8]]] = {"train": [], "test": []}
    labels: dict[str, list[NDArray[np.int64]]] = {"train": [], "test": []}
    for name, (part, count) in PARTS.items():
        pixels = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
        found = generator.integers(0, 10, count)
        batch: dict[bytes, object] = {b"data": pixels, key.encode(): found.tolist(), b"filenames": [b"x.png"] * count}
        if spoil is not None and name == "two":
            batch |= {key.encode(): value for key, value in spoil.items()}
        coarse = generator.integers(0, 5, (count, label_bytes - 1), dtype=np.uint8)
        files[f"made-python/{name}"] = b"\x80\x02" + python2_pickle(batch) + b"."
        files[f"made-binary/{name}.bin"] = np.hstack([coarse, found[:, None].astype(np.uint8), pixels]).tobytes()
        images[part].append(pixels.reshape(-1, 3, 32, 32))
        labels[part].append(found)
    source = Source(
        np.concatenate(images["train"]),
        np.concatenate(labels["train"]),
        images["test"][0],
        labels["test"][0],
        CIFAR10.class_names,
    )
    archive = Archive(
        name="made",
        title="the made archive",
        class_names=CIFAR10.class_names,
        python=pin("made-python", files),
        binary=pin("made-binary", files),
        label_key=key,
        label_bytes=label_bytes,
        mirrors=(),
        content_digest=content_digest(source) if content else None,
    )
    return Made(archive, source, files)


def pin(folder: str, files: dict[str, bytes]) -> Form:
    """The form whose pins fit `files`; those of its `.tar.gz` fit nothing."""
    members = []
    for name, data in files.items():
        if name.startswith(f"{folder}/"):
            stem = name.removeprefix(f"{folder}/")
            part, images = PARTS[stem.removesuffix(".bin")]
            members.append(Member(stem, part, images, len(data), hashlib.md5(data).hexdigest()))
    return Form(folder, f"{folder}.tar.gz", 0, "", "0" * 64, tuple(members))


def repin(made: Made, name: str, data: bytes) -> Made:
    """The same archive with another python member under `name`, pinned as if that were the original."""
    files = made.files | {f"made-python/{name}": data}
    return Made(dataclasses.replace(made.archive, python=pin("made-python", files)), made.source, files)


def gunzip(path: Path) -> bytes:
    with gzip.open(path) as stream:
        return stream.read()
