"""wbltr: image classifiers on long-tailed data, trained by weight balancing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wbltr.estimator import WeightBalancedClassifier as WeightBalancedClassifier

PUBLIC = {"WeightBalancedClassifier": "wbltr.estimator"}  # name -> where it is; imported when it is asked for, as torch is slow
__all__ = [*PUBLIC]


def __getattr__(name: str) -> object:
    if name not in PUBLIC:
        raise AttributeError(f"module 'wbltr' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return [*__all__]
