"""WeightBalancedClassifier: the second stage under scikit-learn's conventions."""

from __future__ import annotations

import inspect
import math
import os
from numbers import Integral
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from wbltr.errors import WbltrError
from wbltr.functional.adjustments import tau_normalize
from wbltr.functional.sampling import Sampling, image_weights
from wbltr.functional.schedules import cosine
from wbltr.heads import Trial, fit_heads
from wbltr.methods.losses import LOSSES, LossSettings
from wbltr.models import new_head

_IMPORTED_IN = os.getpid()
Array = np.ndarray[Any, Any]
LINEAR = {name: loss for name, loss in LOSSES.items() if not (loss.head or loss.teacher)}
SETTINGS = {s.name: s for loss in LINEAR.values() for s in loss.settings if s.kind == "number"}


class WeightBalancedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A linear classifier for long-tailed classes: class-balanced loss, weight decay, MaxNorm on the rows.

    It is the second stage of weight balancing (Alshammari et al., CVPR 2022, section 4.2), on any features: embeddings of a
    network, or columns of a table. Parameters are named as in a recipe's classifier section, and `WeightBalancedClassifier`
    gives what `wbltr train-classifier` gives with the same settings, `init: fresh` and an absolute radius.

    Features should be of about unit scale, as `StandardScaler` or `Normalizer` make them: the learning rate is of that scale.

    Parameters
    ----------
    loss : {LOSSES}, default='cb'
        Cross entropy, class-balanced cross entropy (Cui et al., CVPR 2019), and others: `wbltr methods loss`.
    SETTINGS
    weight_decay : float, default=0.0
        On weights and biases, as SGD has it: twice the λ of a penalty λ‖w‖².
    max_norm : float or None, default=None
        Every row of `coef_` stays in the L2 ball of this radius, after each step.
    constraint : {'none', 'unit-norm'}, default='none'
        'unit-norm': every row has norm 1 after each step. Not together with `max_norm`.
    epochs : int, default=50
        Walks over the samples. The learning rate falls by half a cosine.
    batch_size : int, default=64
        Samples of a step.
    lr : float, default=0.01
        Learning rate of the first epoch.
    momentum : float in [0, 1), default=0.9
        Of SGD.
    sampling : {'instance', 'class-balanced', 'square-root'}, default='instance'
        How samples are drawn: each once an epoch, or by class.
    scheduler : {'paper', 'released'}, default='paper'
        'released' steps before each epoch, so that the last one has learning rate 0.
    posthoc_tau : float, default=0.0
        τ-normalisation after training: each row is divided by its norm to this power. 1 makes all norms 1.
    random_state : int, RandomState instance or None, default=None
        Draws the first weights and the order of samples. An int is a recipe's `classifier.seed`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    coef_ : ndarray of shape (n_classes, n_features)
        One row a class, for two classes, too.
    intercept_ : ndarray of shape (n_classes,)
        Biases.
    loss_curve_ : ndarray of shape (n_epochs,)
        Mean loss of each epoch.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where `X` has names.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from wbltr import WeightBalancedClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> head = WeightBalancedClassifier(weight_decay=1e-3, max_norm=1.0, random_state=0)
    >>> float(make_pipeline(StandardScaler(), head).fit(X[:1200], y[:1200]).score(X[1200:], y[1200:])) > 0.9
    True
    """

    def __init__(
        self,
        *,
        loss: str = "cb",
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        constraint: Literal["none", "unit-norm"] = "none",
        epochs: int = 50,
        batch_size: int = 64,
        lr: float = 0.01,
        momentum: float = 0.9,
        sampling: Sampling = "instance",
        scheduler: Literal["paper", "released"] = "paper",
        posthoc_tau: float = 0.0,
        random_state: Any = None,
        **settings: float,
    ) -> None:
        if unknown := settings.keys() - SETTINGS.keys():
            raise TypeError(f"unexpected parameters: {', '.join(sorted(unknown))}; there are also {', '.join(SETTINGS)}")
        self.loss = loss
        self.__dict__.update({name: settings.get(name, setting.default) for name, setting in SETTINGS.items()})
        self.weight_decay = weight_decay
        self.max_norm = max_norm
        self.constraint = constraint
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.momentum = momentum
        self.sampling = sampling
        self.scheduler = scheduler
        self.posthoc_tau = posthoc_tau
        self.random_state = random_state

    def fit(self, X: Any, y: Any, coef_init: Array | None = None, intercept_init: Array | None = None) -> Self:
        """Train on samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features; computed with in float32.
        y : array-like of shape (n_samples,)
            Labels.
        coef_init : ndarray of shape (n_classes, n_features), default=None
            Where to start, such as a first stage's head; with `intercept_init`.
        intercept_init : ndarray of shape (n_classes,), default=None
            Its biases.

        Returns
        -------
        self : WeightBalancedClassifier
            Itself, fitted.
        """
        self._check_parameters()
        X, y = validate_data(self, X, y, dtype=[np.float32, np.float64])
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        classes, features = len(self.classes_), X.shape[1]
        if classes < 2:
            raise ValueError(f"expected two classes or more, found 1 class: {self.classes_[0]!r}")
        seed = self._seed()
        if (coef_init is None) != (intercept_init is None):
            raise ValueError("coef_init and intercept_init: give both, or neither")
        start = None
        if coef_init is not None and intercept_init is not None:
            start = (np.asarray(coef_init, np.float32), np.asarray(intercept_init, np.float32))
            if start[0].shape != (classes, features) or start[1].shape != (classes,):
                expected, found = f"({classes}, {features}) and ({classes},)", " and ".join(str(one.shape) for one in start)
                raise ValueError(f"coef_init, intercept_init: expected {expected}, found {found}")
        embeddings = np.require(X, np.float32, ["C", "W"])
        try:
            fitted = self._fitted(embeddings, numbers.astype(np.int64), classes, seed, start)
        except WbltrError as failure:
            advice = "lower lr or weight_decay, or scale the features"
            raise ValueError(f"{failure.message}; {advice}") from None
        self.coef_, self.intercept_, self.loss_curve_ = fitted
        return self

    def _fitted(
        self, x: Array, numbers: Array, classes: int, seed: int, start: tuple[Array, Array] | None
    ) -> tuple[Array, Array, Array]:
        """All that torch has to do: rows `(C, D)`, biases `(C,)` and losses `(E,)`, of features `(N, D)` and classes `(N,)`."""
        if os.getpid() != _IMPORTED_IN:
            torch.set_num_threads(1)  # a forked process has none of its parent's OpenMP threads, and would wait for them
        labels = torch.from_numpy(numbers)
        counts = torch.bincount(labels, minlength=classes)
        weight, bias = new_head(classes, x.shape[1], seed) if start is None else map(torch.tensor, start)
        trial = Trial(
            self.loss,
            LossSettings(**{name: getattr(self, name) for name in SETTINGS}),
            self.lr,
            self.weight_decay,
            self.max_norm,
            unit_norm=self.constraint == "unit-norm",
        )
        heads = fit_heads(
            torch.from_numpy(x).unsqueeze(0),
            labels,
            counts,
            weight,
            bias,
            [trial],
            schedule=cosine(1.0, self.epochs, self.scheduler),
            batch_size=self.batch_size,
            momentum=self.momentum,
            seed=seed,
            weights=image_weights(labels, counts, self.sampling),
        )
        rows = tau_normalize(heads.weight[0], self.posthoc_tau) if self.posthoc_tau else heads.weight[0]
        # float64 from here on, so that a sample's scores do not depend on those beside it.
        return rows.double().numpy(), heads.bias[0].double().numpy(), heads.loss[:, 0].numpy()

    def decision_function(self, X: Any) -> Array:
        """Logits of samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            For two classes the second's logit less the first's.
        """
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict(self, X: Any) -> Array:
        """The class of the highest logit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Labels.
        """
        highest: Array = self._logits(X).argmax(1)
        found: Array = self.classes_[highest]
        return found

    def predict_proba(self, X: Any) -> Array:
        """The softmax of the logits. It is not calibrated: see `sklearn.calibration.CalibratedClassifierCV`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        logits = self._logits(X)
        shares: Array = np.exp(logits - logits.max(1, keepdims=True))
        probabilities: Array = shares / shares.sum(1, keepdims=True)
        return probabilities

    def _logits(self, X: Any) -> Array:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        logits: Array = X @ self.coef_.T + self.intercept_
        return logits

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _check_parameters(self) -> None:
        """Refuse what cannot be trained with, as scikit-learn does: in `fit`."""
        words: dict[str, tuple[str, ...]] = {
            "loss": tuple(LINEAR),
            "constraint": ("none", "unit-norm"),
            "sampling": get_args(Sampling),
            "scheduler": ("paper", "released"),
        }
        for name, known in words.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(known)}")
        bounds = {"epochs": (1, math.inf), "batch_size": (1, math.inf), "weight_decay": (0, math.inf), "momentum": (0, 1)}
        for name in ("epochs", "batch_size"):
            if not isinstance(getattr(self, name), Integral):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a whole number")
        for name, (least, most) in bounds.items():
            if not least <= getattr(self, name) < most:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected {least} or more, below {most}")
        for name, setting in SETTINGS.items():
            if not setting.holds(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected {setting.range}")
        if not 0 < self.lr < math.inf or (self.max_norm is not None and not 0 < self.max_norm < math.inf):
            raise ValueError(f"lr={self.lr!r}, max_norm={self.max_norm!r}: expected numbers above 0")
        if not math.isfinite(self.posthoc_tau):
            raise ValueError(f"posthoc_tau={self.posthoc_tau!r}: expected a finite number")
        if self.max_norm is not None and self.constraint != "none":
            raise ValueError("constraint='unit-norm' and max_norm both set the rows' norms; choose one")


def _parameters(signature: inspect.Signature) -> inspect.Signature:
    """A signature that names the losses' settings where it had room for any."""
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    settings = [inspect.Parameter(s.name, inspect.Parameter.KEYWORD_ONLY, default=s.default) for s in SETTINGS.values()]
    return signature.replace(parameters=[*own, *settings])


def _described(text: str) -> str:
    """The docstring with the losses and their settings filled in."""
    lines = "".join(
        f"    {name} : float, {setting.range}, default={setting.default}\n"
        f"        Of {', '.join(repr(loss) for loss in LINEAR if LINEAR[loss].has(name))}: {setting.help}.\n"
        for name, setting in SETTINGS.items()
    )
    return text.replace("LOSSES", ", ".join(map(repr, LINEAR))).replace("    SETTINGS\n", lines)


WeightBalancedClassifier.__init__.__signature__ = _parameters(  # type: ignore[attr-defined]
    inspect.signature(WeightBalancedClassifier.__init__)
)
WeightBalancedClassifier.__doc__ = _described(WeightBalancedClassifier.__doc__ or "")
