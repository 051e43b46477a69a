"""What every command takes, declared once: the meaning of a flag is the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from wbltr.cli.completing import recipes, refs


@dataclass(frozen=True)
class Request:
    """What the user asked for with the common options."""

    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's name, or the path of a YAML file.", metavar="NAME|FILE", autocompletion=recipes),
    ] = None
    set: Annotated[
        list[str], typer.Option("--set", help="Override one field; may be repeated.", metavar="SECTION.FIELD=VALUE")
    ] = field(default_factory=list)
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="The artifact to start from; '-' reads its id from stdin.",
            metavar="ID|REF|FILE|-",
            autocompletion=refs,
        ),
    ] = None
    name: Annotated[str | None, typer.Option(help="Give the result this name.", metavar="REF", autocompletion=refs)] = None
    root: Annotated[
        Path | None,
        typer.Option(
            help="Where a known set lies (as torchvision keeps it), instead of a download; where a list's paths start from.",
            metavar="DIR",
        ),
    ] = None
    lists: Annotated[
        list[Path],
        typer.Option(
            "--list",
            help="Lists 'path label' of a large set: their folder, or each of them; else in --root.",
            metavar="DIR|FILE",
        ),
    ] = field(default_factory=list)
    on_bad_image: Annotated[
        str | None, typer.Option(help="What becomes of listed images that cannot be decoded.", metavar="fail|skip")
    ] = None
    images: Annotated[
        Path | None, typer.Option(help="Pictures of your own: a folder with a folder a class, or a table.", metavar="DIR|FILE")
    ] = None
    store: Annotated[Path | None, typer.Option(help="The store; else WBLTR_STORE, else the nearest .wbltr.", metavar="DIR")] = (
        None
    )
    seed: Annotated[int | None, typer.Option(help="Seed of both training stages; never of the dataset.", min=0)] = None
    seeds: Annotated[
        str | None,
        typer.Option(
            help="One run for each, several at once; prints mean ± standard deviation. --name REF names REF/seed-0 …",
            metavar="0,1,2",
        ),
    ] = None
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto"
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: the cores that are free to use.", min=1)] = None
    force: Annotated[bool, typer.Option("--force", help="Compute again; the earlier object is kept.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would run, and stop.")] = False
    methods: Annotated[
        Path | None,
        typer.Option("--with", help="A Python file that adds losses, heads, post-hoc methods.", metavar="FILE.py"),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text; NO_COLOR does the same.")] = False
