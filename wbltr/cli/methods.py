"""`wbltr methods`: the losses, heads, adjustments and rows that there are, from their tables. It imports no torch."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from wbltr.cli.request import Request
from wbltr.cli.stores import console_of
from wbltr.errors import WbltrError, closest
from wbltr.methods.adjustments import ADJUSTMENTS
from wbltr.methods.heads import HEADS
from wbltr.methods.losses import LOSSES
from wbltr.methods.rows import ROWS
from wbltr.methods.settings import Method, Setting, Table, sentence

KINDS: dict[str, Table[Any]] = {table.kind: table for table in (LOSSES, HEADS, ADJUSTMENTS, ROWS)}


def methods(request: Request, kind: str | None, name: str | None) -> None:
    """The kinds of methods; the methods of a kind; or one of them in full."""
    console, document = console_of(request), {"schema": 1, "command": "methods"}
    if kind is None:
        names = {one: [entry.name for entry in table.values()] for one, table in KINDS.items()}
        if request.json:
            kinds = [{"kind": one, "words": KINDS[one].words, "methods": names[one]} for one in KINDS]
            return console.document({**document, "kinds": kinds})
        rows = [(one, KINDS[one].words, ", ".join(names[one])) for one in KINDS]
        return console.table(("kind", "what it is", "methods"), rows, "more: wbltr methods KIND, wbltr methods KIND NAME")
    if kind not in KINDS:
        told = f"no kind of methods '{kind}'.{closest(kind, list(KINDS))}"
        raise WbltrError(told, f"one of {', '.join(KINDS)}", "usage")
    table = KINDS[kind]
    if name is None:
        if request.json:
            return console.document({**document, "kind": kind, "methods": [_document(kind, e) for e in table.values()]})
        entries = [(e.name, e.words, ", ".join(map(_default, e.settings)), e.source) for e in table.values()]
        return console.table(("name", "what it does", "settings", "source"), entries, table.words)
    if name not in table:
        told = f"no {kind} '{name}'.{closest(name, [entry.name for entry in table.values()])}"
        raise WbltrError(told, f"list them: wbltr methods {kind}", "usage")
    entry = table[name]
    if request.json:
        return console.document({**document, "method": _document(kind, entry)})
    page = [f"{entry.name}: {sentence(entry.words)}", f"Source: {entry.source}."]
    page += [f"In recipes, records and exports: {entry.value}."] if entry.alias else []
    sets = [f"classifier.{field}={value}" for field, value in (getattr(entry, "sets", None) or {}).items()]
    page += [f"Sets {', '.join(sets)}."] if sets else []
    page += [f"  {_default(s)}: {s.help}" + (f" ({s.range})" if s.bounds else "") for s in entry.settings]
    page += [f"\n{path.partition(':')[2]}: {formula}" for path, formula in _formulas(entry).items()]
    return console.result("\n".join(page))


def _default(setting: Setting) -> str:
    symbol = f" ({setting.symbol})" if setting.symbol and setting.symbol != setting.name else ""
    return f"{setting.name}{symbol} = {'null' if setting.default is None else setting.default}"


def _document(kind: str, entry: Method) -> dict[str, Any]:
    """An entry as JSON values."""
    settings = [
        {"name": s.name, "symbol": s.symbol, "default": s.default, "bounds": s.bounds, "words": s.words, "help": s.help}
        for s in entry.settings
    ]
    own = {"kind": kind, "name": entry.name, "value": entry.value, "label": entry.label, "words": entry.words}
    return {**own, "source": entry.source, "settings": settings, "formulas": _formulas(entry)}


def _formulas(entry: Method) -> dict[str, str]:
    """The functions that an entry names, with their docstrings, read from their files and not imported."""
    own = vars(entry) | vars(getattr(entry, "kind", entry))
    values = [inner for value in own.values() for inner in (value.values() if isinstance(value, dict) else [value])]
    return {path: _docstring(path) for path in values if isinstance(path, str) and path.startswith("wbltr.") and ":" in path}


def _docstring(path: str) -> str:
    module, _, name = path.partition(":")
    file = Path(__file__).parent.parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return ast.get_docstring(node) or ""
    return ""
