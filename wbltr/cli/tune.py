"""The verbs of `wbltr tune`: settings searched on the validation part."""

from __future__ import annotations

from typing import Annotated

import typer

from wbltr.cli.options import MAKING, STARTING, verb
from wbltr.cli.request import Request

tune = typer.Typer(help="Search settings on the validation part; the test set stays closed.", no_args_is_help=True)

Trials = Annotated[int | None, typer.Option(help="In all, those of earlier commands included.", min=1)]
Minutes = Annotated[float | None, typer.Option(help="Or as many as fit into this time.", min=0.01)]
Ranges = Annotated[
    list[str] | None, typer.Option("--range", help="What is tried; may be repeated.", metavar="NAME=LOW..HIGH|A,B,C")
]
Storage = Annotated[
    str | None, typer.Option(help="A journal file or a database URL; default: in the store.", metavar="FILE|URL")
]


@verb(tune, "tune features", tuple(option for option in MAKING if option not in ("force", "start")))
def tune_features(
    request: Request,
    trials: Trials = None,
    minutes: Minutes = None,
    ranges: Ranges = None,
    storage: Storage = None,
    row: Annotated[str, typer.Option(help="What a first stage is judged by, on validation.")] = "first stage",
) -> None:
    """Example:  wbltr tune features --recipe digits-ir50 --trials 20

    Weight decay of the first stage, by Optuna on the validation part; trials that others leave behind end early.
    """
    from wbltr.cli import tuning

    tuning.features(request, tuning.Asked(trials, minutes, ranges or [], storage), tuning.judging_row(row))


@verb(tune, "tune classifier", tuple(option for option in STARTING if option != "force"))
def tune_classifier(
    request: Request,
    trials: Trials = None,
    minutes: Minutes = None,
    ranges: Ranges = None,
    storage: Storage = None,
    batch: Annotated[int, typer.Option(help="Trials that are fitted together.", min=1, max=4096)] = 32,
) -> None:
    """Example:  wbltr tune classifier --recipe digits-ir50 --trials 200

    Weight decay and MaxNorm radius of the second stage, by Optuna on the validation part; the same command goes on.
    """
    from wbltr.cli import tuning

    tuning.classifier(request, tuning.Asked(trials, minutes, ranges or [], storage), batch)


@verb(tune, "tune tau", tuple(option for option in STARTING if option != "force"))
def tune_tau(request: Request) -> None:
    """Example:  wbltr tune tau --recipe digits-ir50

    τ of the recipe's head (posthoc.of), or of --from: every 0.1 from 0 to 3, the best on the validation part made.
    """
    from wbltr.cli import tuning

    tuning.tau(request)
