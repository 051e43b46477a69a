"""wbltr: image classifiers on long-tailed data, trained by weight balancing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wbltr.estimator import WeightBalancedClassifier as WeightBalancedClassifier
    from wbltr.notebook import load as load
    from wbltr.notebook import run as run

# Name -> where it is; imported when it is asked for, as torch is slow.
PUBLIC = {"WeightBalancedClassifier": "wbltr.estimator", "load": "wbltr.notebook", "run": "wbltr.notebook"}
__all__ = [*PUBLIC]


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'wbltr' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*__all__]
