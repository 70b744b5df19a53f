"""How much the rewards of a slot vary: what a decision tells, and what differences to expect.

Rewards lie in [0, 1], but not every slot's are 0 or 1: with a range from -1 to 1 an unanswered
decision is worth 1/2. Sums of rewards are then known far better than those of a Bernoulli variable
of the same mean: the variance is ``dispersion`` times as much, as in quasi-likelihood models
(McCullagh and Nelder 1989, Generalized Linear Models, sections 4.5 and 9.2), where 0 < dispersion
<= 1 (Bhatia and Davis 2000). And what one action may earn more than another is a share of what
answers are worth, not of the range. For rewards of 0 and 1 and a default of 0, both are exactly 1.
"""

from dataclasses import dataclass

import numpy as np

from operators.logic.policies.base import Floats

FIRST_RATE = 1 / 21
"""The share of answered decisions that is expected before any is known."""

_PSEUDO = 0.4
"""Decisions that the expectation counts for: few, since rewards may be much smaller than it."""

_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class RewardVariation:
    """The pooled variation of rewards within actions.

    ``variance`` is that of a reward around its action's mean, ``dispersion`` its ratio to a
    Bernoulli variable's, ``size`` what an answer adds to the default reward or takes from it.
    """

    variance: float
    dispersion: float
    size: float

    @property
    def effect(self) -> float:
        """How large differences of log-odds are, as a share of those between rates of answers."""
        return self.dispersion / self.size


def first_reward(default: float, size: float, rate: float) -> float:
    """Give the reward that is expected before any is known: ``rate`` of the decisions are answered.

    An answer adds ``size`` to ``default``; where that leaves no room, it takes it away.

    >>> first_reward(0.0, 1.0, 0.05), first_reward(0.5, 0.1, 0.05), first_reward(1.0, 1.0, 0.25)
    (0.05, 0.505, 0.75)
    """
    if default <= 1.0 - rate:
        return default + rate * min(size, 1.0 - default)
    return default - rate * min(size, default)


def reward_variation(
    counts: Floats, rewards: Floats, squares: Floats, default: float
) -> RewardVariation:
    """Estimate the variation of rewards from each action's count and sums of r and r² [K].

    Examples
    --------
    >>> n = np.array([1000.0])
    >>> clicks = reward_variation(n, np.array([50.0]), np.array([50.0]), 0.0)
    >>> clicks.dispersion, clicks.size, clicks.effect
    (1.0, 1.0, 1.0)
    >>> signed = reward_variation(n, np.array([525.0]), np.array([0.25 * 950 + 50.0]), 0.5)
    >>> round(signed.dispersion, 3), signed.size
    (0.048, 0.5)
    """
    top = max(default, 1.0 - default)
    up = default <= 1.0 - FIRST_RATE
    rate = FIRST_RATE * top
    mean = default + rate if up else default - rate
    products = rewards * rewards / np.maximum(counts, _LEAST)
    within = max(float(np.maximum(squares - products, 0.0).sum()), 0.0)
    binomial = max(float(np.maximum(rewards - products, 0.0).sum()), 0.0)
    first = _PSEUDO * rate * (top - rate)
    dispersion = (within + first) / (binomial + _PSEUDO * mean * (1.0 - mean))
    excess = float(np.abs(rewards - default * counts).sum())
    about = float((squares - 2.0 * default * rewards + default * default * counts).sum())
    size = (max(about, 0.0) + _PSEUDO * rate * top) / (excess + _PSEUDO * rate)
    variance = (within + first) / (max(float(counts.sum()), 0.0) + _PSEUDO)
    return RewardVariation(
        variance=max(variance, _LEAST),
        dispersion=min(max(dispersion, _LEAST), 1.0),
        size=min(max(size, _LEAST), top),
    )
