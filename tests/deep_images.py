"""Files of 16 bits a value, written by hand: Pillow writes them of grey alone."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Values = NDArray[np.uint16]  # (H, W, C)
PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}


def png(values: Values) -> bytes:
    """Grey, grey with alpha, RGB or RGBA; every row by another filter, as encoders do."""
    height, width, channels = values.shape
    rows, before = [], np.zeros(width * channels * 2, np.uint8)
    for number, row in enumerate(values):
        own = np.frombuffer(row.astype(">u2").tobytes(), np.uint8)
        left = np.concatenate((np.zeros(2 * channels, np.uint8), own[: -2 * channels]))
        kind = number % 3
        rows.append(bytes([kind]) + (own - (np.zeros_like(own), left, before)[kind]).tobytes())
        before = own

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOURS[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")


def tiff(values: Values, order: str = "<", *, deflated: bool = False, planes: bool = False) -> bytes:
    """Grey, RGB or RGBX, in one strip; `order` as `struct` has it.

    Args:
        planes: say that each colour has a plane of its own; its one strip then is only as long as that of one plane.
    """
    height, width, channels = values.shape
    data = values.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if deflated else data
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [16] * channels),
        (259, 3, [8 if deflated else 1]),
        (262, 3, [1 if channels == 1 else 2]),
        (273, 4, [0]),
        (277, 3, [channels]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        *([(284, 3, [2])] if planes else []),
        *([(338, 3, [0])] if channels == 4 else []),
    ]
    extra, begin = b"", 8 + 2 + 12 * len(entries) + 4
    fields = b""
    for tag, kind, own in entries:
        packed = struct.pack(f"{order}{len(own)}{'H' if kind == 3 else 'I'}", *own)
        if tag == 273:
            packed = struct.pack(f"{order}I", begin + 8)  # behind the only value that is longer than four bytes
        if len(packed) > 4:
            extra, packed = packed.ljust(8, b"\0"), struct.pack(f"{order}I", begin)
        fields += struct.pack(f"{order}HHI", tag, kind, len(own)) + packed.ljust(4, b"\0")
    mark = b"II*\0" if order == "<" else b"MM\0*"
    count = struct.pack(f"{order}H", len(entries))
    return mark + struct.pack(f"{order}I", 8) + count + fields + bytes(4) + extra.ljust(8, b"\0") + data


def pnm(values: Values, largest: int = 65535, *, plain: bool = False) -> bytes:
    """A PGM of grey, a PPM of colours."""
    height, width, channels = values.shape
    kind = {(1, True): 2, (3, True): 3, (1, False): 5, (3, False): 6}[channels, plain]
    head = f"P{kind}\n# of a camera\n{width} {height}\n{largest}\n".encode()
    return head + (" ".join(map(str, values.reshape(-1))).encode() if plain else values.astype(">u2").tobytes())


def by_pillow(values: Values) -> bytes:
    """A PNG of grey."""
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


KINDS: Mapping[str, tuple[int, Callable[[Values], bytes]]] = {  # channels, writer
    "png grey": (1, png),
    "png grey by Pillow": (1, by_pillow),
    "png grey alpha": (2, png),
    "png rgb": (3, png),
    "png rgba": (4, png),
    "tiff grey": (1, tiff),
    "tiff grey big-endian": (1, lambda values: tiff(values, ">")),
    "tiff grey deflated": (1, lambda values: tiff(values, deflated=True)),
    "tiff rgb": (3, tiff),
    "tiff rgb big-endian": (3, lambda values: tiff(values, ">")),
    "tiff rgb deflated": (3, lambda values: tiff(values, deflated=True)),
    "tiff rgb big-endian deflated": (3, lambda values: tiff(values, ">", deflated=True)),
    "tiff rgbx": (4, tiff),
    "pgm": (1, pnm),
    "pgm plain": (1, lambda values: pnm(values, plain=True)),
    "ppm": (3, pnm),
    "ppm plain": (3, lambda values: pnm(values, plain=True)),
}


def colours(values: Values) -> Values:
    """What is seen of it: `(3, H, W)`, grey repeated, alpha dropped."""
    seen = values[..., :1].repeat(3, 2) if values.shape[2] < 3 else values[..., :3]
    return seen.transpose(2, 0, 1)
