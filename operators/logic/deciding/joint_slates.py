"""Slates of candidates whose scores are correlated: each position from what remains.

A position's probabilities are those of being the best of the candidates that are left, in the same
points as those of the positions above it. For independent draws of the score that is not successive
sampling (:mod:`operators.logic.deciding.slates`): when one of two alike candidates has been shown,
what it took from the other one goes back to the other one, and not to all in proportion.
"""

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.joint_propensity import joint_probabilities, padded
from operators.logic.deciding.propensity import NO_ACTION, choose, mix, spread_floor, uniform_over
from operators.logic.deciding.slates import Slates, logged
from operators.logic.policies.joint_scores import JointScores

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def draw_joint_slates(
    scores: JointScores,
    uniforms: Floats,
    *,
    first: Floats | None = None,
    floor: float = 0.0,
    held_out: Mask | None = None,
    share: float = 0.0,
) -> Slates:
    """Draw a slate for each decision.

    Parameters
    ----------
    scores
    uniforms : array [n, k]
        A uniform number for each position.
    first : array [T], optional
        The probabilities at the first position, where they are known
        (:func:`~operators.logic.deciding.joint_propensity.joint_probabilities`).
    floor
        The total probability that is spread evenly over what remains, in [0, 1).
    held_out : array [n], optional
        Which decisions are drawn uniformly.
    share
        With what probability a decision is held out, where that is drawn for each decision: the
        probabilities logged are those of the mixture. 0 where groups are sticky: they are those of
        the decision's group.

    Returns
    -------
    Slates
        Columns are a decision's candidates in their order.

    Examples
    --------
    >>> scores = JointScores(np.zeros(2), np.zeros((2, 1)), np.ones(2))
    >>> slates = draw_joint_slates(scores, np.array([[0.7, 0.7]]))
    >>> slates.chosen.tolist(), slates.conditional.tolist(), slates.propensity.tolist()
    ([[1, 0]], [[0.5, 1.0]], [0.5])
    """
    rows, count = np.arange(len(scores)), uniforms.shape[1]
    held = np.zeros(len(scores), bool) if held_out is None else held_out
    flat = np.ones(len(scores.mean), bool)
    chosen = np.full(uniforms.shape, NO_ACTION, np.intp)
    policy, even = np.ones((2, *uniforms.shape))
    for position in range(count):
        left = padded(flat, scores.indptr)
        if not left.any():
            break
        p = joint_probabilities(scores, flat) if position or first is None else first
        given = mix(padded(p, scores.indptr), left, floor=spread_floor(left, floor))
        uniform = uniform_over(left)
        column = choose(np.where(held[:, None], uniform, given), uniforms[:, position])
        shown = column != NO_ACTION
        chosen[:, position] = column
        policy[shown, position] = given[rows, column][shown]
        even[shown, position] = uniform[rows, column][shown]
        flat[(scores.indptr[:-1] + column)[shown]] = False
    orders = policy.cumprod(axis=1), even.cumprod(axis=1)
    if share > 0.0:
        return logged(chosen, (1.0 - share) * orders[0] + share * orders[1])
    return logged(chosen, np.where(held[:, None], orders[1], orders[0]))
