"""`wbltr export`: a folder that answers as the store does, whole or not there."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from conftest import Wbltr
from safetensors.torch import load_file, save_file

from wbltr.cli.exporting import export
from wbltr.cli.request import Request
from wbltr.data.sources import load_digits
from wbltr.models import new_head, new_network
from wbltr.serving.about import About, Input, read_about
from wbltr.serving.folder import opened
from wbltr.serving.formats import CLOSE, compared, load, save
from wbltr.serving.images import samples
from wbltr.serving.model import Served, cost, guarded, predictor
from wbltr.store import Store

FORMATS = ("safetensors", "onnx", "torch-export")
FILES = {"safetensors": "model.safetensors", "onnx": "model.onnx", "torch-export": "model.pt2"}
TRUST = {"safetensors": (), "onnx": (), "torch-export": ("--trust",)}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 test images of the digits."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(load_digits().test_images[:500]):
        Image.fromarray(image[0]).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture(scope="session")
def exports(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The head of the finished chain in each format, and nothing else; tests copy a folder to change it."""
    here = tmp_path_factory.mktemp("exports")
    shutil.copytree(finished / ".wbltr", here / ".wbltr")
    with contextlib.chdir(here):
        for kind in FORMATS:
            export(Request(start="latest/features", quiet=True, threads=1), Path(kind), kind)
    return here


def rows(text: str) -> tuple[list[str], np.ndarray]:
    """Paths with the classes in order, and the probabilities."""
    cells = [*csv.DictReader(io.StringIO(text))]
    return [f"{cell['path']} {cell['class']}" for cell in cells], np.array([float(cell["probability"]) for cell in cells])


