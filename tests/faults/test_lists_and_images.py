"""Lists, tables, folders and pictures as strangers hand them over: used, or named with the place and the reason."""

from __future__ import annotations

import io
import json
import os
import random
import re
import struct
import subprocess
import sys
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Wbltr
from made_images import LISTS, encoded, picture, write_set
from PIL import Image

from faults.counted import Counted
from wbltr.data.decode import BadImage, decode
from wbltr.data.digests import StatCache
from wbltr.data.lists import ODD, Problems, read_lists
from wbltr.data.own_images import look_at_own
from wbltr.errors import WbltrError

ROW = "lists, CSV, image files"
COLOUR = picture(1, 1)
DEEP = Image.fromarray(np.arange(0, 60000, 100, dtype=np.uint16).reshape(20, 30))


def animated(kind: str) -> bytes:
    """Two pictures in one file."""
    buffer = io.BytesIO()
    COLOUR.save(buffer, kind, save_all=True, append_images=[picture(2, 2).resize(COLOUR.size)])
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A piece of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG of two colours."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pieces = [chunk(b"IHDR", header), *more, chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


def enlarged(data: bytes, start: int, layout: str, *sides: int) -> bytes:
    """A file whose header says that the picture is larger."""
    return data[:start] + struct.pack(layout, *sides) + data[start + struct.calcsize(layout) :]


KINDS = {
    "JPEG": encoded(COLOUR),
    "progressive JPEG": encoded(COLOUR, progressive=True),
    "grey JPEG": encoded(COLOUR.convert("L")),
    "CMYK JPEG": encoded(COLOUR.convert("CMYK")),
    "PNG": encoded(COLOUR, "PNG"),
    "PNG with a palette": encoded(COLOUR.convert("P"), "PNG"),
    "PNG of 16 bits": encoded(DEEP, "PNG"),
    "PNG with alpha": encoded(COLOUR.convert("LA"), "PNG"),
    "animated PNG": animated("PNG"),
    "animated GIF": animated("GIF"),
    "animated WebP": animated("WEBP"),
    "BMP": encoded(COLOUR, "BMP"),
    "TIFF": encoded(COLOUR, "TIFF"),
    "TIFF of many pages": animated("TIFF"),
    "TIFF of 16 bits": encoded(DEEP, "TIFF"),
    "TIFF in CMYK": encoded(COLOUR.convert("CMYK"), "TIFF"),
    "TIFF with LZW": encoded(COLOUR, "TIFF", compression="tiff_lzw"),
    "PPM": encoded(COLOUR, "PPM"),
    "1x1 PNG": encoded(COLOUR.resize((1, 1)), "PNG"),
    "1x1 JPEG": encoded(COLOUR.resize((1, 1))),
    "a stroke of 1 x 5000": encoded(COLOUR.resize((1, 5000)), "PNG"),
}
SOF = KINDS["JPEG"].index(b"\xff\xc0") + 5
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
LARGE = "[0-9] pixels|Unsupported BMP Size"
BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no image"),
    "a web page": (b"<html><body>404</body></html>", "no image"),
    "zeros": (bytes(5000), "no image"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "no image"),
    "PostScript": (POSTSCRIPT, "no image"),
    "an archive": (b"PK\x03\x04" + bytes(500), "no image"),
    "20,000 x 20,000 that unpack": (png(20_000, 20_000, zlib.compress(bytes(20_000 * 2501))), LARGE),
    "60,000 x 60,000 that do not": (png(60_000, 60_000, zlib.compress(bytes(1000))), LARGE),
    "no width": (png(0, 10, zlib.compress(bytes(100))), "."),
    "a JPEG of 65,500 squared": (enlarged(KINDS["JPEG"], SOF, ">HH", 65_500, 65_500), LARGE),
    "a BMP of 2^30 squared": (enlarged(KINDS["BMP"], 18, "<ii", 1 << 30, 1 << 30), LARGE),
    "a GIF of 65,535 squared": (enlarged(KINDS["animated GIF"], 6, "<HH", 65_535, 65_535), LARGE),
    "a PPM of 99,999 squared": (b"P6 99999 99999 255\n" + bytes(100), LARGE),
    "a text that unpacks to 100 MB": (
        png(8, 8, zlib.compress(bytes(16)), chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100 << 20)))),
        "text|[Dd]ecompress|large",
    ),
    "half a PNG": (KINDS["PNG"][:600], "."),
    "half a JPEG": (KINDS["JPEG"][:600], "."),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_gives_three_channels(kind: str, counted: Counted) -> None:
    pixels = decode(KINDS[kind])
    with Image.open(io.BytesIO(KINDS[kind])) as image:
        assert pixels.shape == (3, image.height, image.width)
    assert pixels.dtype == torch.uint8
    counted(ROW, 1)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_picture_says_what_is_wrong(kind: str, counted: Counted) -> None:
    with pytest.raises(BadImage) as caught:
        decode(BAD[kind][0])
    assert re.search(BAD[kind][1], str(caught.value)), caught.value
    counted(ROW, 1)


