"""What an image file is, by its first bytes; where these say nothing, what its ending claims. No torch here.

Kinds that `wbltr.data.decode` reads, and those that people have and it does not. Raw files of cameras mostly begin as TIFF,
and a reader of TIFF finds a thumbnail in them: they are told apart by their tags or their ending.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
from dataclasses import dataclass
from typing import BinaryIO

HEAD = 144  # bytes; DICOM's mark stands at 128
CLAIMED = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)  # taken at their word until decoded
RAW = "camera RAW"
NO_IMAGE = "no image inside"

# Kind, offset, and what stands there; the first that fits.
READ: tuple[tuple[str, int, bytes], ...] = (
    ("JPEG", 0, rb"\xff\xd8\xff"),
    ("PNG", 0, rb"\x89PNG\r\n\x1a\n"),
    ("GIF", 0, rb"GIF8[79]a(?=.{0,6}[^\t\n\r -~])"),  # a text may begin so, too
    ("WebP", 0, rb"RIFF....WEBP"),
    ("TIFF", 0, rb"II[*+]\0|II\0\*|MM\0[*+]|MM\*\0"),
    ("BMP", 0, rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("PNM", 0, rb"P[1-6]\s+(#[^\r\n]*[\r\n]\s*)*(#[^\r\n]*\Z|\d+\s+(#|\d))"),  # likewise
)
UNREAD: tuple[tuple[str, int, bytes], ...] = (
    ("AVIF", 4, rb"ftypavi[fs]"),
    (RAW, 4, rb"ftypcrx "),
    ("HEIC", 4, rb"ftyp(he[iv][cmsx]|mif[12]|msf1)"),
    ("JPEG XL", 0, rb"\xff\x0a|\0\0\0\x0cJXL "),
    ("JPEG 2000", 0, rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  "),
    ("JPEG XR", 0, rb"II\xbc[\x00\x01]"),
    (RAW, 0, rb"FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM|II\x1a\0\0\0HEAP"),
    ("Photoshop", 0, rb"8BPS"),
    ("OpenEXR", 0, rb"\x76\x2f\x31\x01"),
    ("Radiance HDR", 0, rb"#\?(RADIANCE|RGBE)"),
    ("DDS", 0, rb"DDS \x7c"),
    ("icon", 0, rb"\0\0[\x01\x02]\0[^\0]\0...\0|icns"),
    ("DICOM", 128, rb"DICM"),
    ("SVG", 0, rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!DOCTYPE |<)svg\b"),
    ("PostScript", 0, rb"%!PS-Adobe|\xc5\xd0\xd3\xc6"),
    ("GIMP", 0, rb"gimp xcf"),
    ("PAM", 0, rb"P7[\s]"),
    ("PFM", 0, rb"P[Ff]\s+\d"),
    ("QOI", 0, rb"qoif"),
    ("FITS", 0, rb"SIMPLE  ="),
    ("MNG", 0, rb"\x8a[MJ]NG\r\n\x1a\n"),
    ("DjVu", 0, rb"AT&TFORM"),
    ("BPG", 0, rb"BPG\xfb"),
    ("FLIF", 0, rb"FLIF"),
    ("SGI", 0, rb"\x01\xda[\x00\x01][\x01\x02]"),
    ("PCX", 0, rb"\x0a[\x00-\x05]\x01[\x01\x02\x04\x08]"),
    ("Sun raster", 0, rb"\x59\xa6\x6a\x95"),
)
CLAIMS = {  # what endings claim; those of kinds that are read have no name: other bytes in them are no image
    "": "bmp gif jpeg jpg pgm png ppm tif tiff webp jfif jif jpe jpge pjp pjpeg apng dib pbm pnm",
    "HEIC": "heic heif heics heifs hif",
    "AVIF": "avif avifs",
    "JPEG XL": "jxl",
    "JPEG 2000": "jp2 j2k j2c jpc jpf jpx jpm",
    "JPEG XR": "jxr wdp hdp",
    RAW: "3fr arw cr2 cr3 crw dcr dng erf fff iiq k25 kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f",
    "Photoshop": "psd psb",
    "OpenEXR": "exr",
    "Radiance HDR": "hdr",
    "DDS": "dds",
    "icon": "ico cur icns",
    "DICOM": "dcm dicom",
    "SVG": "svg svgz",
    "PostScript": "eps ps",
    "GIMP": "xcf",
    "PAM": "pam",
    "PFM": "pfm",
    "QOI": "qoi",
    "TGA": "tga targa",
    "FITS": "fit fits",
    "PCX": "pcx",
    "DjVu": "djvu djv",
    "BPG": "bpg",
    "FLIF": "flif",
    "Windows metafile": "emf wmf",
}
ENDINGS = {f".{ending}": name for name, endings in CLAIMS.items() for ending in endings.split()}
_READ, _UNREAD = (tuple((name, start, re.compile(mark, re.DOTALL)) for name, start, mark in table) for table in (READ, UNREAD))

# Tags of TIFF, by Adobe's specifications of TIFF 6 and of DNG.
SUBFILE, PHOTOMETRIC, SUB_IFDS, DNG_VERSION = 254, 262, 330, 50706
REDUCED = 1  # a subfile's kind: a smaller form of another image of the file
SENSOR = (32803, 34892)  # photometric: a colour filter array, linear raw


@dataclass(frozen=True)
class Kind:
    """What a file is, or claims to be.

    Attributes:
        name: of the format; empty where an image's ending stands on other bytes.
        read: whether images of this kind are decoded.
    """

    name: str
    read: bool

    @property
    def why(self) -> str:
        """Why it cannot be decoded, in words; empty where it can."""
        return "" if self.read else f"no image of a known format: {self.name}" if self.name else "no image of a known format"


def kind_of(file: BinaryIO, name: str = "") -> Kind | None:
    """What an open file is by its first bytes, else what its name claims; None: no image.

    Args:
        file: seekable, at its start; some dozens of bytes are read, and of a TIFF its first directory.
        name: whose ending counts; empty: none.
    """
    head = file.read(HEAD)
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122 - as often as there are files
    claimed = ENDINGS.get(ending)
    for found, start, mark in _UNREAD:
        if mark.match(head, start):
            return Kind(found, False)
    for found, start, mark in _READ:
        if mark.match(head, start):
            raw = found == "TIFF" and (claimed == RAW or _is_raw(file, head))
            return Kind(RAW if raw else found, not raw)
    return None if claimed is None else Kind(claimed, False)


def unread(data: bytes, name: str = "") -> str:
    """Why a file's bytes cannot be decoded, as far as its kind says; empty for a kind that can, and for what is no image."""
    kind = kind_of(io.BytesIO(data), name)
    return kind.why if kind is not None and kind.name else ""


