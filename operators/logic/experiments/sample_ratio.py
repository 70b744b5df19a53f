"""Sample ratio: every variation's exposures against what its logged probabilities promise.

For exposure i with logged probabilities q_i, of which variation j happened, and positive tilts θ,
θ_j / Σ_k q_ik θ_k has the mean 1 given the past, if the exposure happened whichever variation was
drawn. So the product over exposures is a non-negative martingale of mean 1, and so is any mixture
of such products over fixed θ: an e-process, which exceeds 1/α at any look with a probability of α
at most (Ville 1939; Lindon and Malek 2022, Anytime-valid inference for multinomial count data, for
constant q). Each θ is the likelihood ratio of a loss or gain of one variation's exposures.

What it asks for: q_i is fixed before the draw (ramps, and bandits that learn from what came
before), and neither whether nor when an exposure counts depends on the variation while all is well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.experiments.share_bets import GAINS, TILTS, log_mean_exp, share_bounds
from schemas.state import pack, unpack

Floats = NDArray[np.float64]

_KIND, _VERSION = "sample_ratio", 1
_ROUNDING: Final = 1e-9
_ROWS: Final = 8192
"""So many exposures are looked at together: more would fall out of the processor's cache."""


class SampleRatioError(ValueError):
    """Exposures are not what their logged probabilities allow; the message says how."""


class SampleRatioState(Struct, array_like=True):
    """The written form of :class:`SampleRatio`."""

    variations: list[str]
    observed: list[int]
    expected: list[float]
    normalisers: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """How far a variation's share of the exposures is from the mean of its logged probabilities.

    ``difference`` is ``observed`` less ``expected``, both shares in [0, 1]; ``low`` and ``high``
    bound the difference at every look. All but the bounds are None without any exposure.
    """

    variation_id: str
    exposures: int
    observed: float | None
    expected: float | None
    difference: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioVerdict:
    """The one test of all variations, and the size of what it found.

    ``alarm`` says that the e-value, exp(``log_e``), has reached 1/``alpha``. A large count makes a
    small deviation certain: what it is worth, ``deviations`` say.
    """

    count: int
    log_e: float
    alpha: float
    alarm: bool
    deviations: tuple[Deviation, ...]


