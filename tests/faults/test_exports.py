"""Exports of strangers: a folder that lies, hangs, explodes or computes nonsense ends in one line and exit code 4."""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_images import encoded, picture

from faults.counted import Counted
from wbltr.errors import Code, WbltrError
from wbltr.serving import onnx_program
from wbltr.serving.about import read_about
from wbltr.serving.folder import opened
from wbltr.serving.formats import load
from wbltr.serving.model import cost

ROW = "exports of strangers"
FROZEN = Path(__file__).resolve().parent.parent / "cli" / "frozen-exports.zip"
CLASSES, SIDE = 5, 8
SPARSE = 1 << 40
MEMORY = 3 << 20  # KiB, of a command and of the process in which it runs a graph

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports as an earlier wbltr wrote them."""
    folder = tmp_path_factory.mktemp("frozen")
    with zipfile.ZipFile(FROZEN) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def stranger(frozen: Path, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A fresh copy of an export, to be altered."""

    def copy(kind: str) -> Path:
        shutil.rmtree(tmp_path / "stranger", ignore_errors=True)
        return Path(shutil.copytree(frozen / kind, tmp_path / "stranger"))

    yield copy
    shutil.rmtree(tmp_path / "stranger", ignore_errors=True)


def asked(folder: Path) -> torch.Tensor:
    """What a folder's model says of three images, read as `predict` reads it."""
    about = read_about(folder)
    own = about.input
    model = load(about, opened(folder, about, cost(about).most_bytes), str(folder / about.file), torch.device("cpu"))
    values = torch.arange(3 * own.channels * own.side**2) % 256
    return model(values.to(torch.uint8).view(3, own.channels, own.side, own.side))


def refused(folder: Path, code: Code = "integrity") -> None:
    with pytest.raises(WbltrError) as caught:
        asked(folder)
    assert caught.value.code == code, caught.value
    assert "\n" not in caught.value.message


def described(folder: Path, **fields: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | fields))


def filled(folder: Path, data: bytes, **fields: object) -> None:
    """Another model's file, which the description names by its digest."""
    about = json.loads((folder / "model.json").read_bytes())
    (folder / about["file"]).write_bytes(data)
    described(folder, sha256=hashlib.sha256(data).hexdigest(), **fields)


# Descriptions


def own(**fields: object) -> dict[str, object]:
    return {"input": {"channels": 1, "shorter_side": 8, "side": 8, "mean": [0.25], "std": [0.5]} | fields}


NO_NUMBER = (float("nan"), float("inf"), -float("inf"), "0.5", [0.5], True)
VERSIONS: tuple[object, ...] = (0, -1, "1", None, [], 1.5, True, False)
LISTS: tuple[object, ...] = ([], [0.5] * 3, [0.5] * 100_000, {}, "x")
FIELDS: tuple[tuple[Mapping[str, object], Code], ...] = (
    *(({"version": value}, "newer") for value in (2, 10**30)),
    *(({"version": value}, "integrity") for value in VERSIONS),
    *((own(side=side, shorter_side=side), "integrity") for side in (0, -8, 257, 1024, 4096, 2**31, 2**63)),
    *((own(side=side, shorter_side=side), "integrity") for side in (1e3, "8", None, True)),
    *((own(side=16, shorter_side=shorter), "integrity") for shorter in (8, 15, 17, 4096)),
    (own(side=1025, shorter_side=1171), "integrity"),
    *((own(channels=channels), "integrity") for channels in (0, 2, 3, 4, -1, 10**9, "1", None)),
    *((own(mean=[value]), "integrity") for value in (*NO_NUMBER, 1e300, -1e39)),
    *((own(std=[value]), "integrity") for value in (*NO_NUMBER, 0.0, -1.0, 1e-300, 1e300)),
    *((own(**{name: value}), "integrity") for name in ("mean", "std") for value in LISTS),
    *(({"temperature": value}, "integrity") for value in (*NO_NUMBER, 0.0, -1.0, 1e-300, 1e300)),
    *(({"class_names": value}, "integrity") for value in ([], ["ant"], "abcde", [1] * 5)),
    *(({"class_names": value}, "integrity") for value in (["x"] * 1_000_000, [None] * 2_000_000)),
    *(({"class_names": ["a", "b", "c", "d", value]}, "integrity") for value in ("\ud800", "\udcff", "e\udfff", 5, None)),
    *(({"prelogit": value}, "integrity") for value in (0, 2, 2**16, 10**12, "2")),
    *(({"network": value}, "integrity") for value in ("none", "resnet32", "../x", "", None, "\x1b[31m\nerror: forged")),
    *(({"head": value}, "integrity") for value in ("gated", "cosine", "x")),
    *(({"file": value}, "integrity") for value in ("../model.onnx", "/etc/passwd", "model.pt2", "")),
    *(({"format": value}, "integrity") for value in ("pickle", "torch-export", None)),
    *(({"sha256": value}, "integrity") for value in ("0" * 64, None, "x", 7)),
    *(({"\x1b[31m\nerror: forged" + "x" * 10_000: 1}, "integrity"),),
    ({str(number): number for number in range(200_000)}, "integrity"),
    ({"versions": {str(number): number for number in range(200_000)}}, "integrity"),
)  # fmt: skip


