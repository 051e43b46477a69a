"""Recipes as strangers write them: read as they stand, or refused in lines that name the file and the place."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from faults.counted import Counted
from wbltr.errors import WbltrError
from wbltr.recipe import Recipe
from wbltr.recipe_file import LARGEST_FILE, load_recipe, recipes_folder
from wbltr.store.keys import canonical_json

ROW = "recipes"
HEAD = "name: mine\ndataset: {source: digits}\n"


def judged(path: Path, data: bytes) -> Recipe | str:
    """The recipe in these bytes, which can then be hashed and kept; or the message that refuses them."""
    path.write_bytes(data)
    try:
        recipe = load_recipe(str(path))
    except WbltrError as error:
        assert (error.code, error.exit_code) == ("recipe", 2), data
        lines = error.message.split("\n")
        for line in lines:
            assert re.match(rf"{re.escape(str(path))}:\d+: |{re.escape(str(path))}: .* bytes", line), (data[:300], line)
            assert line.isprintable(), (data[:300], line)
            assert len(line) < 600, (data[:300], line)
        return error.message.replace(str(path), "mine.yaml")
    assert canonical_json(recipe.model_dump(mode="json")), data
    return recipe


# By hand: (text, what the refusal says)
DEEP = "dataset: " + "{a: " * 30 + "1" + "}" * 30
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(30))
BY_HAND: list[tuple[str | bytes, str]] = [
    (HEAD + "features: {epochs: 1}\nfeatures: {epochs: 2}\n", "mine.yaml:4: features is given twice"),
    (HEAD + "features: {epochs: 1, lr: 1, epochs: 2}\n", "mine.yaml:3: features.epochs is given twice"),
    (HEAD + "features: {epochs: 1, 'epochs': 2}\n", "mine.yaml:3: features.epochs is given twice"),
    ('"a\\nb": 1\n"a\\nb": 2\n', "mine.yaml:2: a\\nb is given twice"),
    (LAUGHS, "mine.yaml:1: anchors and aliases are not read"),
    (HEAD + "features: *nothing\n", "mine.yaml:3: anchors and aliases are not read"),
    (HEAD + "features: &f {epochs: 1}\n", "mine.yaml:3: anchors and aliases are not read"),
    (HEAD + "features: {<<: {epochs: 1}}\n", "mine.yaml:3: features.<<: no such field"),
    (DEEP, "mine.yaml:1: nested deeper than 20 levels"),
    ("[" * 100_000, "mine.yaml:1: nested deeper than 20 levels"),
    ("- " * 50_000 + "x", "mine.yaml:1: nested deeper than 20 levels"),
    ("".join(" " * n + "a:\n" for n in range(900)), "mine.yaml:20: nested deeper than 20 levels"),
    ("? " * 5_000, "mine.yaml:1: nested deeper than 20 levels"),
    (HEAD + "rows: [" + "l2, " * 100_000 + "l2]\n", "mine.yaml:3: a recipe has at most 50,000 values"),
    (HEAD + "paper: " + "x" * 999_000 + "\nfeature: 1\n", "mine.yaml:4: feature: no such field"),
    (HEAD + "# " + "x" * 10_000_000, "mine.yaml: 10,000,0"),
    (HEAD + "features: {epochs: 012}\n", "mine.yaml:3: 012 has a leading zero; write 12, or quote"),
    (HEAD + "features: {epochs: 0o14}\n", "mine.yaml:3: features.epochs: expected a valid integer, found '0o14'"),
    (HEAD + "features: {epochs: 0x0C}\n", "mine.yaml:3: features.epochs: expected a valid integer, found '0x0C'"),
    (HEAD + "features: {epochs: 1_000}\n", "mine.yaml:3: features.epochs: expected a valid integer, found '1_000'"),
    (HEAD + "features: {epochs: 1:30}\n", "mine.yaml:3: features.epochs: expected a valid integer, found '1:30'"),
    (HEAD + f"features: {{epochs: 0{'1' * 5000}}}\n", "mine.yaml:3: 01111"),
    (HEAD + f"features: {{epochs: {'1' * 5000}}}\n", "mine.yaml:3: features.epochs: expected a valid integer"),
    (HEAD + "features: {epochs: 1e2}\n", "mine.yaml:3: features.epochs: expected a valid integer, found 100.0"),
    (HEAD + "features: {epochs: true}\n", "mine.yaml:3: features.epochs: expected a valid integer, found True"),
    (HEAD + "eval: {flip: no}\n", "mine.yaml:3: eval.flip: expected a valid boolean, found 'no'"),
    (HEAD + "eval: {flip: off}\n", "mine.yaml:3: eval.flip: expected a valid boolean, found 'off'"),
    (HEAD + "eval: {flip: Yes}\n", "mine.yaml:3: eval.flip: expected a valid boolean, found 'Yes'"),
    (HEAD + "eval: {on: NO}\n", "mine.yaml:3: eval.on: expected 'val' or 'test', found 'NO'"),
    (HEAD + "features: 3\n", "mine.yaml:3: features: expected fields below it, found 3"),
    (HEAD + "eval: {many: 5, few: 50}\n", "mine.yaml:3: eval: few: 50 exceeds many: 5"),
    ("dataset: {source: digits\n", "mine.yaml:2:"),
    ("a: b: c\n", "mine.yaml:1:"),
    (HEAD + "features: {lr: '1e-4'}\n", "mine.yaml:3: features.lr: expected a valid number, found '1e-4'"),
    (HEAD + "features: {lr: 1e999}\n", "mine.yaml:3: features.lr: expected a finite number, found inf"),
    (HEAD + "features: {lr: .inf}\n", "mine.yaml:3: features.lr: expected a valid number, found '.inf'"),
    (HEAD + "features: {lr: .nan}\n", "mine.yaml:3: features.lr: expected a valid number, found '.nan'"),
    (HEAD + "features: {epochs: !!int x}\n", "mine.yaml:3: the tag tag:yaml.org,2002:int is not read"),
    (HEAD + "features: {epochs: !!float x}\n", "mine.yaml:3: the tag"),
    (HEAD + "eval: {flip: !!bool maybe}\n", "mine.yaml:3: the tag"),
    (HEAD + "features: {prelogit: !!null 3}\n", "mine.yaml:3: the tag"),
    (HEAD + "features: !!python/object/apply:os.system [id]\n", "mine.yaml:3: the tag"),
    (HEAD + "features: !!set {epochs}\n", "mine.yaml:3: the tag"),
    (HEAD + "features: !<%0Aerror:%1B[31m> 3\n", "mine.yaml:3: the tag \\nerror:\\x1b[31m is not read"),
    (HEAD + "paper: !!binary aGVsbG8=\n", "mine.yaml:3: the tag"),
    (HEAD + 'paper: "\\0"\n', "mine.yaml:3: paper: text holds the character \\x00"),
    (HEAD + 'paper: "\\ud800"\n', "mine.yaml:3: paper: text holds the character \\ud800"),
    (HEAD + 'paper: "\\e[2J"\n', "mine.yaml:3: paper: text holds the character \\x1b"),
    (HEAD + 'posthoc: {prior: {"\\e[2J": 1}}\n', "mine.yaml:3: a field's name must be a word"),
    (HEAD + '"\\ud800": 1\n', "mine.yaml:3: a field's name must be a word"),
    (HEAD + "? {a: b}\n: 1\n", "mine.yaml:3: a field's name must be a word"),
    (HEAD + f"{'k' * 900}: 1\n", "mine.yaml:3: kkkk"),
    (HEAD + f'"{"k" * 900}\\n": 1\n', "mine.yaml:3: kkkk"),
    ((HEAD + "paper: x\x00y\n").encode(), "mine.yaml:3: not YAML text"),
    ((HEAD + "paper: \x1b[31m\n").encode(), "mine.yaml:3: not YAML text"),
    ((HEAD + "paper: x\n").encode("utf-16"), "mine.yaml:1: not UTF-8 text (byte 0)"),
    ((HEAD + "paper: x\n").encode("utf-16-le"), "mine.yaml:1: not YAML text"),
    ((HEAD + "paper: x\n").encode("utf-32"), "mine.yaml:1: not UTF-8 text (byte 0)"),
    ((HEAD + "paper: é\n").encode("latin-1"), "mine.yaml:3: not UTF-8 text"),
    (b"\x1f\x8b\x08\x00" + bytes(100), "mine.yaml:1: not UTF-8 text"),
    ("", "mine.yaml:1: expected sections such as `dataset:`, found NoneType"),
    ("# nothing\n", "mine.yaml:1: expected sections"),
    ("- a\n- b\n", "mine.yaml:1: expected sections such as `dataset:`, found list"),
    ("<html><body>404</body></html>\n", "mine.yaml:1: expected sections such as `dataset:`, found str"),
    (HEAD + "---\n" + HEAD, "mine.yaml:3: but found another document"),
    (HEAD + "%TAG ! x\n", "mine.yaml:"),
    (HEAD + "\tfeatures: {epochs: 1}\n", "mine.yaml:3: "),
    ("extends: ./mine.yaml\n", "mine.yaml:1: extends: `extends` comes back to itself"),
    ("# a\nextends: ./gone.yaml\n", "mine.yaml:2: extends: "),
    ("# a\nextends: cifar100-ir1000\n", "mine.yaml:2: extends: no recipe named 'cifar100-ir1000'. Did you mean"),
    ("extends: '../../../../../../../../etc'\n", "mine.yaml:1: "),
    ("extends: './a\n\n  b.yaml'\n", "mine.yaml:1: extends: "),
    ("extends: [a, b]\n", "mine.yaml:1: extends: expected a recipe's name"),
    ("extends: ''\n", "mine.yaml:1: extends: no recipe named ''"),
    ("name: '../x'\ndataset: {source: digits}\n", "mine.yaml:1: name: expected"),
    ("name: '[bold]x'\ndataset: {source: digits}\n", "mine.yaml:1: name: expected"),
    ("name: " + "x" * 101 + "\ndataset: {source: digits}\n", "mine.yaml:1: name: expected"),
    (HEAD + "heads: {zebra: {}}\n", "mine.yaml:3: heads.zebra: no such row"),
    (HEAD + "classifier: {loss: distill, teacher: '../../x\n\n  y'}\n", ""),
]


@pytest.mark.parametrize("number", range(len(BY_HAND)))
def test_a_trap_is_named_with_its_line(tmp_path: Path, number: int, counted: Counted) -> None:
    text, says = BY_HAND[number]
    told = judged(tmp_path / "mine.yaml", text if isinstance(text, bytes) else text.encode())
    assert says in told if isinstance(told, str) else not says, told
    counted(ROW, 1)


def test_what_only_looks_like_a_trap_is_read_as_it_stands(tmp_path: Path, counted: Counted) -> None:
    text = (
        "\ufeffname: mine\r\npaper: no\r\ndataset:\r\n  source: digits\r\n"
        "features: {lr: 1e-4, weight_decay: .5, momentum: 0}\r\n"
        "posthoc: {method: prior, prior: {no: 1, on: 2, '012': 3, 1e-4: 4, ~: 5, true: 6, '*': 7}}\r\n"
    )
    recipe = judged(tmp_path / "mine.yaml", text.encode())
    assert isinstance(recipe, Recipe), recipe
    assert (recipe.paper, recipe.features.lr, recipe.features.weight_decay, recipe.features.momentum) == ("no", 1e-4, 0.5, 0)
    assert recipe.posthoc.model_dump()["prior"] == {"no": 1, "on": 2, "012": 3, "1e-4": 4, "~": 5, "true": 6, "*": 7}
    counted(ROW, 11)


# Every field with every trap

REFUSED = ["!!int 3", "&a 1", '"\\ud800"', "[", "0" + "9" * 5000]
READ: dict[str, object] = {
    "no": "no", "1_000": "1_000", ".inf": ".inf", "1e-4": 1e-4, "-1": -1, "99999999999999999999": "99999999999999999999",
    "{}": {}, "[[]]": [[]],
}  # fmt: skip


def fields(section: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field of a recipe, down to those of its sections' sections."""
    for name, field in section.model_fields.items():
        below = [o for o in (field.annotation, *get_args(field.annotation)) if isinstance(o, type) and issubclass(o, BaseModel)]
        yield (*path, name)
        for other in below:
            yield from fields(other, (*path, name))


