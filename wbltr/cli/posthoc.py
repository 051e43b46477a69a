"""The verbs of `wbltr posthoc`, one an entry of `wbltr.methods.adjustments`: a head adjusted after training."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

from wbltr.cli.options import STARTING, verb
from wbltr.cli.request import Request
from wbltr.methods.adjustments import ADJUSTMENTS, Adjustment
from wbltr.methods.settings import Setting, sentence

posthoc = typer.Typer(help="Adjust a trained head; by default the first stage's.", no_args_is_help=True)


def _option(setting: Setting) -> inspect.Parameter:
    """An option for a setting; shares are read from a file."""
    values = {"number": ("NUMBER", *setting.words), "shares": (*setting.words, "FILE")}.get(setting.kind, setting.words)
    told = typer.Option(help=sentence(setting.help), metavar="|".join(values))
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(setting.name, kind, default=str(setting.default), annotation=Annotated[str, told])


def _command(entry: Adjustment) -> Callable[..., None]:
    def command(request: Request, **settings: str) -> None:
        from wbltr.cli import making

        making.posthoc(request, entry.name, settings)

    example = f"wbltr posthoc {entry.name} {entry.example}".rstrip()
    command.__doc__ = f"Example:  {example}\n\n{sentence(entry.words)}"
    request = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    command.__signature__ = inspect.Signature([request, *map(_option, entry.settings)])  # type: ignore[attr-defined]
    return command


for _entry in ADJUSTMENTS.values():
    verb(posthoc, f"posthoc {_entry.name}", STARTING)(_command(_entry))