def test_a_description_that_is_none_is_refused_in_one_line(stranger: Callable[[str], Path], counted: Counted) -> None:
    plain = (stranger("safetensors") / "model.json").read_bytes()
    for fields, code in FIELDS:
        folder = stranger("safetensors")
        described(folder, **fields)
        refused(folder, code)
    folder = stranger("safetensors")
    texts = (
        b"", b"\xff\xfe", b"null", b"[]", b"7", b"[" * 200_000, b'{"a":' * 100_000, plain[:-3], plain * 2, b"\0" * 1000,
        b'{"version": ' + b"9" * 100_000 + b"}", plain.replace(b"0.25", b"NaN"), plain.replace(b"0.25", b"1e999"),
        plain + b" " * (1 << 25),
        *(plain.rstrip()[:-1] + b"," + json.dumps({name: value}).encode()[1:] for name, value in json.loads(plain).items()),
        plain.replace(b'"side"', b'"side": 8, "side"'),
    )  # fmt: skip
    for text in texts:
        (folder / "model.json").write_bytes(text)
        refused(folder)
    counted(ROW, len(FIELDS) + len(texts))


# Files


def fifo(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder_there(path: Path) -> None:
    path.mkdir()


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SPARSE)


def itself(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "model.onnx"])
def test_what_is_no_regular_file_of_a_sensible_size_is_not_waited_for(
    stranger: Callable[[str], Path], name: str, counted: Counted
) -> None:
    kind = "onnx" if name == "model.onnx" else "safetensors"
    for change in (fifo, zeros, folder_there, sparse):
        folder = stranger(kind)
        (folder / name).unlink()
        change(folder / name)
        refused(folder)
    for change in (lambda _: None, itself):
        folder = stranger(kind)
        (folder / name).unlink()
        change(folder / name)
        refused(folder, "missing")
    counted(ROW, 6)


# Safetensors

Tensors = dict[str, np.ndarray]
DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "float16": "F16", "bool": "BOOL"}


