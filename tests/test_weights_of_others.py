"""Weights of strangers: what lies in a file, wherever and in whichever type, is found or refused in one line."""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18, resnet34

from wbltr.errors import WbltrError
from wbltr.models import Network, empty_network, new_network
from wbltr.pretrained import put_in, state_of_file

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def small_network() -> Network:
    return empty_network("small", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def small() -> State:
    """A state dict of the small network, random, with a classifier beside it."""
    own = new_network("small", (0.5,) * 3, (0.5,) * 3, 7).backbone.state_dict()
    return own | {"fc.weight": torch.zeros(7, 64), "fc.bias": torch.zeros(7)}


@pytest.fixture(scope="module")
def state() -> State:
    """A state dict of resnet18 as torchvision saves it, random."""
    own = new_network("resnet18", (0.5,) * 3, (0.5,) * 3, 7, "imagenet").backbone.state_dict()
    own = {name: tensor.contiguous() for name, tensor in own.items()}
    return own | {"fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}


@pytest.fixture(scope="module")
def network() -> Network:
    return empty_network("resnet18", (0.5,) * 3, (0.5,) * 3, "imagenet")


def flat(nested: Mapping[str, Any], place: str = "") -> State:
    """What `state_of_file` makes of mappings in one another, written down another way."""
    found: State = {}
    for name, value in nested.items():
        if isinstance(value, Tensor):
            found[place + name] = value
        elif isinstance(value, dict):
            found |= flat(value, f"{place}{name}.")
    return found


def put(network: Network, state: Mapping[str, Tensor]) -> str:
    """Put a state into a network that had nothing of it before."""
    with torch.no_grad():
        for tensor in network.backbone.state_dict().values():
            tensor.zero_()
    return put_in(network, state, "resnet18", "here")


def taken(network: Network, expected: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(tensor, expected[name].to(tensor.dtype)) for name, tensor in network.backbone.state_dict().items())


PREFIXES = (
    "", "module.", "model.", "backbone.", "encoder.", "net.", "_orig_mod.", "module.encoder.", "module.encoder_q.",
    "_orig_mod.module.", "student.backbone.", "base_encoder.", "vision.trunk.features.", "модель.",
)  # fmt: skip
NESTINGS: tuple[tuple[str, ...], ...] = (
    (), ("state_dict",), ("model",), ("model_state_dict",), ("net",), ("ema",), ("state_dict_ema",), ("a", "b"),
)  # fmt: skip
EXTRAS: dict[str, Any] = {
    **{"epoch": 3, "best": 71.2, "arch": "resnet18", "done": None},
    "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]},
}


@pytest.mark.parametrize("nesting", NESTINGS, ids=".".join)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_network_is_found_wherever_it_lies(
    small_network: Network, small: State, prefix: str, nesting: tuple[str, ...]
) -> None:
    nested: dict[str, Any] = {f"{prefix}{name}": tensor for name, tensor in small.items()}
    for name in reversed(nesting):
        nested = {name: nested}
    if nesting:
        nested |= EXTRAS
    place = "".join(f"{name}." for name in nesting) + prefix
    said = put(small_network, flat(nested))
    assert taken(small_network, small)
    assert (place in said) if place.isascii() and place else bool(said) == bool(place)


@pytest.mark.parametrize("prefix", [prefix for prefix in PREFIXES if prefix])
def test_what_lies_beside_the_prefix_is_left_out_and_counted(small_network: Network, small: State, prefix: str) -> None:
    beside = {"queue": torch.zeros(4, 4), "projector.0.weight": torch.zeros(3, 3)}
    said = put(small_network, {f"{prefix}{name}": tensor for name, tensor in small.items()} | beside)
    assert taken(small_network, small)
    assert "2 tensors beside it" in said


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("state_dict", "state_dict_ema"),
        ("state_dict", "model"),
        ("model", "model_ema"),
        ("net", "ema"),
        ("module.encoder_q", "module.encoder_k"),
        ("model", "teacher"),
    ],
)
def test_of_several_places_the_one_that_was_trained_is_meant(
    small_network: Network, small: State, first: str, second: str
) -> None:
    other = {f"{second}.{name}": tensor + 1 for name, tensor in small.items()}
    put(small_network, other | {f"{first}.{name}": tensor for name, tensor in small.items()})
    assert taken(small_network, small)


