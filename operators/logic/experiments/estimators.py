"""What a policy would have earned, from decisions that another policy made and logged.

All estimators weight each logged reward by w = target / propensity: the probability that the policy
in question gives the logged action over the probability with which it was chosen.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


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
        carry most of the weight, and then the interval is too optimistic.
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
    rows before it. The interval is the normal approximation, for one look at the end.

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
    return _estimate(value, deviation, weights, level)


def snips(rewards: Floats, propensities: Floats, target: Floats, level: float = 0.95) -> Estimate:
    """Estimate by self-normalised inverse propensity scoring: Σ w r / Σ w.

    Never outside the range of the rewards, with a bias of order 1/n and mostly less variance than
    :func:`ips` (Swaminathan and Joachims 2015, section 4). The interval is that of a ratio by the
    delta method, for one look at the end. Parameters as of :func:`ips`.

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
    deviation = float(np.sqrt(np.sum((weights * (rewards - value)) ** 2))) / total
    return _estimate(value, deviation, weights, level)


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


def _estimate(value: float, deviation: float, weights: Floats, level: float) -> Estimate:
    reach = NormalDist().inv_cdf(0.5 + level / 2.0) * deviation
    squares = float(weights @ weights)
    effective = float(weights.sum()) ** 2 / squares if squares > 0.0 else 0.0
    low, high = (min(1.0, max(0.0, end)) for end in (value - reach, value + reach))
    return Estimate(
        value=value,
        deviation=deviation,
        low=low,
        high=high,
        level=level,
        count=len(weights),
        effective=effective,
    )
