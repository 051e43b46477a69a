"""Keys: what was asked, as canonical JSON and its SHA-256."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from wbltr.errors import WbltrError

KEY_PREFIX = b"wbltr-key 1\n"
DEEPEST = 50  # levels of lists and mappings in JSON
PART = "-part"  # behind the stage's name, in the request for a part
DIGEST = re.compile(r"[0-9a-f]{64}")


def canonical_json(value: object, *, finite: bool = True) -> bytes:
    """The one UTF-8 encoding of a JSON value: keys sorted by code point, no spaces, floats by their shortest repr.

    Mappings need string keys; tuples are lists. Distinct numbers stay distinct: `1`, `1.0` and `True` give `1`, `1.0`
    and `true`, and `0.0` and `-0.0` differ, so whoever builds the value settles its types first.

    Args:
        value: what JSON can hold: mappings, lists, tuples, strings, integers, floats, booleans, None.
        finite: refuse NaN and the infinities, as JSON does; else they are `NaN` and `Infinity`, which Python reads back.

    Raises:
        WbltrError: `recipe` for NaN, an infinity or text that is not Unicode; `bug` for what JSON has no form for.
    """
    plain = _plain(value, "value", finite)
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def loose_json(value: object, indent: int | None = None) -> bytes:
    """JSON for what is kept but never hashed: NaN and the infinities, which JSON has not, become null.

    Raises:
        WbltrError: `bug` for what JSON has no form for.
    """
    try:
        return json.dumps(_finite(value), indent=indent, sort_keys=indent is not None, allow_nan=False).encode("ascii")
    except (TypeError, ValueError) as error:
        raise WbltrError(f"not JSON: {error}") from error


def key_of(header: Mapping[str, Any]) -> str:
    """The key of a request: 64 hex digits.

    SHA-256 of `wbltr-key 1`, a newline, and the canonical JSON of `{"stage", "revision", "config", "inputs"}`.

    Args:
        header: exactly these four: `stage` a name, `revision` an integer, `config` a mapping, `inputs` a mapping from a
            name to an object id or to the digest of a source.

    Raises:
        WbltrError: `bug` when a field is missing, unknown or of another type; see also `canonical_json`.
    """
    return hashlib.sha256(KEY_PREFIX + canonical_json(checked_header(header))).hexdigest()


def part_of(header: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The request for a part of a large result, which is kept as an object of its own."""
    return {**header, "stage": f"{header['stage']}{PART}", "config": {**header["config"], "part": name}}


def whole_of(header: Mapping[str, Any]) -> dict[str, Any] | None:
    """The request that `part_of` made this one from; None where it is no part's."""
    if not header["stage"].endswith(PART) or "part" not in header["config"]:
        return None
    config = {name: value for name, value in header["config"].items() if name != "part"}
    return {**header, "stage": header["stage"].removesuffix(PART), "config": config}


def too_deep(value: object) -> bool:
    """Whether a JSON value of strangers is nested deeper than `DEEPEST`: what goes through it calls itself for each level."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            item for one in level for item in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
    return bool(level)


def checked_header(header: Mapping[str, Any]) -> dict[str, Any]:
    """`header` as a dict, once it is known to hold the four fields of a request and nothing that is not hashed."""
    expected = {"stage": str, "revision": int, "config": Mapping, "inputs": Mapping}
    if set(header) != set(expected):
        raise WbltrError(f"header: expected the fields {', '.join(expected)}, found {', '.join(map(str, header)) or 'none'}")
    for name, kind in expected.items():
        if not isinstance(header[name], kind) or isinstance(header[name], bool):
            raise WbltrError(f"header.{name}: expected {kind.__name__}, found {type(header[name]).__name__}")
    for name, digest in header["inputs"].items():
        if not isinstance(digest, str):
            raise WbltrError(f"header.inputs.{name}: expected a digest, found {type(digest).__name__}")
    return dict(header)


def checked_digest(text: str, kind: str = "object id") -> str:
    """`text` when it is 64 lowercase hex digits, so that it is safe as a file name.

    Raises:
        WbltrError: `missing`, naming `kind`, for everything else.
    """
    if not isinstance(text, str) or not DIGEST.fullmatch(text):
        raise WbltrError(f"{kind}: expected 64 hex digits, found {text!r}", "list what there is: wbltr store ls", "missing")
    return text


def _plain(value: object, where: str, finite: bool) -> object:
    """`value` in JSON's own types; json.dumps alone would turn the key 1 into "1" and let the two collide."""
    match value:
        case None | bool() | int():
            return value
        case float():
            if finite and not math.isfinite(value):
                raise WbltrError(f"{where}: expected a finite number, found {value}", "set it to a finite number", "recipe")
            return value
        case str():
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise WbltrError(f"{where}: expected text, found half a surrogate pair in {value!r}", "rename it", "recipe")
            return value
        case Mapping():
            if bad := [name for name in value if not isinstance(name, str)]:
                raise WbltrError(f"{where}: expected string keys, found {bad[0]!r}")
            return {_plain(name, where, finite): _plain(item, f"{where}.{name}", finite) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item, f"{where}[{index}]", finite) for index, item in enumerate(value)]
    raise WbltrError(f"{where}: expected a JSON value, found {type(value).__name__}")


def _finite(value: object) -> object:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {name: _finite(item) for name, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
    return value
