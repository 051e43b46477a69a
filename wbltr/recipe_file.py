"""Reading a recipe: YAML with positions, `extends`, overrides, and every mistake at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from yaml.reader import ReaderError

from wbltr.errors import WbltrError, closest, shown
from wbltr.recipe import Recipe

LARGEST_FILE = 1_000_000  # bytes
PATHS = ("images", "root", "embeddings_file")  # fields that name what a user brings, from the folder of the recipe's file
LONGEST = 1000  # characters of a path in a message
MOST_VALUES = 50_000  # of a file, names of fields counted: PyYAML takes a second for some 30,000
DEEPEST = 20  # levels of nesting, and of `extends`
NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

Where = dict[tuple[str, ...], str]  # path of a field -> "file:line" it was written in


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars: `no` is a word, `012` is refused, `1e-4` is a number; no tags, no aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not read; use `extends`", event.start_mark)
        if (tag := getattr(event, "tag", None)) is not None:
            raise yaml.MarkedYAMLError(None, None, f"the tag {shown(tag)} is not read", event.start_mark)
        self._values = getattr(self, "_values", 0) + 1
        if self._values > MOST_VALUES:
            raise yaml.MarkedYAMLError(None, None, f"a recipe has at most {MOST_VALUES:,} values", event.start_mark)
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
        case yaml.MappingNode():
            result: dict[str, Any] = {}
            for key, value in node.value:
                there, name = f"{file}:{key.start_mark.line + 1}", str(key.value)
                if not isinstance(key, yaml.ScalarNode) or NO_TEXT.search(name):
                    mistakes.append(f"{there}: a field's name must be a word")
                elif name in result:
                    mistakes.append(f"{there}: {_dotted((*path, name))} is given twice")
                else:
                    result[name] = _value(value, (*path, name), file, where, mistakes)
            return result
        case yaml.SequenceNode():
            return [_value(item, (*path, str(i)), file, where, mistakes) for i, item in enumerate(node.value)]
    text: str = node.value
    match node.tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text == "true"
        case "int":
            return int(text)
        case "float":
            return float(text)
    if isinstance(node, yaml.ScalarNode) and node.style is None and re.fullmatch(r"[-+]?0[0-9]+", text):
        plain = re.sub("^([-+]?)0+(?=.)", r"\1", text)
        mistakes.append(f"{line}: {shown(text)} has a leading zero; write {shown(plain)}, or quote it as text")
    if odd := NO_TEXT.search(text):
        mistakes.append(f"{line}: {_dotted(path)}: text holds the character {ascii(odd[0])[1:-1]}")
    return text


def _dotted(path: Sequence[str]) -> str:
    return ".".join(map(shown, path)) or "recipe"


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
        raise WbltrError(f"{file}:{line}: {shown(str(error.problem), 200)}", code="recipe") from None
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise WbltrError(f"{file}:{line}: not YAML text ({error.reason})", code="recipe") from None
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


def _path_of(name: str, asked: str = "") -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    if name not in recipe_names():
        hint = f"recipes: {', '.join(recipe_names())}; a file of your own: --recipe ./mine.yaml"
        raise WbltrError(f"{asked}no recipe named '{shown(name)}'.{closest(name, recipe_names())}", hint, "recipe")
    return recipes_folder() / f"{name}.yaml"


def _read(path: Path, asked: str) -> str:
    file = shown(str(path), LONGEST)
    try:
        if not path.is_file():
            raise WbltrError(f"{asked}{file}: no such recipe file", f"recipes: {', '.join(recipe_names())}", "recipe")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise WbltrError(f"{file}: {size:,} bytes, a recipe has at most {LARGEST_FILE:,}", code="recipe")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise WbltrError(f"{file}:{line}: not UTF-8 text (byte {error.start})", "save the file as UTF-8", "recipe") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WbltrError(f"{asked}{file}: cannot be read ({reason})", code="recipe") from None


def _load_file(path: Path, seen: tuple[Path, ...], asked: str = "") -> tuple[dict[str, Any], Where]:
    """A file's value, laid on what it extends.

    Args:
        seen: the files that extend it.
        asked: where the last of them says so, to begin a message with.
    """
    file = shown(str(path), LONGEST)
    value, where = parse_yaml(_read(path, asked), file)
    if path.resolve() in seen or len(seen) >= DEEPEST:
        raise WbltrError(f"{asked}`extends` comes back to itself", code="recipe")
    if not isinstance(value, dict):
        raise WbltrError(f"{file}:1: expected sections such as `dataset:`, found {type(value).__name__}", code="recipe")
    for name in PATHS:
        if isinstance(given := value.get(name), str) and given:
            value[name] = str(path.parent.resolve() / os.path.expanduser(given))  # noqa: PTH111 - of nobody it stays as it is
    first = value.get("features")
    if isinstance(first, dict) and isinstance(given := first.get("weights"), str) and not given.startswith("IMAGENET"):
        first["weights"] = str(path.parent.resolve() / os.path.expanduser(given))  # noqa: PTH111
    parent = value.pop("extends", None)
    if parent is None:
        return value, where
    asked = f"{where[('extends',)]}: extends: "
    if not isinstance(parent, str):
        raise WbltrError(f"{asked}expected a recipe's name", code="recipe")
    # Name, paper and claim belong to the recipe that has them, never to one derived from it.
    below = "/" in parent or parent.endswith((".yaml", ".yml"))
    base, base_where = _load_file(path.parent / parent if below else _path_of(parent, asked), (*seen, path.resolve()), asked)
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
        place = f"--set {shown(path.strip())}"
        if not equals or not all(names) or len(names) > DEEPEST:
            told = f"--set '{shown(text)}': expected section.field=value"
            raise WbltrError(told, "for example --set features.epochs=1", "usage")
        if names[0] == "extends":
            raise WbltrError("--set extends: only a recipe file extends another", code="usage")
        parsed, lines = parse_yaml(value, place)
        nested: Any = parsed
        for name in reversed(names):
            nested = {name: nested}
        result = _merge(result, nested)
        where |= {names + below: line.rpartition(":")[0] for below, line in lines.items()} | {names: place}
        for length in range(1, len(names)):
            where.setdefault(names[:length], place)
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
    while path and where and path not in where and error["type"] != "missing":
        path = path[:-1]  # a union or a validator of a whole section adds parts that the file does not have
    lines = [where[path[:n]] for n in range(len(path), -1, -1) if path[:n] in where]
    if error["type"] == "value_error":
        # Fields that do not go together: what was typed on the command line is what made them so.
        lines = [place for below, place in where.items() if below[: len(path)] == path and place.startswith("--set ")] + lines
    dotted = _dotted(path)
    match error["type"]:
        case "literal_error" if error["loc"][-1] == "[key]":
            dotted, key = _dotted([str(part) for part in error["loc"][:-2]]), shown(str(error["loc"][-2]))
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


def with_field(text: str, section: str, field: str, value: str) -> str:
    """A recipe's text with one field of a section set; everything else stays as it is, comments too.

    Args:
        value: in YAML.

    Raises:
        WbltrError: code "recipe" where the text is no mapping of sections.
    """
    parse_yaml(text, "recipe")
    root, end = yaml.compose(text, Loader=_Loader), "\r\n" if "\r\n" in text else "\n"
    if not isinstance(root, yaml.MappingNode):
        raise WbltrError("recipe: expected sections such as `dataset:`", code="recipe")
    below = next((own for key, own in root.value if key.value == section), None)
    if below is None or not isinstance(below, yaml.MappingNode):  # none, or `dataset:` with nothing below it
        if below is not None or root.flow_style:
            raise WbltrError(f"recipe: expected fields below `{section}:`", code="recipe")
        return f"{text}{'' if text.endswith(end) else end}{section}:{end}  {field}: {value}{end}"
    there = next((own for key, own in below.value if key.value == field), None)
    if there is not None:
        return f"{text[: there.start_mark.index]}{value}{text[there.end_mark.index :]}"
    first = below.start_mark
    if below.flow_style:
        return f"{text[: first.index + 1]}{field}: {value}{', ' if below.value else ''}{text[first.index + 1 :]}"
    return f"{text[: first.index]}{field}: {value}{end}{' ' * first.column}{text[first.index :]}"