def test_no_program_is_started_for_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(BadImage, match="no image of a known format"):
        decode(POSTSCRIPT)
    assert not (tmp_path / "ran").exists()
    counted(ROW, 1)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::PIL.Image.DecompressionBombWarning")
def test_damage_gives_a_picture_or_a_reason_and_nothing_else(counted: Counted) -> None:
    chance = random.Random(0)
    bad = 0
    for number in range(800):
        data = bytearray(chance.choice([*KINDS.values()]))
        for _ in range(chance.randint(1, 6)):
            data[min(chance.randrange(len(data)), chance.choice([len(data) - 1, 60, 300]))] = chance.choice(
                [0, 255, number % 256]
            )
        try:
            assert decode(bytes(data[: chance.choice([len(data), chance.randrange(len(data))])])).shape[0] == 3
        except BadImage as error:
            assert len(str(error)) <= 300
            bad += 1
    assert 100 < bad < 800
    counted(ROW, 800)


# Lists and tables

PATHS = [
    "../x.jpg", "a/../../x.jpg", "/etc/passwd", "C:\\x.jpg", "a//x.jpg", "./x.jpg", "a/./x.jpg", "", "a/\x1b[31m.jpg",
    "a/\x00.jpg", "a/" + "x" * 5000 + ".jpg", "a/\udcff.jpg",
]  # fmt: skip
LABELS = ["", "-1", "1.0", "1e3", "0x1", "٣", "99999999999999", "nan", "None", "true"]
PIECES = [
    b" ",
    b"\t",
    b",",
    b";",
    b'"',
    b"\n",
    b"\r",
    b"\x00",
    b"\x1b",
    b"\xff",
    b"../",
    b"/",
    b"-1",
    b"9" * 30,
    "é".encode(),
    b"\xef\xbb\xbf",
]


def spoilt(text: bytes, chance: random.Random) -> bytes:
    """A text with a few pieces put in, taken out, doubled or cut off."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randint(0, 12))
        piece = chance.choice(PIECES)
        text = chance.choice(
            [text[:start] + piece + text[start:], text[:start] + text[end:], text[:end] + text[start:], text[:start]]
        )
    return text


def read(folder: Path, name: str, data: bytes) -> int:
    """How many problems a training list has; what it lets through is sound."""
    (folder / name).write_bytes(data)
    problems = Problems()
    (listing,) = read_lists({"train": folder / name}, problems)
    for line in problems.lines:
        assert re.match(rf"{re.escape(name)}(:\d+|: image \d+)?: ", line), line
        assert line.isprintable(), line
        assert len(line) < 1_000, line
    for path, label in zip(listing.paths, listing.labels, strict=True):
        assert os.path.normpath(f"{folder}/{path}").startswith(f"{folder}/"), path
        assert label >= 0
    return problems.count


def test_a_row_of_a_list_is_sound_or_named(tmp_path: Path, counted: Counted) -> None:
    good = [f"train/n{label}/{number}.jpg {label}" for label in range(3) for number in range(2)]
    assert read(tmp_path, "train.txt", "\n".join(good).encode()) == 0
    bad = [f"{path} 0" for path in PATHS] + [f"train/n0/x.jpg {label}" for label in LABELS] + ["x" * 20_000, "\u3000 0"]
    for line in bad:
        text = "\n".join([*good, line]).encode("utf-8", "surrogateescape")
        assert read(tmp_path, "train.txt", text), line[:100]
        rows = [{"id": number, "file_name": row.rpartition(" ")[0]} for number, row in enumerate([*good, line])]
        labels = [{"image_id": number, "category_id": row.rpartition(" ")[2]} for number, row in enumerate([*good, line])]
        assert read(tmp_path, "train.json", json.dumps({"images": rows, "annotations": labels}).encode()), line[:100]
    counted(ROW, 2 * len(bad))


def test_a_spoilt_list_is_read_or_its_lines_are_named(tmp_path: Path, counted: Counted) -> None:
    chance = random.Random(1)
    text = "".join(f"train/n{label}/{number}.jpg {label}\n" for label in range(3) for number in range(2)).encode()
    images = [{"id": number, "file_name": f"train/n/{number}.jpg"} for number in range(3)]
    labels = [{"image_id": number, "category_id": number} for number in range(3)]
    whole = json.dumps({"images": images, "annotations": labels, "categories": [{"id": 1, "name": "x"}]}).encode()
    refused = sum(read(tmp_path, "train.txt", spoilt(text, chance)) > 0 for _ in range(200))
    refused += sum(read(tmp_path, "train.json", spoilt(whole, chance)) > 0 for _ in range(200))
    assert 200 < refused < 400
    counted(ROW, 400)


JSON = [
    "null",
    "3",
    '"x"',
    "[]",
    '{"images": 3, "annotations": []}',
    '{"images": {}, "annotations": {}}',
    "[" * 100_000,
    "{" * 9,
]
JSON += ['{"images": [3], "annotations": []}', '{"images": [{"id": [], "file_name": "x"}], "annotations": []}', "9" * 10_000]
JSON += [
    '{"images": [], "annotations": [{"image_id": {}, "category_id": 0}]}',
    '{"images": [], "annotations": [], "categories": 3}',
]


@pytest.mark.parametrize("number", range(len(JSON)))
def test_json_of_another_shape_is_no_list(tmp_path: Path, number: int, counted: Counted) -> None:
    assert read(tmp_path, "train.json", JSON[number].encode())
    counted(ROW, 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders with two pictures each, and a table of them."""
    root = tmp_path / "pictures"
    rows = []
    for name in ("cat", "dog", "eel"):
        (root / name).mkdir(parents=True)
        for number in range(2):
            (root / name / f"{number}.png").write_bytes(encoded(picture(1, number, 8), "PNG"))
            rows.append(f"{name}/{number}.png,{name},train,g{number}\n")
    (root / "table.csv").write_text("path,label,split,group\n" + "".join(rows))
    return root


