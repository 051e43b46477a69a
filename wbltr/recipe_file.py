"""Reading a recipe: YAML with positions, `extends`, overrides, and every mistake at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from wbltr.errors import WbltrError, closest
from wbltr.recipe import Recipe

LARGEST_FILE = 1_000_000  # bytes
DEEPEST = 20  # levels of nesting, and of `extends`

Where = dict[tuple[str, ...], str]  # path of a field -> "file:line" it was written in


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: `no` is a word, `012` is refused, `1e-4` is a number; no tags, no aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not read; use `extends`", event.start_mark)
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {DEEPEST} levels", event.start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), ["t", "f"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9][0-9]{0,17})$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?((0|[1-9][0-9]*)\.[0-9]*([eE][-+]?[0-9]+)?|(0|[1-9][0-9]*)[eE][-+]?[0-9]+|\.[0-9]+([eE][-+]?[0-9]+)?)$"),
    list("-+.0123456789"),
)


def _value(node: yaml.Node, path: tuple[str, ...], file: str, where: Where, mistakes: list[str]) -> Any:
    """A node as plain Python, noting the line of each field; mistakes are collected, not raised."""
    line = f"{file}:{node.start_mark.line + 1}"
    where[path] = line
    match node:
        case yaml.MappingNode(tag="tag:yaml.org,2002:map"):
            result: dict[str, Any] = {}
            for key, value in node.value:
                name = str(key.value)
                if not isinstance(key, yaml.ScalarNode):
                    mistakes.append(f"{file}:{key.start_mark.line + 1}: a field's name must be a word")
                elif name in result:
                    mistakes.append(f"{file}:{key.start_mark.line + 1}: {'.'.join((*path, name))} is given twice")
                else:
                    result[name] = _value(value, (*path, name), file, where, mistakes)
            return result
        case yaml.SequenceNode(tag="tag:yaml.org,2002:seq"):
            return [_value(item, (*path, str(i)), file, where, mistakes) for i, item in enumerate(node.value)]
        case yaml.ScalarNode():
            text = node.value
            match node.tag.rpartition(":")[2]:
                case "null":
                    return None
                case "bool":
                    return text == "true"
                case "int":
                    return int(text)
                case "float":
                    return float(text)
                case "str":
                    if node.style is None and re.fullmatch(r"[-+]?0[0-9]+", text):
                        mistakes.append(f"{line}: {text} has a leading zero; write {int(text)}, or quote it as text")
                    return text
    mistakes.append(f"{line}: the tag {node.tag} is not read")
    return None


def parse_yaml(text: str, file: str) -> tuple[Any, Where]:
    """Parse one YAML document.

    Args:
        text: the document.
        file: the name that messages give it.

    Returns:
        The value and, for every field's path, the "file:line" where it stands.

    Raises:
        WbltrError: code "recipe"; every mistake of the document with its line.
    """
    where: Where = {}
    mistakes: list[str] = []
    try:
        node = yaml.compose(text, Loader=_Loader)
        value = None if node is None else _value(node, (), file, where, mistakes)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise WbltrError(f"{file}:{line}: {error.problem}", code="recipe") from None
    except yaml.YAMLError as error:
        raise WbltrError(f"{file}: not YAML text ({str(error).splitlines()[0]})", code="recipe") from None
    if mistakes:
        raise WbltrError("\n".join(mistakes), code="recipe")
    return value, where


def recipes_folder() -> Path:
    """Where the recipes that come with wbltr lie: inside an installed wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the recipes that come with wbltr."""
    return sorted(path.stem for path in recipes_folder().glob("*.yaml"))


def _path_of(name: str) -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    if name not in recipe_names():
        hint = f"recipes: {', '.join(recipe_names())}; a file of your own: --recipe ./mine.yaml"
        raise WbltrError(f"no recipe named {name!r}.{closest(name, recipe_names())}", hint, "recipe")
    return recipes_folder() / f"{name}.yaml"


def _read(path: Path) -> str:
    try:
        if not path.is_file():
            raise WbltrError(f"{path}: no such recipe file", f"recipes: {', '.join(recipe_names())}", "recipe")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise WbltrError(f"{path}: {size:,} bytes, a recipe has at most {LARGEST_FILE:,}", code="recipe")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WbltrError(f"{path}: not UTF-8 text (byte {error.start})", "save the file as UTF-8", "recipe") from None
    except (OSError, ValueError) as error:
        raise WbltrError(f"{str(path)!r}: cannot be read ({error})", code="recipe") from None


def _load_file(path: Path, seen: tuple[Path, ...]) -> tuple[dict[str, Any], Where]:
    value, where = parse_yaml(_read(path), str(path))
    if path.resolve() in seen or len(seen) >= DEEPEST:
        raise WbltrError(f"{path}: `extends` comes back to itself", code="recipe")
    if not isinstance(value, dict):
        raise WbltrError(f"{path}:1: expected sections such as `dataset:`, found {type(value).__name__}", code="recipe")
    parent = value.pop("extends", None)
    if parent is None:
        return value, where
    if not isinstance(parent, str):
        raise WbltrError(f"{where[('extends',)]}: extends: expected a recipe's name", code="recipe")
    # Name, paper and claim belong to the recipe that has them, never to one derived from it.
    base_path = path.parent / parent if "/" in parent or parent.endswith((".yaml", ".yml")) else _path_of(parent)
    base, base_where = _load_file(base_path, (*seen, path.resolve()))
    for own in ("name", "paper", "claim"):
        base.pop(own, None)
    return _merge(base, value), base_where | where


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, section by section."""
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return merged


