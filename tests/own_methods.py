"""A loss of one's own, for `wbltr run --with own_methods.py --set classifier.loss=poly`: no line of the package changes."""

from __future__ import annotations

from typing import Any

from wbltr.methods.adjustments import ADJUSTMENTS, Adjustment
from wbltr.methods.losses import LOSSES, Loss
from wbltr.methods.settings import Setting


def poly(logits: Any, labels: Any, lift: float) -> Any:
    """Cross entropy and a multiple of the probability that is missing: Leng et al., ICLR 2022, eq. 6."""
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    log_p = logits.log_softmax(-1).gather(-1, index).squeeze(-1)
    return (lift * (1 - log_p.exp()) - log_p).mean(-1)


def halved(weight: Any) -> Any:
    """Rows of half their length."""
    return weight / 2


LIFT = Setting("lift", 1.0, "weight of the probability that is missing", ge=0)
SOURCE = "Leng et al., ICLR 2022, eq. 6"
LOSSES.add(Loss("poly", "poly-1", "cross entropy, and more", SOURCE, (LIFT,), value_of=f"{__name__}:poly", row={}))
ADJUSTMENTS.add(Adjustment("halved", "halved", "rows of half their length", "nobody", apply=f"{__name__}:halved", row=True))
