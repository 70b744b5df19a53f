"""The hierarchical prior where an action's level is all there is: one number per action.

As :mod:`operators.logic.policies.prior`, whose matrices are then numbers.
"""

import numpy as np

from operators.logic.policies.base import Floats
from operators.logic.policies.neighbours import neighbour_shift
from operators.logic.policies.prior import JITTER, VAGUE, BasePrior, hat_matrix, known_share


def _inverse(values: Floats) -> Floats:
    """Invert numbers that rounding or a wrong subtraction may have left below 0."""
    return np.asarray(1.0 / np.maximum(values, JITTER * np.abs(values) + 1e-300))


def fit_levels(
    information: Floats,
    h: Floats,
    features: Floats | None,
    base: BasePrior,
    similarity: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Compute the posteriors of K actions' levels, and the prior of an action not among them.

    Parameters
    ----------
    information, h : arrays [K]
    features : array [K, m] or None
        The item features.
    similarity : array [K, K] or None
        A row of neighbours' similarities per action, of zeros where an action has none.

    Returns
    -------
    mean, variance : arrays [K + 1]
        The last is the prior's.

    Examples
    --------
    >>> base = BasePrior(
    ...     mean=np.zeros(1),
    ...     variance=np.ones(1),
    ...     spread=np.ones(1),
    ...     strength=20.0,
    ...     ridge=2.0,
    ...     iterations=0,
    ... )
    >>> fit_levels(np.array([3.0]), np.array([6.0]), None, base)
    (array([1.5, 0. ]), array([0.25, 1.  ]))
    """
    k, first, vague = len(h), float(base.mean[0]), float(base.variance[0])
    if not (base.iterations and k):
        left = _inverse(information + 1.0 / vague)
        return np.append(left * (h + first / vague), first), np.append(left, vague)
    spread = variance = float(base.spread[0])
    offset = np.zeros(k)
    hat = hat_matrix(features, base.ridge)
    known, free = 0.0, vague * VAGUE
    for iteration in range(base.iterations):
        precision = 1.0 / variance
        left = _inverse(information + precision)
        evidence = np.clip(1.0 - left / variance, 0.0, 1.0)
        if iteration == 0:
            known = known_share(evidence)
        unsure = 1.0 / (k * precision - precision**2 * float(left.sum()) + 1.0 / free)
        own = left * h - offset + left * offset * precision
        centre = unsure * (precision * float(own.sum()) + first / free)
        mean = left * (h + (centre + offset) * precision)
        if hat is not None:
            offset = hat @ (mean - centre)
        if similarity is not None and base.neighbours > 0.0:
            residual = (mean - centre - offset)[:, None]
            offset = (
                offset + base.neighbours * neighbour_shift(similarity, residual, evidence)[:, 0]
            )
        residual = mean - centre - offset
        found = float(residual @ residual) + float(left.sum())
        variance = (base.strength * spread + found) / (k + base.strength)
    variance = min(variance + unsure, max(vague, variance))
    start = centre + base.optimism * known
    left = _inverse(information + 1.0 / variance)
    mean = left * (h + (start + offset) / variance)
    return np.append(mean, start), np.append(left, variance)