def judged(place: Path) -> bool:
    """Whether pictures of one's own are taken; a refusal names the place."""
    try:
        found = look_at_own(place, None, StatCache())
    except WbltrError as error:
        assert error.exit_code in (2, 3), error.message
        for line in error.message.split("\n"):
            assert line.startswith((str(place), place.name, "and ")), line
            assert len(line) < 1_500, line
        return False
    for path in found.files.paths:
        assert os.path.realpath(found.root / path).startswith(f"{found.root}/"), path
    return True


def test_a_spoilt_table_is_read_or_its_lines_are_named(folder: Path, counted: Counted) -> None:
    table = folder / "table.csv"
    text, chance = table.read_bytes(), random.Random(2)
    assert judged(table)
    bad = [f"{path},cat,train,g\n" for path in PATHS if path != "./x.jpg"] + [
        "cat/0.png,cat,train,g\n",
        "cat/1.png\n",
        '"cat,\n',
    ]
    bad += ["gone.png,cat,train,g\n", "cat,cat,train,g\n", "dog/1.png,cat,,g\n", "dog/1.png,cat,prod,g\n", "x" * 2_000_000]
    bad += [f"{'x' * 200_000},cat,train,g\n", "table.csv/x.png,cat,train,g\n"]
    for line in bad:
        table.write_bytes(text + line.encode("utf-8", "surrogateescape"))
        assert not judged(table), line[:100]
    for header in (
        "",
        "\n",
        "path\n",
        "a,b\n",
        "path,path,label\n",
        "," * 5_000 + "\n",
        "\x00path,label\n",
        "path,label" + "x" * 2_000_000,
    ):
        table.write_bytes(header.encode() + text.partition(b"\n")[2])
        assert not judged(table), header[:100]
    taken = 0
    for _ in range(200):
        table.write_bytes(spoilt(text, chance))
        taken += judged(table)
    assert 10 < taken < 190
    counted(ROW, len(bad) + 8 + 200)


CLASSES = ["\x1b[31m", "a\nb", " ", "x" * 201, "CAT", "cat ", "e\u0301el\x7f", "\x9b31m", "\u202egnp"]


def test_a_class_folder_of_any_name_is_taken_or_named(folder: Path, counted: Counted) -> None:
    for name in CLASSES:
        (folder / name).mkdir()
        (folder / name / "0.png").write_bytes(encoded(COLOUR, "PNG"))
        try:  # a name of control characters is passed over, with a word
            assert not ODD.search("".join(look_at_own(folder, None, StatCache()).class_names))
        except WbltrError:
            assert not judged(folder)
            assert name not in ("\u202egnp", "\x9b31m")
        (folder / name / "0.png").unlink()
        (folder / name).rmdir()
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for name in (composed, apart):
        (folder / name).mkdir()
        (folder / name / f"{name}.png").write_bytes(encoded(COLOUR, "PNG"))
    assert not judged(folder), "two classes of one name"
    counted(ROW, len(CLASSES) + 2)