FIELDS = [path for path in fields(Recipe) if path not in (("name",), ("dataset", "source"))]


def in_place(path: tuple[str, ...], token: str) -> str:
    """A recipe with one field set."""
    text = token
    for name in reversed(path[1:]):
        text = f"{{{name}: {text}}}"
    if path == ("dataset",):
        return f"name: mine\ndataset: {text}\n"
    if path[0] == "dataset":
        return f"name: mine\ndataset: {text.replace('{', '{source: digits, ', 1)}\n"
    return f"{HEAD}{path[0]}: {text}\n"


def test_every_field_takes_a_value_as_it_is_written_or_refuses_it(tmp_path: Path, counted: Counted) -> None:
    for path in FIELDS:
        for token in (*REFUSED, *READ):
            told = judged(tmp_path / "mine.yaml", in_place(path, token).encode())
            if isinstance(told, str):
                continue
            assert token in READ, (path, token)
            value: Any = told.model_dump()
            for name in path:
                value = value[name]
            as_written = value in (READ[token], str(tmp_path / token))  # a path is told from the recipe on
            assert as_written or READ[token] in ({}, []) or (path, token) == (("rows",), "[[]]"), (path, token, value)
    counted(ROW, len(FIELDS) * (len(REFUSED) + len(READ)))


