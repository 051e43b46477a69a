"""What a file is by its first bytes: every kind that is decoded is known, and those that are not have a name."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_images import encoded, picture
from PIL import Image

from wbltr.data.decode import BadImage, decode
from wbltr.data.signatures import CLAIMS, HEAD, RAW, Kind, kind_of, looked_at

COLOUR = picture(1, 1)
READ = {
    "JPEG": encoded(COLOUR),
    "PNG": encoded(COLOUR, "PNG"),
    "GIF": encoded(COLOUR.convert("P"), "GIF"),
    "BMP": encoded(COLOUR, "BMP"),
    "WebP": encoded(COLOUR, "WEBP"),
    "TIFF": encoded(COLOUR, "TIFF"),
    "PNM": encoded(COLOUR, "PPM"),
}
MORE = {
    "TIFF": [encoded(COLOUR, "TIFF", big_tiff=True), encoded(COLOUR, "TIFF", compression="tiff_lzw")],
    "PNM": [encoded(COLOUR.convert("L"), "PPM"), encoded(COLOUR.convert("1"), "PPM"), b"P2\n# by hand\n1 1\n255\n7\n"],
    "BMP": [encoded(COLOUR.convert("1"), "BMP"), encoded(COLOUR.convert("P"), "BMP")],
}
UNREAD = {
    "HEIC": [b"\0\0\0\x18ftyp" + brand + bytes(30) for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")],
    "AVIF": [b"\0\0\0\x1cftypavif" + bytes(30), encoded(COLOUR, "AVIF") if "AVIF" in Image.SAVE else b"\0\0\0\x1cftypavis"],
    "JPEG XL": [b"\xff\x0a\x00\x10" + bytes(30), b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30)],
    "JPEG 2000": [b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(30), b"\xff\x4f\xff\x51" + bytes(30)],
    "Photoshop": [b"8BPS\0\1" + bytes(30)],
    "OpenEXR": [b"\x76\x2f\x31\x01" + bytes(30)],
    "DDS": [b"DDS \x7c\0\0\0" + bytes(120)],
    "icon": [encoded(COLOUR, "ICO")],
    "DICOM": [bytes(128) + b"DICM" + bytes(10)],
    "SVG": [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b'<?xml version="1.0"?>\n<svg/>'],
    RAW: [b"FUJIFILMCCD-RAW 0201", b"IIRO\x08\0\0\0", b"IIRS\x08\0\0\0", b"IIU\0\x18\0\0\0", b"\0\0\0\x18ftypcrx " + bytes(30)],
}
OTHER = [
    b"",
    b"\0",
    b"path,label\n",
    b"BMW is a car, and so is this one",
    b"P1,cat\n",
    b"P1 is the first patient",
    b"GIF",
    b"{}",
]
OTHER += [
    b"<html>",
    b"<annotation><size/></annotation>",
    b"PK\x03\x04" + bytes(90),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"MM",
    b"II*",
    b"GIF89a is a format\nwhich we like",
    b"GIF87a\n",
    b"P1\n# comment only\n",
    b"P5 # one\n# two\nthe fifth patient",
]
OTHER += [b"%PDF-1.7", b"\0\5\26\7\0\2\0\0Mac OS X        ", bytes(5000), b"\0\0\0\x18ftypisom" + bytes(30), b"\x1f\x8b\x08"]


def kind(data: bytes, name: str = "") -> Kind | None:
    return kind_of(io.BytesIO(data), name)


def tiff(order: str, tags: dict[int, int], *, canon: bool = False) -> bytes:
    """A TIFF's header and first directory, of tags with a number each."""
    head = (
        (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}L", 16) + (b"CR\2\0" if canon else bytes(4)) + bytes(4)
    )
    entries = b"".join(struct.pack(f"{order}HHLL", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("ending", ["", ".jfif", ".txt", ".HEIC", ".dat"])
def test_an_image_that_is_decoded_is_known_whatever_its_ending(name: str, ending: str) -> None:
    for data in (READ[name], *MORE.get(name, [])):
        assert kind(data, f"x{ending}") == Kind(name, True)
        assert kind(data[:HEAD], f"x{ending}") == Kind(name, True), "some dozens of bytes tell it"
        assert decode(data).shape[0] == 3


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("ending", ["", ".jpg", ".png"])
def test_an_image_that_is_not_decoded_has_a_name_and_never_pixels(name: str, ending: str) -> None:
    for data in UNREAD[name]:
        assert kind(data, f"x{ending}") == Kind(name, False)
        with pytest.raises(BadImage, match=name):
            decode(data)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_cameras_raw_file_is_no_tiff_though_it_begins_as_one(order: str) -> None:
    plain = tiff(order, {256: 10, 257: 10, 262: 2})
    assert kind(plain) == Kind("TIFF", True)
    assert kind(tiff(order, {256: 10, 330: 100})) == Kind("TIFF", True), "a pyramid"
    for ending in (".NEF", ".arw", ".dng", ".cr2"):
        assert kind(plain, f"x{ending}") == Kind(RAW, False)
    for own in ({50706: 1}, {262: 32803}, {262: 34892}, {254: 1, 330: 100}):
        assert kind(tiff(order, own)) == Kind(RAW, False)
        with pytest.raises(BadImage, match=RAW):
            decode(tiff(order, own))
    assert kind(tiff(order, {256: 10}, canon=True)) == Kind(RAW, False)


def test_other_files_are_no_images_and_an_images_ending_on_them_is_a_claim() -> None:
    for data in OTHER:
        assert kind(data) is None, data[:20]
        assert kind(data, "x.txt") is None
        assert kind(data, "x.jfif") == Kind("", False)
        assert kind(data, "x.heic") == Kind("HEIC", False)
        assert kind(data, "x.CR3") == Kind(RAW, False)


@pytest.mark.parametrize("comment", [b"", b"# GIMP\n", b"# one\r\n# two\n", b"#" + b"x" * 300 + b"\n"])
def test_comments_in_a_pnm_header_do_not_hide_it(comment: bytes) -> None:
    data = b"P5\n" + comment + b"2 2\n255\n" + bytes(4)
    assert kind(data) == Kind("PNM", True)
    assert decode(data).shape == (3, 2, 2)


def test_every_ending_claims_one_kind() -> None:
    every = [ending for endings in CLAIMS.values() for ending in endings.split()]
    assert len(every) == len(set(every))


def test_a_pipe_does_not_block_and_a_closed_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert looked_at(str(tmp_path / "pipe")) is None
    assert looked_at("/dev/zero") is None
    assert looked_at(str(tmp_path / "gone")) == Kind("No such file or directory", False)
    (tmp_path / "x.jpg").write_text("no image")
    assert looked_at(str(tmp_path / "x.jpg")) == Kind("", True), "it is taken at its word until it is decoded"


@given(st.sampled_from([*READ.values(), *(data for several in UNREAD.values() for data in several), *OTHER]), st.data())
@settings(max_examples=300, deadline=None)
def test_damage_to_the_first_bytes_gives_a_kind_or_none(data: bytes, more: st.DataObject) -> None:
    spoilt = bytearray(data[:400])
    for place in more.draw(st.lists(st.integers(0, max(0, len(spoilt) - 1)), max_size=4)):
        if spoilt:
            spoilt[place] = more.draw(st.integers(0, 255))
    found = kind(
        bytes(spoilt[: more.draw(st.integers(0, len(spoilt)))]), more.draw(st.sampled_from(["", "x.tif", "x.nef", "x.txt"]))
    )
    assert found is None or isinstance(found, Kind)
