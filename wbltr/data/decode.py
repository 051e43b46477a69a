"""Image files as RGB pixels: JPEG by torchvision's decoder, which is the faster one, and all else by Pillow.

An image is taken as torchvision documents it: grey is repeated, CMYK is converted, an alpha channel is dropped, of 16 bits the
upper 8 count, of an animation the first picture. EXIF orientation is not applied; nor do the loaders behind the published
results. Both give the same bits of a JPEG. torchvision's decoder of PNG is not used: damaged files made it crash the process.

Many cameras and scanners write 10 or 12 bits into files of 16. No file says so; whoever knows gives a depth, and of so many
bits the upper 8 count. A PGM or PPM whose header names its largest value is scaled by that, whatever the depth.
"""

from __future__ import annotations

import functools
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError
from torch import Tensor

from wbltr.data.imagefiles import MOST_BYTES
from wbltr.data.signatures import unread
from wbltr.errors import sentence

MOST_PIXELS = 89_478_485  # Pillow's own bound: small files can unpack to more than memory holds
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow has more, and hands EPS to a program, Ghostscript
RGB = 3  # torchvision's ImageReadMode.RGB
DEEPEST = 16  # bits of a value
DEEP = re.compile(r"(RGB|RGBA|RGBX|LA);16([BLN])")  # Pillow's raw modes of colours whose upper byte it keeps
REFUSALS = (
    *(OSError, ValueError, SyntaxError, OverflowError, IndexError, EOFError, MemoryError, Image.DecompressionBombError),
    Warning,  # where somebody makes errors of them
)


class BadImage(Exception):
    """What is wrong with an image's bytes, in words."""


def decode(data: bytes, depth: int | None = None) -> Tensor:
    """A file's bytes → `(3, H, W)` uint8, RGB.

    Args:
        depth: bits that a file of 16 uses, 8 to 16: the upper 8 of these are kept, and larger values are white. None: 16.

    Raises:
        BadImage: truncated, damaged, no image, more than `MOST_PIXELS`, or floats or integers of 32 bits.
    """
    found = values(data, exact=depth not in (None, DEEPEST))
    return found if isinstance(found, Tensor) else shifted(found, depth)


def shifted(found: NDArray[np.uint16], depth: int | None) -> Tensor:
    """What `values` gives of 16 bits → `(3, H, W)` uint8; see `decode`."""
    upper = np.minimum(found >> ((depth or DEEPEST) - 8), 255).astype(np.uint8)
    return torch.from_numpy(upper).expand(3, *found.shape[-2:])


def values(data: bytes, *, exact: bool = True) -> Tensor | NDArray[np.uint16]:
    """A file's bytes → `(3, H, W)` uint8; of 16 bits `(1, H, W)` or `(3, H, W)` uint16, as the file has them.

    Args:
        exact: whether 16 bits of a colour are wanted, too: Pillow keeps the upper 8, the lower 8 take as long again. Otherwise
            such an image comes as uint8.

    Raises:
        BadImage: see `decode`.
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
            if (apart := _planes(image)) and image.tile[0][0] == "raw":  # Pillow would take two bytes of one for two pixels
                raise BadImage(
                    "16 bits in a plane for each colour; save it with the colours of a pixel together, or with 8 bits"
                )
            if image.mode.startswith("I"):
                named = _largest(image)  # before the pixels: Pillow forgets it with them, and scales by it to 65535
                found = np.array(image).astype(np.uint16)[None]
                return found if named in (None, 65535) else shifted(found, None)
            if exact and not apart and (colours := _colours(image, data)) is not None:
                return colours
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except UnidentifiedImageError:
        raise BadImage("no image of a known format") from None
    except REFUSALS as error:
        raise BadImage(sentence(error)) from None


def _planes(image: ImageFile.ImageFile) -> bool:
    """Whether it is a TIFF of 16 bits with a plane for each colour, not one after another in every pixel."""
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(284) == 2 and max(tags.get(258, (1,))) > 8 and len(tags.get(258, (1,))) > 1 and image.tile)


def _largest(image: ImageFile.ImageFile) -> int | None:
    """The largest value that a PGM or PPM names, where Pillow scales by it; a PGM of 65535 is read as it is."""
    args = image.tile[0][3] if image.format == "PPM" and image.tile else None
    return args[-1] if isinstance(args, tuple) and isinstance(args[-1], int) else None


def _colours(image: ImageFile.ImageFile, data: bytes) -> NDArray[np.uint16] | None:
    """The colours of an image of 16 bits, `(3, H, W)`; None: it has no 16 bits, is CMYK, or multiplied by alpha.

    Pillow keeps one byte of two: the upper one, or the lower one where it is told the other byte order.
    """
    if _largest(image) == 65535:
        # Of grey values Pillow keeps 16 bits, and the colours of a row are as many values one after another.
        width, height = image.size
        kind = b"P2" if data.startswith(b"P3") else b"P5"
        with opened(io.BytesIO(kind + b" %d %d 65535\n" % (3 * width, height) + data[image.tile[0][2] :])) as grey:
            return np.array(grey).astype(np.uint16).reshape(height, width, 3).transpose(2, 0, 1)
    swapped = [_swapped(tile[3]) for tile in image.tile]
    if not swapped or None in swapped:
        return None
    with opened(io.BytesIO(data)) as other:
        other.tile = [tile._replace(args=args) for tile, args in zip(other.tile, swapped, strict=True)]
        lower = np.array(other)
    # Grey with alpha is read as four bytes: grey above and below, alpha above and below.
    lower = lower[..., 1:2] if swapped[0] == "RGBA" else lower[..., :3]
    found: NDArray[np.uint16] = np.array(image.convert("RGB")).astype(np.uint16) << 8 | lower
    return found.transpose(2, 0, 1)


def _swapped(args: Any) -> Any:
    """What a decoder of Pillow is told, with the other byte of two; None where it reads no 16 bits of colours."""
    raw = args[0] if isinstance(args, tuple) else args
    if not isinstance(raw, str) or (found := DEEP.fullmatch(raw)) is None:
        return None
    big = found[2] == "B" or (found[2] == "N" and sys.byteorder == "big")
    other = "RGBA" if found[1] == "LA" else f"{found[1]};16{'L' if big else 'B'}"
    return (other, *args[1:]) if isinstance(args, tuple) else other


def opened(source: IO[bytes] | Path) -> ImageFile.ImageFile:
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
