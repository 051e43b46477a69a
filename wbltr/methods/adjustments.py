"""Post-hoc adjustments of a trained head: an entry is all that stages, recipes, commands and tables know of one.

To add one: its function in `wbltr.functional`, and its entry below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from wbltr.methods.settings import Method, Setting, Table


@dataclass(frozen=True)
class Adjustment(Method):
    """An adjustment of a trained head.

    Attributes:
        apply: `module:function` of those of these that it has arguments for: `weight`, `bias`; `counts (C,)`; the plain
            `logits (N, C)` and `labels (N,)` of the validation part; its settings.
        gives: what it returns. `rows`: new weights `(C, D)`. `shift`: the bias of a head without one, added to each class's
            logit. `scales`: scale and shift of each class's logit, or weight and bias of a head of ones and zeros.
            `temperature`: what all logits are divided by.
        reads: tensors of the dataset.
        fitted: whether it is fitted on the validation part.
        fixed: arguments that are no setting of it.
        sweep: `module:function` that predicts at many τ from one product of rows and embeddings; empty: one after another.
        calibrates: what it calibrates by, in words; empty: it is there for accuracy, and balances the classes.
        row: whether tables have a row of its name, on the first stage's head.
        example: arguments of the command, for its help.
    """

    apply: str = ""
    gives: Literal["rows", "shift", "scales", "temperature"] = "rows"
    reads: tuple[Literal["class_counts", "class_names"], ...] = ()
    fitted: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)
    sweep: str = ""
    calibrates: str = ""
    row: bool = False
    example: str = ""

    @property
    def by_counts(self) -> bool:
        """Whether it moves logits by the classes' sizes, so that a head which was balanced already is balanced twice."""
        return "class_counts" in self.reads and self.gives != "rows"


# fmt: off
TAU = Setting("tau", "val", "τ, or 'val': the best of 0, 0.1 … 3 on the validation part", "τ", ge=-10, le=10, words=("val",),
              original=True)
DIRECTION = Setting("direction", "decreasing", "how norms go as classes grow", kind="word", words=("decreasing", "increasing"))
PRIOR = Setting("prior", "uniform", "alike for all, or a YAML or JSON file with lines 'class name: share'",
                kind="shares", words=("uniform",))

HERE = "wbltr.functional.adjustments:"
SCALING = "wbltr.functional.scaling:"

ADJUSTMENTS = Table(
    "posthoc", "what is done to a trained head: posthoc.method, wbltr posthoc NAME",
    Adjustment("l2", "L2", "rows of unit norm: w / ‖w‖", "Alshammari et al., CVPR 2022, section 3.2",
               apply=f"{HERE}l2_normalize", fixed={"tau": 1.0}),  # which its keys hold
    Adjustment("tau", "τ-norm", "τ-normalisation: w / ‖w‖^τ", "Kang et al., ICLR 2020, section 4.1",
               (TAU,), apply=f"{HERE}tau_normalize", sweep=f"{HERE}tau_sweep", example="--tau 1.9"),
    Adjustment("logit-adjust", "logit adjustment",
               "logit adjustment: logits less τ times the logarithm of the class's share of the training images",
               "Menon et al., ICLR 2021, eq. 9",
               (TAU,), apply=f"{HERE}logit_adjust", gives="shift", reads=("class_counts",), row=True, example="--tau 1.0"),
    Adjustment("logit-adjust-mult", "multiplicative logit adjustment",
               "multiplicative logit adjustment: logits over the class's share of the training images to the power τ",
               "Hasegawa & Sato, ICLR 2024, section 5; Kim & Kim, IEEE Access 2020",
               (TAU,), apply=f"{HERE}logit_adjust_multiplicative", gives="scales", reads=("class_counts",), row=True,
               example="--tau 0.65"),
    Adjustment("isotonic", "isotonic norms",
               "row norms made monotone in the size of the classes: no rarer class has the smaller norm",
               "this project's own; the regression is scikit-learn's",
               (DIRECTION,), apply=f"{HERE}isotonic_norms", reads=("class_counts",), row=True),
    Adjustment("temperature", "temperature",
               "calibrated by one temperature, fitted on the validation part: predictions stay",
               "Guo et al., ICML 2017, section 4.2",
               apply=f"{SCALING}temperature_fit", gives="temperature", fitted=True, calibrates="one temperature",
               example="--from latest/head"),
    Adjustment("vector", "vector scaling",
               "calibrated by a scale and a shift of each class, fitted on the validation part: predictions may change",
               "Guo et al., ICML 2017, section 4.2",
               apply=f"{SCALING}vector_scaling_fit", gives="scales", fitted=True,
               calibrates="a scale and a shift of each class", example="--from latest/head"),
    Adjustment("prior", "{prior} prior", "for images whose classes are known to come as often as this says",
               "Saerens et al., Neural Computation 2002, eq. 2.4",
               (PRIOR,), apply=f"{HERE}retarget", gives="shift", reads=("class_counts", "class_names"),
               example="--prior uniform"),
)
