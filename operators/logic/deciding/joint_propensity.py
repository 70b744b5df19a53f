"""Selection probabilities of Thompson sampling where the candidates' scores are correlated.

One model of all candidates has errors that they share. With scores s = m + F z + √o e the chance
that s_i is the largest is an integral over z and e: by quasi-Monte-Carlo but for one direction of
each candidate's own, which is integrated exactly (:mod:`operators.logic.kernels.joint_maximum`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.logic.deciding.normal_points import normal_points

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

_EFFORT = np.array([[20, 8], [256, 4], [1000, 2]], np.int64)
"""Up to how many contenders how many blocks of 64 points are taken at most."""


@dataclass(frozen=True, slots=True)
class JointScores:
    """The joint posterior of the scores of n decisions' candidates, T in all.

    Those of a decision are normal with means ``mean`` and covariance ``factor @ factor.T +
    diag(own)``; what happens between decisions does not matter.

    Attributes
    ----------
    mean, own : arrays [T]
    factor : array [T, r]
    indptr : array [n + 1]
        The candidates of decision d are rows ``indptr[d]:indptr[d + 1]``; left out, all are one
        decision's.
    keys : array [n]
        Each reflects the points otherwise, so that errors differ from decision to decision
        (:func:`operators.logic.deciding.draws.point_keys`); left out, all take the same points.
    """

    mean: Floats
    factor: Floats
    own: Floats
    indptr: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def __post_init__(self) -> None:
        """Fill in what was left out; refuse shapes that do not fit."""
        rows = len(self.factor)
        if self.factor.ndim != 2 or self.mean.shape != (rows,) or self.own.shape != (rows,):
            shapes = self.mean.shape, self.factor.shape, self.own.shape
            raise ValueError(
                f"mean, factor and own have shapes {shapes}, expected [T], [T, r], [T]"
            )
        if not len(self.indptr):
            object.__setattr__(self, "indptr", np.array([0, rows], np.int64))
        if self.indptr[0] != 0 or self.indptr[-1] != rows or (np.diff(self.indptr) < 0).any():
            raise ValueError("indptr does not part the rows")
        if not len(self.keys):
            object.__setattr__(self, "keys", np.zeros(len(self), np.uint64))
        if self.keys.shape != (len(self),):
            raise ValueError(f"there are {len(self.keys)} keys for {len(self)} decisions")

    def __len__(self) -> int:
        """Give the number of decisions."""
        return len(self.indptr) - 1


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