def looked_at(path: str) -> Kind | None:
    """What a file is: one with an image's usual ending is taken at its word, of others the first bytes are read.

    A file that cannot be opened is what its ending claims; what is no regular file is no image.
    """
    if path.lower().endswith(CLAIMED):
        return Kind("", True)
    try:
        # Without blocking: a named pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb", buffering=0) as file:
            return kind_of(file, path) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError as error:
        return Kind(error.strerror or "cannot be read", False)
    except ValueError:  # a NUL in a name
        return None


def false_claim(path: str) -> str | None:
    """What a file that has an image's usual ending is instead, in a word or two; None: such an image, by its first bytes."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as often as there are files
            kind = kind_of(file, path)
    except OSError as error:
        return error.strerror or "cannot be read"
    return None if kind is not None and kind.read else (kind is not None and kind.name) or NO_IMAGE


def _is_raw(file: BinaryIO, head: bytes) -> bool:
    """Whether a TIFF is a camera's raw file, by the tags of its first directory."""
    if head[8:10] == b"CR":  # Canon's CR2
        return True
    order = "<" if head[:2] == b"II" else ">"
    if 43 in head[2:4]:  # BigTIFF, which no camera writes
        return False
    try:
        file.seek(struct.unpack_from(f"{order}L", head, 4)[0])
        (count,) = struct.unpack(f"{order}H", file.read(2))
        entries = file.read(12 * count)
        tags: dict[int, int] = {}
        for start in range(0, len(entries) // 12 * 12, 12):
            tag, form = struct.unpack_from(f"{order}HH", entries, start)
            tags[tag] = struct.unpack_from(f"{order}{'H' if form == 3 else 'L'}", entries, start + 8)[0]
    except (struct.error, OSError, OverflowError, ValueError):
        return False
    thumbnail = bool(tags.get(SUBFILE, 0) & REDUCED) and SUB_IFDS in tags
    return DNG_VERSION in tags or tags.get(PHOTOMETRIC) in SENSOR or thumbnail
