"""Options that mean the same on every command, declared once and added to each verb's signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import typer


def _recipes(incomplete: str) -> list[str]:
    from wbltr.recipe_file import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


@dataclass(frozen=True)
class Request:
    """What the user asked for with the common options."""

    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's name, or the path of a YAML file.", metavar="NAME|FILE", autocompletion=_recipes),
    ] = None
    set: Annotated[
        list[str], typer.Option("--set", help="Override one field; may be repeated.", metavar="SECTION.FIELD=VALUE")
    ] = field(default_factory=list)
    start: Annotated[
        str | None,
        typer.Option("--from", help="The artifact to start from; '-' reads its id from stdin.", metavar="ID|REF|FILE|-"),
    ] = None
    name: Annotated[str | None, typer.Option(help="Give the result this name.", metavar="REF")] = None
    root: Annotated[
        Path | None,
        typer.Option(help="Where a known set lies (as torchvision keeps it), instead of a download.", metavar="DIR"),
    ] = None
    store: Annotated[Path | None, typer.Option(help="The store; else WBLTR_STORE, else the nearest .wbltr.", metavar="DIR")] = (
        None
    )
    seed: Annotated[int | None, typer.Option(help="Seed of both training stages; never of the dataset.", min=0)] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto"
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: the cores that are free to use.", min=1)] = None
    force: Annotated[bool, typer.Option("--force", help="Compute again; the earlier object is kept.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would run, and stop.")] = False
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text; NO_COLOR does the same.")] = False


EVERYWHERE = ("store", "json", "quiet", "debug", "no_color")
MAKING = ("recipe", "set", "name", "root", "seed", "device", "threads", "force", "dry_run", *EVERYWHERE)
STARTING = ("start", *MAKING)


def _parameter(name: str) -> inspect.Parameter:
    declared = next(f for f in fields(Request) if f.name == name)
    default = [] if name == "set" else declared.default
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_ANNOTATIONS[name])


_ANNOTATIONS: dict[str, Any] = inspect.get_annotations(Request, eval_str=True)


def verb(app: typer.Typer, name: str, options: tuple[str, ...]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command: its own parameters come first, then these common options, handed over as a `Request`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]

        @functools.wraps(function)
        def command(**values: Any) -> None:
            from wbltr.cli.answer import answer

            request = Request(**{option: values.pop(option) for option in options})
            answer(name, request, lambda: function(request, **values))

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [_parameter(option) for option in options]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        summary = (function.__doc__ or "").split("\n\n")[-1].strip()
        app.command(name.split()[-1], short_help=summary)(command)
        return function

    return decorate
