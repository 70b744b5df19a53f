"""Bets on the share of an event: fixed tilts, and the bounds of a share that hold at every look.

For an event that happens at step i with conditional probability p_i, and a tilt t, the product of
(e^t if it happens, else 1) / (1 + p_i (e^t - 1)) is a non-negative martingale of mean 1. As
log(1 + b m) is concave in m, Σ log(1 + b p_i) <= n log(1 + b p̄) with p̄ the mean of the p_i; so with
k events among n, every mixture of exp(t k - n log(1 + p̄ (e^t - 1))) lies below a non-negative
martingale of mean 1, whatever the p_i are. By Ville's inequality (1939) it exceeds 1/α at any n
with a probability of α at most. (Betting: Waudby-Smith and Ramdas 2023, Estimating means of bounded
random variables by betting; the mixture: Robbins 1970.)
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SIZES: Final = 0.0005 * 2.0 ** np.arange(14)
"""Sizes of the tilts in log odds, 0.0005 to 4.1. Between two of them one grows at 8/9 of the best
rate at least, as t δ - t²/2 is equal for t and 2 t at t = 2/3 δ."""

TILTS: Final = np.concatenate((-SIZES[::-1], SIZES))
"""Every size in both directions, ascending."""

GAINS: Final = np.expm1(TILTS)
"""e^t - 1 of each tilt."""

_HALVINGS: Final = 40


def log_mean_exp(values: Floats) -> float:
    """Give the logarithm of the mean of the exponentials, without overflow.

    >>> log_mean_exp(np.array([1000.0, 1000.0]))
    1000.0
    """
    most = float(values.max())
    return most + float(np.log(np.exp(values - most).mean()))


def log_refutation(events: int, count: int, share: float) -> float:
    """Give the logarithm of the evidence against ``share`` as the mean conditional probability.

    >>> log_refutation(50, 100, 0.5) < 0.0 < log_refutation(90, 100, 0.5)
    True
    """
    return log_mean_exp(TILTS * events - count * np.log1p(share * GAINS))


def share_bounds(events: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Bound the mean conditional probability of an event, at every look at once.

    Parameters
    ----------
    events, count
        How often it happened, of how many steps.
    level
        The probability that all bounds of a run of looks hold.

    Returns
    -------
    The ends within [0, 1]; (0, 1) without any step.

    Examples
    --------
    >>> share_bounds(0, 0)
    (0.0, 1.0)
    >>> [round(end, 3) for end in share_bounds(5_000, 10_000)]
    [0.482, 0.518]
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie in (0, 1), got {level}")
    if not 0 <= events <= count:
        raise ValueError(f"events must lie in [0, count], got {events} of {count}")
    if not count:
        return 0.0, 1.0
    most = -float(np.log1p(-level))

    def inside(share: float) -> bool:
        return log_refutation(events, count, share) < most

    # Each bet is convex in the share, and at the observed one none has won (Jensen): the shares
    # that are not refuted are an interval around it.
    return _end(inside, events / count, 0.0), _end(inside, events / count, 1.0)


def _end(inside: Callable[[float], bool], good: float, bad: float) -> float:
    if inside(bad):
        return bad
    for _ in range(_HALVINGS):
        middle = 0.5 * (good + bad)
        if inside(middle):
            good = middle
        else:
            bad = middle
    return bad
