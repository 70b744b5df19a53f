"""What an oracle would need to tell that a newcomer is better: the yardstick of all times here."""

from functools import cache
from math import ceil, sqrt

from scipy.stats import norm

ODDS = 1.5
"""The newcomer's odds of success in units of those of the best action before it."""

ALPHA = 0.05
POWER = 0.9


def better_rate(rate: float, odds: float = ODDS) -> float:
    """Return the success rate whose odds are ``odds`` times those of ``rate``.

    >>> better_rate(0.5)
    0.6
    """
    raised = odds * rate / (1.0 - rate)
    return raised / (1.0 + raised)


@cache
def sample_size(rate: float, odds: float = ODDS) -> int:
    """Return how many decisions tell a rate of ``odds`` times the odds from the known ``rate``.

    The sample of a one-sided binomial test at level ``ALPHA`` with power ``POWER``, by the normal
    approximation without continuity correction (Fleiss, Levin and Paik 2003, Statistical methods
    for rates and proportions, section 2.5). The exact test needs 1 to 10 % more, by a number that
    jumps from one sample to the next.

    >>> sample_size(0.05)
    893
    """
    better = better_rate(rate, odds)
    sure = norm.isf(ALPHA) * sqrt(rate * (1.0 - rate))
    seen = norm.isf(1.0 - POWER) * sqrt(better * (1.0 - better))
    return ceil(((sure + seen) / (better - rate)) ** 2)
