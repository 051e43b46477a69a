from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from deep_images import KINDS, colours, pnm, tiff
from hypothesis import given, settings
from hypothesis import strategies as st
from made_images import encoded, picture
from PIL import Image
from torch import Tensor

from wbltr.data.decode import MOST_PIXELS, BadImage, decode
from wbltr.data.decode import values as exact_values

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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", [None, 8, 10, 12, 14, 16])
def test_of_sixteen_bits_those_that_are_used_count_in_every_kind_of_file(kind: str, depth: int | None) -> None:
    channels, written = KINDS[kind]
    values = np.random.default_rng(0).integers(0, 1 << 16, (9, 11, channels)).astype(np.uint16)
    values[:3] >>= 4  # some of them are as a camera of 12 bits writes them
    values[3:6] >>= 6
    expected = np.minimum(colours(values) >> ((depth or 16) - 8), 255)
    # Pillow brings the colours of a PPM to 8 bits by rounding.
    apart = int(kind.startswith("ppm") and depth in (None, 16))
    assert abs(decode(written(values), depth).numpy().astype(int) - expected).max() <= apart


@given(st.integers(8, 16), st.sampled_from(sorted(KINDS)), st.integers(0, 99), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_values_of_as_many_bits_as_the_depth_says_never_clip(bits: int, kind: str, seed: int, height: int, width: int) -> None:
    channels, written = KINDS[kind]
    values = np.random.default_rng(seed).integers(0, 1 << bits, (height, width, channels)).astype(np.uint16)
    data = written(values)
    found = exact_values(data)
    assert not isinstance(found, Tensor)
    assert (np.broadcast_to(found, (3, height, width)) == colours(values)).all(), "every bit of it"
    rounded = bits == 16 and kind.startswith("ppm")  # with all 16 bits Pillow scales a PPM itself, as it always has
    assert np.abs(decode(data, bits).numpy() - (colours(values) >> (bits - 8)).astype(int)).max() <= rounded


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("channels", "largest"), [(1, 4095), (1, 1023), (3, 4095), (1, 255)])
def test_a_file_that_names_its_largest_value_is_scaled_by_that_whatever_the_depth(
    plain: bool, channels: int, largest: int
) -> None:
    values = np.linspace(0, largest, 60 * channels).astype(np.uint16).reshape(6, 10, channels)
    data = (
        pnm(values, largest, plain=plain) if largest > 255 else encoded(Image.fromarray(values[..., 0].astype(np.uint8)), "PPM")
    )
    for depth in (None, 10, 12, 16):
        found = decode(data, depth).numpy().astype(int)
        assert abs(found - colours(values).astype(float) * 255 / largest).max() <= 1
        assert (found.max(), found.min()) == (255, 0)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
def test_an_image_of_eight_bits_is_the_same_at_every_depth(kind: str) -> None:
    data = encoded(COLOUR, kind)
    assert all((decode(data, depth) == decode(data)).all() for depth in (8, 12, 16))


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_of_sixteen_bits_is_bad_at_every_depth(kind: str) -> None:
    channels, written = KINDS[kind]
    values = np.random.default_rng(0).integers(0, 4096, (40, 40, channels)).astype(np.uint16)
    data = written(values)
    for depth in (None, 12):
        with pytest.raises(BadImage):
            decode(data[: len(data) // 2], depth)


def test_sixteen_bits_in_planes_are_refused_where_pillow_would_mix_up_the_bytes() -> None:
    values = np.zeros((8, 8, 3), np.uint16)
    for depth in (None, 12):
        with pytest.raises(BadImage, match="plane for each colour"):
            decode(tiff(values, planes=True), depth)
