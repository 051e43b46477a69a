"""Losses: an entry is all that the package has to know of one. Recipes, trainers, tables and the estimator read it here.

To add one: its function in `wbltr.functional.losses`, and its entry below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from wbltr.methods.heads import HEADS, SCALE
from wbltr.methods.settings import Method, Setting, Table


@dataclass(frozen=True)
class Loss(Method):
    """A loss of logits and labels.

    Attributes:
        value_of: `module:function` of logits `(…, B, C)`, labels `(B,)` → `(…)`. Of its other arguments, those that are named
            as a setting, as a tensor of `from_counts` or in `fixed` are given; `teacher` is the teacher's logits.
        from_counts: argument → `module:function` of the class counts `(C,)` and settings → `(C,)`; `weights` are class weights.
        fixed: arguments that are no setting of this loss.
        gradient: `module:function` of the closed form, see `wbltr.functional.gradients`. Losses of one closed form differ in
            their class weights alone, so their heads are trained as one group.
        teacher: whether it learns from a teacher's logits.
        head: the one form of head that it is for, and why; empty for any.
        deferred: whether its class weights count from `reweight_from` on alone, and never without it.
        balances: whether it makes up for the classes' sizes.
        row: fields of the classifier section that a row of its name sets, too; None: there is no such row.
        row_label: of that row, where its weights are deferred.
    """

    value_of: str = ""
    from_counts: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    gradient: str = ""
    teacher: bool = False
    head: str = ""
    why_head: str = ""
    deferred: bool = False
    balances: bool = True
    row: Mapping[str, Any] | None = None
    row_label: str = ""


# fmt: off
BETA = Setting("beta", 0.9999, "how far classes are weighed by the inverse of their size", "β", ge=0, lt=1, original=True)
RHO = Setting("rho", 1.0, "class weights by n^−ρ", "ρ", ge=0)
GAMMA = Setting("gamma", 2.0, "how little images count that the head is sure of", "γ", ge=0)
TAU = Setting("tau", 1.0, "how much of the class prior is added", "τ", ge=0, told="loss adjusted by τ {}")
SMOOTHING = Setting("smoothing", 0.98, "share of a label that is spread over all classes", "ε", ge=0, lt=1,
                    told="smoothing {}")
MARGIN = Setting("margin", 0.5, "margin of the rarest class", gt=0)
REWEIGHT_FROM = Setting("reweight_from", None, "first epoch, from 0, in which class weights count", kind="natural",
                        told="class weights from epoch {}")
TEACHER = Setting("teacher", None, "a finished first stage, its id or its name", kind="teacher")
TEMPERATURE = Setting("temperature", 4.0, "temperature of the two softmaxes", "T", gt=0, told="distilled at temperature {}")
ALPHA = Setting("alpha", 0.9, "the teacher's share of the loss", "α", ge=0, le=1, told="teacher's share {}")

HERE = "wbltr.functional.losses:"
CROSS_ENTROPY = f"{HERE}cross_entropy"
WITH_GRADIENT = "wbltr.functional.gradients:cross_entropy_with_gradient"
BY_BETA = {"weights": f"{HERE}class_balanced_weights"}
LOG_PRIOR = {"log_prior": "wbltr.functional.priors:log_prior"}

LOSSES = Table(
    "loss", "what a head is trained by: features.loss, classifier.loss",
    Loss("ce", "CE", "cross entropy", "Alshammari et al., CVPR 2022, eq. 1",
         value_of=CROSS_ENTROPY, gradient=WITH_GRADIENT, balances=False),
    Loss("cb", "CB", "cross entropy, classes weighed by their effective number of images", "Cui et al., CVPR 2019, eq. 6",
         (BETA, REWEIGHT_FROM), value_of=CROSS_ENTROPY, from_counts=BY_BETA, gradient=WITH_GRADIENT),
    Loss("cb-bce", "CB (BCE)", "binary cross entropy on softmax probabilities, weighed as `cb`: what was released",
         "Cui et al., CVPR 2019, released code",
         (BETA, REWEIGHT_FROM), value_of=f"{HERE}balanced_binary_cross_entropy", from_counts=BY_BETA,
         gradient="wbltr.functional.gradients:balanced_binary_cross_entropy_with_gradient"),
    Loss("reweighted", "reweighted CE", "cross entropy, classes weighed by a power of their inverse size",
         "Zhang et al., CVPR 2021, section 3.4",
         (RHO, REWEIGHT_FROM), value_of=CROSS_ENTROPY, from_counts={"weights": f"{HERE}inverse_frequency_weights"},
         gradient=WITH_GRADIENT),
    Loss("focal", "focal", "cross entropy in which images count little that the head is sure of",
         "Lin et al., ICCV 2017, eq. 4",
         (GAMMA,), value_of=f"{HERE}focal", balances=False, row={}),
    Loss("focal-cb", "focal & CB", "the focal loss, weighed as `cb`", "Lin et al., ICCV 2017, eq. 5; Cui et al., CVPR 2019",
         (GAMMA, BETA, REWEIGHT_FROM), value_of=f"{HERE}focal", from_counts=BY_BETA, row={}),
    Loss("ldam", "LDAM", "cross entropy in which the true class has to win by a margin, the larger the rarer it is",
         "Cao et al., NeurIPS 2019, section 3.2; deferred weights: section 3.3",
         (MARGIN, BETA, REWEIGHT_FROM, SCALE), value_of=f"{HERE}ldam",
         from_counts={"margins": f"{HERE}ldam_margins", **BY_BETA},
         fixed={"scale": 1.0},  # the head gives s · cos, and the margins are scaled, too
         head="cosine", why_head="its margins are of cosines", deferred=True,
         row={"head": "cosine"}, row_label="LDAM-DRW"),
    Loss("logit-adjusted", "logit-adjusted loss", "cross entropy of the logits with τ times the class prior's logarithm added",
         "Menon et al., ICLR 2021, eq. 10",
         (TAU,), value_of=f"{HERE}logit_adjusted", from_counts=LOG_PRIOR, row={}),
    Loss("balanced-softmax", "balanced softmax", "cross entropy of the logits with the class prior's logarithm added",
         "Ren et al., NeurIPS 2020, section 3.1",
         value_of=f"{HERE}logit_adjusted", from_counts=LOG_PRIOR, fixed={"tau": 1.0}, row={}),
    Loss("label-smooth", "label over-smoothing", "cross entropy against labels that are spread over all classes",
         "Sun et al., ICLR 2025; Szegedy et al., CVPR 2016, section 7",
         (SMOOTHING,), value_of=f"{HERE}smoothed_cross_entropy", balances=False, row={}),
    Loss("distill", "distillation", "cross entropy, mixed with the divergence from a teacher's softened probabilities",
         "Hinton et al., 2015 (arXiv 1503.02531), section 2",
         (TEACHER, TEMPERATURE, ALPHA), value_of=f"{HERE}distillation", teacher=True, balances=False, row={}),
)
# fmt: on
SETTINGS = LOSSES.settings() | HEADS.settings()


class LossSettings(SimpleNamespace):
    """What losses and forms of heads leave open, by name; what is not given has its default. Equal settings hash alike."""

    def __init__(self, **given: Any) -> None:
        defaults = {name: setting.default for name, setting in SETTINGS.items() if setting.kind != "teacher"}
        if unknown := given.keys() - defaults.keys():
            raise TypeError(f"no such setting: {', '.join(sorted(unknown))}")
        super().__init__(**defaults | given)

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(vars(self).values()))
