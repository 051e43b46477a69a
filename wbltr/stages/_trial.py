"""A second stage's config as what `fit_heads` takes; the one place where a relative radius becomes absolute."""

from __future__ import annotations

from torch import Tensor

from wbltr.functional.projections import relative_radius, row_norms
from wbltr.heads import Trial
from wbltr.recipe import ClassifierConfig


def trial_of(config: ClassifierConfig, first_weight: Tensor) -> Trial:
    """The trial of a config, given the first stage's rows `(C, D)`."""
    ball = config.max_norm
    radius = None
    if ball is not None:
        radius = relative_radius(row_norms(first_weight), ball.radius) if ball.relative else ball.radius
    return Trial(
        loss=config.loss,
        beta=config.beta,
        lr=config.lr,
        weight_decay=config.weight_decay,
        radius=radius,
        per=ball.per if ball is not None else "step",
        unit_norm=config.constraint == "unit-norm",
    )
