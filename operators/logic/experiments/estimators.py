"""What a policy would have earned, from decisions that another policy made and logged.

All estimators weight each logged reward by w = target / propensity: the probability that the policy
in question gives the logged action over the probability with which it was chosen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

Floats = NDArray[np.float64]


_ALIKE = 1e-12
"""A share that is nothing but rounding."""


class InferenceError(ValueError):
    """An estimator was given what it cannot use; the message names the argument."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A policy's mean reward per decision, estimated.

    Attributes
    ----------
    value : float
    deviation : float
        The standard error.
    low, high : float
        The ends of the interval of confidence ``level``, cut to [0, 1] where rewards lie.
    level : float
    count : int
        The number of decisions.
    effective : float
        The effective number of decisions, (Σw)² / Σw² (Kish 1965): small where few decisions
        carry most of the weight.
    """

    value: float
    deviation: float
    low: float
    high: float
    level: float
    count: int
    effective: float


def ips(rewards: Floats, propensities: Floats, target: Floats, level: float = 0.95) -> Estimate:
    """Estimate by inverse propensity scoring: the mean of w r (Horvitz and Thompson 1952).

    Unbiased where every action that the policy may choose had a positive propensity, also when
    both policies changed along the log, as long as each row's probabilities are functions of the
    rows before it: then the value is that of the mean policy. The interval is that of
    :func:`gamma_interval`, for one look at the end.

    Parameters
    ----------
    rewards : array [n]
        In [0, 1].
    propensities : array [n]
        The logged probability of the logged action, in (0, 1].
    target : array [n]
        The probability that the policy in question gives the same action, in [0, 1].
    level
        The confidence of the interval.

    Examples
    --------
    >>> estimate = ips(np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([0.75, 0.25]))
    >>> estimate.value
    0.75
    """
    weights = _weights(rewards, propensities, target, level)
    scores = weights * rewards
    value = float(scores.mean())
    deviation = float(scores.std(ddof=1) / np.sqrt(len(scores))) if len(scores) > 1 else np.inf
    spread = float(np.square(scores - value).sum())
    ends = gamma_interval(float(scores.sum()), spread, float(weights.max()), level)
    return _estimate(
        value, deviation, (ends[0] / len(scores), ends[1] / len(scores)), weights, level
    )


def snips(rewards: Floats, propensities: Floats, target: Floats, level: float = 0.95) -> Estimate:
    """Estimate by self-normalised inverse propensity scoring: Σ w r / Σ w.

    Never outside the range of the rewards, with a bias of order 1/n and mostly less variance than
    :func:`ips` (Swaminathan and Joachims 2015, section 4). The interval takes the variance of the
    ratio by the delta method, for one look at the end. Parameters as of :func:`ips`.

    Raises
    ------
    InferenceError
        Also when every weight is zero: the log then says nothing of the policy.

    Examples
    --------
    >>> snips(np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([1.0, 0.0])).value
    1.0
    """
    weights = _weights(rewards, propensities, target, level)
    total = float(weights.sum())
    if total <= 0.0:
        raise InferenceError("target is zero for every logged action")
    value = float(weights @ rewards) / total
    spread = float(np.square(weights * (rewards - value)).sum())
    low, high = gamma_interval(value * total, spread, float(weights.max()), level)
    return _estimate(value, spread**0.5 / total, (low / total, high / total), weights, level)


def gamma_interval(
    total: float, variance: float, largest: float, level: float
) -> tuple[float, float]:
    """Give an interval for the expectation of a sum of rare weighted events.

    That of Fay and Feuer (Confidence intervals for directly standardized rates: a method based on
    the gamma distribution, Statistics in Medicine 1997, equation 5), which is Garwood's exact one
    where all weights are alike. A normal approximation would say (0, 0) without any event, and is
    too short on the side of the larger values where there are few.

    Parameters
    ----------
    total, variance
        The sum and an estimate of its variance.
    largest
        What one more event may add.
    level
        The confidence.

    Examples
    --------
    >>> [round(end, 3) for end in gamma_interval(0.0, 0.0, 1.0, 0.95)]
    [0.0, 3.689]
    >>> [round(end, 3) for end in gamma_interval(5.0, 5.0, 1.0, 0.95)]
    [1.623, 11.668]
    """
    if largest <= 0.0:
        return 0.0, 0.0
    tail, mean, spread = (1.0 - level) / 2.0, total / largest, variance / largest / largest
    low = _gamma_quantile(tail, mean, spread or 1.0) if mean > _ALIKE else 0.0
    return low * largest, _gamma_quantile(1.0 - tail, mean + 1.0, spread + 1.0) * largest


def _gamma_quantile(q: float, mean: float, variance: float) -> float:
    if variance <= _ALIKE * mean * mean:  # too little of it for any quantile
        return mean
    return float(gamma.ppf(q, mean**2 / variance, scale=variance / mean))


def relative_value(
    rewards: Floats, propensities: Floats, target: Floats, level: float = 0.95
) -> tuple[float, float, float] | None:
    """Estimate the value over that of the policy that logged, Σ w r / Σ r, with an interval.

    None without any reward. Where all weights are alike the ratio is theirs, for certain; otherwise
    the interval takes its variance by the delta method, for one look at the end. Parameters as of
    :func:`ips`.

    Returns
    -------
    The ratio and the ends of its interval.
    """
    weights = _weights(rewards, propensities, target, level)
    total = float(rewards.sum())
    if total <= 0.0:
        return None
    if weights.max() - weights.min() <= _ALIKE * weights.max():
        ratio = float(weights[0])
        return ratio, ratio, ratio
    earned = weights * rewards
    ratio = float(earned.sum()) / total
    spread = float(np.square(earned - ratio * rewards).sum())
    low, high = gamma_interval(ratio * total, spread, float(weights.max()), level)
    return ratio, low / total, high / total


def _weights(rewards: Floats, propensities: Floats, target: Floats, level: float) -> Floats:
    if not 0.0 < level < 1.0:
        raise InferenceError(f"level must lie in (0, 1), got {level}")
    if not len(rewards):
        raise InferenceError("rewards is empty")
    for name, values in (("propensities", propensities), ("target", target)):
        if values.shape != rewards.shape:
            raise InferenceError(f"{name} has shape {values.shape}, rewards has {rewards.shape}")
    for name, values, positive in (
        ("rewards", rewards, False),
        ("propensities", propensities, True),
        ("target", target, False),
    ):
        above = values > 0.0 if positive else values >= 0.0
        if not (above & (values <= 1.0 + 1e-9)).all():
            raise InferenceError(f"{name} must lie in {'(' if positive else '['}0, 1]")
    weights: Floats = target / propensities
    return weights


def _estimate(
    value: float, deviation: float, ends: tuple[float, float], weights: Floats, level: float
) -> Estimate:
    squares = float(weights @ weights)
    effective = float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0
    low, high = (min(1.0, max(0.0, end)) for end in ends)
    return Estimate(
        value=value,
        deviation=deviation,
        low=low,
        high=high,
        level=level,
        count=len(weights),
        effective=effective,
    )