def _overrides(settings: Sequence[str], where: Where) -> dict[str, Any]:
    """`section.field=value` texts as nested sections; `where` learns where each field was set."""
    result: dict[str, Any] = {}
    for text in settings:
        path, equals, value = text.partition("=")
        names = tuple(path.strip().split("."))
        if not equals or not all(names) or len(names) > DEEPEST:
            raise WbltrError(f"--set {text!r}: expected section.field=value", "for example --set features.epochs=1", "usage")
        if names[0] == "extends":
            raise WbltrError("--set extends: only a recipe file extends another", code="usage")
        parsed, lines = parse_yaml(value, f"--set {path.strip()}")
        nested: Any = parsed
        for name in reversed(names):
            nested = {name: nested}
        result = _merge(result, nested)
        where |= {names + below: line.rpartition(":")[0] for below, line in lines.items()} | {names: f"--set {path.strip()}"}
        for length in range(1, len(names)):
            where.setdefault(names[:length], f"--set {path.strip()}")
    return result


def _known_fields(path: tuple[str, ...]) -> list[str]:
    """Field names of the section at `path`."""
    section: Any = Recipe
    for name in path:
        field = section.model_fields.get(name) if isinstance(section, type) and issubclass(section, BaseModel) else None
        if field is None:
            return []
        options = [field.annotation, *get_args(field.annotation)]
        if get_origin(field.annotation) is dict and len(path) > 1:
            return list(get_args(field.annotation)[1].model_fields)
        section = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return list(section.model_fields) if section is not None else []


def _problem(error: Any, where: Where) -> str:
    """One validation error as `file:line: section.field: expected …, found …`."""
    path = tuple(str(part) for part in error["loc"])
    while path and path not in where and error["type"] != "missing":
        path = path[:-1]  # a union or a validator of a whole section adds parts that the file does not have
    lines = [where[path[:n]] for n in range(len(path), -1, -1) if path[:n] in where]
    if error["type"] == "value_error":
        # Fields that do not go together: what was typed on the command line is what made them so.
        lines = [place for below, place in where.items() if below[: len(path)] == path and place.startswith("--set ")] + lines
    dotted = ".".join(path) or "recipe"
    match error["type"]:
        case "literal_error" if error["loc"][-1] == "[key]":
            dotted, key = ".".join(map(str, error["loc"][:-2])), str(error["loc"][-2])
            known = [word.strip("'") for word in re.findall(r"'[^']+'", error["msg"])]
            text = f"{dotted}.{key}: no such row.{closest(key, known) or ' Known: ' + ', '.join(known)}"
        case "extra_forbidden":
            known = _known_fields(path[:-1])
            text = f"{dotted}: no such field.{closest(path[-1], known) or ' Known: ' + ', '.join(known)}"
        case "missing":
            text = f"{dotted}: missing"
        case "value_error":
            text = f"{dotted}: {error['ctx']['error']!s}"
        case "model_type":
            text = f"{dotted}: expected fields below it, found {error['input']!r:.60}"
        case _:
            text = f"{dotted}: expected {error['msg'].replace('Input should be ', '')}, found {error['input']!r:.60}"
    return f"{lines[0]}: {text}" if lines else text


def _validate(value: Mapping[str, Any], where: Where) -> Recipe:
    try:
        return Recipe.model_validate(value)
    except ValidationError as failure:
        problems: list[str] = []
        for problem in dict.fromkeys(_problem(error, where) for error in failure.errors()):
            place, expected, found = problem.partition(": expected ")
            if expected and problems and problems[-1].startswith(place + expected):
                # A field of two types is refused once for each: one line says both.
                problems[-1] = problems[-1].rpartition(", found ")[0] + " or " + found
            else:
                problems.append(problem)
        raise WbltrError("\n".join(problems), "the fields and their defaults: wbltr recipe show NAME", "recipe") from None


def load_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path, with overrides laid on it.

    Args:
        name: a recipe's name, or a path when it holds `/` or ends in `.yaml`.
        settings: overrides, each `section.field=value`.

    Raises:
        WbltrError: code "recipe" (or "usage" for a malformed override), every mistake with file, line and path.
    """
    path = _path_of(name)
    value, where = _load_file(path, ())
    over = _overrides(settings, where)
    value.setdefault("name", path.stem)
    return _validate(_changed(value, over), where)


def revise_recipe(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """A recipe read back from a record, with overrides laid on it; raises as `load_recipe` does."""
    where: Where = {}
    over = _overrides(settings, where)
    return _validate(_changed(recipe.model_dump(mode="json"), over), where)


def _changed(value: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides laid on a recipe; one of a section takes its claim away, which was measured without it."""
    merged = _merge(value, over)
    if set(over) & {"dataset", "features", "embeddings", "classifier", "posthoc", "eval"} and "claim" not in over:
        merged.pop("claim", None)
    return merged


def recipe_from_record(value: Any) -> Recipe | None:
    """The resolved recipe that a record holds, or None where it holds none."""
    return None if not value else _validate(value, {})