def by_hand(tensors: Tensors, **headers: object) -> bytes:
    """A safetensors file whose header says of some tensors something else."""
    header: dict[str, Any] = {}
    data = b""
    for name, array in tensors.items():
        raw = array.tobytes()
        of = {"dtype": DTYPES[str(array.dtype)], "shape": [*array.shape], "data_offsets": [len(data), len(data) + len(raw)]}
        header[name] = of
        data += raw
    for name, value in headers.items():
        header[name] = header[name] | value if isinstance(value, dict) and name in header else value
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def altered_tensors(plain: Tensors) -> Iterator[tuple[str, bytes]]:
    """Files that are no weights of this network, by what is wrong."""
    first, head = "network.backbone.layers.0.weight", "head.weight"
    for name in (head, "head.bias", first, "network.mean", "network.std", "network.backbone.layers.1.running_var"):
        for value in (math.nan, math.inf, -math.inf):
            changed = plain[name].copy()
            changed.flat[-1] = value
            yield f"{value} in {name}", by_hand(plain | {name: changed})
        yield f"no {name}", by_hand({other: array for other, array in plain.items() if other != name})
        yield f"{name} as integers", by_hand(plain | {name: plain[name].astype(np.int64)})
        yield f"{name} with one more", by_hand(plain | {name: np.concatenate([plain[name], plain[name]])})
        if plain[name].ndim > 1 and len(set(plain[name].shape)) > 1:
            yield f"{name} turned", by_hand(plain | {name: np.ascontiguousarray(plain[name].T)})
        for shape in ([2**62, 4], [2**63, 2], [2**64], [-1], [0], [1.5], ["8"], [2**32, 2**32], 8, None, [[8]]):
            yield f"{name} of shape {shape}", by_hand(plain, **{name: {"shape": shape}})
        for offsets in ([0, 2**62], [2**63, 2**63], [-4, 0], [4, 0], [0, 1], None, "x", [0]):
            yield f"{name} at {offsets}", by_hand(plain, **{name: {"data_offsets": offsets}})
    for dtype in ("F4", "F8_E4M3", "F6_E2M3", "C64", "U64", "x", 3, None):
        yield f"dtype {dtype}", by_hand(plain, **{head: {"dtype": dtype}})
    yield "a scale of cosines", by_hand(plain | {"head.scale": np.array(3, np.float32)})
    yield "a gate", by_hand(plain | {"head.gate.weight": np.zeros(64, np.float32)})
    yield "another layer", by_hand(plain | {"network.more": np.zeros(4, np.float32)})
    yield "a negative variance", by_hand(plain | {"network.backbone.layers.1.running_var": np.full(32, -1, np.float32)})
    yield "overflow", by_hand(plain | {head: np.full((CLASSES, 64), 3e38, np.float32)})
    whole = by_hand(plain)
    yield "nothing", b""
    yield "a page", b"<html>"
    yield "cut short", whole[:-4]
    yield "one byte more", whole + b"\0"
    for size in (0, 1, 2**20, 2**40, 2**63, 2**64 - 1):
        yield f"a header of {size} bytes", struct.pack("<Q", size) + whole[8:]
    for text in (b"[" * 100_000, b"{}", b"null", b'{"a":' * 50_000, b"\xff" * 100):
        yield f"header {text[:8]!r}", struct.pack("<Q", len(text)) + text


def test_weights_that_are_none_of_this_network_are_refused(stranger: Callable[[str], Path], counted: Counted) -> None:
    from safetensors.numpy import load as arrays

    folder = stranger("safetensors")
    plain = arrays((folder / "model.safetensors").read_bytes())
    filled(folder, by_hand(plain))
    assert asked(folder).shape == (3, CLASSES), "what is not altered is read"
    tried = 0
    for what, data in altered_tensors(plain):
        filled(folder, data)
        try:
            refused(folder)
        except BaseException as error:
            raise AssertionError(what) from error
        tried += 1
    counted(ROW, tried)


# Archives of torch.export, whose author is trusted to mean no harm


