"""Pretrained weights: torchvision's by name, or a state dict of torchvision or timm from a file, wherever in it that lies."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wbltr.errors import WbltrError, shown
from wbltr.models import Network

LARGEST = 4 << 30  # bytes of a file, and of what is packed in it
DEEPEST = 6  # mappings in one another
SHOWN = 3  # keys that a message names
# Of several places in a file that hold the network, the first of these is meant: what was trained, before averages of it.
PLACES = (
    "state_dict", "model", "state_dict_ema", "model_state_dict", "net", "network", "module", "encoder_q", "model_ema", "ema",
    "ema_state_dict",
)  # fmt: skip
MOST_PLACES = 100  # where a network is looked for in a file
SAVE = 'save a state dict: torch.save(model.state_dict(), "weights.pth")'
OTHERS = {  # first bytes of what people take for weights
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    b"\x89HDF": ("HDF5, as Keras writes it", SAVE),
    b"\x1f\x8b": ("packed by gzip", "unpack it first: gunzip FILE"),
    b"GGUF": ("GGUF", SAVE),
    b"<": ("a web page, or other text", "download the file itself"),
    b"{": ("JSON, or other text", SAVE),
}


def published_state(network: str, name: str) -> dict[str, Tensor]:
    """torchvision's weights of this name, downloaded where torch has not kept them.

    Raises:
        WbltrError: "network" where they cannot be had.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights({"resnext50": "resnext50_32x4d"}.get(network, network))[name]
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no network, a full disk; other bytes than the name promises
        told = f"features.weights: {name}: cannot be downloaded: {error}"
        hint = f"fetch {weights.url} elsewhere, then --set features.weights=FILE"
        raise WbltrError(told, hint, "network") from None
    return state


