"""The probability vector that an action is drawn from: mixed exactly, then drawn."""

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.quadrature import beta_probabilities, gaussian_probabilities

__all__ = [
    "NO_ACTION",
    "beta_probabilities",
    "choose",
    "gaussian_probabilities",
    "mix",
    "spread_floor",
    "uniform_over",
]

Floats = NDArray[np.float64]

NO_ACTION = -1
"""What :func:`choose` gives for a row without any eligible action."""


def mix(
    p: Floats,
    eligible: NDArray[np.bool_] | None = None,
    floor: float | Floats = 0.0,
    holdout: float | Floats = 0.0,
) -> Floats:
    """Mix eligibility, floors and a uniform hold-out into a policy's probabilities.

    With q the policy's probabilities over the eligible actions and f_a the floors (scaled down
    where they sum to more than 1), the result is (1 - h) (f + (1 - Σf) q) + h / k over the k
    eligible actions. So each has at least its floor, masked ones have exactly 0, and where the
    policy gives no eligible action anything, q is uniform.

    Parameters
    ----------
    p : array [n, K]
        The policy's probabilities.
    eligible : array [n, K], optional
    floor : number or array [K] or [n, K]
        The least probability of an eligible action.
    holdout : number or array [n]
        The probability of deciding uniformly; 0 or 1 by row where groups are sticky.

    Returns
    -------
    array [n, K]
        Rows sum to 1 within 1e-12; a row without eligible action is all zeros.

    Examples
    --------
    >>> mix(np.array([[0.9, 0.1, 0.0]]), np.array([[True, True, False]]), floor=0.2)
    array([[0.74, 0.26, 0.  ]])
    """
    if p.size and not (p.min() >= 0.0 and p.max() < np.inf):
        raise ValueError("p holds a negative number or one that is not finite")
    if not _within(floor, np.inf):
        raise ValueError("floor must be a finite number >= 0")
    if not _within(holdout, np.nextafter(1.0, 2.0)):
        raise ValueError("holdout must lie in [0, 1]")
    total = p.sum(axis=1, keepdims=True)
    if eligible is None and not np.any(floor) and not np.any(holdout) and (total > 0.0).all():
        q = p / total
        return np.asarray(q / q.sum(axis=1, keepdims=True))
    allowed = np.ones(p.shape, dtype=bool) if eligible is None else eligible
    q = np.where(allowed, p, 0.0)
    total = q.sum(axis=1, keepdims=True)
    uniform = uniform_over(allowed)
    q = np.where(total > 0.0, q / np.where(total > 0.0, total, 1.0), uniform)
    if np.any(floor):
        least = np.where(allowed, floor, 0.0)
        whole = least.sum(axis=1, keepdims=True)
        least = least / np.maximum(whole, 1.0)
        q = least + (1.0 - np.minimum(whole, 1.0)) * q
    if np.any(holdout):
        share = np.broadcast_to(holdout, len(p))[:, None]
        q = (1.0 - share) * q + share * uniform
    total = q.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(q, total, out=np.zeros_like(q), where=total > 0.0))


def uniform_over(eligible: NDArray[np.bool_]) -> Floats:
    """Give each of a row's eligible actions the same probability.

    >>> uniform_over(np.array([[True, False, True]]))
    array([[0.5, 0. , 0.5]])
    """
    return np.asarray(eligible / np.maximum(eligible.sum(axis=1, keepdims=True), 1))


def spread_floor(eligible: NDArray[np.bool_], total: float) -> Floats:
    """Give the floor of each action of which the eligible ones of a row have ``total`` together.

    Unlike one and the same floor it does not grow with the number of candidates.

    >>> spread_floor(np.array([[True, False, True], [True, False, False]]), 0.1)
    array([[0.05, 0.  , 0.05],
           [0.1 , 0.  , 0.  ]])
    """
    if not 0.0 <= total < 1.0:
        raise ValueError("the floors' total must lie in [0, 1)")
    return total * uniform_over(eligible)


def _within(value: float | Floats, limit: float) -> bool:
    """Tell whether all of the value lies in [0, limit)."""
    if isinstance(value, float):
        return 0.0 <= value < limit
    numbers = np.asarray(value)
    return bool(((numbers >= 0.0) & (numbers < limit)).all())


def choose(p: Floats, u: Floats) -> NDArray[np.intp]:
    """Draw an action of each row by inverse distribution function.

    Parameters
    ----------
    p : array [n, K]
        Probabilities; an action of probability 0 is never drawn.
    u : array [n]
        Uniform numbers in [0, 1).

    Returns
    -------
    array [n]
        The drawn column, ``NO_ACTION`` where the row is all zeros.

    Examples
    --------
    >>> choose(np.array([[0.0, 0.25, 0.75], [0.0, 0.0, 0.0]]), np.array([0.25, 0.5]))
    array([ 2, -1])
    """
    if ((u < 0.0) | (u >= 1.0)).any():
        raise ValueError("u must lie in [0, 1)")
    cumulative = np.cumsum(p, axis=1)
    total = cumulative[:, -1]
    target = np.minimum(u * total, np.nextafter(total, 0.0))
    index = (cumulative > target[:, None]).argmax(axis=1)
    return np.where(total > 0.0, index, NO_ACTION)
