"""Slates: k actions without repetition, and the probability of the order that was shown.

The first action is drawn from the probability vector p; each next one from p restricted to the
actions that are left and scaled to sum to 1 (successive sampling; Plackett 1975, Luce 1959). So a
slate of one is an ordinary decision, and ``ranking[i].probability`` is the probability of action i
given the actions above it; the propensity of the order shown is their product.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding import draws
from operators.logic.deciding.propensity import NO_ACTION, choose

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Slates:
    """Drawn slates of n requests.

    Attributes
    ----------
    chosen : array [n, k]
        The columns shown, first position first; ``NO_ACTION`` where none was left to show.
    conditional : array [n, k]
        The probability of each given those above it; 1 where none was left.
    propensity : array [n]
        The probability of the order shown: the product of a row.
    """

    chosen: Indices
    conditional: Floats
    propensity: Floats


def slate_uniforms(
    secret: bytes, slot_id: str, subjects: Sequence[str], decision_ids: Sequence[str], size: int
) -> Floats:
    """Draw an independent uniform number for each position; the first is a single decision's.

    Returns
    -------
    array [n, size]
    """
    salts = [draws.ACTION, *(b"position.%d" % position for position in range(1, size))]
    columns = [draws.uniforms(secret, slot_id, subjects, decision_ids, salt) for salt in salts]
    return np.stack(columns, axis=1)


def draw_slates(p: Floats, uniforms: Floats) -> Slates:
    """Draw a slate for each row of probabilities.

    Parameters
    ----------
    p : array [n, K]
        Probabilities with eligibility, floors and hold-out mixed in; 0 is never shown.
    uniforms : array [n, k]
        A uniform number for each position.

    Examples
    --------
    >>> slates = draw_slates(np.array([[0.5, 0.3, 0.2]]), np.array([[0.6, 0.1]]))
    >>> slates.chosen.tolist(), slates.conditional.round(4).tolist(), slates.propensity.round(4)
    ([[1, 0]], [[0.3, 0.7143]], array([0.2143]))
    """
    left = p.copy()
    rows = np.arange(len(p))
    chosen = np.empty(uniforms.shape, np.intp)
    for position in range(uniforms.shape[1]):
        column = choose(left, uniforms[:, position])
        chosen[:, position] = column
        left[rows, column] = np.where(column == NO_ACTION, left[rows, column], 0.0)
    return logged(chosen, order_probabilities(p, chosen))


def order_probabilities(p: Floats, chosen: Indices) -> Floats:
    """Give the probability of showing the first i + 1 actions of each slate, in this order.

    Parameters
    ----------
    p : array [n, K]
    chosen : array [n, k]

    Returns
    -------
    array [n, k]
        Falling along a row; the last column is the propensity of the whole slate.
    """
    left = p.astype(np.float64)
    rows = np.arange(len(p))
    result = np.ones(chosen.shape)
    reached = np.ones(len(p))
    for position, column in enumerate(chosen.T):
        shown = column != NO_ACTION
        total = left.sum(axis=1)
        mass = left[rows, column]
        step = np.divide(mass, total, out=np.zeros_like(mass), where=total > 0.0)
        reached = np.where(shown, reached * step, reached)
        result[:, position] = reached
        left[rows, column] = np.where(shown, 0.0, mass)
    return result


def mixed_slates(chosen: Indices, parts: Sequence[tuple[float, Floats]]) -> Slates:
    """Give the probabilities of slates over a mixture of vectors, one of which each came from.

    A hold-out that takes single decisions is such a mixture: the probability of an order is the
    weighted sum of its probabilities under each part, not that of the weighted sum of vectors.

    Parameters
    ----------
    chosen : array [n, k]
    parts : pairs of a weight and an array [n, K]
        Weights sum to 1.
    """
    orders = [weight * order_probabilities(p, chosen) for weight, p in parts]
    return logged(chosen, np.sum(orders, axis=0))


def at_positions(x: Floats, positions: Indices, size: int) -> Floats:
    """Append the position as a feature: a column for each position but the first.

    The first position is all zeros, so scores for the first position need no position at all,
    and what lower positions teach does not count against the actions shown there.

    Parameters
    ----------
    x : array [n, d]
    positions : array [n]
        From 0; those outside the slate are held to its last position.
    size : int
        The slate's size.

    Returns
    -------
    array [n, d + size - 1]

    Examples
    --------
    >>> at_positions(np.ones((2, 1)), np.array([0, 2]), 3).tolist()
    [[1.0, 0.0, 0.0], [1.0, 0.0, 1.0]]
    """
    held = np.clip(positions, 0, size - 1)
    return np.hstack([x, np.eye(size)[held][:, 1:]])


def logged(chosen: Indices, orders: Floats) -> Slates:
    """Give the slates that were drawn, with the probabilities of their first i + 1 actions.

    Parameters
    ----------
    chosen, orders : arrays [n, k]
    """
    before = np.hstack([np.ones((len(orders), 1)), orders[:, :-1]])
    conditional = np.divide(orders, before, out=np.zeros_like(orders), where=before > 0.0)
    # Drawn, so possible, however unlikely: the product of small numbers may round to 0.
    return Slates(chosen, conditional, np.maximum(orders[:, -1], np.finfo(np.float64).tiny))
