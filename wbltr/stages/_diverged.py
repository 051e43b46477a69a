"""A training that diverged, told by the section whose settings it had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wbltr.errors import Diverged, WbltrError
from wbltr.recipe import ClassifierConfig, FeaturesConfig


@contextmanager
def diverging(config: FeaturesConfig | ClassifierConfig, section: str = "") -> Iterator[None]:
    """Say of a training which settings it had, and which to change.

    Args:
        section: of the recipe, that says its learning rate; "": that of its stage.

    Raises:
        WbltrError: code "training".
    """
    try:
        yield
    except Diverged as failure:
        stage, lr, decay = ("features" if isinstance(config, FeaturesConfig) else "classifier"), config.lr, config.weight_decay
        section = section or stage
        told = f"{stage} {failure.message}, with lr {lr:g} and weight decay {decay:g}"
        hint = f"lower {section}.lr or {section}.weight_decay, for example --set {section}.lr={lr / 10:g}"
        raise WbltrError(told, hint, "training") from None
