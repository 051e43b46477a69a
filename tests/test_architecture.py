"""The house: which room may import which. A failure says which rule, so that a newcomer learns the house from it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "wbltr"
LIBRARIES = {"torch", "torchvision", "sklearn", "matplotlib", "optuna", "safetensors", "filelock", "fsspec", "pydantic", "yaml"}
LIBRARIES |= {"typer", "rich", "numpy", "PIL", "scipy"}

# room -> what it may import of wbltr's rooms and of the libraries above; the standard library is free.
MAY: dict[str, set[str]] = {
    "notebook": {"cli", "report", "pipeline", "stages", "store", "errors", "torch"},
    "cli": {
        "recipe",
        "regular",
        "errors",
        "cores",
        "distributed",
        "pipeline",
        "stages",
        "machine",
        "report",
        "studies",
        "serving",
        "store",
        "typer",
        "rich",
        "yaml",
    },
    # torch for what functional takes; data and PIL for the pictures of a page
    "report": {"functional", "errors", "data", "matplotlib", "PIL", "yaml", "numpy", "torch"},
    "studies": {
        "pydantic",
        "recipe",
        "pipeline",
        "stages",
        "heads",
        "models",
        "data",
        "functional",
        "regular",
        "errors",
        "optuna",
        "torch",
    },
    "serving": {
        "pydantic",
        "recipe",
        "machine",
        "models",
        "data",
        "functional",
        "regular",
        "errors",
        "safetensors",
        "torch",
        "numpy",
    },
    "stages": {
        "pydantic",
        "randomness",
        "recipe",
        "pipeline",
        "training",
        "cores",
        "distributed",
        "machine",
        "heads",
        "models",
        "pretrained",
        "data",
        "functional",
        "regular",
        "errors",
        "torch",
        "numpy",
        "store",
    },
    "estimator": {"heads", "models", "functional", "errors", "sklearn", "torch", "numpy"},
    "pipeline": {"recipe", "store", "errors"},
    "training": {"functional", "machine", "distributed", "models", "errors", "torch"},
    "distributed": {"errors", "torch"},
    "machine": {"cores", "errors", "torch"},
    "heads": {"randomness", "functional", "errors", "torch"},
    "pretrained": {"models", "regular", "errors", "torch", "torchvision", "safetensors"},
    "models": {"randomness", "functional", "errors", "torch", "torchvision"},
    "data": {"randomness", "functional", "regular", "errors", "torch", "torchvision", "sklearn", "PIL", "numpy", "safetensors"},
    "randomness": {"torch"},
    "functional": {"torch", "numpy", "scipy", "sklearn"},  # their pure functions
    "store": {"regular", "errors", "safetensors", "filelock", "fsspec", "numpy"},
    "recipe": {"errors", "pydantic", "yaml"},
    "methods": {"errors"},  # which everybody may read
    "cores": set(),
    "regular": set(),
    "errors": set(),
}
ROOM_OF_FILE = {
    "recipe_file": "recipe",
    "config": "recipe",
    "dataset_config": "recipe",
    "recipe_writer": "recipe",
    "rows": "recipe",
    "head_group": "heads",
    "head_forms": "heads",
    "constraints": "training",
    "watchers": "training",
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str:
    name = parts[0].removesuffix(".py")
    return ROOM_OF_FILE.get(name, name)


def imports(path: Path) -> list[tuple[int, str, bool]]:
    """(line, dotted name, whether at module level) of every import that runs; `if TYPE_CHECKING:` is left out."""
    found: list[tuple[int, str, bool]] = []

    def walk(node: ast.AST, top: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.extend((child.lineno, alias.name, top) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.module:
                assert child.level == 0, f"{path}:{child.lineno}: imports are absolute"
                names = [child.module] if child.module != "wbltr" else [f"wbltr.{alias.name}" for alias in child.names]
                found.extend((child.lineno, name, top) for name in names)
            walk(child, top and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    walk(ast.parse(path.read_text()), True)
    return found


def distribution(name: str) -> str:
    """`scikit_learn >= 1` → `scikit-learn`: a requirement's or a distribution's name as indexes compare them."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", name.strip(), maxsplit=1)[0]).lower()


def declared() -> set[str]:
    """What pyproject.toml asks for, extras included; without what only developers need."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for name, lines in extras.items() if name != "dev" for line in lines)]
    return {distribution(line) for line in asked}


def test_whatever_is_imported_is_declared() -> None:
    provides = packages_distributions()
    used = {name.split(".")[0] for path in MODULES for _, name, _ in imports(path)} - {"wbltr"} - set(sys.stdlib_module_names)
    assert {"torch", "PIL", "sqlalchemy", "yaml"} <= used, "imports inside of functions count, too"
    lacking = {
        name: provides.get(name) for name in used if not declared() & {distribution(d) for d in provides.get(name, [name])}
    }
    assert not lacking


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_what_the_law_allows(path: Path) -> None:
    parts = path.relative_to(PACKAGE).parts
    if parts == ("__init__.py",):
        assert {name for _, name, top in imports(path) if top} <= {"__future__", "typing"}, "imports nothing when it is loaded"
        return
    room = room_of(parts)
    for line, name, _ in imports(path):
        head, *rest = name.split(".")
        other = room_of((rest[0],)) if head == "wbltr" else head
        if (head != "wbltr" and head not in LIBRARIES) or other in (room, "methods"):
            continue
        assert other in MAY[room], (
            f"{path.relative_to(PACKAGE.parent)}:{line}: {room} may not import {name}; it may: {MAY[room]}"
        )


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").glob("[!_]*.py")), ids=lambda p: p.stem)
def test_a_stage_imports_no_other_stage(path: Path) -> None:
    for line, name, _ in imports(path):
        other = name.startswith("wbltr.stages.") and not name.startswith("wbltr.stages._")
        assert not other, f"{path.name}:{line}: a stage may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_console_prints(path: Path) -> None:
    if path.name == "console.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("print", "typer.echo", "typer.secho", "sys.stdout.write", "sys.stderr.write"), (
                f"{path.name}:{node.lineno}: only cli/console.py prints"
            )


@pytest.mark.parametrize("path", sorted((PACKAGE / "stages").glob("[!_]*.py")), ids=lambda p: p.stem)
def test_stages_do_not_read_the_clock(path: Path) -> None:
    for line, name, _ in imports(path):
        assert name.split(".")[0] not in ("time", "datetime"), f"{path.name}:{line}: a stage may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_module_holds_two_ideas(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= 600, f"{path.relative_to(PACKAGE.parent)} has {lines} lines; past 600 it holds two ideas: split it"


def test_nothing_is_unpickled() -> None:
    for path in MODULES:
        for line, name, _ in imports(path):
            assert name.split(".")[0] not in ("pickle", "cPickle", "shelve", "dill"), f"{path.name}:{line}: {name}"
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                safe = any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)
                assert safe, f"{path}:{node.lineno}: torch.load reads weights of strangers, and nothing but weights"


def test_functional_uses_no_global_generator_and_no_device() -> None:
    for path in (PACKAGE / "functional").glob("*.py"):
        text = path.read_text()
        for word in ("manual_seed", "torch.rand", "cuda", "open("):
            assert word not in text, f"{path.name}: functional is pure; found {word}"


@pytest.mark.parametrize(
    "module", ["wbltr.cli.app", "wbltr.recipe_file", "wbltr.pipeline", "wbltr.stages", "wbltr.cli.making", "wbltr.cli.methods"]
)
def test_importing_it_does_not_import_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
