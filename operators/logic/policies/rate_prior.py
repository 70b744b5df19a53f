"""The hierarchical prior of rates: what actions earn in common, and how far one may be from it.

As :mod:`operators.logic.policies.prior`, on one number per action: the variance of a rate is that
of its log-odds times (m (1 - m))², by the delta method.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from operators.logic.policies.base import Floats
from operators.logic.policies.prior import known_share

_ITERATIONS = 4
_STRENGTH = 4.0
_VAGUE = 100.0
_LEAST = 1e-9
"""A rate is not let nearer to 0 or 1 than this."""

HEADROOM = 0.2
"""How far above the common log-odds an action is expected while none is known well."""


@dataclass(frozen=True, slots=True)
class RatePrior:
    """A Beta prior by its mean and its weight in decisions."""

    rate: float
    weight: float


def fit_rates(
    counts: Floats,
    rewards: Floats,
    first: float,
    first_variance: float,
    action_variance: float,
    optimism: float,
    headroom: float,
    steady: bool,
) -> RatePrior:
    """Learn the prior of an action from all actions' counts and rewards [K].

    ``first`` is the rate expected before anything is known and ``first_variance`` the variance of
    its log-odds; ``action_variance`` that of actions around their common rate, as far as the data
    does not say; ``optimism`` says how many such deviations above it a new action is expected, and
    ``headroom`` how far above it an action is while none is known well.
    Where rates are not ``steady`` no action is ever known so well that others are judged by it.
    """
    rate, variance = first, action_variance
    start = 1.0 / (_VAGUE * first_variance * first * (1.0 - first))
    seen = np.where(counts > 0.0, rewards / np.maximum(counts, 1e-300), rate)
    trust = evidence = np.zeros(len(counts))
    for _ in range(_ITERATIONS):
        slope = rate * (1.0 - rate)
        weight = 1.0 / (variance * slope)
        evidence = counts / (weight + counts)
        trust = weight * evidence
        rate = float((start * first + trust @ seen) / (start + trust.sum()))
        rate = min(max(rate, _LEAST), 1.0 - _LEAST)
        slope = rate * (1.0 - rate)
        means = (weight * rate + rewards) / (weight + counts)
        spread = float(((means - rate) ** 2).sum()) / slope**2
        variance = (_STRENGTH * action_variance + spread) / (_STRENGTH + float(evidence.sum()))
    slope = rate * (1.0 - rate)
    evidence = counts / (1.0 / (action_variance * slope) + counts)
    known = known_share(evidence) if steady else 0.0
    surprise = max(variance / action_variance, 1.0) ** 0.5
    variance = known * min(variance * surprise, first_variance) + (1.0 - known) * first_variance
    raise_known = optimism * action_variance**0.5 / surprise
    raise_new = headroom * float(trust.sum()) / (start + float(trust.sum()))
    raised = float(expit(logit(rate) + known * raise_known + (1.0 - known) * raise_new))
    raised = min(max(raised, _LEAST), 1.0 - _LEAST)
    return RatePrior(raised, 1.0 / (variance * raised * (1.0 - raised)))
