"""Scores of candidates that vary together, as one model of all of them has them."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from operators.logic.policies.base import Floats

Integers = NDArray[np.int64]


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

    @property
    def width(self) -> Floats:
        """The standard deviation of each score [T]."""
        return np.asarray(np.sqrt(np.square(self.factor).sum(axis=1) + self.own))

    def scaled(self, alpha: float) -> "JointScores":
        """Give the same scores with their deviations multiplied by ``alpha``."""
        return replace(self, factor=alpha * self.factor, own=alpha * alpha * self.own)
