"""Confidence sequences for the running mean of bounded scores: what automatic actions may read.

Theorem (:mod:`~operators.logic.experiments.bet_mixtures`): if every score lies in [low, high] and
low, high were fixed before the first one, the bounds hold the running mean of the scores'
conditional means at all looks at once with the probability ``level``. The scores may depend on all
that came before, their conditional means may move, and a look may come whenever it likes. What must
not depend on a score is whether it is added.

A difference of two variations is one such sequence over w_B r - w_A r
(:mod:`~operators.logic.experiments.difference_scores`). The sums are additive; the bounds of two
looks are not intersected, as what they bound has moved between them.
"""

from typing import Any, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.experiments.bet_mixtures import (
    Floats,
    bets_above,
    log_evidence,
    refuted_up_to,
)
from operators.logic.experiments.bounds import Bounds
from schemas.state import StateError, pack, unpack

_KIND, _VERSION = "confidence_sequence", 1


class SequenceError(ValueError):
    """A range is none, or parts are of different ranges."""


class ScoreOutsideError(SequenceError):
    """A score lies outside the declared range, or is no number: no bound would hold with it.

    Nothing of the block was added; the caller counts what it leaves out, and says so.
    """


class SequenceState(Struct, array_like=True):
    """The written form of :class:`ConfidenceSequence`."""

    low: float
    high: float
    count: int
    total: float
    above: list[float]
    below: list[float]


class ConfidenceSequence:
    """Bounds of the running mean of scores in [low, high], at all looks at once.

    Sums only: scores come in any order and in parts that are merged; the bounds then are the same
    but for rounding.

    Parameters
    ----------
    low, high
        The range, low <= 0 < high, declared before the first score.

    Raises
    ------
    SequenceError

    Examples
    --------
    >>> sequence = ConfidenceSequence(-2.0, 2.0)
    >>> sequence.bounds()
    Bounds(lower=-2.0, upper=2.0, level=0.95)
    >>> sequence.add(np.array([2.0, -2.0, 0.0]), np.array([600, 400, 9_000]))
    >>> bounds = sequence.bounds()
    >>> round(bounds.lower, 3), round(sequence.mean, 3), round(bounds.upper, 3)
    (0.017, 0.04, 0.063)
    """

    def __init__(self, low: float, high: float) -> None:
        if not (-np.inf < low <= 0.0 < high < np.inf):
            raise SequenceError(f"a range must be finite, low <= 0 < high, got [{low}, {high}]")
        self._low, self._high = float(low), float(high)
        self._count, self._total = 0, 0.0
        self._bets = bets_above(low, high), -bets_above(-high, -low)
        self._totals = np.zeros_like(self._bets[0]), np.zeros_like(self._bets[1])

    @property
    def count(self) -> int:
        """How many scores were added."""
        return self._count

    @property
    def mean(self) -> float | None:
        """The mean of the scores; None without any."""
        return self._total / self._count if self._count else None

    def add(self, scores: Floats, counts: NDArray[np.integer[Any]] | None = None) -> None:
        """Add scores, all or none.

        Parameters
        ----------
        scores : array [n]
        counts : array [n]
            How often each of them comes; once if not given.

        Raises
        ------
        ScoreOutsideError
            Where a score lies outside the range by more than rounding.
        SequenceError
            Where a count is below 0, or there is not one for every score.
        """
        scores = np.asarray(scores, dtype=np.float64)
        times = np.ones(len(scores)) if counts is None else np.asarray(counts, dtype=np.float64)
        if times.shape != scores.shape or not (times >= 0.0).all():
            raise SequenceError("counts must be 0 or more, one for every score")
        slack = 1e-12 * (self._high - self._low)
        if not ((scores >= self._low - slack) & (scores <= self._high + slack)).all():
            raise ScoreOutsideError(f"a score lies outside [{self._low}, {self._high}]")
        scores = scores.clip(self._low, self._high)
        for bets, totals in zip(self._bets, self._totals, strict=True):
            totals += times @ np.log1p(scores[:, None] * bets)
        self._count += int(times.sum())
        self._total += float(times @ scores)

    def merge(self, other: Self) -> None:
        """Add what another one of the same range has summed."""
        if (other._low, other._high) != (self._low, self._high):
            raise SequenceError("the other one is of another range")
        for totals, others in zip(self._totals, other._totals, strict=True):
            totals += others
        self._count += other._count
        self._total += other._total

    def log_evidence(self, mean: float) -> tuple[float, float]:
        """Give the logarithms of the evidence that the running mean lies above it, and below it.

        Either exceeds log(1/α) at any look with a probability of α at most if it is the mean.
        """
        if not self._low <= mean <= self._high:
            raise SequenceError(f"a mean lies in [{self._low}, {self._high}], got {mean}")
        at, count = np.float64(mean), np.asarray(self._count, dtype=np.float64)
        above, below = (
            float(log_evidence(totals, count, bets, np.asarray(at)))
            for bets, totals in zip(self._bets, self._totals, strict=True)
        )
        return above, below

    def bounds(self, level: float = 0.95) -> Bounds:
        """Bound the running mean of the conditional means, both ends together at ``level``.

        The whole range where nothing is known. Each end spends half of 1 - level.
        """
        if not 0.0 < level < 1.0:
            raise SequenceError(f"level must lie in (0, 1), got {level}")
        half, count = 0.5 * (1.0 - level), np.asarray(self._count, dtype=np.float64)
        ends = (self._low, self._high), (self._high, self._low)
        lower, upper = (
            float(refuted_up_to(totals, count, bets, between, half))
            for bets, totals, between in zip(self._bets, self._totals, ends, strict=True)
        )
        return Bounds(lower, upper, level)

    def dump(self) -> bytes:
        """Give the written form."""
        above, below = (totals.tolist() for totals in self._totals)
        state = SequenceState(self._low, self._high, self._count, self._total, above, below)
        return pack(_KIND, _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read the written form; :class:`~schemas.state.StateError` if it is none."""
        state = unpack(_KIND, _VERSION, SequenceState, snapshot)
        try:
            sequence = cls(state.low, state.high)
        except SequenceError as error:
            raise StateError(f"state {_KIND!r} is damaged: {error}") from error
        sums = np.array(state.above), np.array(state.below)
        for totals, read in zip(sequence._totals, sums, strict=True):
            if read.shape != totals.shape:
                raise StateError(f"state {_KIND!r} is damaged: it has other bets")
            totals += read
        sequence._count, sequence._total = state.count, state.total
        return sequence
