"""`wbltr predict`: what it says of image files, and what it does about those that are none."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Wbltr
from own_pictures import class_folders
from PIL import Image

from wbltr.data.decode import BadImage
from wbltr.data.index import Index
from wbltr.data.sources import load_digits
from wbltr.serving.about import Input
from wbltr.serving.images import BATCH, batches, below, prepared
from wbltr.store import Store


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every tenth test image of the digits, as a grey PNG named by its number."""
    folder = tmp_path_factory.mktemp("digits")
    for number, image in enumerate(load_digits().test_images[::10]):
        Image.fromarray(image[0]).save(folder / f"{10 * number:03d}.png")
    return folder


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("start", ["latest/features", "latest/head"])
def test_files_are_told_as_eval_told_the_images_of_the_dataset(copied: Wbltr, digits: Path, start: str) -> None:
    evaluated = copied("eval", "--from", start, "--json").document["artifact"]
    predictions = Store.open(create=False).load(evaluated, ("predictions",))["predictions"]
    said = copied("predict", digits, "--from", start, "--json")
    assert said.code == 0, said.err
    told = lines(said.out)
    assert [line["path"] for line in told] == sorted(map(str, digits.iterdir()))
    assert [int(str(line["class"])) for line in told] == predictions[::10].tolist()
    assert all(line["calibrated"] for line in told)
    assert "probabilities are calibrated: one temperature" in said.err


def test_a_head_of_every_kind_is_told_as_eval_tells_it(copied: Wbltr, digits: Path) -> None:
    for form in ("cosine", "gated"):
        short = ("--set", "classifier.epochs=1", "--set", "embeddings.views=2", "--set", "classifier.max_norm=null")
        made = copied("train-classifier", "--set", f"classifier.head={form}", *short, "-q")
        assert made.code == 0, made.err
        evaluated = copied("eval", "--json").document["artifact"]
        predictions = Store.open(create=False).load(evaluated, ("predictions",))["predictions"]
        told = lines(copied("predict", digits, "--json").out)
        assert [int(str(line["class"])) for line in told] == predictions[::10].tolist()


def test_probabilities_are_those_of_the_fitted_temperature(copied: Wbltr, digits: Path) -> None:
    by_itself = copied("predict", digits, "--from", "latest/features", "--format", "csv", "--top", "10").out
    copied("posthoc", "temperature", "--from", "latest/features", "-q")
    adjusted = copied("predict", digits, "--format", "csv", "--top", "10")
    assert adjusted.out == by_itself
    assert "temperature" in adjusted.err


def test_predict_moves_no_name(copied: Wbltr, digits: Path) -> None:
    before = Store.open(create=False).refs()
    assert copied("predict", digits, "-q").code == 0
    assert Store.open(create=False).refs() == before


def test_a_head_whose_prior_was_moved_is_not_fitted_again(copied: Wbltr, digits: Path) -> None:
    copied("posthoc", "prior", "-q")
    said = copied("predict", digits, "--json")
    assert "not calibrated: no validation images come as often" in said.err
    assert not any(line["calibrated"] for line in lines(said.out))


def test_top_k_are_the_likeliest_in_order_and_all_of_few_classes(copied: Wbltr, digits: Path) -> None:
    image = digits / "000.png"
    (line,) = lines(copied("predict", image, "--top", "99", "--json").out)
    top = line["top"]
    assert isinstance(top, list)
    values = [one["probability"] for one in top]
    assert len(top) == 10
    assert values == sorted(values, reverse=True)
    assert sum(values) == pytest.approx(1, abs=1e-5)
    table = copied("predict", image, "--top", "2")
    assert table.out.count("%") == 1
    assert table.out.count(str(image)) == 1


