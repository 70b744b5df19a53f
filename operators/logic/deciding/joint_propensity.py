"""Selection probabilities of Thompson sampling where the candidates' scores are correlated."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.normal_points import normal_points

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_EFFORT = np.array([[20, 8], [64, 4], [256, 2], [1000, 1]], np.int64)
"""Up to how many contenders how many blocks of 64 points are taken."""


def joint_probabilities(
    mean: Floats,
    factor: Floats,
    own: Floats,
    indptr: Integers | None = None,
    *,
    keys: NDArray[np.uint64] | None = None,
    remaining: Mask | None = None,
) -> Floats:
    """Give the probability that each candidate's score is the largest of its decision.

    The scores of a decision are jointly normal with means ``mean`` and covariance ``factor @
    factor.T + diag(own)``.

    Parameters
    ----------
    mean, own : arrays [T]
    factor : array [T, r]
    indptr : array [n + 1], optional
        The candidates of decision d are rows ``indptr[d]:indptr[d + 1]``; left out, all are one
        decision's.
    keys : array [n], optional
        Each reflects the points otherwise, so that the error differs from decision to decision;
        left out, all take the same points.
    remaining : array [T] of bool, optional
        The candidates that take part, in the same points as without this; the others get 0.

    Returns
    -------
    array [T]
        Sums to 1 in each decision, or to 0 where nothing remains. Candidates that are alike get the
        same; none gets exactly 0. A decision's numbers depend on its own rows and key alone.

    Raises
    ------
    ValueError
        A number is not finite or too large, or ``own`` is negative.

    Examples
    --------
    >>> mean, own = np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.0])
    >>> joint_probabilities(mean, np.array([[1.0], [1.0], [1.0]]), own).round(2)
    array([0.07, 0.07, 0.86])
    """
    rows, columns = factor.shape
    if indptr is None:
        indptr = np.array([0, rows], np.int64)
    count = len(indptr) - 1
    if mean.shape != (rows,) or own.shape != (rows,):
        raise ValueError(f"mean {mean.shape} and own {own.shape} do not fit factor {factor.shape}")
    if count < 0 or indptr[0] != 0 or indptr[-1] != rows or (np.diff(indptr) < 0).any():
        raise ValueError("indptr does not part the rows")
    if keys is None:
        keys = np.zeros(count, np.uint64)
    if remaining is None:
        remaining = np.ones(rows, bool)
    if keys.shape != (count,) or remaining.shape != (rows,):
        raise ValueError("keys or remaining do not fit the decisions")
    contenders, joint_maximum = _kernels()
    level, spread, alone, bound, p = (np.empty(s) for s in (rows, (rows, columns), rows, rows, rows))
    group, place, rank = (np.empty(s, np.int64) for s in (rows, rows, count))
    given = (np.ascontiguousarray(values, np.float64) for values in (mean, factor, own))
    kept = np.ascontiguousarray(remaining, bool)
    indptr = np.ascontiguousarray(indptr, np.int64)
    wrong = contenders(*given, kept, indptr, level, spread, alone, bound, group, place, rank)
    if wrong >= 0:
        raise ValueError(f"a score of decision {wrong} is not finite or too large, or own is < 0")
    most = int(np.diff(indptr).max(initial=0))
    points = normal_points(min(columns, 2 * most) + (most if own.any() else 0))
    keys = np.ascontiguousarray(keys, np.uint64)
    joint_maximum(level, spread, alone, bound, group, place, rank, indptr, keys, points, _EFFORT, p)
    return p


@cache
def _kernels() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from operators.logic.kernels.contenders import contenders
    from operators.logic.kernels.joint_maximum import joint_maximum

    return contenders, joint_maximum
