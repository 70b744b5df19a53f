"""Splits: which of the 64-bit hashes belong to which variation, in integers.

Weights are read exactly as they are written and normalised in fractions, so thirds are thirds; each
variation gets the half-open interval of hashes between two whole numbers. One of weight 0 gets an
empty interval wherever it stands: no rounding can serve it.
"""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import isfinite

from msgspec import Struct

from operators.logic.experiments.errors import ExperimentError
from operators.logic.experiments.hashes import WHOLE


class Split(Struct, frozen=True):
    """Variations by the interval of hashes that each has: ``ends`` are where it ends, excluded."""

    ids: tuple[str, ...]
    ends: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        """How many of the 2**64 hashes each variation has."""
        return tuple(high - low for low, high in pairwise((0, *self.ends)))

    def place(self, hash_: int) -> int:
        """Find the variation that a hash belongs to.

        >>> split_of(["a", "b", "c"], [1, 0, 1]).place(WHOLE // 2)
        2
        """
        return bisect_right(self.ends, hash_)

    def probabilities(self, without: Collection[str] = ()) -> tuple[float, ...]:
        """Give the probability of each variation, given that it is none of those left out.

        >>> split_of(["a", "b", "c"], [1, 1, 2]).probabilities(without={"c"})
        (0.5, 0.5, 0.0)
        """
        widths = [
            0 if name in without else width
            for name, width in zip(self.ids, self.widths, strict=True)
        ]
        total = sum(widths)
        return tuple(width / total if total else 0.0 for width in widths)


def split_of(ids: Sequence[str], weights: Sequence[float | str | Fraction]) -> Split:
    """Divide the hashes by weights: numbers from 0 as they are written, or texts like ``"1/3"``.

    Raises :class:`ExperimentError` where a weight is none or all are 0.

    >>> split_of(["a", "b", "c", "d"], [98.9, 1, 0.1, 0]).probabilities()
    (0.989, 0.01, 0.001, 0.0)
    """
    exact = [exact_weight(weight) for weight in weights]
    total = sum(exact)
    if total <= 0:
        raise ExperimentError("all weights are 0: nobody could get anything")
    ends = (int(reached * WHOLE / total) for reached in accumulate(exact))
    return Split(tuple(ids), tuple(ends))


def bandit_split(ids: Sequence[str], probabilities: Sequence[float], floor: float) -> Split:
    """Divide the hashes by a policy's probabilities p of n variations, none of less than ``floor``.

    It is the mixture f + (1 − n f) p, which takes from all alike; uniform where n f ≥ 1.

    >>> bandit_split(["a", "b"], [1.0, 0.0], 0.1).probabilities()
    (0.9, 0.1)
    """
    exact = [exact_weight(p) for p in probabilities]
    total, least = sum(exact), exact_weight(floor)
    left = 1 - len(exact) * least
    if left <= 0:
        return split_of(ids, [1] * len(exact))
    if total <= 0:
        raise ExperimentError("all probabilities are 0")
    return split_of(ids, [least + left * p / total for p in exact])


def exact_weight(weight: float | str | Fraction) -> Fraction:
    """Read a weight exactly as it is written.

    >>> exact_weight(98.9), exact_weight("1/3")
    (Fraction(989, 10), Fraction(1, 3))
    """
    if isinstance(weight, float) and not isfinite(weight):
        raise ExperimentError(f"{weight} is no weight")
    try:
        exact = weight if isinstance(weight, Fraction) else Fraction(str(weight))
    except (ValueError, ZeroDivisionError) as error:
        raise ExperimentError(f"{weight!r} is no weight") from error
    if exact < 0:
        raise ExperimentError(f"{weight} is below 0")
    return exact
