"""How sure an accuracy is, on these images and over seeds, and whether two heads differ.

On numpy's arrays, as figures lie in the store: what is finished is judged without torch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class Interval(NamedTuple):
    """An estimate between its two bounds."""

    estimate: float
    low: float
    high: float


def bootstrap_accuracy(right: Array, images: Array, replicates: int, generator: np.random.Generator) -> Array:
    """Per-class accuracy on bootstrap samples, images drawn with replacement within each class.

    n_k images drawn from n_k of which r_k are right: right ones ~ Binomial(n_k, r_k / n_k), so no image is drawn one by one.

    Args:
        right: r, `(C,)` int64, images predicted right: `confusion.diagonal()`.
        images: n, `(C,)` int64: `confusion.sum(1)`.
        replicates: R, 1,000 to 10,000.

    Returns:
        `(R, C)` float64; NaN for a class without images. One matrix serves every split: see `bootstrap_interval`.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 8 (stratified).

    >>> bootstrap_accuracy(np.array([2, 0, 0]), np.array([2, 3, 0]), 1, np.random.default_rng(0)).tolist()
    [[1.0, 0.0, nan]]
    """
    return _share(generator.binomial(images, _share(right, images, 0.0), (replicates, len(images))), images)


def paired_bootstrap_difference(
    first_only: Array, second_only: Array, images: Array, replicates: int, generator: np.random.Generator
) -> Array:
    """Difference of two heads' per-class accuracies on the same bootstrap samples.

    (images only the first has right, only the second, others) ~ Multinomial(n_k; a_k / n_k, b_k / n_k, rest)

    Args:
        first_only, second_only: a and b, `(C,)` int64, see `discordant`.
        images: n, `(C,)` int64.
        replicates: R, 1,000 to 10,000.

    Returns:
        `(R, C)` float64, first − second; NaN for a class without images. See `bootstrap_interval`.

    Source: as `bootstrap_accuracy`; pairs as Efron & Tibshirani, section 7.2.

    >>> paired_bootstrap_difference(*(np.array([n]) for n in (0, 4, 4)), 2, np.random.default_rng(0)).tolist()
    [[-1.0], [-1.0]]
    """
    gained = generator.binomial(images, _share(first_only, images, 0.0), (replicates, len(images)))
    lost = generator.binomial(images - gained, _share(second_only, images - first_only, 0.0))
    return _share(gained - lost, images)


def bootstrap_interval(per_class: Array, replicates: Array, mask: Array | None = None, level: float = 0.95) -> Interval:
    """Percentile interval of a mean over classes.

    [q_{(1 − level) / 2}, q_{(1 + level) / 2}] of the replicates' means over the classes

    It speaks of other images of the same classes, for this one head: not of other seeds (see `welch_interval`).

    Args:
        per_class: `(C,)`, the accuracies or differences themselves; NaN is left out.
        replicates: `(R, C)`, from `bootstrap_accuracy` or `paired_bootstrap_difference`.
        mask: `(C,)` bool, the classes of a split; None for all.
        level: in (0, 1).

    Returns:
        The mean and its bounds; all NaN where no class is left.

    Source: Efron & Tibshirani, section 13.3.

    >>> bootstrap_interval(np.array([1.0, 0.5]), np.array([[1.0, 0.0], [1.0, 1.0]]), level=0.5)
    Interval(estimate=0.75, low=0.625, high=0.875)
    """
    chosen = ~np.isnan(per_class) if mask is None else mask & ~np.isnan(per_class)
    if not chosen.any():
        return Interval(math.nan, math.nan, math.nan)
    low, high = np.quantile(replicates[:, chosen].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(per_class[chosen].mean()), float(low), float(high))


def discordant(first: Array, second: Array, labels: Array, classes: int) -> tuple[Array, Array, Array]:
    """How many images of each class only one of two heads predicts right.

    Args:
        first, second: predictions, `(N,)` integers, of the same images in the same order.
        labels: `(N,)` integers.
        classes: C.

    Returns:
        `(C,)` int64 three times: right by the first only, by the second only, all images.

    >>> first, second, labels = np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0, 0, 0])
    >>> [n.tolist() for n in discordant(first, second, labels, 2)]
    [[1, 0], [1, 0], [3, 0]]
    """
    one, other = first == labels, second == labels
    return (
        np.bincount(labels[one & ~other], minlength=classes),
        np.bincount(labels[other & ~one], minlength=classes),
        np.bincount(labels, minlength=classes),
    )


def mcnemar(first_only: int, second_only: int) -> float:
    """McNemar's test that two heads are right on equally many of all images, exact and two-sided.

    p = 2 · P(X ≤ m),  X ~ Binomial(a + b, ½), m = min(a, b)

    It counts images, not classes: common classes of the part decide. For the mean over classes: `paired_bootstrap_difference`.

    Args:
        first_only, second_only: a and b, images that only the one, only the other head predicts right; sums of `discordant`.

    Returns:
        p in [0, 1]; 1 where a = b.

    Source: McNemar, Psychometrika 1947.

    >>> round(mcnemar(1, 5), 5)
    0.21875
    """
    from scipy.special import bdtr

    n, m = first_only + second_only, min(first_only, second_only)
    if first_only == second_only:
        return 1.0
    return float(2 * bdtr(m, n, 0.5))


def mean_interval(mean: float, deviation: float, n: int, level: float = 0.95) -> Interval:
    """Confidence interval of a mean over seeds.

    m ± t_{n−1} · s / √n

    Args:
        mean, deviation: m and s, the latter with n − 1 below it.
        n: seeds; of one alone the bounds are NaN.
        level: in (0, 1).

    Source: Student, Biometrika 1908.

    >>> [round(x, 3) for x in mean_interval(42.0, 0.5, 5)]
    [42.0, 41.379, 42.621]
    """
    reach = _bound(level, n - 1) * deviation / math.sqrt(n) if n > 1 else math.nan
    return Interval(mean, mean - reach, mean + reach)


def welch_interval(
    first: float, second: float, deviations: tuple[float, float], n: tuple[int, int], level: float = 0.95
) -> Interval:
    """Confidence interval of the difference of two means over unpaired seeds, whose spreads may differ.

    m_1 − m_2 ± t_ν · √(v_1 + v_2),  v_j = s_j² / n_j,  ν = (v_1 + v_2)² / (v_1² / (n_1 − 1) + v_2² / (n_2 − 1))

    Args:
        first, second: the means m_1, m_2.
        deviations: s_1, s_2, with n − 1 below them.
        n: n_1, n_2 seeds; where one is 1 the bounds are NaN.
        level: in (0, 1).

    Returns:
        The difference first − second and its bounds; no wider than a point where neither side varies.

    Source: Welch, Biometrika 1947.

    >>> [round(x, 3) for x in welch_interval(43.0, 42.0, (0.5, 0.3), (5, 5))]
    [1.0, 0.375, 1.625]
    """
    difference = first - second
    if min(n) < 2:
        return Interval(difference, math.nan, math.nan)
    v = [s**2 / m for s, m in zip(deviations, n, strict=True)]
    if sum(v) == 0:
        return Interval(difference, difference, difference)
    degrees = sum(v) ** 2 / sum(part**2 / (m - 1) for part, m in zip(v, n, strict=True))
    reach = _bound(level, degrees) * math.sqrt(sum(v))
    return Interval(difference, difference - reach, difference + reach)


def _share(part: Array, whole: Array, nothing: float = math.nan) -> Array:
    """The share part / whole, float64; `nothing` where the whole is 0."""
    found: Array = np.divide(part, whole, out=np.full(part.shape, nothing), where=whole != 0)
    return found


def _bound(level: float, degrees: float) -> float:
    """How many standard errors to either side hold this share of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))
