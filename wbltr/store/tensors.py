"""Tensors as safetensors bytes and back, with numpy; one metadata key, `wbltr`, holding canonical JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wbltr.errors import WbltrError
from wbltr.regular import open_regular
from wbltr.store.keys import too_deep

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

METADATA_KEY = "wbltr"
LARGEST_HEADER = 1 << 24  # bytes; the format itself allows 100 million, which are gigabytes once they are parsed
DTYPES = frozenset({"bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"}) | frozenset(
    {"float16", "float32", "float64", "complex64"}
)


MAPPED = {"F32": "<f4", "U8": "u1"}  # what large arrays are of; the others are read


class Malformed(Exception):
    """Bytes that are not what `encode` makes."""


def encode(tensors: Mapping[str, ArrayLike], metadata: bytes) -> bytes:
    """A safetensors file as bytes: the same tensors and metadata give the same bytes, in whatever order they come.

    Args:
        tensors: arrays, or what `numpy.asarray` takes (torch tensors on the CPU), of any shape, zero-size and 0-d included.
        metadata: canonical JSON; it goes under the single key `wbltr`, since several keys would be written in random order.

    Raises:
        WbltrError: `bug` for a name or a dtype that the format or numpy does not have.
    """
    from safetensors.numpy import save

    return save(as_arrays(tensors), metadata={METADATA_KEY: metadata.decode()})


def encode_to(path: Path, tensors: Mapping[str, ArrayLike], metadata: bytes) -> None:
    """Write the bytes that `encode` gives to a file, without holding them in memory beside the tensors.

    Raises:
        OSError: it cannot be written.
        WbltrError: as `encode`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path.touch(exist_ok=False)
    try:
        save_file(as_arrays(tensors), path, metadata={METADATA_KEY: metadata.decode()})
    except SafetensorError as error:  # whatever the system said, as text
        raise OSError(None, str(error)) from error


def as_arrays(tensors: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    """What `encode` takes, as contiguous arrays by sorted name; raises as it does."""
    import numpy as np

    arrays: dict[str, NDArray[Any]] = {}
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        if name == "__metadata__":
            raise WbltrError("tensor '__metadata__': the file format keeps this name for itself", "use another name")
        if array.dtype.name not in DTYPES:
            raise WbltrError(f"tensor '{name}': expected one of the dtypes {', '.join(sorted(DTYPES))}, found {array.dtype}")
        arrays[name] = array
    return arrays


def decode(data: bytes, prefixes: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """The writable arrays in the bytes of a safetensors file, by name.

    Args:
        data: the whole file.
        prefixes: keep only names that start with one of these; None keeps all.

    Raises:
        Malformed: the bytes are no safetensors file, or hold a dtype that numpy has not.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise Malformed(str(error)) from error
    chosen = sorted(name for name in arrays if prefixes is None or name.startswith(tuple(prefixes)))
    return {name: np.require(arrays[name], requirements="W") for name in chosen}


def decode_mapped(path: Path, prefixes: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """As `decode`, for a file that is mapped instead of read: of large arrays memory holds what was touched, and what is
    written to them stays in memory.
    """
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            chosen = sorted(name for name in file.keys() if prefixes is None or name.startswith(tuple(prefixes)))  # noqa: SIM118
            read = [name for name in chosen if file.get_slice(name).get_dtype() not in MAPPED]
            arrays = {name: np.require(file.get_tensor(name), requirements="W") for name in read}
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in chosen if name not in read}
            dtypes = {name: MAPPED[file.get_slice(name).get_dtype()] for name in shapes}
        header = read_header(path)
        for name, shape in shapes.items():
            if 0 in shape:
                arrays[name] = np.empty(shape, dtypes[name])
            else:
                arrays[name] = np.asarray(np.memmap(path, dtypes[name], "c", begin_of(header, name), shape))
        return arrays
    except (SafetensorError, ValueError, KeyError) as error:
        raise Malformed(str(error)) from error


def metadata_of(data: bytes) -> dict[str, Any]:
    """The JSON object under `wbltr` in the leading bytes of a file: at least its 8-byte header length and its header.

    Raises:
        Malformed: the length is out of bounds, the header is cut short, or something in it is not the JSON type it must be.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(LARGEST_HEADER, len(data) - 8):
        raise Malformed(f"a header of {length} bytes")
    header = _json_object(data[8 : 8 + length], "the header")
    metadata = header.get("__metadata__")
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise Malformed(f"no '{METADATA_KEY}' in the metadata")
    request = _json_object(text.encode("utf-8", "surrogatepass"), f"the metadata '{METADATA_KEY}'")
    if too_deep(request):
        raise Malformed(f"the metadata '{METADATA_KEY}' is nested too deep")
    return request


def read_header(path: Path) -> bytes:
    """The 8-byte header length and the header of a file, at most `LARGEST_HEADER` bytes of it."""
    with open_regular(path) as file:
        length = file.read(8)
        return length + file.read(min(int.from_bytes(length, "little"), LARGEST_HEADER))


def begin_of(header: bytes, name: str) -> int:
    """Where in a file the bytes of a tensor begin, by what `read_header` gave.

    Raises:
        Malformed: it has no such tensor.
    """
    entry: Any = _json_object(header[8:], "the header").get(name)
    try:
        return len(header) + int(entry["data_offsets"][0])
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise Malformed(f"no tensor '{name}'") from error


def _json_object(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{where} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Malformed(f"{where} is not a JSON object")
    return value