def test_unreadable_files_are_named_and_the_others_answered(copied: Wbltr, digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    good = Image.open(digits / "000.png")
    good.save(folder / "a.png")
    (folder / "b.png").write_bytes(b"<html>")
    (folder / "c.png").write_bytes((digits / "000.png").read_bytes()[:60])
    good.convert("RGBA").resize((50, 31)).save(folder / "e.png")
    os.mkfifo(folder / "f.png")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no picture")
    said = copied("predict", folder, folder / "none.png", "--format", "csv", "-q")
    assert said.code == 4
    rows = [*csv.DictReader(io.StringIO(said.out))]
    assert {Path(row["path"]).name for row in rows if row["class"]} == {"a.png", "e.png"}
    bad = {Path(row["path"]).name: row for row in rows if row["error"]}
    assert set(bad) == {"b.png", "c.png", "f.png", "none.png"}
    assert {row[name] for row in bad.values() for name in ("rank", "class", "probability")} == {""}
    for name, why in (
        ("b.png", "no image of a known format"),
        ("c.png", "truncated"),
        ("f.png", "no regular file"),
        ("none.png", "No such file"),
    ):
        (told,) = [line for line in said.err.splitlines() if name in line]
        assert why in told
        assert why in bad[name]["error"]
    assert "4 of 6 images could not be read; the others are answered" in said.err
    assert "hidden" not in said.err
    assert "passed over what is no image: " in copied("predict", folder).err


def test_the_first_bytes_tell_images_in_a_folder_from_other_files(copied: Wbltr, digits: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    (folder / "@eaDir").mkdir(parents=True)
    good = Image.open(digits / "000.png")
    for name, kind in (
        ("photo", "PNG"),
        ("scan.jfif", "JPEG"),
        ("x.dat", "BMP"),
        ("x.tif", "TIFF"),
        ("@eaDir/thumb.jpg", "JPEG"),
    ):
        good.save(folder / name, kind)
    good.save(folder / "raw.nef", "TIFF")
    for name in ("phone.HEIC", "phone", "renamed.jpg"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    (folder / "empty.webp").touch()
    (folder / "labels.csv").write_text("path,label")
    os.mkfifo(folder / "pipe")
    (folder / "more").symlink_to(digits, target_is_directory=True)
    said = copied("predict", folder, "--json")
    assert said.code == 4, said.err
    told = {Path(str(line["path"])).name: line for line in lines(said.out) if "path" in line}
    assert {name for name, line in told.items() if "class" in line} == {"photo", "scan.jfif", "x.dat", "x.tif"}
    unread = {name: line["error"] for name, line in told.items() if "error" in line}
    assert unread.keys() == {"raw.nef", "phone.HEIC", "phone", "renamed.jpg", "empty.webp"}
    for name, kind in (("raw.nef", "camera RAW"), ("phone.HEIC", "HEIC"), ("phone", "HEIC"), ("renamed.jpg", "HEIC")):
        assert kind in str(unread[name])
    assert all(name in said.err for name in ("labels.csv", str(folder / "more")))


def test_a_folder_without_an_image_is_refused_with_what_is_there(copied: Wbltr, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "linked").symlink_to(digits, target_is_directory=True)
    said = copied("predict", tmp_path)
    assert said.code == 3
    refusal = " ".join(said.err.partition("error:")[2].split())
    assert all(str(tmp_path / name) in refusal for name in ("notes.txt", "linked"))


def test_a_json_line_for_each_image_and_one_for_the_failure(copied: Wbltr, digits: Path) -> None:
    said = copied("predict", digits / "000.png", "none.png", "--json")
    assert said.code == 4
    good, bad, failure = lines(said.out)
    assert "error" not in good
    assert bad["error"] == {"code": "integrity", "message": "No such file or directory", "hint": ""}
    assert failure["error"] == {
        "code": "integrity",
        "message": "none.png: No such file or directory",
        "hint": "1 of 2 images could not be read; the others are answered",
    }


def test_paths_come_from_stdin(copied: Wbltr, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(digits / "020.png"), str(digits / "010.png")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(names)))
    assert [line["path"] for line in lines(copied("predict", "-", "--json").out)] == names


def test_rows_go_to_a_file_whole(copied: Wbltr, digits: Path, tmp_path: Path) -> None:
    odd = tmp_path / "folder" / 'a "b",\nc\x1b[31m.png'
    odd.parent.mkdir()
    odd.write_bytes((digits / "000.png").read_bytes())
    for out in (tmp_path / "rows.csv", tmp_path / "rows.jsonl"):
        said = copied("predict", digits, odd.parent, "--out", out)
        assert said.code == 0, said.err
        assert said.out == f"{out}\n"
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    document = copied("predict", digits / "000.png", "--out", tmp_path / "one.jsonl", "--json").document
    assert (document["out"], document["images"], document["unread"]) == (str(tmp_path / "one.jsonl"), 1, 0)
    with (tmp_path / "rows.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    told = lines((tmp_path / "rows.jsonl").read_text())
    assert table[-1]["path"] == told[-1]["path"] == str(odd)
    assert [row["class"] for row in table] == [line["class"] for line in told]


ODD = (
    "a\nb", "a\rb", "a\r\nb", "\na", "a\n", 'a"b"', '"', "a,b", "a;b", "a\tb", " a", "a ", "=1+1", "=cmd|' -C calc'!A0", "+a",
    "-a", "@a", "'a", "می\u200cخواهم", "क्\u200dष", "👩\u200d💻", "\u202egnp", "a\u2028b", "a\x85b", "a\x0bb", "\ufeffa",
    "\x1b[31m\x9b5m[bold]", "\udcff\udc80", "\\udcff", "\\n", "a\x7f", "\x01", "é", "e\u0301",
)  # fmt: skip


@pytest.fixture
def odd_folder(digits: Path, tmp_path: Path) -> Path:
    """Pictures with names as strangers choose them, and one such file that is none."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ODD:
        (folder / f"{name}.png").write_bytes((digits / "000.png").read_bytes())
    (folder / "none\n,=.png").write_bytes(b"<html>")
    return folder


@pytest.mark.parametrize("place", ["pipe", "file"])
def test_names_come_out_of_a_pipe_and_a_file_as_they_are(copied: Wbltr, odd_folder: Path, tmp_path: Path, place: str) -> None:
    wanted = {os.fsencode(path) for path in odd_folder.iterdir()}
    for kind in ("csv", "jsonl"):
        out = tmp_path / f"rows.{kind}"
        command = [sys.executable, "-m", "wbltr.cli.app", "predict", str(odd_folder), "--threads", "1", "--top", "2", "-q"]
        command += ["--format", kind] if place == "pipe" else ["--out", str(out)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 4, done.stderr
        data = done.stdout if place == "pipe" else out.read_bytes()
        text = data.decode("utf-8", "surrogateescape")
        if kind == "csv":
            rows = [*csv.DictReader(io.StringIO(text, newline=""))]
            assert [row["rank"] for row in rows].count("2") == len(ODD)
            paths = [row["path"] for row in rows if row["rank"] != "2"]
        else:
            paths = [json.loads(line)["path"] for line in text.split("\n")[: len(wanted)]]
        assert {os.fsencode(path) for path in paths} == wanted
        assert len(paths) == len(wanted)
        odd = {c for c in done.stderr.decode() if c != "\n" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
        assert not odd, "what tells of the failure is for people"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
def test_a_pipe_carries_utf_8_in_every_locale(copied: Wbltr, odd_folder: Path, encoding: str) -> None:
    wanted = {os.fsencode(path) for path in odd_folder.iterdir()}
    locale = os.environ | {"PYTHONIOENCODING": encoding}
    for kind in ("csv", "jsonl"):
        command = [sys.executable, "-m", "wbltr.cli.app", "predict", str(odd_folder), "--threads", "1", "-q", "--format", kind]
        text = subprocess.run(command, capture_output=True, check=False, env=locale).stdout.decode("utf-8", "surrogateescape")
        rows = (
            csv.DictReader(io.StringIO(text, newline=""))
            if kind == "csv"
            else map(json.loads, text.splitlines()[: len(wanted)])
        )
        assert {os.fsencode(row["path"]) for row in rows} == wanted


def test_a_terminal_gets_no_control_characters_of_a_name(copied: Wbltr, odd_folder: Path) -> None:
    import pty

    for kind in ("table", "csv", "jsonl"):
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "wbltr.cli.app", "predict", str(odd_folder), "--threads", "1", "-q", "--format", kind]
        plain = os.environ | {"TERM": "dumb"}  # none of rich's own codes
        child = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, env=plain)
        os.close(slave)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody writes there any more
            while part := os.read(master, 65536):
                shown += part
        os.close(master)
        assert child.wait() == 4
        text = shown.decode()
        odd = {c for c in text if c not in "\r\n\u200c\u200d" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
        assert not odd, (kind, odd)
        if kind != "table":  # which folds names
            assert "می\u200cخواهم" in text, "what acts on no terminal is shown as it is"
        if kind == "csv":
            assert all(line.count(",") >= 4 for line in text.splitlines()), "a name begins no row"


def test_bytes_that_are_no_text_come_from_stdin(copied: Wbltr, odd_folder: Path) -> None:
    names = [path for path in sorted(odd_folder.iterdir()) if "\n" not in str(path)]
    listed = b"".join(os.fsencode(path) + b"\n" for path in names)
    command = [sys.executable, "-m", "wbltr.cli.app", "predict", "-", "--threads", "1", "-q", "--json"]
    done = subprocess.run(command, input=listed, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == list(map(str, names))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("x.png", "--format", "cvs"), 2, "Did you mean 'csv'?"),
        (("x.png", "--out", "rows.txt"), 2, "known endings: .csv, .jsonl"),
        (("x.png", "--out", "rows.csv", "--format", "jsonl"), 2, "its ending says csv"),
        (("-", "--from", "-"), 2, "both would read stdin"),
        (("empty",), 3, "no images in what is named"),
        (("x.png", "--from", "nobody"), 3, "nobody"),
        (("x.png", "--from", "latest/dataset"), 2, "predict starts from"),
    ],
)
def test_what_cannot_be_answered_is_one_line(copied: Wbltr, arguments: tuple[str, ...], code: int, words: str) -> None:
    Path("empty").mkdir()
    said = copied("predict", *arguments)
    assert said.code == code, said.err
    assert words in " ".join(said.err.split())
    assert "Traceback" not in said.err


def test_pictures_too_long_and_thin_to_be_resized_are_refused() -> None:
    wanted = Input(channels=3, shorter_side=256, side=224, mean=(0.5,) * 3, std=(0.5,) * 3)
    assert prepared(torch.zeros(3, 10, 1000, dtype=torch.uint8), wanted).shape == (3, 224, 224)
    with pytest.raises(BadImage, match="too long and thin"):
        prepared(torch.zeros(3, 1, 2000, dtype=torch.uint8), wanted)


def test_a_folder_that_cannot_be_listed_stands_for_itself(tmp_path: Path) -> None:
    passed: list[str] = []
    assert list(below(str(tmp_path / "gone"), passed.append)) == [str(tmp_path / "gone")]
    assert passed == []


def test_memory_holds_a_few_batches_however_many_images_there_are(digits: Path) -> None:
    wanted = Input(channels=1, shorter_side=8, side=8, mean=(0.3,), std=(0.3,))
    asked = itertools.count()
    blocks = batches((str(digits / f"{10 * (number % 60):03d}.png") for number in asked), wanted, 1)
    assert [len(next(blocks)) for _ in range(3)] == [BATCH] * 3
    assert next(asked) <= 4 * BATCH


# Heads of pictures and embeddings of one's own

SHORT_CHAIN = (
    "--set", "features.epochs=2", "--set", "classifier.epochs=1", "--set", "embeddings.views=1", "--set", "rows=[first stage]",
    "--threads", "1", "-q",
)  # fmt: skip
STREAMED = (
    "--set", "dataset.side=null", "--set", "dataset.channels=null", "--set", "features.augment=resized-crop-flip",
    "--set", "features.image_size=16", "--set", "features.pad=0",
)  # fmt: skip


@pytest.mark.parametrize("settings", [(), STREAMED], ids=["held", "streamed"])
def test_pictures_of_ones_own_are_prepared_as_they_were_to_be_measured(wbltr: Wbltr, settings: tuple[str, ...]) -> None:
    class_folders(Path("set"), {"ant": 20, "bee": 12, "cat": 8}, side=24)
    assert wbltr("make-dataset", "--images", "set", "-q").code == 0
    made = wbltr("run", "--recipe", "./set.yaml", *SHORT_CHAIN, *settings)
    assert made.code == 0, made.err
    evaluated = wbltr("eval", "--from", "latest/features", "--json").document["artifact"]
    store = Store.open(create=False)
    found = store.load(evaluated, ("predictions", "class_names"))
    names = json.loads(bytes(found["class_names"]))
    told = {Path(str(line["path"])).parts[-2:]: line["class"] for line in lines(wbltr("predict", "set", "--json").out)}
    dataset = store.load(store.resolve("latest/dataset"))
    if settings:
        index = Index.load(dataset, "test")
        paths = [index.path(number) for number in range(len(index))]
    else:
        every = sorted(path.relative_to("set").as_posix() for path in Path("set").rglob("*.png"))
        paths = [every[row] for row in dataset["test.index"]]
    assert [told[Path(path).parts[-2:]] for path in paths] == [names[label] for label in found["predictions"]]
    assert wbltr("export", "out", "-q").code == 0
    again = lines(wbltr("predict", "set", "--from", "out", "--json").out)
    assert {Path(str(line["path"])).parts[-2:]: line["class"] for line in again} == told


def test_a_temperature_that_would_call_everything_certain_is_not_used(copied: Wbltr, digits: Path) -> None:
    long = ("--set", "features.epochs=60", "--set", "features.lr=0.05", "--set", "dataset.imbalance_factor=1")
    few = ("--set", "dataset.val=holdout", "--set", "dataset.largest=20", "--threads", "1", "-q")
    head = copied("train-features", "--recipe", "digits-ir50", *long, *few)
    assert head.code == 0, head.err
    fitted = copied("posthoc", "temperature", "--from", head.out.strip(), "--json").document["metrics"]
    said = copied("predict", digits / "000.png", "--from", head.out.strip(), "--json")
    certain = fitted["val_nll"] < 1e-6
    assert certain, "the example is one where every validation image is right"
    assert "every validation image is told right" in said.err
    assert lines(said.out)[0]["calibrated"] is False


def test_a_head_of_embeddings_of_ones_own_has_no_network_for_pictures(wbltr: Wbltr, digits: Path) -> None:
    source = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    np.savez("mine.npz", embeddings=source.normal(size=(60, 8)).astype(np.float32), labels=labels)
    assert wbltr("embed", "--import", "mine.npz", "-q").code == 0
    made = wbltr("train-features", "--recipe", "./mine.yaml", "--set", "features.epochs=1", "-q")
    assert made.code == 0, made.err
    for command in (("predict", digits), ("export", "out")):
        said = wbltr(*command)
        assert said.code == 2
        assert "stands on embeddings of your own; pictures need a network" in " ".join(said.err.split())
    assert not Path("out").exists()


def test_ctrl_c_stops_at_once(copied: Wbltr, digits: Path) -> None:
    # A shell's background jobs begin with SIGINT ignored.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from wbltr.cli.app import main; main()"
    command = [sys.executable, "-c", heard, "predict", "-", "--format", "jsonl", "--threads", "1"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{digits / '000.png'}\n" * 2 * BATCH)
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["calibrated"] is True
    process.send_signal(signal.SIGINT)  # while it waits for more
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