@pytest.mark.parametrize("kind", FORMATS)
def test_500_images_are_told_alike_from_the_store_and_from_the_folder_alone(
    copied: Wbltr, exports: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from_store = copied("predict", pictures, "--from", "latest/features", "--format", "csv")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    alone = copied("predict", pictures, "--from", exports / kind, "--format", "csv", *TRUST[kind])
    assert alone.code == from_store.code == 0, alone.err
    (classes, values), (others, other_values) = rows(from_store.out), rows(alone.out)
    assert len(classes) == 500
    assert others == classes
    assert abs(values - other_values).max() <= CLOSE
    assert not (tmp_path / "elsewhere" / ".wbltr").exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_folder_says_what_its_model_is(exports: Path, kind: str) -> None:
    about = json.loads((exports / kind / "model.json").read_text())
    assert sorted(path.name for path in (exports / kind).iterdir()) == sorted(["README.md", "model.json", FILES[kind]])
    assert about["class_names"] == [str(digit) for digit in range(10)]
    assert about["input"] == {"channels": 1, "shorter_side": 8, "side": 8, "mean": [0.306], "std": [0.377]}
    assert about["calibrated"] is True
    assert about["temperature"] > 0
    assert about["checked"]["images"] == 64
    assert about["checked"]["largest_difference"] <= CLOSE
    assert about["artifacts"]["head"] == about["artifacts"]["features"]
    assert (exports / kind / FILES[kind]).stat().st_mode & 0o044, "whoever may read the folder may read the model"


def test_normalisation_and_temperature_are_in_the_onnx_graph_and_the_batch_is_free(exports: Path) -> None:
    import onnxruntime

    images = load_digits().test_images[:7]
    session = onnxruntime.InferenceSession(exports / "onnx" / "model.onnx")
    logits, probabilities = session.run(None, {"images": images})
    store = Store.open(exports / ".wbltr", create=False)
    about = json.loads((exports / "onnx" / "model.json").read_text())
    head = store.load(about["artifacts"]["features"], ("head.",))
    (only,) = session.run(["logits"], {"images": images[:1]})
    assert logits.shape == (7, 10)
    np.testing.assert_allclose(logits[:1], only, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(torch.from_numpy(logits).softmax(1).numpy(), probabilities, atol=1e-6)
    weights = load_file(exports / "safetensors" / "model.safetensors")
    np.testing.assert_allclose(weights["head.weight"].numpy() * about["temperature"], head["head.weight"], rtol=1e-5)


def test_the_card_tells_data_measurements_limits_and_how_to_load_it(exports: Path) -> None:
    card = (exports / "onnx" / "README.md").read_text()
    for words in (
        "305 training images of 10 classes, 110 of the largest and 2 of the smallest",
        "| test ¹ | 600 | ",
        "measured before the temperature was fitted",
        "learned from 2 images",
        'onnxruntime.InferenceSession("model.onnx")',
        "weight_decay: 0.005",
        "| 0 | 110 |",
    ):
        assert words in card
    assert "wbltr eval" not in card
    assert str(Path.home()) not in card


def test_the_code_in_the_card_of_an_archive_runs(exports: Path) -> None:
    card = (exports / "torch-export" / "README.md").read_text()
    code = (
        card.partition("```python\n")[2].partition("```")[0].replace("model.pt2", str(exports / "torch-export" / "model.pt2"))
    )
    names: dict[str, torch.Tensor] = {}
    exec(code, names)
    assert names["probabilities"].shape == (1, 10)
    assert "Load it only if you trust whoever wrote it" in card


def test_the_same_export_again_changes_nothing_and_another_is_refused(copied: Wbltr, exports: Path) -> None:
    shutil.copytree(exports / "safetensors", "mine")
    before = {path: path.stat().st_mtime_ns for path in Path("mine").iterdir()}
    again = copied("export", "mine", "--from", "latest/features", "--json")
    assert again.document["cached"] is True
    assert {path: path.stat().st_mtime_ns for path in Path("mine").iterdir()} == before
    other = copied("export", "mine")
    assert other.code == 2
    assert "is not empty, and is not this export" in " ".join(other.err.split())
    assert {path: path.stat().st_mtime_ns for path in Path("mine").iterdir()} == before


def test_an_empty_folder_is_filled(copied: Wbltr) -> None:
    Path("empty").mkdir()
    assert copied("export", "empty", "-q").out == "empty\n"
    assert (Path("empty") / "model.safetensors").exists()
    assert not list(Path().glob(".empty*"))


def test_several_exports_into_one_folder_at_once_leave_one_whole(copied: Wbltr, pictures: Path) -> None:
    command = [sys.executable, "-m", "wbltr.cli.app", "export", "mine", "-q"]
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [(child.communicate(), child.returncode) for child in several]
    assert said == [(("mine\n", ""), 0)] * 4
    assert not list(Path().glob(".mine*"))
    assert copied("predict", pictures / "000.png", "--from", "mine").code == 0


@pytest.mark.parametrize("name", ["my model", "it's", "$HOME", "a;b", "*"])
def test_the_command_that_comes_next_can_be_typed_as_it_is(copied: Wbltr, pictures: Path, name: str) -> None:
    told = copied("export", name).err.splitlines()[-1].removeprefix("next: wbltr ")
    words = shlex.split(told.replace("PATH…", str(pictures / "000.png")))
    assert words[-1] == name
    assert copied(*words).code == 0


COMMANDS = {
    "mine": ("export", "mine", "--format", "onnx", "-q"),
    "rows.csv": ("predict", "-", "--out", "rows.csv", "-q"),
}


@pytest.mark.parametrize("place", list(COMMANDS))
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_command_leaves_nothing_and_the_next_removes_what_a_killed_one_left(
    copied: Wbltr, pictures: Path, monkeypatch: pytest.MonkeyPatch, place: str, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "wbltr.cli.app", *COMMANDS[place]]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(Path().glob(f".{place}.*")):
        assert child.poll() is None
        time.sleep(0.01)
    child.send_signal(number)
    child.communicate()
    assert child.returncode == (143 if number == signal.SIGTERM else -number)
    assert len(list(Path().glob(f".{place}.*"))) == (number == signal.SIGKILL)
    assert not Path(place).exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO(str(pictures / "000.png")))
    assert copied(*COMMANDS[place]).code == 0
    assert Path(place).exists()
    assert not list(Path().glob(f".{place}.*"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("mine", "--format", "onx"), 2, "Did you mean 'onnx'?"),
        (("here/or/there",), 6, "is no folder that you can write to"),
        (("file",), 2, "is a file"),
        ((".",), 2, "is the working directory"),
        (("mine", "--from", "latest/dataset"), 2, "export starts from"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    copied: Wbltr, arguments: tuple[str, ...], code: int, words: str
) -> None:
    Path("file").touch()
    before = set(Path().iterdir())
    said = copied("export", *arguments)
    assert said.code == code, said.err
    assert words in " ".join(said.err.split())
    assert set(Path().iterdir()) == before


def test_a_file_that_answers_otherwise_than_torch_is_refused() -> None:
    images = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    rows = torch.tensor([[0.6, 0.4]]).repeat(3, 1)
    assert compared(lambda _: rows[: len(_)], lambda _: rows[: len(_)] + 5e-5, images, "x").largest_difference <= CLOSE
    for wrong in (rows + 2e-4, rows.flip(1), rows * float("nan")):
        with pytest.raises(Exception, match="not what torch says"):
            compared(lambda _: rows[: len(_)], lambda _, wrong=wrong: wrong[: len(_)], images, "x")  # type: ignore[misc]


FROZEN = Path(__file__).parent / "frozen-exports.zip"
EARLIER = ("safetensors", "onnx", "gated", "cosine")


@pytest.mark.parametrize("name", EARLIER)
def test_what_an_earlier_wbltr_exported_answers_as_it_did(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(FROZEN) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / name
    about = read_about(folder)
    model = load(about, opened(folder, about, cost(about).most_bytes), name, torch.device("cpu"))
    expected = json.loads((folder / "expected.json").read_text())
    found = model(torch.tensor(expected["images"], dtype=torch.uint8))
    np.testing.assert_allclose(found.numpy(), expected["probabilities"], atol=CLOSE)


@pytest.mark.parametrize("network", ["resnet20", "resnext50"])
@pytest.mark.parametrize(("head", "prelogit", "stem"), [("cosine", None, "imagenet"), ("gated", 3, "cifar")])
def test_every_kind_of_network_and_head_answers_as_a_graph(
    tmp_path: Path, network: str, head: str, prelogit: int | None, stem: Literal["cifar", "imagenet"]
) -> None:
    with zipfile.ZipFile(FROZEN) as archive:
        archive.extractall(tmp_path)
    mean = (0.5,) * 3
    net = new_network(network, mean, mean, 0, stem, prelogit)
    weight, bias = new_head(5, net.embedding_size, 0)
    tensors = {"head.weight": weight, "head.bias": bias}
    if head == "cosine":
        tensors["head.scale"] = torch.tensor(3.0)
    else:
        tensors |= {"head.gate.weight": weight[0], "head.gate.bias": bias[0]}
        tensors |= {"head.gate.scale": bias + 2, "head.gate.shift": bias}
    other = {"network": network, "head": head, "prelogit": prelogit, "stem": stem}
    about = read_about(tmp_path / "onnx").model_copy(
        update=other | {"input": Input(channels=3, shorter_side=16, side=16, mean=mean, std=mean)}
    )
    model = Served(net, tensors)
    save(model, about, tmp_path / "model.onnx")
    data = (tmp_path / "model.onnx").read_bytes()
    assert len(data) <= cost(about).most_bytes
    images = torch.arange(70 * 3 * 256).remainder(251).to(torch.uint8).view(70, 3, 16, 16)
    compared(predictor(model, torch.device("cpu")), load(about, data, "x", torch.device("cpu")), images, "x")


def test_large_images_go_through_a_few_at_a_time() -> None:
    asked: list[int] = []
    about = About.model_validate(ABOUT)

    def model(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return torch.full((len(images), 2), 0.5)

    assert guarded(model, about, "x")(torch.zeros(10, 3, 1024, 1024, dtype=torch.uint8)).shape == (10, 2)
    assert max(asked) * cost(about).widest <= 1 << 29
    assert sum(asked) == 10


ABOUT = {
    "recipe": "x", "artifacts": {}, "network": "resnet18", "stem": "imagenet", "prelogit": None, "preprocessing": "",
    "input": {"channels": 3, "shorter_side": 1170, "side": 1024, "mean": [0.5] * 3, "std": [0.5] * 3}, "head": "linear",
    "head_words": "", "class_names": ["a", "b"], "calibrated": False, "calibration": "", "outputs": {}, "versions": {},
}  # fmt: skip


# Folders of strangers


@pytest.fixture
def stranger(exports: Path, tmp_path: Path) -> Path:
    shutil.copytree(exports / "safetensors", tmp_path / "stranger")
    return tmp_path / "stranger"


def test_an_archive_of_torch_export_is_not_opened_unless_it_is_trusted(
    wbltr: Wbltr, exports: Path, pictures: Path, tmp_path: Path
) -> None:
    import hashlib
    import pickle

    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    folder = tmp_path / "hostile"
    shutil.copytree(exports / "torch-export", folder)
    with zipfile.ZipFile(exports / "torch-export" / "model.pt2") as source, zipfile.ZipFile(folder / "model.pt2", "w") as out:
        for name in source.namelist():
            sample = name.endswith("sample_inputs/model.pt")
            out.writestr(name, pickle.dumps(Hostile()) if sample else source.read(name))
    about = json.loads((folder / "model.json").read_text())
    about["sha256"] = hashlib.sha256((folder / "model.pt2").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(about))
    said = wbltr("predict", pictures / "000.png", "--from", folder)
    assert said.code == 2
    assert "is a program: reading it runs what it holds" in " ".join(said.err.split())
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("version", 2, "this wbltr reads 1"),
        ("class_names", ["only"], "its tensors are not those of small with 1 classes"),
        ("network", "resnet32", "its tensors are not those of resnet32"),
        ("network", "../evil", "no network '../evil' here"),
        ("file", "../../etc/passwd", "do not fit"),
        ("sha256", "0" * 64, "its bytes are not those"),
        ("input", {"channels": 3, "shorter_side": 8, "side": 8, "mean": [0.3], "std": [0.3]}, "do not fit"),
        ("input", {"channels": 1, "shorter_side": 8, "side": 10**9, "mean": [0.3], "std": [0.3]}, "input.side"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line(
    wbltr: Wbltr, stranger: Path, pictures: Path, field: str, value: object, words: str
) -> None:
    about = json.loads((stranger / "model.json").read_text())
    (stranger / "model.json").write_text(json.dumps(about | {field: value}))
    said = wbltr("predict", pictures / "000.png", "--from", stranger)
    assert said.code in (4, 5), said.err
    assert words in " ".join(said.err.split())
    assert "Traceback" not in said.err


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_model_file_is_refused(wbltr: Wbltr, exports: Path, pictures: Path, tmp_path: Path, kind: str) -> None:
    import hashlib

    folder = tmp_path / "damaged"
    shutil.copytree(exports / kind, folder)
    file = folder / FILES[kind]
    for data in (b"", b"<html>", file.read_bytes()[:-100]):
        file.write_bytes(data)
        about = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(about | {"sha256": hashlib.sha256(data).hexdigest()}))
        said = wbltr("predict", pictures / "000.png", "--from", folder, *TRUST[kind])
        assert said.code == 4, said.err
        assert "not a model that wbltr exported" in " ".join(said.err.split())


def test_a_head_of_other_classes_is_refused(wbltr: Wbltr, stranger: Path, pictures: Path) -> None:
    import hashlib

    file = stranger / "model.safetensors"
    tensors = load_file(file) | {"head.bias": torch.zeros(11)}
    save_file(tensors, file)
    about = json.loads((stranger / "model.json").read_text())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (stranger / "model.json").write_text(json.dumps(about | {"sha256": digest}))
    said = wbltr("predict", pictures / "000.png", "--from", stranger)
    assert said.code == 4
    assert "its tensors are not those of small with 10 classes" in " ".join(said.err.split())


def test_samples_are_spread_over_the_training_part() -> None:
    pixels = np.arange(100, dtype=np.uint8).reshape(-1, 1, 1, 1)
    wanted = Input(channels=1, shorter_side=1, side=1, mean=(0.3,), std=(0.3,))
    dataset = {"train.labels": np.zeros(100, np.int64), "train.images": pixels}
    assert samples(dataset, [], wanted, 4).flatten().tolist() == [0, 25, 50, 75]
    assert len(samples(dataset, [], wanted, 1000)) == 100


def test_missing_packages_are_named_before_any_work(copied: Wbltr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    said = copied("export", "mine", "--format", "onnx")
    assert said.code == 3
    assert "--format onnx needs onnxscript" in said.err
    assert 'pip install "wbltr[onnx]"' in said.err
    assert not Path("mine").exists()