class Answering(torch.nn.Module):
    """Logits of five classes, and what is made of them."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.change = change
        self.layer = torch.nn.Linear(SIDE * SIDE, 6 if change == "six classes" else CLASSES)

    def forward(self, images: torch.Tensor) -> object:
        logits = self.layer(images.flatten(1) / 255)
        both = logits, logits.softmax(-1)
        match self.change:
            case "one":
                return logits
            case "three":
                return *both, logits
            case "names":
                return dict(zip(("logits", "probabilities"), both, strict=True))
            case "rows":
                return tuple(torch.cat((one, one)) for one in both)
            case "labels":
                return logits, logits.argmax(-1)
            case "whole numbers":
                return logits, both[1].long()
            case "nan":
                return logits, both[1] * math.nan
            case "other logits":
                return logits[:, :2], both[1]
        return both


def in_archive(change: str = "", rows: int | None = None) -> bytes:
    import io

    example = torch.zeros(rows or 2, 1, SIDE, SIDE, dtype=torch.uint8)
    sizes = None if rows else ({0: torch.export.Dim("batch", min=1)},)
    out = io.BytesIO()
    torch.export.save(torch.export.export(Answering(change).eval(), (example,), dynamic_shapes=sizes), out)
    return out.getvalue()


ANSWERS = ("one", "three", "names", "rows", "labels", "whole numbers", "nan", "other logits", "six classes")


def test_an_archive_that_is_none_of_ours_is_refused_without_another_word(
    stranger: Callable[[str], Path], counted: Counted, capfd: pytest.CaptureFixture[str]
) -> None:
    import io

    folder = stranger("safetensors")
    archived = {"format": "torch-export", "file": "model.pt2"}
    described(folder, **archived)
    whole = in_archive()
    filled(folder, whole)
    assert asked(folder).shape == (3, CLASSES), "what is not altered is read"
    small, sheet = io.BytesIO(), io.BytesIO()
    torch.save({"a": 1}, small)
    with zipfile.ZipFile(sheet, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 1_000_000)
    files = (b"", b"<html>", whole[:-100], whole[:1000], small.getvalue(), sheet.getvalue(), whole.replace(b"{", b"["))
    archives = [*map(in_archive, ANSWERS), in_archive(rows=7), *files]
    capfd.readouterr()
    for data in archives:
        filled(folder, data)
        refused(folder)
    assert capfd.readouterr() == ("", ""), "what torch logs and warns of reaches nobody"
    counted(ROW, len(archives))


# ONNX graphs


def in_onnx(change: str = "") -> bytes:
    """A small graph that takes and gives what wbltr exports; `change` names what is wrong with it."""
    from onnx import TensorProto, checker, helper, numpy_helper

    def tensor(name: str, value: Any, dtype: Any = np.float32) -> Any:
        return numpy_helper.from_array(np.array(value, dtype), name)

    def node(op: str, takes: list[str], gives: list[str], **more: Any) -> Any:
        return helper.make_node(op, takes, gives, **more)

    weights = tensor("weights", np.linspace(-1, 1, CLASSES)[None])
    axes, zero = tensor("axes", [1, 2, 3], np.int64), tensor("zero", 0.0)
    nodes = [
        node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        node("Unsqueeze", ["means", "one"], ["column"]),
        node("MatMul", ["column", "weights"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"]),
    ]
    more = [weights, axes, zero, tensor("one", [1], np.int64)]
    takes: list[tuple[str, int, list[str | int | None]]] = [("images", TensorProto.UINT8, ["batch", 1, SIDE, SIDE])]
    gives: list[tuple[str, int, list[str | int | None]]] = [
        (name, TensorProto.FLOAT, ["batch", CLASSES]) for name in ("logits", "probabilities")
    ]
    domains = [("", 18)]

    def through(*inserted: Any) -> None:
        """Nodes after the logits; the last one gives `late`, which joins the logits before the softmax."""
        nodes[-1:] = [*inserted, node("Add", ["logits", "late"], ["sum"]), node("Softmax", ["sum"], ["probabilities"])]

    def loop(limit: int, scan: bool) -> Any:
        body = helper.make_graph(
            [node("Identity", ["go"], ["on"]), node("Identity", ["value"], ["next"])]
            + ([node("Identity", ["big"], ["rows"])] if scan else []),
            "body",
            [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("go", 9), ("value", 1))],
            [helper.make_tensor_value_info(name, kind, []) for name, kind in (("on", 9), ("next", 1))]
            + ([helper.make_tensor_value_info("rows", 1, [1000])] if scan else []),
        )
        more.extend([tensor("limit", limit, np.int64), tensor("go0", True, np.bool_), tensor("big", [0.0] * 1000)])
        return node("Loop", ["limit", "go0", "zero"], ["late", *(["all"] if scan else [])], body=body)

    def huge(size: int) -> list[Any]:
        more.append(tensor("size", [size], np.int64))
        return [
            node("ConstantOfShape", ["size"], ["ones"]),
            node("ReduceSum", ["ones"], ["late"], keepdims=0),
        ]

    def external(name: str) -> Any:
        value = tensor("weights", np.zeros((1, CLASSES)))
        value.ClearField("raw_data")
        value.data_location = TensorProto.EXTERNAL
        for key, text in (("location", name), ("offset", "0"), ("length", str(4 * CLASSES))):
            value.external_data.add(key=key, value=text)
        return value

    match change.split(" ", 1):
        case ["takes", "float"]:
            takes[0] = ("images", TensorProto.FLOAT, takes[0][2])
        case ["takes", "other"]:
            takes[0] = ("x", *takes[0][1:])
            nodes[0].input[0] = "x"
        case ["takes", "two"]:
            takes.append(("second", TensorProto.FLOAT, [1]))
        case ["takes", "rank"]:
            takes[0] = ("images", TensorProto.UINT8, ["batch", 1, SIDE])
        case ["takes", "side"]:
            takes[0] = ("images", TensorProto.UINT8, ["batch", 1, SIDE, SIDE + 1])
        case ["takes", "channels"]:
            takes[0] = ("images", TensorProto.UINT8, ["batch", 3, SIDE, SIDE])
        case ["takes", "rows"]:
            takes[0] = ("images", TensorProto.UINT8, [2, 1, SIDE, SIDE])
        case ["takes", "free"]:
            takes[0] = ("images", TensorProto.UINT8, ["batch", 1, "height", "width"])
        case ["gives", "double"]:
            nodes.append(node("Cast", ["probabilities"], ["wide"], to=TensorProto.DOUBLE))
            gives[1] = ("wide", TensorProto.DOUBLE, gives[1][2])
        case ["gives", "half"]:
            nodes[-1:] = [
                node("Softmax", ["logits"], ["full"]),
                node("Cast", ["full"], ["probabilities"], to=TensorProto.FLOAT16),
            ]
            gives[1] = ("probabilities", TensorProto.FLOAT16, gives[1][2])
        case ["gives", "labels"]:
            nodes[-1:] = [node("ArgMax", ["logits"], ["probabilities"], axis=1)]
            gives[1] = ("probabilities", TensorProto.INT64, ["batch", 1])
        case ["gives", "one"]:
            del gives[0]
        case ["gives", "turned"]:
            gives.reverse()
        case ["gives", "three"]:
            gives.append(("column", TensorProto.FLOAT, ["batch", 1]))
        case ["gives", "more"]:
            more[0] = tensor("weights", np.zeros((1, CLASSES + 1)))
            gives = [(name, kind, ["batch", CLASSES + 1]) for name, kind, _ in gives]
        case ["gives", "fewer"]:
            more[0] = tensor("weights", np.zeros((1, CLASSES - 1)))
            gives = [(name, kind, ["batch", CLASSES - 1]) for name, kind, _ in gives]
        case ["gives", "first"]:
            more.append(tensor("nought", [0], np.int64))
            nodes[-1:] = [
                node("Slice", ["logits", "nought", "one", "nought"], ["some"]),
                node("Softmax", ["some"], ["probabilities"]),
            ]
            gives[1] = ("probabilities", TensorProto.FLOAT, ["some", CLASSES])
        case ["gives", "twice"]:
            nodes[-1:] = [
                node("Concat", ["logits", "logits"], ["both"], axis=0),
                node("Softmax", ["both"], ["probabilities"]),
            ]
            gives[1] = ("probabilities", TensorProto.FLOAT, ["both", CLASSES])
        case ["gives", "logits"]:
            nodes[-1] = node("Identity", ["logits"], ["probabilities"])
        case ["gives", "nan"]:
            through(node("Sqrt", ["minus"], ["late"]))
            more.append(tensor("minus", -1.0))
        case ["gives", "sums"]:
            nodes[-1:] = [node("Softmax", ["logits"], ["once"]), node("Add", ["once", "once"], ["probabilities"])]
        case ["holds", value]:
            more[0] = tensor("weights", [[float(value)] + [0.0] * (CLASSES - 1)])
        case ["constant", value]:
            through(node("Constant", [], ["nans"], value=tensor("nans", float(value))), node("Relu", ["nans"], ["late"]))
        case ["external", name]:
            more[0] = external(name)
        case ["constant-external", name]:
            through(node("Constant", [], ["all"], value=external(name)), node("ReduceSum", ["all"], ["late"], keepdims=0))
        case ["huge", size]:
            through(*huge(int(size)))
        case ["endless", _]:
            through(loop(2**62, scan=False))
        case ["growing", _]:
            through(loop(2**62, scan=True))
        case ["custom", name]:
            domains.append((name, 1))
            through(node("Evil", ["zero"], ["late"], domain=name))
        case ["operator", name]:
            through(node(name, ["zero"], ["late"]))
        case ["opset", number]:
            domains[0] = ("", int(number))
        case ["cycle", _]:
            through(node("Add", ["late", "zero"], ["round"]), node("Identity", ["round"], ["late"]))
        case ["deep", depth]:
            inner = helper.make_graph([], "deep", [], [])
            for _ in range(int(depth)):
                inner = helper.make_graph([node("Loop", ["", "", "zero"], ["late"], body=inner)], "deep", [], [])
            through(node("Loop", ["", "", "zero"], ["late"], body=inner))
        case ["dangling", _]:
            nodes[0].input[0] = "nothing"
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in takes],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in gives],
        more,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*one) for one in domains], ir_version=8)
    if not change:
        checker.check_model(model)
    return bytes(model.SerializeToString())


def nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph …, which protobuf's own writers refuse to write."""
    inner = b""
    for _ in range(depth):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # graph of an attribute, attribute of a node, node of a graph
            size = len(inner)
            length = b""
            while size > 127:
                length, size = length + bytes([size & 127 | 128]), size >> 7
            inner = tag + length + bytes([size]) + inner
    return b"\x3a" + inner[1:]


