from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from made_images import encoded, picture
from PIL import Image

from wbltr.data.decode import MOST_PIXELS, BadImage, decode

COLOUR = picture(1, 1)


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_any_kind_gives_the_pixels_that_pillow_gives(mode: str, progressive: bool) -> None:
    data = encoded(COLOUR.convert(mode), progressive=progressive)
    assert (decode(data).numpy() == by_pillow(data)).all()


@pytest.mark.parametrize(
    ("mode", "kind"), [("P", "PNG"), ("1", "PNG"), ("RGB", "GIF"), ("RGB", "BMP"), ("RGB", "TIFF"), ("RGB", "WEBP")]
)
def test_other_formats_are_read_too(mode: str, kind: str) -> None:
    data = encoded(COLOUR.convert(mode), kind)
    assert (decode(data).numpy() == by_pillow(data)).all()


def test_an_alpha_channel_is_dropped_and_of_sixteen_bits_the_upper_eight_count() -> None:
    assert (decode(encoded(COLOUR.convert("RGBA"), "PNG")).numpy() == np.asarray(COLOUR).transpose(2, 0, 1)).all()
    deep = np.arange(0, 60000, 100, dtype=np.uint16).reshape(20, 30)
    files = [encoded(Image.fromarray(deep), kind) for kind in ("PNG", "TIFF")]
    for data in (*files, b"P5 30 20 65535\n" + deep.astype(">u2").tobytes()):
        assert (decode(data).numpy() == (deep >> 8).astype(np.uint8)).all()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_where_nothing_says_which_number_is_white_nothing_is_guessed(kind: type) -> None:
    with pytest.raises(BadImage, match="save it with 8 or 16"):
        decode(encoded(Image.fromarray(np.ones((20, 30), kind)), "TIFF"))


def test_the_first_picture_of_an_animation_counts() -> None:
    buffer = io.BytesIO()
    COLOUR.save(buffer, "GIF", save_all=True, append_images=[picture(2, 2).resize(COLOUR.size)])
    assert decode(buffer.getvalue()).shape == (3, COLOUR.height, COLOUR.width)


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    data = encoded(COLOUR, exif=exif)
    assert decode(data).shape == (3, COLOUR.height, COLOUR.width)
    assert (decode(data).numpy() == by_pillow(data)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_a_truncated_file_is_bad(kind: str) -> None:
    data = encoded(COLOUR, kind)
    for kept in (0, 1, 10, len(data) // 2, len(data) - 200):
        with pytest.raises(BadImage):
            decode(data[:kept])


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it is large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [int(MOST_PIXELS**0.5) + 1, 12_000, 60_000])
def test_a_small_file_of_many_pixels_is_refused_before_it_is_unpacked(side: int) -> None:
    with pytest.raises(BadImage, match="pixels"):
        decode(bomb(side, side))