def state_of_file(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file that `torch.save` or safetensors wrote; nothing but tensors is unpickled.

    Returns:
        Name → tensor; of one in a mapping in the file, both names with a dot: `state_dict.conv1.weight`.

    Raises:
        WbltrError: "missing" for what is no file, "usage" for one without tensors or too large, "integrity" for one that is
            damaged, or of another kind, or holds more than tensors.
    """
    where = f"features.weights: {path}"
    if not path.is_file():
        raise WbltrError(f"{where}: is no regular file", "name a .safetensors or .pth file", "missing")
    begin = b""
    try:
        with path.open("rb") as file:
            begin = file.read(4096)
        if max(path.stat().st_size, _unpacked(path)) > LARGEST:
            raise WbltrError(f"{where}: larger than {LARGEST >> 30} GiB", "name a state dict of the network alone", "usage")
        if begin[8:9] == b"{" or (path.suffix == ".safetensors" and not begin.startswith((b"PK", b"\x80"))):
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            with path.open("rb") as file:  # of a name torch would believe the ending
                found = torch.load(file, map_location="cpu", weights_only=True)
    except WbltrError:
        raise
    except Exception as error:  # whatever a file of strangers makes of the readers
        told, hint = _fault(path, begin, str(error))
        raise WbltrError(f"{where}: cannot be read as weights: {told}", hint, "integrity") from None
    state = dict(_tensors(found, "", 0, set()))
    if not state:
        raise WbltrError(f"{where}: holds no state dict, which is names with tensors", SAVE, "usage")
    return state


def _unpacked(path: Path) -> int:
    """Bytes of what a zip archive says that it holds; 0 for other files."""
    with suppress(OSError, ValueError, zipfile.BadZipFile, NotImplementedError), zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())
    return 0


def _tensors(found: Any, place: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors in mappings in one another, by their names with dots; each mapping once, as it may hold itself."""
    if not isinstance(found, Mapping) or depth > DEEPEST or id(found) in seen:
        return
    seen.add(id(found))
    for name, value in found.items():
        if isinstance(value, Tensor):
            yield f"{place}{name}", value
        else:
            yield from _tensors(value, f"{place}{name}.", depth + 1, seen)


def _fault(path: Path, begin: bytes, told: str) -> tuple[str, str]:
    """Why a file was not read, and what to type, in our words: torch's are pages, and advise to run what a stranger wrote.

    Args:
        begin: its first bytes.
        told: what the reader said.
    """
    if named := re.search(r"GLOBAL ([\w.]+)", told):
        module, _, name = named[1].rpartition(".")
        # Whether the file begins with it; older files say so in words.
        whole = re.search(rb"(\x80[\x02-\x05]|moduleq.)c" + re.escape(f"{module}\n{name}\n".encode()), begin)
        found = f"torch.load({str(path)!r}, weights_only=False)"
        what = f"{found}.state_dict()" if whole else f'{found}["state_dict"]'
        told = "it is a whole model" if whole else "it holds more than tensors"
        return f"{told}: {shown(named[1])}", f'where you trust it, keep its tensors alone: torch.save({what}, "weights.pth")'
    names: list[str] = []
    with suppress(OSError, ValueError, zipfile.BadZipFile, NotImplementedError), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        made = f'torch.save(torch.jit.load({str(path)!r}).state_dict(), "weights.pth")'
        return "it is a TorchScript archive", f"where you trust it, keep its tensors alone: {made}"
    if names and not any(name.endswith("/data.pkl") for name in names):
        return f"it is {'an archive of numpy arrays' if names[0].endswith('.npy') else 'another kind of archive'}", SAVE
    if not begin:
        return "it is empty", "copy it again from where it came"
    for first, (kind, hint) in OTHERS.items():
        if begin.startswith(first):
            return f"it is {kind}", hint
    if begin[8:9] == b"{" or path.suffix == ".safetensors":
        return "it is no sound safetensors file, or cut short", "copy it again from where it came"
    if begin.startswith((b"PK", b"\x80")):
        return "it is damaged or cut short, or holds more than tensors", f"copy it again, or {SAVE}"
    return "neither torch.save nor safetensors wrote it", SAVE


@dataclass(frozen=True)
class Found:
    """Where in a state the network lies.

    Attributes:
        place: what its names begin with there.
        given: name in the network → tensor, without its classifier `fc.`.
        differs: how it is not this network, in words; none: it is.
    """

    place: str
    given: Mapping[str, Tensor]
    differs: tuple[str, ...]
    count: int  # of the names that differ

    @property
    def rank(self) -> tuple[int, ...]:
        """Of several places that hold the network, the one of the least rank is meant."""
        return tuple(PLACES.index(part) if part in PLACES else len(PLACES) for part in self.place.split(".")[:-1])


def put_in(network: Network, state: Mapping[str, Tensor], name: str, where: str) -> str:
    """Give a network's backbone these weights, converted to its types.

    Args:
        state: of torchvision or timm, whose names are the same, after whatever they begin with alike.
        name: the network's, for messages.
        where: the state's, for messages.

    Returns:
        What to say of where the weights lay; "" where they were all there was.

    Raises:
        WbltrError: "usage" for the state of another network, its first names that differ told, or one that holds several;
            "integrity" for numbers that are not finite.
    """
    own = network.backbone.state_dict()
    looked = sorted((_at(place, state, own, name) for place in _places(state, own)), key=lambda one: (one.count, one.rank))
    best = looked[0]
    if best.differs:
        hint = "set features.network to what it is of"
        raise WbltrError(f"{where} is of another network: {'; '.join(best.differs)}", hint, "usage")
    for other in looked[1:]:
        if not other.differs and other.rank == best.rank and not _alike(best.given, other.given):
            told = f"{where} holds {name} more than once: below '{shown(best.place)}' and '{shown(other.place)}'"
            raise WbltrError(told, "save the one that you mean alone, as a state dict", "usage")
    with torch.no_grad():
        for key, tensor in own.items():
            if key in best.given:
                tensor.copy_(_sound(best.given[key], tensor, f"{where}: {shown(best.place + key, 200)}"))
    if not best.place:
        return ""
    beside = sum(not key.startswith(best.place) for key in state)
    left = f"; {beside} tensor{'s' if beside > 1 else ''} beside it left out" if beside else ""
    return f"{where}: {name} is what lies below '{shown(best.place)}'{left}"


def _places(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> set[str]:
    """What stands before the first and the last weight of a network wherever they are in a state, and nothing."""
    weights = [key for key in own if not key.endswith("num_batches_tracked")]
    begins = {key.removesuffix(end) for key in state for end in (weights[0], weights[-1]) if key.endswith(f".{end}")}
    return {"", *sorted(begins, key=len)[:MOST_PLACES]}


def _at(place: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor], name: str) -> Found:
    """How a network lies at one place of a state."""
    given = {key.removeprefix(place): value for key, value in state.items() if key.startswith(place)}
    given = {key: value for key, value in given.items() if not key.startswith("fc.")}
    counted = {key for key in own if key.endswith("num_batches_tracked")}  # older files have none
    missing = [key for key in own if key not in given and key not in counted]
    unknown = [key for key in given if key not in own]
    other = [key for key in own if key in given and own[key].shape != given[key].shape]
    told = [f"it has no {', '.join(missing[:SHOWN])}"] if missing else []
    told += [f"{name} has no {', '.join(shown(key) for key in unknown[:SHOWN])}"] if unknown else []
    told += [f"{key} is {tuple(given[key].shape)}, of {name} {tuple(own[key].shape)}" for key in other[:1]]
    return Found(place, given, tuple(told), len(missing) + len(unknown) + len(other))


def _alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return all(key in other and torch.equal(value, other[key]) for key, value in one.items())


def _sound(given: Tensor, own: Tensor, where: str) -> Tensor:
    """A tensor of a file in the type that the network has it in.

    Raises:
        WbltrError: "usage" for one of another kind of numbers, "integrity" for numbers that are not finite.
    """
    plain = given.layout == torch.strided and not given.is_quantized and given.device.type == "cpu"
    if not plain or given.is_complex() or (own.is_floating_point() and not given.is_floating_point()):
        kind = "sparse" if given.layout != torch.strided else "without numbers" if given.is_meta else str(given.dtype)
        told = f"{where}: expected floating point numbers, found {kind.removeprefix('torch.')}"
        raise WbltrError(told, "save the model's state dict before it is converted", "usage")
    made = given.to(own.dtype)
    if not torch.isfinite(made).all():
        raise WbltrError(f"{where}: holds NaN or infinity", "such weights are of no use; get others", "integrity")
    return made