def test_every_path_in_a_set_option_is_judged_as_in_a_file(counted: Counted) -> None:
    for path in FIELDS:
        for token in ('"\\e[31m"', "{a: [b, \x00]}"):
            with pytest.raises(WbltrError) as caught:
                load_recipe("digits-ir50", [f"{'.'.join(path)}={token}"])
            assert caught.value.exit_code == 2
            assert f"--set {'.'.join(path)}" in caught.value.message
            assert all(line.isprintable() for line in caught.value.message.split("\n"))
    counted(ROW, 2 * len(FIELDS))


# Spoilt copies of the recipes that come along

PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b": ",
    b"- ",
    b"\n",
    b"  ",
    b"\t",
    b"#",
    b"'",
    b'"',
    b"|",
    b">",
    b"&a",
    b"*a",
    b"!x ",
    b"%",
    b"? ",
    b",",
]
PIECES += [
    b"\x00",
    b"\x1b",
    b"\xff",
    b"\xc2\x85",
    "\u2028".encode(),
    b"\\",
    b"<<: ",
    b"1e-4",
    b"012",
    b"no",
    b"~",
    b"---\n",
    b"...\n",
]


def spoilt(text: bytes, chance: random.Random) -> bytes:
    """A text with a few pieces put in, taken out, doubled or cut off."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randint(0, 12))
        text = chance.choice(
            [
                text[:start] + chance.choice(PIECES) + text[start:],
                text[:start] + text[end:],
                text[:end] + text[start:],
                text[:start] + chance.choice(PIECES) + text[end:],
                text[: max(start, 1)],
            ]
        )
    return text


def test_a_spoilt_copy_of_a_recipe_is_read_or_refused(tmp_path: Path, counted: Counted) -> None:
    text = min((path.read_bytes() for path in recipes_folder().glob("digits*.yaml")), key=len)
    chance = random.Random(0)
    told = [judged(tmp_path / "mine.yaml", spoilt(text, chance)) for _ in range(300)]
    refused = sum(isinstance(one, str) for one in told)
    assert 150 < refused < 300, "some are spoilt in a comment only"
    counted(ROW, len(told))


@pytest.mark.parametrize(
    "data",
    [
        (HEAD + "features: {epochs: !!int x}\n").encode(),
        b"\xff\xfe" + HEAD.encode("utf-16-le"),
        (HEAD + "features: {epochs: 1}\n" * 2).encode(),
        b"x" * (LARGEST_FILE + 1),
        (HEAD + "feat\u202eures: [bold]x[/bold]\n").encode(),
        LAUGHS.encode(),
    ],
    ids=["tag", "utf-16", "twice", "large", "direction", "laughs"],
)
def test_the_command_says_it_in_lines_and_exits_with_2(tmp_path: Path, data: bytes, counted: Counted) -> None:
    (tmp_path / "mine.yaml").write_bytes(data)
    command = [sys.executable, "-m", "wbltr.cli.app", "recipe", "check", "./mine.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors, done.stderr
    assert all(line.startswith("error: mine.yaml:") for line in errors)
    assert "Traceback" not in done.stderr
    assert "\u202e" not in done.stderr
    counted(ROW, 1)