def test_several_that_nobody_can_tell_apart_are_refused_unless_they_are_alike(small_network: Network, small: State) -> None:
    both = {f"{place}.{name}": tensor for place in ("student", "teacher") for name, tensor in small.items()}
    put(small_network, both)
    assert taken(small_network, small)
    both["teacher.layers.3.weight"] = both["teacher.layers.3.weight"] + 1
    with pytest.raises(WbltrError, match=r"more than once: below '(student|teacher)\.' and '(student|teacher)\.'") as caught:
        put(small_network, both)
    assert caught.value.code == "usage"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("ending", [".pth", ".bin", ".pt", ".safetensors", ""])
def test_a_file_is_read_by_its_bytes_and_converted(
    network: Network, state: State, tmp_path: Path, dtype: torch.dtype, ending: str
) -> None:
    stored = {f"module.{k}": v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    for writer in (save_file, torch.save):
        writer(stored, tmp_path / f"weights{ending}")
        put(network, state_of_file(tmp_path / f"weights{ending}"))
        assert taken(network, {name.removeprefix("module."): tensor for name, tensor in stored.items()})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["conv1.weight", "layer2.0.downsample.1.running_var", "layer4.1.bn2.bias"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_numbers_that_are_not_finite_are_found_in_their_tensor(
    network: Network, state: State, name: str, value: float, prefix: str
) -> None:
    bad = {f"{prefix}{key}": tensor.clone() for key, tensor in state.items()}
    bad[f"{prefix}{name}"].view(-1)[-1] = value
    with pytest.raises(WbltrError) as caught:
        put(network, bad)
    assert caught.value.code == "integrity"
    assert f"{prefix}{name}" in caught.value.message


def test_what_is_not_taken_may_hold_anything(network: Network, state: State) -> None:
    put(network, state | {"fc.weight": torch.full((7, 512), float("nan"))})
    assert taken(network, state)


@pytest.mark.parametrize("made", [lambda t: (t * 100).to(torch.int8), lambda t: t.to(torch.complex64), lambda t: t.to_sparse()])
def test_numbers_of_another_kind_are_refused(network: Network, state: State, made: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(WbltrError, match=r"conv1\.weight: expected floating point") as caught:
        put(network, state | {"conv1.weight": made(state["conv1.weight"])})
    assert caught.value.code == "usage"


def other_networks(state: State) -> dict[str, tuple[State, str]]:
    lacking = {name: tensor for name, tensor in state.items() if not name.startswith("layer4")}
    return {
        "deeper": (resnet34().state_dict(), "resnet18 has no layer1.2.conv1.weight"),
        "cut": (lacking, "it has no layer4.0.conv1.weight"),
        "more": (state | {"layer1.0.se.fc1.weight": torch.zeros(2, 2)}, "resnet18 has no layer1.0.se.fc1.weight"),
        "wider": (state | {"layer1.0.conv1.weight": torch.zeros(128, 64, 3, 3)}, "(128, 64, 3, 3), of resnet18 (64, 64, 3, 3)"),
        "stem": (state | {"conv1.weight": torch.zeros(64, 3, 3, 3)}, "conv1.weight is (64, 3, 3, 3)"),
        "transformer": ({f"blocks.{n}.attn.qkv.weight": torch.zeros(2) for n in range(12)}, "it has no conv1.weight"),
        "bias": ({"bias": torch.zeros(2)}, "it has no conv1.weight"),
    }


@pytest.mark.parametrize("place", ["", "module.", "state_dict.backbone."])
@pytest.mark.parametrize("kind", ["deeper", "cut", "more", "wider", "stem", "transformer", "bias"])
def test_another_network_is_refused_by_what_differs(network: Network, state: State, place: str, kind: str) -> None:
    other, words = other_networks(state)[kind]
    with pytest.raises(WbltrError) as caught:
        put(network, {f"{place}{name}": tensor for name, tensor in other.items()})
    assert caught.value.code == "usage"
    assert words.split()[-1] in caught.value.message
    assert caught.value.message.count("is of another network") == 1


class OwnClass:
    """What a training script keeps beside its tensors."""


OBJECTS: dict[str, tuple[Callable[[State], Any], str]] = {
    "namespace": (lambda s: {"args": argparse.Namespace(lr=0.1), "state_dict": s}, "argparse.Namespace"),
    "numpy scalar": (lambda s: {"best": np.float64(71.2), "state_dict": s}, "multiarray.scalar"),
    "numpy array": (lambda s: {"mean": np.zeros(3), "state_dict": s}, "multiarray._reconstruct"),
    "a class": (lambda s: {"state_dict": s, "config": OwnClass()}, "OwnClass"),
    "a function": (lambda s: {"state_dict": s, "f": os.getcwd}, "getcwd"),
    "an optimizer": (lambda s: {"state_dict": s, "o": torch.optim.SGD([torch.zeros(1)])}, "SGD"),
    "whole": (lambda _: nn.Sequential(nn.Linear(2, 2)), "torch.nn.modules.container.Sequential"),
    "whole of torchvision": (lambda _: resnet18(), "torchvision.models.resnet.ResNet"),
}


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before zip"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_that_is_no_tensor_is_named_with_what_to_save_instead(
    state: State, tmp_path: Path, kind: str, old: bool
) -> None:
    made, name = OBJECTS[kind]
    path = tmp_path / "mine.pth"
    torch.save(made({"fc.bias": state["fc.bias"]}), path, _use_new_zipfile_serialization=not old)
    with pytest.raises(WbltrError) as caught:
        state_of_file(path)
    assert caught.value.code == "integrity"
    assert name in caught.value.message
    assert ".state_dict()" in caught.value.hint if kind.startswith("whole") else '["state_dict"]' in caught.value.hint
    clear(caught.value, path)


def clear(error: WbltrError, path: Path) -> None:
    """One line that names the file, without another library's words."""
    assert str(path) in error.message
    assert error.message.isprintable()
    assert "weights_only` argument" not in error.message
    assert error.hint


@pytest.fixture(scope="module")
def strange_files(tmp_path_factory: pytest.TempPathFactory, state: State) -> dict[str, bytes]:
    """What people take for weights, and weights that were damaged."""
    folder = tmp_path_factory.mktemp("strange")
    small = {"conv1.weight": state["conv1.weight"]}
    torch.save(small, folder / "zip")
    torch.save(small, folder / "old", _use_new_zipfile_serialization=False)
    save_file(small, folder / "safe")
    np.savez(folder / "numpy.npz", x=np.zeros(3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have people write other files
        torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(folder / "script"))  # type: ignore[no-untyped-call]
    whole = {name: (folder / name).read_bytes() for name in ("zip", "old", "safe", "numpy.npz", "script")}
    cut = {
        f"{name} cut at {share}": whole[name][: int(len(whole[name]) * share)]
        for name in ("zip", "old", "safe")
        for share in (0.01, 0.5, 0.99)
    }
    return cut | {
        "numpy": whole["numpy.npz"],
        "script": whole["script"],
        "empty": b"",
        "no tensors": b"\x02\0\0\0\0\0\0\0{}",
        "metadata alone": b"\x1f\0\0\0\0\0\0\0" + b'{"__metadata__":{"format":"pt"}',
        "header cut": b"\xff\0\0\0\0\0\0\0" + b'{"__metadata__"',
        "header of all": b"\xff" * 8 + b"{}",
        "html": b"<!DOCTYPE html><html>404</html>",
        "json": b'{"message": "Not Found"}',
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(64),
        "gguf": b"GGUF\x03\0\0\0",
        "gzip": b"\x1f\x8b\x08\0" + bytes(20),
        "tensorflow": b"\0\0\0\0\x01model_checkpoint_path" + bytes(200),
        "onnx": b"\x08\x07\x12\x07pytorch\x1a\x05" + bytes(50),
        "zeros": bytes(4096),
    }  # fmt: skip


STRANGE = (
    *(f"{name} cut at {share}" for name in ("zip", "old", "safe") for share in (0.01, 0.5, 0.99)),
    "numpy", "script", "empty", "no tensors", "metadata alone", "header cut", "header of all", "html", "json", "lfs", "hdf5",
    "gguf", "gzip", "tensorflow", "onnx", "zeros",
)  # fmt: skip


@pytest.mark.parametrize("ending", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("kind", STRANGE)
def test_what_is_no_weights_is_refused_in_one_line(
    strange_files: dict[str, bytes], tmp_path: Path, kind: str, ending: str
) -> None:
    assert set(strange_files) == set(STRANGE)
    path = tmp_path / f"mine{ending}"
    path.write_bytes(strange_files[kind])
    with pytest.raises(WbltrError) as caught:
        state_of_file(path)
    assert caught.value.code == ("usage" if kind == "no tensors" else "integrity")
    clear(caught.value, path)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / "nothing"):
        with pytest.raises(WbltrError, match="no regular file") as caught:
            state_of_file(path)
        assert caught.value.code == "missing"
