"""Figures that are shown beside confidence sequences, and that no rule reads.

Their types have neither ``lower`` nor ``upper``: rules read :class:`~operators.logic.experiments.
bounds.Bounds` alone, which nothing here makes.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from operators.logic.experiments.score_columns import Floats
from operators.logic.experiments.score_estimates import Shown

_STEPS = 4001
_REACH = 10.0


@dataclass(frozen=True, slots=True)
class ShownInterval:
    """An interval to look at; None at both ends where there is no value yet."""

    low: float | None
    high: float | None
    level: float
    kind: Literal["fixed horizon", "asymptotic"]


@dataclass(frozen=True, slots=True)
class Posterior:
    """How probably each variation is the best, and what is lost on average by choosing it."""

    best: tuple[float, ...]
    loss: tuple[float, ...]


def fixed_horizon(estimate: Shown, level: float = 0.95) -> ShownInterval:
    """Give the interval that holds at one look that was fixed before the start, for large counts.

    >>> fixed_horizon(Shown(0.5, 0.1)).kind, fixed_horizon(Shown(0.5, None)).low
    ('fixed horizon', None)
    """
    return _around(estimate, float(ndtri(0.5 + 0.5 * level)), level, "fixed horizon")


def asymptotic(estimate: Shown, count: int, tuned: int, level: float = 0.95) -> ShownInterval:
    """Give the asymptotic confidence sequence's interval at a look.

    Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2021 (Time-uniform central limit theory and
    asymptotic confidence sequences, theorem 2.2): :func:`mixture_boundary` with the estimated
    variance. It holds at all looks after a start that grows without limit, and promises nothing of
    early ones; ``tuned`` is the count near which it is narrowest.

    >>> interval = asymptotic(Shown(0.0, 1.0), 100, 100)
    >>> round(interval.high, 4)
    3.0352
    """
    if count < 1:
        return _around(Shown(None, None), 0.0, level, "asymptotic")
    boundary = mixture_boundary(float(count), float(tuned), 1.0 - level)
    return _around(estimate, boundary / math.sqrt(count), level, "asymptotic")


def mixture_boundary(variance: float, tuned: float, alpha: float) -> float:
    """Give what a sum of steps of a total variance never exceeds but with probability ``alpha``.

    The two-sided normal mixture (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon 2021,
    Time-uniform, nonparametric, nonasymptotic confidence sequences, section 3.2), on either side,
    tuned to be low at the variance ``tuned``.

    >>> round(mixture_boundary(100.0, 100.0, 0.05), 5)
    30.35209
    """
    rest = -2.0 * math.log(alpha)
    rho = tuned / (rest + math.log1p(rest))
    return math.sqrt((variance + rho) * (math.log1p(variance / rho) + rest))


def posterior(means: Floats, deviations: Floats) -> Posterior:
    """Give what independent normal posteriors say of variations: never a reason to act.

    Parameters
    ----------
    means, deviations : array [variations]
        Of each posterior, the deviations above 0.

    Examples
    --------
    >>> shown = posterior(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
    >>> [round(best, 4) for best in shown.best]  # the normal distribution at 1 / sqrt(2)
    [0.2398, 0.7602]
    """
    if means.shape != deviations.shape or not (deviations > 0.0).all():
        raise ValueError("there must be a deviation above 0 for every mean")
    steps = np.linspace(-_REACH, _REACH, _STEPS)
    mass = np.exp(-0.5 * steps**2)
    mass /= mass.sum()
    best, highest = [], 0.0
    for own, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        at = mean + deviation * steps
        below = ndtr((at[:, None] - means) / deviations)
        below[:, own] = 1.0
        wins = mass * below.prod(axis=1)
        best.append(float(wins.sum()))
        highest += float(wins @ at)
    return Posterior(tuple(best), tuple(max(0.0, highest - float(mean)) for mean in means))


def _around(
    estimate: Shown, times: float, level: float, kind: Literal["fixed horizon", "asymptotic"]
) -> ShownInterval:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if estimate.value is None or estimate.deviation is None:
        return ShownInterval(None, None, level, kind)
    reach = times * estimate.deviation
    return ShownInterval(estimate.value - reach, estimate.value + reach, level, kind)
