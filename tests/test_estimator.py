"""The estimator: scikit-learn's own checks, and the same head as the second stage's."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from small_chain import RUNTIME

from wbltr import WeightBalancedClassifier
from wbltr.recipe import ClassifierConfig, MaxNormConfig
from wbltr.stages import classifier

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Digits cut to a long tail, as float32 embeddings of unit norm."""
    x, y = load_digits(return_X_y=True)
    kept = np.concatenate([np.flatnonzero(y == k)[: int(100 * 20 ** (-k / 9))] for k in range(10)])
    return Normalizer().fit_transform(x[kept]).astype(np.float32), y[kept]


def test_scikit_learns_own_checks_pass_and_none_is_skipped() -> None:
    """In a process of its own: scipy reads SCIPY_ARRAY_API when it is imported, and without it one check is skipped."""
    code = (
        "import warnings; warnings.simplefilter('error')\n"
        "from sklearn.utils.estimator_checks import check_estimator\n"
        "from wbltr import WeightBalancedClassifier\n"
        "results = check_estimator(WeightBalancedClassifier(), on_fail='raise', on_skip=None)\n"
        "assert len(results) > 40\n"
        "assert {result['status'] for result in results} == {'passed'}, results\n"
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_decay": 1e-3, "max_norm": 0.5},
        {"loss": "ce", "sampling": "class-balanced", "lr": 0.1},
        {"loss": "focal-cb", "gamma": 1.0, "constraint": "unit-norm", "scheduler": "released"},
        {"loss": "logit-adjusted", "tau": 1.5, "batch_size": 7},
    ],
)
def test_it_is_the_head_that_train_classifier_gives_with_the_same_settings(
    digits: tuple[Array, Array], settings: dict[str, Any]
) -> None:
    x, y = digits
    ours = WeightBalancedClassifier(epochs=5, random_state=3, **settings).fit(x, y)
    radius = settings.get("max_norm")
    ball = None if radius is None else MaxNormConfig(radius=radius, relative=False)
    config = ClassifierConfig.model_validate({**settings, "max_norm": ball, "epochs": 5, "seed": 3, "init": "fresh"})
    train = {"train.embeddings": x[None], "train.labels": y.astype(np.int64), "class_counts": np.bincount(y)}
    head = {"head.weight": np.ones((10, 64), np.float32), "head.bias": np.zeros(10, np.float32)}
    theirs = classifier.run(config, {"embeddings": train, "features": head}, RUNTIME)
    np.testing.assert_allclose(ours.coef_, theirs["head.weight"], atol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs["head.bias"], atol=1e-6)
    np.testing.assert_allclose(ours.loss_curve_, theirs["history.loss"], atol=1e-6)


def test_it_can_start_from_a_first_stages_head(digits: tuple[Array, Array]) -> None:
    x, y = digits
    first = WeightBalancedClassifier(loss="ce", epochs=3, random_state=0).fit(x, y)
    still = WeightBalancedClassifier(epochs=1, lr=1e-12).fit(x, y, coef_init=first.coef_, intercept_init=first.intercept_)
    np.testing.assert_allclose(still.coef_, first.coef_, atol=1e-6)
    with pytest.raises(ValueError, match="give both, or neither"):
        WeightBalancedClassifier().fit(x, y, coef_init=first.coef_)
    with pytest.raises(ValueError, match="expected"):
        WeightBalancedClassifier().fit(x, y, coef_init=first.coef_.T, intercept_init=first.intercept_)


def test_tau_normalisation_after_training_gives_rows_of_unit_norm(digits: tuple[Array, Array]) -> None:
    x, y = digits
    normed = WeightBalancedClassifier(epochs=2, posthoc_tau=1.0, random_state=0).fit(x, y)
    np.testing.assert_allclose(np.linalg.norm(normed.coef_, axis=1), 1, rtol=1e-6)


