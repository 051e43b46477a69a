"""Config: what every section of a recipe is, and the kinds of numbers in it. No torch here: a cached chain starts fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from wbltr.methods.settings import OF_A_FILE, Setting

# Strict: `true` is not 1, and "3" is not 3.
Number = Annotated[float, Field(strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
NonNegative = Annotated[float, Field(ge=0, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Portion = Annotated[float, Field(ge=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]


class Config(BaseModel):
    """A frozen section of a recipe; unknown fields, infinities and NaN are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    def hashed(self) -> dict[str, Any]:
        """The JSON value that enters the key: every field except those at their frozen `absent_means` value."""
        values = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            extra, value = field.json_schema_extra, getattr(self, name)
            if isinstance(value, Config):
                values[name] = value.hashed()
            if isinstance(extra, dict) and "absent_means" in extra and values.get(name) == extra["absent_means"]:
                values.pop(name, None)
        return values


def added_later(default: Any, **constraints: Any) -> Any:
    """A field added after the first release: at its default it stays out of the key, so older work stays valid."""
    return Field(default=default, json_schema_extra={"absent_means": default}, **constraints)


class Teacher(Config):
    """A finished first stage from which another learns: which artifact it is, and what its network is made of."""

    artifact: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    network: str
    stem: Literal["cifar", "imagenet"] = "cifar"
    prelogit: Count | None = None
    mean: tuple[Number, ...]
    std: tuple[Positive, ...]


class Weights(Config):
    """Pretrained weights by what they are, not by where they lie."""

    origin: Literal["file", "IMAGENET1K_V1", "IMAGENET1K_V2"]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8}([0-9a-f]{56})?$")]  # of torchvision's files their names have 8 digits


class OfMethods(Config):
    """A section that names methods. Its `methods_file` is found, never typed."""

    @model_validator(mode="before")
    @classmethod
    def _their_file_is_at_hand(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        marks = [(values.get(n, f.default), mark) for n, f in cls.model_fields.items() for mark in f.metadata]
        named = [(name, mark) for name, mark in marks if isinstance(mark, OneOf) and isinstance(name, str)]
        files = [digest for name, mark in named if (digest := getattr(mark.table, "files", {}).get(name))]
        wanted, found = values.get("methods_file"), files[0] if files else None
        unknown = any(name not in mark.names and name not in mark.table for name, mark in named)
        if wanted and wanted != found:
            told = f"a method is of a file whose SHA-256 begins {str(wanted)[:12]}: name it, --with FILE.py"
            raise ValueError(told if unknown or found else "methods_file: no method here is of a file; leave it out")
        return {**values, "methods_file": found} if found else values

    @model_serializer(mode="wrap")
    def _without_idle_settings_of_a_file(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is written can be read without the file, where it has no part in it."""
        fields, values = type(self).model_fields, plain(self)
        return {n: value for n, value in values.items() if n not in OF_A_FILE or value != fields[n].default}


class OneOf:
    """Marks a field that names an entry of a table, or another word: `Annotated[str, OneOf(LOSSES)]`.

    The field holds the value that the entry is kept by, whichever of its names was given.
    """

    def __init__(self, table: Mapping[str, Any], *others: str) -> None:
        self.table, self.names = table, (*others, *table)

    def __get_pydantic_core_schema__(self, _: Any, handler: GetCoreSchemaHandler) -> Any:
        return handler.generate_schema(Annotated[Literal[self.names], BeforeValidator(self._value)])

    def _value(self, given: object) -> object:
        return self.table[given].value if isinstance(given, str) and given in self.table else given


# SHA-256 of the file of one's own that a section's method is from; it is not of what that file imports.
METHODS_FILE = (Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None, added_later(None))


def fields_of(settings: Mapping[str, Setting], *, absent: bool = False) -> dict[str, Any]:
    """The fields of a section that these settings are, as `pydantic.create_model` takes them.

    Args:
        absent: whether each may be left out, and is null then.
    """
    fields = {}
    for name, setting in settings.items():
        kind, default = (_type_of(setting) | None, None) if absent else (_type_of(setting), setting.default)
        declare = Field if setting.original and not absent else added_later
        fields[name] = (kind, declare(default=default, description=setting.help))
    return fields


def _type_of(setting: Setting) -> Any:
    match setting.kind:
        case "natural":
            return Natural | None
        case "word":
            return Literal[setting.words]
        case "teacher":
            return str | Teacher | None
        case "shares":
            return Literal[setting.words] | dict[str, Positive]
    number = Annotated[float, Field(strict=True, **setting.bounds)]
    return number | Literal[setting.words] if setting.words else number
