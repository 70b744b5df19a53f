"""What each variation earns for a unit, estimated from scores as they are released: to be shown.

All estimators weight a score by w = 1{its variation was drawn} / its probability, for a policy by
w = target / propensity. Sums only: blocks of scores may be added in any order, and parts merged.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from msgspec import Struct

from operators.logic.experiments.score_columns import Floats
from operators.logic.experiments.scored_metric import ScoreError
from schemas.state import pack, unpack

_KIND, _VERSION = "score_estimates", 1


@dataclass(frozen=True, slots=True)
class Shown:
    """An estimate and its standard error, which no rule reads; None where there is no value yet."""

    value: float | None
    deviation: float | None


class ScoreEstimates(Struct):
    """Sums over the scores weighted for one variation or policy, ``count`` of them.

    ``direct`` is what a doubly robust score adds to the weighted residual, ``robust`` their sum;
    without predictions it is the weighted score itself.

    Examples
    --------
    >>> estimates = ScoreEstimates()
    >>> estimates.add(np.array([2.0, 0.0, 2.0, 0.0]), np.array([1.0, 0.0, 0.5, 1.0]))
    >>> estimates.ips().value, estimates.snips().value, estimates.effective
    (0.75, 0.75, 2.0)
    """

    count: int = 0
    weight: float = 0.0
    weight_squares: float = 0.0
    weighted: float = 0.0
    weighted_squares: float = 0.0
    crossed: float = 0.0
    robust: float = 0.0
    robust_squares: float = 0.0

    def add(
        self,
        weights: Floats,
        values: Floats,
        logged: Floats | None = None,
        direct: Floats | None = None,
    ) -> None:
        """Add scores.

        Parameters
        ----------
        weights, values : array [n]
        logged : array [n]
            What a model, fitted only on scores that had closed before, predicts for the unit as it
            was drawn.
        direct : array [n]
            What it predicts under the variation or policy in question, on average.

        Raises
        ------
        ScoreError
            For weights below 0, numbers that are not finite, or one prediction without the other.
        """
        if (logged is None) != (direct is None):
            raise ScoreError("logged and direct are given together")
        nothing = np.zeros(len(weights))
        logged = nothing if logged is None else logged
        direct = nothing if direct is None else direct
        weighted = weights * values
        robust = direct + weights * (values - logged)
        if not (weights >= 0.0).all() or not np.isfinite([weighted, robust]).all():
            raise ScoreError("weights must be 0 or more, and all numbers finite")
        self.count += len(weights)
        self.weight += float(weights.sum())
        self.weight_squares += float(weights @ weights)
        self.weighted += float(weighted.sum())
        self.weighted_squares += float(weighted @ weighted)
        self.crossed += float(weights @ weighted)
        self.robust += float(robust.sum())
        self.robust_squares += float(robust @ robust)

    def merge(self, other: Self) -> None:
        """Add what another one has summed."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def effective(self) -> float:
        """The effective number of scores, (Σw)² / Σw² (Kish 1965); 0 without any weight."""
        return self.weight**2 / self.weight_squares if self.weight_squares > 0.0 else 0.0

    def ips(self) -> Shown:
        """Estimate by the mean of w r (Horvitz and Thompson 1952)."""
        return self._mean(self.weighted, self.weighted_squares)

    def doubly_robust(self) -> Shown:
        """Estimate by the mean of m + w (r - m̂) (Dudík, Langford and Li 2011, equation 2)."""
        return self._mean(self.robust, self.robust_squares)

    def snips(self) -> Shown:
        """Estimate by Σ w r / Σ w, its error by the delta method.

        Swaminathan and Joachims 2015, section 4. The squares are summed about 0, so the error is
        good to about 1e-8 of the value.
        """
        if self.weight <= 0.0:
            return Shown(None, None)
        value = self.weighted / self.weight
        spread = (
            self.weighted_squares - 2.0 * value * self.crossed + value * value * self.weight_squares
        )
        return Shown(value, max(0.0, spread) ** 0.5 / self.weight)

    def _mean(self, total: float, squares: float) -> Shown:
        if not self.count:
            return Shown(None, None)
        value = total / self.count
        if self.count == 1:
            return Shown(value, None)
        spread = max(0.0, squares - total * value) / (self.count - 1)
        return Shown(value, (spread / self.count) ** 0.5)

    def dump(self) -> bytes:
        """Give the written form."""
        return pack(_KIND, _VERSION, self)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read the written form."""
        return unpack(_KIND, _VERSION, cls, snapshot)
