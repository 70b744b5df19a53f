"""What is expected of an action's level: its reward whatever the context.

Before anything is known, the level is a little above what an unanswered decision is worth, with a
wide variance. Once other actions are known, a new one is expected near their common level, and its
variance is that between actions: a wider one lets a few unlucky decisions starve an action that is
better. It begins ``optimism`` standard deviations above that level, which costs an action that is
no better some decisions and gives one that is better the time to show it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from operators.logic.policies.prior import BasePrior
from operators.logic.policies.reward_variation import RewardVariation, first_reward

ACTION_VARIANCE = 0.06
"""Of actions' log-odds around their common level: a rate may well be a quarter above or below."""

OPTIMISM, OPTIMISM_IN_CONTEXT = 3.0, 1.0
"""With features, the widths of the other coefficients keep a new action alive, too."""

FIRST_LOG_ODDS = -3.5


@dataclass(frozen=True, slots=True)
class LevelPrior:
    """The prior of a level, in the unit of a policy's linear predictor.

    ``variance`` is that where nothing is known, ``spread`` that between actions as far as the data
    does not say, ``optimism`` how far above the common level a new action is expected.
    """

    mean: float
    variance: float
    spread: float
    optimism: float

    def alone(self, strength: float, iterations: int) -> BasePrior:
        """Give the prior of policies that learn nothing but the level."""
        return BasePrior(
            mean=np.array([self.mean]),
            variance=np.array([self.variance]),
            spread=np.array([self.spread]),
            strength=strength,
            ridge=1.0,
            iterations=iterations,
            optimism=self.optimism,
        )


def first_log_odds(default: float, size: float = 1.0) -> float:
    """Give the log-odds of a reward that are expected before anything is known.

    They lie a little above ``default``, what an unanswered decision is worth in [0, 1], and less so
    where an answer adds only ``size`` to it; at the top of that range, below.

    >>> first_log_odds(0.0), round(first_log_odds(0.5), 3), round(first_log_odds(1.0), 3)
    (-3.5, 0.059, 3.5)
    """
    if default == 0.0 and size == 1.0:
        return FIRST_LOG_ODDS
    return float(logit(first_reward(default, size, float(expit(FIRST_LOG_ODDS)))))


def log_odds_level(
    variation: RewardVariation,
    default: float,
    mean: float | None,
    variance: float | None,
    spread: float | None,
    optimism: float | None,
    context: bool,
) -> LevelPrior:
    """Give the prior of log-odds; what is None follows from the slot's rewards.

    ``variance`` given alone is that between actions, too, without optimism. ``context`` says that
    the policy learns from features.
    """
    unit = variation.effect**2
    first = 0.3 * unit if variance is None else variance
    mean = first_log_odds(default, variation.size) if mean is None else mean
    return _level(mean, first, unit, variance is None, spread, optimism, context)


def reward_level(
    variation: RewardVariation,
    default: float,
    mean: float | None,
    variance: float | None,
    spread: float | None,
    optimism: float | None,
    context: bool,
) -> LevelPrior:
    """Give the prior of an expected reward, as :func:`log_odds_level` does."""
    unit = (variation.variance / variation.size) ** 2
    first = 1.0 if variance is None else variance
    mean = default if mean is None else mean
    return _level(mean, first, unit, variance is None, spread, optimism, context)


def _level(
    mean: float,
    variance: float,
    unit: float,
    learned: bool,
    spread: float | None,
    optimism: float | None,
    context: bool,
) -> LevelPrior:
    if spread is not None:
        between = spread * unit
    else:
        between = ACTION_VARIANCE * unit if learned else variance
    if optimism is None:
        optimism = 0.0
        if learned or spread is not None:
            optimism = OPTIMISM_IN_CONTEXT if context else OPTIMISM
    return LevelPrior(mean, variance, between, optimism * float(np.sqrt(between)))
