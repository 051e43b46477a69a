"""Names as strangers choose them: the terminal shows them as they are, none is followed out of its folder."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Answer, Wbltr
from made_images import encoded, picture

from faults.counted import Counted
from wbltr.errors import WbltrError
from wbltr.store import Store, key_of

ROW = "names"
PLAIN = (":smile:", "[/]", "$(touch pwned)", "{x.__class__}%s%n")  # odd, and good enough to be shown, or to be a ref
NAMES = (
    "\x1b[31mred\x1b]0;title\x07\x9b2J\x7f", "a\rb\b", "a\nerror: forged", "\u202egnp\u2028\u200b.exe", "\udcff\udc80",
    "[bold red]x[/bold red]", "../../../etc/passwd", "/etc/passwd", "~nobody-here/x", "x" * 10_000, *PLAIN,
)  # fmt: skip
WHERE: tuple[tuple[str, ...], ...] = (
    ("run", "--recipe", "{}"),
    ("run", "--recipe", "./{}.yaml"),
    ("recipe", "show", "digits-ir50", "--set", "{}"),
    ("recipe", "show", "digits-ir50", "--set", "dataset.source={}"),
    ("run", "--recipe", "digits-ir50", "--name", "{}", "--store", "./new", "-n"),
    ("run", "--recipe", "imagenet-lt", "--root", "{}"),
    ("make-dataset", "--recipe", "imagenet-lt", "--root", ".", "--list", "./{}"),
    ("make-dataset", "--images", "{}"),
    ("embed", "--import", "{}.npz"),
    ("predict", "a.png", "--out", "{}/a.csv"),
    ("predict", "./{}"),
    ("eval", "--from", "{}"),
    ("eval", "--splits", "{}"),
    ("store", "show", "{}"),
    ("store", "pull", "{}"),
    ("store", "push", "./far", "{}"),
    ("store", "ls", "--store", "./{}"),
    ("plot", "{}"),
    ("{}",),
)


def harmless(said: Answer, name: str) -> None:
    """Nothing of the name acts on the terminal, and nothing of it was taken for markup."""
    for text in (said.out, said.err):
        odd = {c for c in text if c != "\n" and (unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp"))}
        assert not odd, (odd, text[:500])
        assert "\n\nerror: forged" not in f"\n{text}".replace("\n", "\n\n"), text
    assert all(len(line) < 3_000 for line in said.err.split("\n")), name[:20]
    assert "Traceback" not in said.err
    assert said.code in (0, 2, 3, 6), (said.code, said.err)


@pytest.fixture
def toy(wbltr: Wbltr) -> Store:
    """A store in the working directory with a head on a first stage."""
    store = Store.open()
    below = ""
    for stage in ("features", "classifier"):
        header: dict[str, Any] = {"stage": stage, "revision": 1, "config": {}, "inputs": {"features": below} if below else {}}
        below = store.publish({"head.weight": np.ones(5)}, header)
        store.write_record(key_of(header), {"object": below, **header})
    store.set_ref("latest/head", below)
    return store


@pytest.mark.parametrize("arguments", WHERE, ids=" ".join)
def test_a_name_that_is_typed_is_shown_as_it_is(toy: Store, wbltr: Wbltr, arguments: tuple[str, ...], counted: Counted) -> None:
    def files() -> list[Path]:
        return sorted(path for path in toy.root.rglob("*") if "tmp" not in path.parts)

    before = files()
    for name in NAMES:
        said = wbltr(*(argument.replace("{}", name) for argument in arguments))
        harmless(said, name)
        assert said.code != 0 or "-n" in arguments, (name, said.out)
    assert files() == before
    assert not Path("pwned").exists()
    counted(ROW, len(NAMES))


@pytest.mark.parametrize("arguments", [("run", "--recipe"), ("eval", "--from"), ("store", "show"), ()], ids=" ".join)
def test_what_looks_like_markup_is_shown_whole(toy: Store, wbltr: Wbltr, arguments: tuple[str, ...], counted: Counted) -> None:
    for name in PLAIN:
        assert name in wbltr(*arguments, name).err
    counted(ROW, len(PLAIN))


def test_a_ref_that_leaves_its_folder_or_acts_on_a_terminal_is_refused(toy: Store, counted: Counted) -> None:
    head = toy.resolve("latest/head")
    refused = [name for name in NAMES if name not in (*PLAIN, "[bold red]x[/bold red]", "~nobody-here/x")]
    refused += ["a/../../b", "..", "a//b", "a/", "/a", "./a", "a/.b", "-a", "a/-b", " a", "", "deadbeef", "a/..", "A\\..\\b"]
    for name in refused:
        with pytest.raises(WbltrError) as caught:
            toy.set_ref(name, head)
        assert caught.value.exit_code == 2, name
    assert set(toy.refs()) == {"latest/head"}
    counted(ROW, len(refused))


def test_what_a_store_of_strangers_holds_is_shown_as_it_is(toy: Store, wbltr: Wbltr, tmp_path: Path, counted: Counted) -> None:
    head = toy.resolve("latest/head")
    far, mine = tmp_path / "far", tmp_path / "mine"
    assert wbltr("store", "push", far).code == 0
    record = next((far / "records").rglob(f"{toy.key_of_object(head)}.json"))
    plain = json.loads(record.read_bytes())
    (far / "corrupt").mkdir()
    for number, name in enumerate(NAMES):
        if "/" not in name and len(name) < 200:
            (far / "refs" / "own" / name).write_text(f"{head}\n")
            (far / "corrupt" / name).write_bytes(b"")
        witness = {"started": name, "seconds": name, "location": name, "lists": [name]}
        recipe = {"name": name, "paper": name, "dataset": {"source": name}}
        record.write_text(json.dumps(plain | {"recipe": recipe, "witness": witness, "metrics": {name: name}}))
        verbs = ("ls", "show latest/head", "du", "verify")
        harmless(wbltr("store", *verbs[number % 4].split(), "--store", far), name)
        harmless(wbltr("store", *verbs[number // 4].split(), "--store", far, "--json"), name)
        harmless(wbltr("status", "--store", far), name)
        harmless(wbltr("eval", "--from", "latest/head", "--store", far), name)
    for verb in verbs:
        harmless(wbltr("store", *verb.split(), "--store", far), verb)
        assert wbltr("store", *verb.split(), "--store", far, "--json").document["schema"] == 1
    harmless(wbltr("store", "pull", far, "--store", mine), "pull")
    assert set(Store.open(mine).refs()) == {"latest/head", *PLAIN} - {"[/]"}
    counted(ROW, len(NAMES))


def test_class_names_of_strangers_are_shown_as_they_are(tmp_path: Path, wbltr: Wbltr, counted: Counted) -> None:
    classes = ["\u202egnp", "\x9b31mred", "[bold red]x[", ":smile:", "<script>x", "a\x7fb", "=1+1", "x" * 200]
    for label, name in enumerate(classes):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "mine" / name / f"{number}.png").write_bytes(encoded(picture(label, number, 8), "PNG"))
    for more in ((), ("--json",)):
        said = wbltr("make-dataset", "--images", tmp_path / "mine", "--threads", "1", *more)
        assert said.code == 0, said.err
        harmless(said, "")
    shown = wbltr("recipe", "show", "./mine.yaml")
    harmless(shown, "")
    assert shown.code == 0, shown.err
    counted(ROW, len(classes))


STRANGE: tuple[Any, ...] = (
    None,
    3,
    "text",
    [1, {}],
    {"a": [{}], "name": 3, "seconds": [], "started": {}, "location": 7, "lists": 7},
)


@pytest.mark.parametrize("field", ["recipe", "witness", "metrics", "config", "inputs", "stage", "parts", "revision"])
def test_a_record_of_strangers_is_read_as_far_as_it_makes_sense(toy: Store, wbltr: Wbltr, field: str, counted: Counted) -> None:
    head = toy.resolve("latest/head")
    path = toy.record_path(toy.key_of_object(head))
    plain = json.loads(path.read_bytes())
    for value in STRANGE:
        path.write_text(json.dumps(plain | {field: value}))
        for arguments in (("store", "ls"), ("status",), ("eval", "--from", "latest/head")):
            said = wbltr(*arguments)
            harmless(said, field)
            assert said.code == 0 or arguments[0] == "eval", (value, said.err)
    counted(ROW, len(STRANGE))


def test_a_real_terminal_gets_no_escape_code_of_a_name(tmp_path: Path, counted: Counted) -> None:
    name = "\x1b[31m:smile:[bold]\u202e"
    command = [sys.executable, "-m", "wbltr.cli.app", "run", "--recipe", name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, env={"TERM": "xterm", "FORCE_COLOR": "1"})
    assert done.returncode == 2
    assert b"\x1b[31m" not in done.stderr.replace(b"\x1b[1;31merror:", b"")
    assert rb"\x1b[31m:smile:[bold]\u202e" in done.stderr
    counted(ROW, 1)
