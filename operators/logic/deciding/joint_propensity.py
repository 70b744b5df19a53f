"""Selection probabilities of Thompson sampling where the candidates' scores are correlated.

One model of all candidates has errors that they share. With scores s = m + F z + √o e the chance
that s_i is the largest is an integral over z and e: by quasi-Monte-Carlo but for one direction of
each candidate's own, which is integrated exactly (:mod:`operators.logic.kernels.joint_maximum`).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.normal_points import normal_points
from operators.logic.policies.joint_scores import JointScores

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_EFFORT = np.array([[20, 8], [256, 4], [1000, 2]], np.int64)
"""Up to how many contenders how many blocks of 64 points are taken at most."""


def joint_probabilities(scores: JointScores, remaining: Mask | None = None) -> Floats:
    """Give the probability that each candidate's score is the largest of its decision.

    Parameters
    ----------
    scores
    remaining : array [T], optional
        The candidates that take part; the others get exactly 0.

    Returns
    -------
    array [T]
        Sums to 1 in each decision, or to 0 where nothing remains. Candidates that are alike get the
        same, and none that remains exactly 0. A decision's numbers depend on its own rows and key
        alone, to the last bit.

    Raises
    ------
    ValueError
        A number is not finite or too large, or ``own`` is negative.

    Examples
    --------
    >>> scores = JointScores(np.array([0.0, 0.0, 1.0]), np.ones((3, 1)), np.array([0.5, 0.5, 0.0]))
    >>> joint_probabilities(scores).round(2)
    array([0.08, 0.08, 0.85])
    """
    rows, columns = scores.factor.shape
    count = len(scores)
    kept = np.ones(rows, bool) if remaining is None else np.ascontiguousarray(remaining, bool)
    if kept.shape != (rows,):
        raise ValueError(f"remaining has shape {kept.shape}, expected ({rows},)")
    contenders, joint_maximum = _kernels()
    level, spread, alone, bound, p = (
        np.empty(s) for s in (rows, (rows, columns), rows, rows, rows)
    )
    group, place, rank = (np.empty(s, np.int64) for s in (rows, rows, count))
    given = (np.ascontiguousarray(a, np.float64) for a in (scores.mean, scores.factor, scores.own))
    indptr = np.ascontiguousarray(scores.indptr, np.int64)
    wrong = contenders(*given, kept, indptr, level, spread, alone, bound, group, place, rank)
    if wrong >= 0:
        raise ValueError(f"a score of decision {wrong} is not finite or too large, or own is < 0")
    most = int(np.diff(indptr).max(initial=0))
    points = normal_points(min(columns, 2 * most) + (most if scores.own.any() else 0))
    keys = np.ascontiguousarray(scores.keys, np.uint64)
    of_contenders = level, spread, alone, bound, group, place, rank
    joint_maximum(*of_contenders, indptr, keys, points, _EFFORT, p)
    return p


def padded(values: NDArray[Any], indptr: Integers) -> NDArray[Any]:
    """Spread what belongs to decisions of different sizes to a row each, with zeros behind.

    Of a mask it makes one that is False behind, so :func:`mix` and :func:`choose` take both.

    >>> padded(np.array([0.5, 0.5, 1.0]), np.array([0, 2, 3]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    sizes = np.diff(indptr)
    result = np.zeros((len(sizes), int(sizes.max(initial=0))), values.dtype)
    result[np.arange(result.shape[1]) < sizes[:, None]] = values
    return result


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from operators.logic.kernels.contenders import contenders
    from operators.logic.kernels.joint_maximum import joint_maximum

    return contenders, joint_maximum