def test_links_out_of_the_folder_are_passed_over_and_those_of_a_table_refused(
    folder: Path, tmp_path: Path, counted: Counted
) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(COLOUR, "PNG"))
    (folder / "cat" / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "cat" / "gone.png").symlink_to(tmp_path / "gone.png")
    (folder / "cat" / "up").symlink_to(tmp_path)
    (folder / "all").symlink_to(tmp_path)
    os.mkfifo(folder / "dog" / "pipe")
    notices: list[str] = []
    found = look_at_own(folder, None, StatCache(), notice=notices.append)
    assert len(found.files.paths) == 6
    assert "links that leave" in " ".join(notices)
    (folder / "cat" / "self.png").symlink_to(folder / "cat" / "self.png")
    for path in ("cat/out.png", "cat/up/secret.png", "all/secret.png", "cat/gone.png", "cat/self.png", "dog/pipe"):
        (folder / "table.csv").write_text(f"path,label\ncat/0.png,cat\ndog/0.png,dog\n{path},cat\n")
        assert not judged(folder / "table.csv"), path
    counted(ROW, 12)


# Through the command: the policy, and the memory

# VmHWM is this program's own; ru_maxrss begins with what the process that started it held.
MEASURED = """
import resource, sys
from pathlib import Path
from wbltr.cli.app import main
sys.argv = ["wbltr", *sys.argv[1:]]
try:
    main()
finally:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
    print("peak", (peak or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024, file=sys.stderr)
"""
# MiB: 710 without any bad picture, 255 more a thread for one of 89 megapixels; a bomb would unpack to 1,200 and more
MOST_MEMORY = 1250


def test_bad_pictures_are_named_or_skipped_as_asked_in_bounded_memory(tmp_path: Path, counted: Counted) -> None:
    root = write_set(tmp_path / "images", train=(30, 12, 6, 4))
    paths = [line.rsplit(" ", 1)[0] for line in (root / LISTS["imagenet-lt"]["train"]).read_text().splitlines()]
    for path, (data, _) in zip(paths[1:], BAD.values(), strict=False):
        (root / path).write_bytes(data)
    for path, data in zip(paths[1 + len(BAD) : 30], [*KINDS.values()][6:], strict=False):
        (root / path).write_bytes(data)
    command = [sys.executable, "-c", MEASURED, "make-dataset", "--recipe", "imagenet-lt", "--root", str(root), "--threads", "2"]
    for policy, code in (("fail", 4), ("skip", 0)):
        more = ["--on-bad-image", policy, "--json"]
        done = subprocess.run([*command, *more], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        assert "UserWarning" not in done.stderr
        assert int(done.stderr.rpartition("peak ")[2]) < MOST_MEMORY, done.stderr
        document = json.loads(done.stdout)
        if code:
            named = [line.partition(": ")[0] for line in document["error"]["message"].split("\n")]
            assert named == sorted(f"{root}/{path}" for path in paths[1 : 1 + len(BAD)])
        else:
            assert document["metrics"]["skipped"] == len(BAD)
    counted(ROW, 2 * len(BAD))


def test_a_file_too_large_to_be_a_picture_is_not_read(tmp_path: Path, wbltr: Wbltr, counted: Counted) -> None:
    root = write_set(tmp_path / "images")
    first = (root / LISTS["imagenet-lt"]["train"]).read_text().split()[0]
    with (root / first).open("wb") as file:
        file.truncate(1 << 40)
    said = wbltr("make-dataset", "--recipe", "imagenet-lt", "--root", root)
    assert said.code == 3
    assert f"'{first}' has 1,099,511,627,776 bytes" in said.err
    counted(ROW, 1)


ENDLESS: list[tuple[str, Callable[[Path], object], str]] = [
    ("one line of 100 MB", lambda file: file.write_bytes(b"x" * 100_000_000), "a line of more than"),
    ("zeros", lambda file: os.truncate(file, 500_000_000), "a line of more than"),
    ("more than a list may have", lambda file: os.truncate(file, 1 << 36), "a list has at most"),
]
LIMITED = """
import resource, sys
from pathlib import Path
from wbltr.data.lists import Problems, read_lists
resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
problems = Problems()
read_lists({"train": Path(sys.argv[1])}, problems)
print(problems.lines[0])
"""


@pytest.mark.parametrize("number", range(len(ENDLESS)))
def test_an_endless_list_is_refused_in_bounded_memory(tmp_path: Path, number: int, counted: Counted) -> None:
    _, make, says = ENDLESS[number]
    (tmp_path / "train.txt").touch()
    make(tmp_path / "train.txt")
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "train.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert says in done.stdout, done.stderr
    counted(ROW, 1)
