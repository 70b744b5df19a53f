"""Confidence sequences for the mean reward of one variation or policy from weighted rewards.

For a weight w with the mean 1 given the past, a reward r in [0, 1] and any fixed centre c, the
score x = w (r - c) + c has the mean of w r, whatever c is, and lies above -c (W - 1) if w <= W. So
the mixture over fixed bets of :mod:`~operators.logic.experiments.bet_mixtures` may run over bets on
scores with several centres: a bet on (w - 1, w r) in two dimensions, of which the second has the
unknown mean (Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro 2022, Anytime-valid off-policy
inference for contextual bandits, section 2; w - 1 as a control variate: Karampatziakis, Mineiro and
Ramdas 2021). The upper bound is 1 less the lower bound of the mean of 1 - r.
"""

from typing import Any, Final, Self

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
from operators.logic.experiments.confidence_sequence import ScoreOutsideError, SequenceError
from schemas.state import StateError, pack, unpack

_KIND, _VERSION = "weighted_sequence", 1

CENTRES: Final = np.array([0.0, 0.25, 1.0])
"""Centres of the reward whose mean is bounded from below, and of 1 - r for the other bound."""

_ROWS: Final = 4096


class WeightedState(Struct, array_like=True):
    """The written form of :class:`WeightedSequence`."""

    largest: float
    count: int
    lower: list[float]
    upper: list[float]


class WeightedSequence:
    """Bounds of the running mean reward of one variation or policy, at all looks at once.

    Sums only, as those of :class:`~operators.logic.experiments.confidence_sequence.
    ConfidenceSequence`: order-free and merged but for rounding.

    Parameters
    ----------
    largest
        The largest weight that there can be, at least 1, declared before the first one: 1 over the
        floor of the probability.

    Raises
    ------
    SequenceError

    Examples
    --------
    >>> sequence = WeightedSequence(2.0)
    >>> sequence.add(
    ...     np.array([2.0, 2.0, 0.0]), np.array([1.0, 0.0, 0.0]), np.array([50, 950, 1000])
    ... )
    >>> bounds = sequence.bounds()
    >>> 0.02 < bounds.lower < 0.05 < bounds.upper < 0.09
    True
    """

    def __init__(self, largest: float) -> None:
        if not 1.0 <= largest < np.inf:
            raise SequenceError(f"the largest weight must be 1 or more, got {largest}")
        self._largest, self._count = float(largest), 0
        lows = -CENTRES * (largest - 1.0)
        self._bets = np.stack([bets_above(low, low + largest) for low in lows])
        self._totals = np.zeros_like(self._bets), np.zeros_like(self._bets)

    @property
    def count(self) -> int:
        """How many rewards were added, those of weight 0 among them."""
        return self._count

    def add(
        self, weights: Floats, rewards: Floats, counts: NDArray[np.integer[Any]] | None = None
    ) -> None:
        """Add rewards, all or none.

        Parameters
        ----------
        weights : array [n]
            1 over the logged probability where the variation was drawn, else 0; for a policy,
            target over propensity.
        rewards : array [n]
            In [0, 1].
        counts : array [n]
            How often each pair comes; once if not given.

        Raises
        ------
        ScoreOutsideError
            Where a weight or a reward is out of its range: nothing was added.
        SequenceError
            Where a count is below 0, or columns are not of one length.
        """
        w, r = np.asarray(weights, dtype=np.float64), np.asarray(rewards, dtype=np.float64)
        times = np.ones(len(w)) if counts is None else np.asarray(counts, dtype=np.float64)
        if not w.shape == r.shape == times.shape or not (times >= 0.0).all():
            raise SequenceError("weights, rewards and counts, 0 or more, must be of one length")
        if not ((w >= 0.0) & (w <= self._largest * (1.0 + 1e-12))).all():
            raise ScoreOutsideError(f"a weight lies outside [0, {self._largest}]")
        if not ((r >= 0.0) & (r <= 1.0)).all():
            raise ScoreOutsideError("a reward lies outside [0, 1]")
        w = w.clip(0.0, self._largest)
        for start in range(0, len(w), _ROWS):
            part = slice(start, start + _ROWS)
            for totals, own in zip(self._totals, (r, 1.0 - r), strict=True):
                for centre, bets, into in zip(CENTRES, self._bets, totals, strict=True):
                    scores = w[part] * (own[part] - centre) + centre
                    into += times[part] @ np.log1p(scores[:, None] * bets)
        self._count += int(times.sum())

    def merge(self, other: Self) -> None:
        """Add what another one with the same largest weight has summed."""
        if other._largest != self._largest:
            raise SequenceError("the other one has another largest weight")
        for totals, others in zip(self._totals, other._totals, strict=True):
            totals += others
        self._count += other._count

    def log_evidence(self, mean: float) -> tuple[float, float]:
        """Give the logarithms of the evidence that the running mean lies above it, and below it."""
        if not 0.0 <= mean <= 1.0:
            raise SequenceError(f"a mean reward lies in [0, 1], got {mean}")
        count, bets = np.asarray(self._count, dtype=np.float64), self._bets.ravel()
        above, below = (
            float(log_evidence(totals.ravel(), count, bets, np.asarray(at)))
            for totals, at in zip(self._totals, (mean, 1.0 - mean), strict=True)
        )
        return above, below

    def bounds(self, level: float = 0.95) -> Bounds:
        """Bound the running mean, both ends together at ``level``; [0, 1] if nothing is known."""
        if not 0.0 < level < 1.0:
            raise SequenceError(f"level must lie in (0, 1), got {level}")
        half, count = 0.5 * (1.0 - level), np.asarray(self._count, dtype=np.float64)
        lower, rest = (
            float(refuted_up_to(totals.ravel(), count, self._bets.ravel(), (0.0, 1.0), half))
            for totals in self._totals
        )
        return Bounds(lower, 1.0 - rest, level)

    def dump(self) -> bytes:
        """Give the written form."""
        lower, upper = (totals.ravel().tolist() for totals in self._totals)
        return pack(_KIND, _VERSION, WeightedState(self._largest, self._count, lower, upper))

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read the written form; :class:`~schemas.state.StateError` if it is none."""
        state = unpack(_KIND, _VERSION, WeightedState, snapshot)
        try:
            sequence = cls(state.largest)
        except SequenceError as error:
            raise StateError(f"state {_KIND!r} is damaged: {error}") from error
        for totals, read in zip(sequence._totals, (state.lower, state.upper), strict=True):
            if len(read) != totals.size:
                raise StateError(f"state {_KIND!r} is damaged: it has other bets")
            totals += np.array(read).reshape(totals.shape)
        sequence._count = state.count
        return sequence