def test_it_works_in_a_pipeline_in_a_grid_search_cloned_and_pickled(digits: tuple[Array, Array]) -> None:
    x, y = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])[y]
    pipeline = make_pipeline(StandardScaler(), WeightBalancedClassifier(epochs=5, lr=0.1, random_state=0))
    grid = {"weightbalancedclassifier__weight_decay": [0.0, 1e-3]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(x, names)
    assert search.score(x, names) > 0.9
    again = pickle.loads(pickle.dumps(search))
    assert np.array_equal(again.predict_proba(x), search.predict_proba(x))
    head = search.best_estimator_[-1]
    assert clone(head).get_params() == head.get_params()
    assert not hasattr(clone(head), "coef_")


def test_rows_stay_in_the_ball_and_rare_classes_gain(digits: tuple[Array, Array]) -> None:
    x, y = digits
    x_all, y_all = load_digits(return_X_y=True)
    held = Normalizer().fit_transform(x_all[-600:]), y_all[-600:]
    plain = WeightBalancedClassifier(loss="ce", lr=0.1, random_state=0).fit(x, y)
    balanced = WeightBalancedClassifier(loss="cb", lr=0.1, max_norm=1.0, weight_decay=1e-3, random_state=0).fit(x, y)
    assert (np.linalg.norm(balanced.coef_, axis=1) < 1 + 1e-5).all()
    rare = held[1] >= 7
    assert balanced.score(held[0][rare], held[1][rare]) > plain.score(held[0][rare], held[1][rare])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss": "distill"}, "loss='distill': expected one of ce, cb"),
        ({"epochs": 0}, "epochs=0: expected 1 or more"),
        ({"epochs": 2.5}, "epochs=2.5: expected a whole number"),
        ({"beta": 1.0}, "beta=1.0"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"max_norm": 1.0, "constraint": "unit-norm"}, "choose one"),
        ({"weight_decay": 1e9, "lr": 1e9}, "diverged"),
        ({"posthoc_tau": float("nan")}, "expected a finite number"),
    ],
)
def test_what_cannot_be_trained_with_is_a_value_error(settings: dict[str, Any], words: str) -> None:
    x = np.eye(4)
    with pytest.raises(ValueError, match=words):
        WeightBalancedClassifier(**settings).fit(x, [0, 0, 1, 1])


def test_the_example_of_its_docstring_is_true() -> None:
    import doctest

    import wbltr.estimator

    assert doctest.testmod(wbltr.estimator).failed == 0
    assert doctest.testmod(wbltr.estimator).attempted > 3


def test_it_leaves_torchs_threads_as_they_were(digits: tuple[Array, Array]) -> None:
    before = torch.get_num_threads()
    WeightBalancedClassifier(epochs=1).fit(*digits)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("before", ["", "W(epochs=1).fit(x, y)", "(torch.randn(2000, 2000) @ torch.randn(2000, 2000)).exp_()"])
def test_it_fits_in_a_forked_process_whatever_the_parent_has_done_with_torch(before: str) -> None:
    code = f"""
import numpy as np, joblib, torch
from sklearn.model_selection import cross_val_score
from wbltr import WeightBalancedClassifier as W
torch.set_num_threads(4)  # so that threads are left behind, on one core, too
y = np.repeat(np.arange(4), 400)
x = np.random.default_rng(0).normal(size=(1600, 256)) + np.eye(4, 256)[y]
{before}
own = cross_val_score(W(epochs=2, random_state=0), x, y, cv=2)
with joblib.parallel_backend("multiprocessing", n_jobs=2):
    forked = cross_val_score(W(epochs=2, random_state=0), x, y, cv=2)
assert (own == forked).all(), (own, forked)
"""
    # By subprocess: a hang is killed and fails. Its workers are daemons and end with it.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr


def test_a_fit_can_be_interrupted(digits: tuple[Array, Array]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    head = WeightBalancedClassifier(epochs=20_000)  # minutes
    try:
        with pytest.raises(KeyboardInterrupt):
            head.fit(*digits)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not hasattr(head, "coef_")


def test_what_diverged_is_told_by_names_that_it_has() -> None:
    with pytest.raises(ValueError, match=r"diverged in epoch \d of 2") as caught:
        WeightBalancedClassifier(epochs=2, lr=1e9, weight_decay=1e9).fit(np.eye(4), [0, 0, 1, 1])
    assert "classifier." not in str(caught.value)
    assert "Trial" not in str(caught.value)
    named = {word.strip(",;") for word in str(caught.value).split()}
    assert {"lr", "weight_decay"} <= named & set(WeightBalancedClassifier().get_params())


@pytest.mark.parametrize("module", ["torch", "sklearn"])
def test_importing_the_package_imports_neither_torch_nor_scikit_learn(module: str) -> None:
    code = f"import wbltr, sys; assert 'WeightBalancedClassifier' in dir(wbltr); sys.exit('{module}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
