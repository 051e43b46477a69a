"""Heads: the forms that one can have.

To add one: its entry below; the function or class that it names; and where its logits are its own, a kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wbltr.methods.settings import Method, Setting, Table


@dataclass(frozen=True)
class Kind:
    """What is kept of a head: `head.weight` and `head.bias`, and what else its logits are made of.

    Attributes:
        logits: `module:function` of the tensors and embeddings `(…, D)` → `(…, C)`.
        affine: `module:function` of the tensors, a scale and a shift of each logit → the tensors that change.
        mark: a tensor that no other kind has.
        refuses: adjustments that change nothing of it or are not defined: of the norms of `rows`, or by `classes`.
        why: in words.
    """

    name: str
    logits: str
    affine: str
    mark: str = ""
    refuses: tuple[Literal["rows", "classes"], ...] = ()
    why: str = ""


LOGITS = "wbltr.functional.logits:"
LINEAR = Kind("linear", f"{LOGITS}linear", f"{LOGITS}linear_affine")


@dataclass(frozen=True)
class Head(Method):
    """A form of head. One that names no function is a free matrix, and many of them are trained at once.

    Attributes:
        form: `module:function` of those of `weight (C, D)`, `bias (C,)`, `seed` and the settings that it has arguments for.
            It gives a `wbltr.head_forms.Form`, or the tensors to begin with: those whose names begin with `trains` are trained.
        fit: `module:function` of embeddings `(N, D)`, labels `(N,)` and C → weight, bias: nothing is trained.
        kind: of the tensors that are kept.
        starts_from: whether it begins from the first stage's head, and whether that has to be a linear one.
        row: fields of the classifier section that a row of its name sets, too; None: there is no such row.
        first_stage: whether a first stage can train it; with a network `wbltr.models.Classifier` has to know how.
    """

    form: str = ""
    trains: str = "head."
    fit: str = ""
    kind: Kind = LINEAR
    starts_from: Literal["any", "features", "linear features"] = "any"
    row: Mapping[str, Any] | None = None
    first_stage: bool = False

    @property
    def trained(self) -> bool:
        """Whether there is anything to train."""
        return not self.fit


# fmt: off
SCALE = Setting("scale", 30.0, "scale of the cosines", "s", gt=0, told="cosines times {}")

HEADS = Table(
    "head", "how a head turns an embedding into logits: classifier.head, features.head",
    Head("linear", "linear", "one row and one bias a class", "Alshammari et al., CVPR 2022, section 3", first_stage=True),
    Head("cosine", "cosine", "scaled cosines of embedding and row", "Gidaris & Komodakis, CVPR 2018, section 3",
         (SCALE,), form="wbltr.head_forms:Cosine", row={"loss": "cb"}, first_stage=True,
         kind=Kind("cosine", f"{LOGITS}cosine", f"{LOGITS}cosine_affine", "head.scale", ("rows", "classes"),
                   "would change nothing on a cosine head: one scale for all classes, no norms of rows")),
    Head("etf", "simplex ETF", "a fixed simplex equiangular tight frame above a trained linear map",
         "Yang et al., NeurIPS 2022, section 4; the map is this project's",
         (SCALE,), alias="simplex", form="wbltr.head_forms:Simplex", starts_from="features",
         row={"loss": "cb"}),
    Head("lws", "LWS", "learnable weight scaling: the first stage's logits, each times a learned factor",
         "Kang et al., ICLR 2020, section 4.1",
         alias="scaled", form="wbltr.head_forms:Scaled", starts_from="linear features",
         row={"sampling": "class-balanced"}),
    Head("disalign", "DisAlign", "the first stage's logits, aligned by class as far as a gate lets an image",
         "Zhang et al., CVPR 2021, section 3.3",
         alias="gated", form=f"{LOGITS}gate", trains="head.gate.", starts_from="linear features",
         row={"loss": "reweighted"},
         kind=Kind("gated", f"{LOGITS}gated", f"{LOGITS}gated_affine", "head.gate.weight", ("rows",),
                   "is not defined on a gated head, whose rows make only part of its logits")),
    Head("ncm", "nearest class mean", "the nearest class mean, by cosine", "Kang et al., ICLR 2020, section 4",
         alias="means", fit="wbltr.functional.prototypes:nearest_class_mean", row={}),
)
# fmt: on
KINDS = {head.kind.name: head.kind for head in HEADS.values()}
