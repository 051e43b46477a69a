"""Heads: the forms that one can have, and what a trained head leaves open altogether.

To add one: its entry below; the function or class that it names; and where its logits are its own, a kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

from wbltr.methods.losses import LOSSES, SCALE
from wbltr.methods.settings import Method, Table


@dataclass(frozen=True)
class Head(Method):
    """A form of head.

    Attributes:
        kind: of the tensors that are kept, which says how logits are made of them.
        starts_from: whether it begins from the first stage's head, and whether that has to be a linear one.
        first_stage: whether a first stage can train it.
        trained: whether it is trained; if not, it is fitted in one go.
    """

    kind: str = "linear"
    starts_from: Literal["any", "features", "linear features"] = "any"
    first_stage: bool = False
    trained: bool = True


# fmt: off
HEADS = Table(
    "head",
    Head("linear", "linear", "one row and one bias a class", "Alshammari et al., CVPR 2022, section 3", first_stage=True),
    Head("cosine", "cosine", "scaled cosines of embedding and row", "Gidaris & Komodakis, CVPR 2018, section 3",
         (SCALE,), kind="cosine", first_stage=True),
    Head("etf", "simplex ETF", "a fixed simplex equiangular tight frame above a trained linear map",
         "Yang et al., NeurIPS 2022, section 4; the map is this project's",
         (SCALE,), alias="simplex", starts_from="features"),
    Head("lws", "LWS", "learnable weight scaling: the first stage's logits, each times a learned factor",
         "Kang et al., ICLR 2020, section 4.1",
         alias="scaled", starts_from="linear features"),
    Head("disalign", "DisAlign", "the first stage's logits, aligned by class as far as a gate lets an image",
         "Zhang et al., CVPR 2021, section 3.3",
         alias="gated", kind="gated", starts_from="linear features"),
    Head("ncm", "nearest class mean", "the nearest class mean, by cosine", "Kang et al., ICLR 2020, section 4",
         alias="means", trained=False),
)
# fmt: on
SETTINGS = LOSSES.settings() | HEADS.settings()
_ARGUMENTS = {name: setting for name, setting in SETTINGS.items() if setting.kind != "teacher"}


class LossSettings(SimpleNamespace):
    """What losses and forms of heads leave open, by name; what is not given has its default. Equal settings hash alike."""

    def __init__(self, **given: Any) -> None:
        if unknown := given.keys() - _ARGUMENTS.keys():
            raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
        super().__init__(**{name: given.get(name, setting.default) for name, setting in _ARGUMENTS.items()})

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(vars(self).values()))
