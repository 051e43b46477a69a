"""What is to be known of a model to use it, as `model.json` keeps it. No torch here."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import FailFast, Field, ValidationError, field_validator, model_validator

from wbltr.config import Config, Count, Number, OneOf, Positive, added_later
from wbltr.errors import WbltrError, shown
from wbltr.methods.heads import KINDS
from wbltr.recipe import FeaturesConfig
from wbltr.regular import NotRegular, read_regular

Format = Literal["safetensors", "onnx", "torch-export"]
FILES: dict[Format, str] = {"safetensors": "model.safetensors", "onnx": "model.onnx", "torch-export": "model.pt2"}
NETWORKS = frozenset(get_args(FeaturesConfig.model_fields["network"].annotation)) - {"none"}
NAME = "model.json"
VERSION = 1
MOST_BYTES = 1 << 24
MOST_FIELDS = 64  # of an object in it
MOST_DIGITS = 1000  # of a number in it
HELD = 256  # pixels a side at most of an image that a dataset holds
CUT = 256 / 224  # the shorter side of an image before its square is cut out, in sides of the square
CROPPED = 1024  # pixels a side at most of a square that is cut out of a file
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Side = Annotated[int, Field(ge=1, le=round(CROPPED * CUT), strict=True)]


class Input(Config):
    """What an image has to be before the model takes it: uint8, RGB or grey.

    Attributes:
        shorter_side: what the image's shorter side is brought to, bilinear with anti-aliasing.
        side: of the square that is then cut out of the middle; `shorter_side` is the same, or 256/224 of it.
        mean, std: per channel, of pixels in [0, 1]; the model itself subtracts and divides.
        depth: bits that an image of 16 uses; None: 16. See `wbltr.data.decode.decode`.
    """

    channels: Literal[1, 3]
    shorter_side: Side
    side: Side
    mean: Annotated[tuple[Number, ...], Field(max_length=3), FailFast()]
    std: Annotated[tuple[Positive, ...], Field(max_length=3), FailFast()]
    depth: Annotated[int, Field(ge=8, le=16, strict=True)] | None = added_later(None)

    @model_validator(mode="after")
    def _a_network_takes_it(self) -> Self:
        if self.side > (HELD if self.shorter_side == self.side else CROPPED):
            raise ValueError(f"side: {self.side} is more than any network takes that was trained here")
        if self.shorter_side not in (self.side, round(self.side * CUT)):
            raise ValueError(f"shorter_side: {self.shorter_side}, expected {self.side} or {round(self.side * CUT)}")
        if not all(1e-30 < value < 1e30 for value in (*self.std, *(abs(mean) + 1 for mean in self.mean))):
            raise ValueError("mean, std: beyond what float32 holds")
        return self

    def words(self) -> str:
        """The preprocessing as a sentence or two."""
        colours = "RGB" if self.channels == 3 else "grey (ITU-R 601: 0.299 R + 0.587 G + 0.114 B)"
        square = f"{self.side} x {self.side}"
        deep = f"Of images of 16 bits the value divided by {2 ** (self.depth - 8)}, at most 255. " if self.depth else ""
        return deep + (
            f"The image's shorter side brought to {self.shorter_side} pixels, bilinear with anti-aliasing, the {square} in the "
            f"middle cut out; {colours}, unsigned bytes from 0 to 255. EXIF orientation is not applied. The model itself "
            "divides by 255, subtracts the mean and divides by the standard deviation."
        )


class Check(Config):
    """How far the exported file was from torch on real images of the dataset."""

    images: Count
    largest_difference: Annotated[float, Field(ge=0)]  # of a probability


class About(Config):
    """A model in words and numbers.

    Attributes:
        format, file, sha256: how its weights are kept, and the digest of that file.
        recipe: its recipe's name.
        artifacts: stage → id of what the model was made of in its store; `head` is its head before calibration.
        network, stem, prelogit: the recipe's, of the first stage.
        head: kind of its head; `head_words`: how it was trained.
        calibration: in words. temperature: T by which the logits are divided already; None where none was fitted.
        versions: of what wrote it.
    """

    version: Literal[1] = 1
    format: Format = "safetensors"
    file: str = FILES["safetensors"]
    sha256: Digest | None = None
    recipe: str
    artifacts: dict[str, Digest]
    network: str
    stem: Literal["cifar", "imagenet"]
    prelogit: Annotated[Count, Field(le=1 << 16)] | None
    input: Input
    preprocessing: str
    head: Annotated[str, OneOf({}, *KINDS)]
    head_words: str
    class_names: Annotated[tuple[str, ...], Field(min_length=1), FailFast()]
    calibrated: bool
    calibration: str
    temperature: Annotated[Positive, Field(ge=1e-12, le=1e12)] | None = None
    outputs: dict[str, str]
    versions: dict[str, str]
    checked: Check | None = None

    @field_validator("version", mode="before")
    @classmethod
    def _no_flag(cls, version: object) -> object:
        if isinstance(version, bool):
            raise ValueError("expected 1, found true or false")
        return version

    @field_validator("class_names")
    @classmethod
    def _text(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if any("\ud800" <= character <= "\udfff" for character in name):
                raise ValueError(f"{shown(name)!r} holds half a surrogate pair, which is no text")
        return names

    def as_json(self) -> str:
        """Text of `model.json`."""
        return json.dumps(self.model_dump(mode="json") | {"input": self.input.hashed()}, indent=1, ensure_ascii=False) + "\n"


def read_about(folder: Path) -> About:
    """What a folder says of the model in it.

    Raises:
        WbltrError: code "integrity" for what is no such description, "newer" for one of a later version, "missing".
    """
    path, hint = folder / NAME, "export it again: wbltr export DIR"
    try:
        text = read_regular(path, MOST_BYTES)
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None
    try:
        value: Any = json.loads(text, object_pairs_hook=_fields_once, parse_int=_whole_number)
        if isinstance(value, dict) and isinstance(value.get("version"), int) and value["version"] > VERSION:
            told = f"{path}: version {value['version']}, this wbltr reads {VERSION}"
            raise WbltrError(told, "update it: pip install --upgrade wbltr", "newer")
        for fields in (value, *value.values()) if isinstance(value, dict) else ():
            if isinstance(fields, dict) and len(fields) > MOST_FIELDS:
                raise WbltrError(f"{path}: an object with {len(fields):,} fields", hint, "integrity")
        about = About.model_validate(value)
    except ValidationError as failure:
        first = failure.errors()[0]
        where = shown(".".join(map(str, first["loc"]))) or "the whole"
        raise WbltrError(f"{path}: {where}: {first['msg']}", hint, "integrity") from None
    except (ValueError, RecursionError) as error:
        raise WbltrError(f"{path}: cannot be read as JSON: {error}", hint, "integrity") from None
    if about.network not in NETWORKS:
        raise WbltrError(f"{path}: no network {shown(about.network)!r} here", hint, "integrity")
    if about.file != FILES[about.format] or not len(about.input.mean) == len(about.input.std) == about.input.channels:
        raise WbltrError(f"{path}: its file or its channels do not fit what else it says", hint, "integrity")
    return about


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of which nothing can be read in two ways."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise ValueError(f"{shown(twice)!r} stands there twice")
    return fields


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def unreadable(path: Path, error: OSError | ValueError) -> WbltrError:
    """What to raise where a file of an export is not there, or is nothing that can be read."""
    hint = "export it again: wbltr export DIR"
    if isinstance(error, OSError) and not isinstance(error, NotRegular):
        return WbltrError(f"{path}: cannot be read: {error.strerror}", hint, "missing")
    return WbltrError(f"{path}: {error}", hint, "integrity")