ESCAPES = "\x1b]0;title\x07\x1b[31m\x9b2J\nerror: forged"
GRAPHS = (
    *(f"takes {what}" for what in ("float", "other", "two", "rank", "side", "channels", "rows", "free")),
    *(f"gives {what}" for what in ("double", "half", "labels", "one", "turned", "three", "more", "fewer", "first", "twice")),
    *(f"gives {what}" for what in ("logits", "nan", "sums")),
    *(f"{where} {value}" for where in ("holds", "constant") for value in ("nan", "inf", "-inf")),
    *(f"{where} {name}" for where in ("external", "constant-external") for name in ("weights.bin", "/etc/passwd", "../w", "")),
    *(f"huge {size}" for size in (2**33, 2**40, 2**62, -1)),
    "growing rows", "custom evil", f"custom {ESCAPES}", f"operator {ESCAPES}", "operator Nothing", "opset 9999", "opset 0",
    "cycle of nodes", "deep 20", "dangling input",
)  # fmt: skip


def test_a_graph_that_is_none_of_ours_is_refused(
    stranger: Callable[[str], Path], counted: Counted, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    folder = stranger("onnx")
    monkeypatch.chdir(folder)
    (folder / "weights.bin").write_bytes(np.arange(CLASSES, dtype=np.float32).tobytes())
    filled(folder, in_onnx())
    assert asked(folder).shape == (3, CLASSES), "what is not altered is read"
    whole = (folder / "model.onnx").read_bytes()
    damaged: tuple[bytes, ...] = (
        b"",
        b"<html>",
        whole[:-1],
        whole[:100],
        whole + b"\x3a\xff\xff\xff\xff\x7f",
        b"\x08" * 1000,
        b"\xff" * 1000,
    )
    damaged += tuple(map(nested, (30, 200, 5_000)))
    for what, data in (*((name, in_onnx(name)) for name in GRAPHS), *((str(part[:9]), part) for part in damaged)):
        filled(folder, data)
        try:
            refused(folder)
        except BaseException as error:
            raise AssertionError(what) from error
    said = capfd.readouterr()
    assert said.out + said.err == "", "onnxruntime's own words go nowhere"
    counted(ROW, len(GRAPHS) + len(damaged))


def test_a_graph_that_never_ends_is_ended(
    stranger: Callable[[str], Path], counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setattr(onnx_program, "ASKING", 1.0)
    folder = stranger("onnx")
    filled(folder, in_onnx("endless loop"))
    refused(folder)
    counted(ROW, 1)


# Through the command


def command(folder: Path, image: Path, here: Path) -> tuple[int, str, str, int]:
    """Exit code, both streams and the most memory in KiB of `predict`, and of what it starts; 0 for less than is held here.

    The system counts what a child's parent held as the child's own.
    """
    here_held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (here / "out").open("wb") as out, (here / "err").open("wb") as err:
        arguments = [sys.executable, "-m", "wbltr.cli.app", "predict", str(image), "--from", str(folder), "--format", "csv"]
        child = subprocess.Popen([*arguments, "--threads", "1"], cwd=here, stdout=out, stderr=err)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    return (
        child.returncode,
        (here / "out").read_text(),
        (here / "err").read_text(),
        most if (most := usage.ru_maxrss) > here_held else 0,
    )


def test_a_dozen_through_the_command_end_in_one_line_and_bounded_memory(
    stranger: Callable[[str], Path], tmp_path: Path, counted: Counted
) -> None:
    pytest.importorskip("onnx")
    image = tmp_path / "image.png"
    image.write_bytes(encoded(picture(0, 0, SIDE), "PNG"))

    def replaced(name: str, change: Change) -> Change:
        def work(folder: Path) -> None:
            (folder / name).unlink()
            change(folder / name)

        return work

    def graph(change: str) -> Change:
        return lambda folder: filled(folder, in_onnx(change))

    changes: list[tuple[str, Change]] = [
        ("safetensors", lambda folder: described(folder, **own(side=4096, shorter_side=4096))),
        ("safetensors", lambda folder: described(folder, class_names=["x"] * 1_000_000)),
        ("safetensors", lambda folder: described(folder, prelogit=2**16)),
        ("safetensors", replaced("model.json", fifo)),
        ("safetensors", replaced("model.json", zeros)),
        ("safetensors", replaced("model.json", folder_there)),
        ("safetensors", replaced("model.safetensors", fifo)),
        ("safetensors", replaced("model.safetensors", sparse)),
        ("onnx", graph(f"huge {2**40}")),
        ("onnx", graph("gives nan")),
        ("onnx", graph("external weights.bin")),
        ("onnx", graph(f"operator {ESCAPES}")),
        ("onnx", graph("gives more")),
    ]
    for number, (kind, change) in enumerate(changes):
        folder = stranger(kind)
        change(folder)
        code, out, err, most = command(folder, image, tmp_path)
        assert code == 4, (number, code, err)
        assert "nan" not in out, out
        assert [line[:2] for line in err.splitlines()] == ["er", "  "], (number, err)  # one line, and what to do
        assert not set(err) & {"\x1b", "\x9b", "\x07"}, err
        assert len(err) < 4_000, err
        assert most < MEMORY, (number, most)
    counted(ROW, len(changes))
