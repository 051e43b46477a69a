"""Student's t: intervals of a mean over seeds and of the difference of two. Plain numbers, no tensors."""

from __future__ import annotations

import math
from typing import NamedTuple


class Interval(NamedTuple):
    """An estimate between its two bounds."""

    estimate: float
    low: float
    high: float


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction.

    I_x(a, b) = ∫_0^x t^(a−1) (1 − t)^(b−1) dt / B(a, b)

    Args:
        a, b: > 0.
        x: in [0, 1].

    Returns:
        In [0, 1]; for a, b up to 1e4 to about 1e-10 of itself, or of what is left to 1.

    Source: Press et al., Numerical Recipes, 3rd edition, section 6.4 (Lentz's method).

    >>> round(incomplete_beta(2.0, 3.0, 0.5), 10)
    0.6875
    """
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(b, a, 1 - x)
    tiny, c, fraction = 1e-300, 1.0, 0.0
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 100_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + numerator / c
            c = c if abs(c) > tiny else tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * fraction / a


def student_bound(level: float, degrees: float) -> float:
    """How many standard errors to either side hold a share of Student's t.

    t with P(|T| ≤ t) = level,  P(|T| > t) = I_{ν / (ν + t²)}(ν / 2, 1 / 2)

    Args:
        level: in (0, 1), 0.95 for the 95 % interval.
        degrees: ν > 0, whole or not.

    Returns:
        t > 0; found by halving, to the last bits.

    Source: Abramowitz & Stegun, 26.7.1.

    >>> round(student_bound(0.95, 4), 6)
    2.776445
    """
    low, high = 0.0, 1.0
    while _beyond(high, degrees) > 1 - level:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if _beyond(middle, degrees) > 1 - level else (low, middle)
    return high


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
    reach = student_bound(level, n - 1) * deviation / math.sqrt(n) if n > 1 else math.nan
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
    reach = student_bound(level, degrees) * math.sqrt(sum(v))
    return Interval(difference, difference - reach, difference + reach)


def _beyond(t: float, degrees: float) -> float:
    """P(|T| > t); neither a small t nor a small probability is lost to rounding."""
    inner = t * t / (degrees + t * t)
    if inner < 3 / (degrees + 5):
        return 1 - incomplete_beta(0.5, degrees / 2, inner)
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))
