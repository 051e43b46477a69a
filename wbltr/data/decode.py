"""Image files as RGB pixels: JPEG by torchvision's decoder, which is the faster one, and all else by Pillow.

An image is taken as torchvision documents it: grey is repeated, CMYK is converted, an alpha channel is dropped, of 16 bits the
upper 8 count, of an animation the first picture. EXIF orientation is not applied; nor do the loaders behind the published
results. Both give the same bits of a JPEG. torchvision's decoder of PNG is not used: damaged files made it crash the process.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from wbltr.data.imagefiles import MOST_BYTES
from wbltr.data.signatures import unread

MOST_PIXELS = 89_478_485  # Pillow's own bound: small files can unpack to more than memory holds
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow has more, and hands EPS to a program, Ghostscript
RGB = 3  # torchvision's ImageReadMode.RGB
REFUSALS = (
    *(OSError, ValueError, SyntaxError, OverflowError, IndexError, EOFError, MemoryError, Image.DecompressionBombError),
    Warning,  # where somebody makes errors of them
)


class BadImage(Exception):
    """What is wrong with an image's bytes, in words."""


def decode(data: bytes) -> Tensor:
    """A file's bytes → `(3, H, W)` uint8, RGB.

    Raises:
        BadImage: truncated, damaged, no image, more than `MOST_PIXELS`, or floats or integers of 32 bits.
    """
    if len(data) > MOST_BYTES:
        raise BadImage(f"{len(data):,} bytes, of which at most {MOST_BYTES:,} are read")
    if why := unread(data):
        raise BadImage(why)
    try:
        with opened(io.BytesIO(data)) as image:  # its header only
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise BadImage(f"{width:,} x {height:,} pixels, of which at most {MOST_PIXELS:,} are decoded")
            if image.format == "JPEG" and (pixels := _by_torchvision(data)) is not None:
                return pixels
            if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
                # Which number is white is not known; Pillow would clip at 255.
                raise BadImage("a pixel has more than 16 bits, of which none says what is white; save it with 8 or 16")
            if image.mode.startswith("I"):  # Pillow reads a PGM of 16 bits as "I"
                return torch.from_numpy((np.array(image) >> 8).astype(np.uint8)).expand(3, -1, -1)
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except UnidentifiedImageError:
        raise BadImage("no image of a known format") from None
    except REFUSALS as error:
        raise BadImage(str(error)[:200] or type(error).__name__) from None


def opened(source: IO[bytes] | Path) -> Image.Image:
    """An image whose header alone is read, of a format that is decoded here; raises one of `REFUSALS`."""
    return Image.open(source, formats=FORMATS)


def _by_torchvision(data: bytes) -> Tensor | None:
    """A JPEG; None where torchvision refuses: Pillow has the last word, and the clearer ones."""
    decoder = jpeg_decoder()
    try:
        return decoder(torch.frombuffer(bytearray(data), dtype=torch.uint8), RGB, False) if decoder is not None else None
    except RuntimeError:
        return None


@functools.cache
def jpeg_decoder() -> Callable[[Tensor, int, bool], Tensor] | None:
    """What `torchvision.io.decode_jpeg` calls with bytes, mode, and whether to apply EXIF; None where it is gone.

    Whoever decodes in threads calls this first, so that no two of them import torchvision at once. torchvision 0.29 announces
    that its decoders will go; Pillow then takes over, slower.
    """
    try:
        import torchvision.io.image  # noqa: F401 - loads the operator

        decoder: Callable[[Tensor, int, bool], Tensor] = torch.ops.image.decode_jpeg
    except (ImportError, AttributeError, RuntimeError):
        return None
    return decoder