class SampleRatio:
    """The e-process of an experiment's sample ratio.

    Counts and sums: exposures may come in any order and in parts that are added later; the
    e-value then is the same but for rounding. Whether it ever alarmed is the caller's to keep.

    Parameters
    ----------
    variations
        The ids of at least two.

    Examples
    --------
    >>> ratio = SampleRatio(["a", "b"])
    >>> ratio.add_counts([10_000, 9_800], [0.5, 0.5])
    >>> ratio.verdict().alarm
    False
    >>> ratio.add_counts([300_000, 294_000], [0.5, 0.5])
    >>> ratio.verdict().alarm
    True
    """

    def __init__(self, variations: Sequence[str]) -> None:
        if len(set(variations)) != len(variations) or len(variations) < 2:
            raise SampleRatioError("variations must be two or more, each named once")
        self._variations = list(variations)
        size = len(variations)
        self._observed = np.zeros(size, dtype=np.int64)
        self._expected = np.zeros(size)
        # A loss of one of two variations is a gain of the other.
        self._tilted = 1 if size == 2 else size
        self._normalisers = np.zeros((self._tilted, len(TILTS)))

    @property
    def count(self) -> int:
        """How many exposures were added."""
        return int(self._observed.sum())

    @property
    def log_e(self) -> float:
        """The logarithm of the e-value; 0 before the first exposure."""
        won = np.outer(self._observed[: self._tilted], TILTS)
        return log_mean_exp((won - self._normalisers).ravel())

    def add(self, drawn: NDArray[np.integer[Any]], probabilities: Floats) -> None:
        """Add exposures, all or none.

        Parameters
        ----------
        drawn : array [n]
            The number of the variation that each shows.
        probabilities : array [n, variations]
            What each variation's probability was, as logged; every row sums to 1.

        Raises
        ------
        SampleRatioError
            Also where a variation was drawn whose probability is 0.
        """
        drawn = np.asarray(drawn, dtype=np.int64)
        probabilities = self._checked(np.asarray(probabilities, dtype=np.float64), len(drawn))
        if not len(drawn):
            return
        if drawn.min() < 0 or drawn.max() >= len(self._variations):
            raise SampleRatioError("drawn names a variation that there is not")
        if not (probabilities[np.arange(len(drawn)), drawn] > 0.0).all():
            raise SampleRatioError("a variation was drawn whose probability is 0")
        for start in range(0, len(drawn), _ROWS):
            part = probabilities[start : start + _ROWS, : self._tilted]
            self._normalisers += np.log1p(part[:, :, None] * GAINS).sum(axis=0)
        self._observed += np.bincount(drawn, minlength=len(self._variations))
        self._expected += probabilities.sum(axis=0)

    def add_counts(self, observed: Sequence[int], probabilities: Sequence[float]) -> None:
        """Add exposures with the same probabilities: how many of each variation there were."""
        counts = np.asarray(observed, dtype=np.int64)
        p = self._checked(np.asarray(probabilities, dtype=np.float64)[None, :], 1)[0]
        if counts.shape != p.shape or counts.min() < 0:
            raise SampleRatioError("observed must be a count of each variation")
        if (counts[p == 0.0] > 0).any():
            raise SampleRatioError("a variation was drawn whose probability is 0")
        total = int(counts.sum())
        self._normalisers += total * np.log1p(p[: self._tilted, None] * GAINS)
        self._observed += counts
        self._expected += total * p

    def merge(self, other: Self) -> None:
        """Add what another one has counted, of the same variations."""
        if other._variations != self._variations:
            raise SampleRatioError("the other one is of other variations")
        self._observed += other._observed
        self._expected += other._expected
        self._normalisers += other._normalisers

    def verdict(self, alpha: float = 0.001, level: float = 0.95) -> RatioVerdict:
        """Judge the whole at a look; ``level`` is that of each variation's own bounds."""
        if not 0.0 < alpha < 1.0:
            raise SampleRatioError(f"alpha must lie in (0, 1), got {alpha}")
        log_e = self.log_e
        return RatioVerdict(
            count=self.count,
            log_e=log_e,
            alpha=alpha,
            alarm=log_e >= -float(np.log(alpha)),
            deviations=tuple(
                self._deviation(number, level) for number in range(len(self._variations))
            ),
        )

    def _deviation(self, number: int, level: float) -> Deviation:
        name, count = self._variations[number], self.count
        exposures = int(self._observed[number])
        if not count:
            return Deviation(
                variation_id=name,
                exposures=0,
                observed=None,
                expected=None,
                difference=None,
                low=-1.0,
                high=1.0,
            )
        low, high = share_bounds(exposures, count, level)
        observed, expected = exposures / count, float(self._expected[number]) / count
        return Deviation(
            variation_id=name,
            exposures=exposures,
            observed=observed,
            expected=expected,
            difference=observed - expected,
            low=low - expected,
            high=high - expected,
        )

    def _checked(self, probabilities: Floats, rows: int) -> Floats:
        if probabilities.shape != (rows, len(self._variations)):
            shape = (rows, len(self._variations))
            raise SampleRatioError(f"probabilities has shape {probabilities.shape}, not {shape}")
        if not (probabilities >= 0.0).all():
            raise SampleRatioError("probabilities must not be negative")
        if not (np.abs(probabilities.sum(axis=1) - 1.0) <= _ROUNDING).all():
            raise SampleRatioError("probabilities must sum to 1")
        return probabilities

    def dump(self) -> bytes:
        """Give the written form."""
        state = SampleRatioState(
            self._variations,
            self._observed.tolist(),
            self._expected.tolist(),
            self._normalisers.ravel().tolist(),
        )
        return pack(_KIND, _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read the written form."""
        state = unpack(_KIND, _VERSION, SampleRatioState, snapshot)
        ratio = cls(state.variations)
        ratio._observed = np.array(state.observed, dtype=np.int64)
        ratio._expected = np.array(state.expected)
        ratio._normalisers = np.array(state.normalisers).reshape(ratio._normalisers.shape)
        return ratio
