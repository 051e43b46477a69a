"""Makes functions commands: adds the common options to a verb's signature and hands them over as a request."""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer

from wbltr.cli.request import Request
from wbltr.errors import address

EVERYWHERE = ("methods", "store", "json", "quiet", "debug", "no_color")
MAKING = ("recipe", "set", "name", "root", "seed", "device", "threads", "force", "dry_run", *EVERYWHERE)
REPEATING = tuple(name for option in MAKING for name in ((option, "seeds") if option == "seed" else (option,)))
STARTING = ("start", *MAKING)
LISTED = ("lists", "on_bad_image", "images")  # of the commands that make a dataset, where its images lie in a folder


WRITTEN = ("store", "out", "folder")  # parameters that name what is made
NAMES = ("recipe", "start")  # which may be those of files


def _refuse_addresses(values: Mapping[str, Any]) -> None:
    """Refuse s3://… and the like where a file or folder is named, which the system would take for a folder `s3:`.

    Raises:
        WbltrError: code "usage".
    """
    for name, value in values.items():
        for place in value if isinstance(value, list) else [value]:
            named = isinstance(place, Path) or (name in NAMES and place is not None)
            if named and (told := address(place, written=name in WRITTEN)) is not None and not os.path.lexists(place):
                raise told


def _refuse_devices(request: Request) -> None:
    """Refuse a device that is none, or that a plan is not made for; one that work is to run on is looked for there.

    Raises:
        WbltrError: code "usage".
    """
    known = re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", request.device)
    if known is None or (request.dry_run and request.device not in ("auto", "cpu")):
        from wbltr.machine import prepare

        prepare(request.device, request.threads)


def _parameter(name: str) -> inspect.Parameter:
    declared = next(f for f in fields(Request) if f.name == name)
    default = [] if declared.default is MISSING else declared.default
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

            def work() -> None:
                _refuse_addresses(vars(request) | values)
                _refuse_devices(request)
                function(request, **values)

            answer(name, request, work)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + [_parameter(option) for option in options]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in parameters}
        summary = (function.__doc__ or "").split("\n\n")[-1].strip()
        app.command(name.split()[-1], short_help=summary)(command)
        return function

    return decorate
