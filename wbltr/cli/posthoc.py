"""The verbs of `wbltr posthoc`: a head adjusted after training."""

from __future__ import annotations

from typing import Annotated

import typer

from wbltr.cli.options import STARTING, verb
from wbltr.cli.request import Request

posthoc = typer.Typer(help="Adjust a trained head; by default the first stage's.", no_args_is_help=True)

Tau = Annotated[str, typer.Option(help="τ, or 'val': the best of 0, 0.1 … 3 on the validation part.", metavar="NUMBER|val")]


@verb(posthoc, "posthoc l2", STARTING)
def posthoc_l2(request: Request) -> None:
    """Example:  wbltr posthoc l2

    Rows of unit norm: w / ‖w‖.
    """
    from wbltr.cli import making

    making.posthoc(request, "l2")


@verb(posthoc, "posthoc tau", STARTING)
def posthoc_tau(request: Request, tau: Tau = "val") -> None:
    """Example:  wbltr posthoc tau --tau 1.9

    τ-normalisation: w / ‖w‖^τ.
    """
    from wbltr.cli import making

    making.posthoc(request, "tau", tau=tau)


@verb(posthoc, "posthoc logit-adjust", STARTING)
def posthoc_logit_adjust(request: Request, tau: Tau = "val") -> None:
    """Example:  wbltr posthoc logit-adjust --tau 1.0

    Logit adjustment: logits less τ times the logarithm of the class's share of the training images.
    """
    from wbltr.cli import making

    making.posthoc(request, "logit-adjust", tau=tau)


@verb(posthoc, "posthoc logit-adjust-mult", STARTING)
def posthoc_logit_adjust_mult(request: Request, tau: Tau = "val") -> None:
    """Example:  wbltr posthoc logit-adjust-mult --tau 0.65

    Multiplicative logit adjustment: logits over the class's share of the training images to the power τ.
    """
    from wbltr.cli import making

    making.posthoc(request, "logit-adjust-mult", tau=tau)


@verb(posthoc, "posthoc isotonic", STARTING)
def posthoc_isotonic(
    request: Request,
    direction: Annotated[
        str, typer.Option(help="How norms go as classes grow.", metavar="decreasing|increasing")
    ] = "decreasing",
) -> None:
    """Example:  wbltr posthoc isotonic

    Row norms made monotone in the size of the classes: no rarer class has the smaller norm.
    """
    from wbltr.cli import making

    making.posthoc(request, "isotonic", direction=direction)


@verb(posthoc, "posthoc temperature", STARTING)
def posthoc_temperature(request: Request) -> None:
    """Example:  wbltr posthoc temperature --from latest/head

    Calibrated by one temperature, fitted on the validation part: predictions stay.
    """
    from wbltr.cli import making

    making.posthoc(request, "temperature")


@verb(posthoc, "posthoc vector", STARTING)
def posthoc_vector(request: Request) -> None:
    """Example:  wbltr posthoc vector --from latest/head

    Calibrated by a scale and a shift of each class, fitted on the validation part: predictions may change.
    """
    from wbltr.cli import making

    making.posthoc(request, "vector")


@verb(posthoc, "posthoc prior", STARTING)
def posthoc_prior(
    request: Request,
    prior: Annotated[
        str, typer.Option(help="Alike for all, or a YAML or JSON file with lines 'class name: share'.", metavar="uniform|FILE")
    ] = "uniform",
) -> None:
    """Example:  wbltr posthoc prior --prior uniform

    For images whose classes are known to come as often as this says.
    """
    from wbltr.cli import making

    making.posthoc_prior(request, prior)
