"""What became of the units of an experiment, and what a step of the watermark gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.experiments.score_columns import Floats, Scores


class ScoreCounts(Struct):
    """What became of units and records; lists have a number for each variation.

    ``exposed`` units became ``released`` scores, or were ``dropped`` as void; of the released ones
    ``capped`` reached the cap and ``mixed`` saw another variation, too. ``turned_away`` units came
    when there were as many as there may be. ``late`` records were of windows that had closed,
    ``unmatched`` reports of no decision of the experiment.
    """

    exposed: list[int]
    released: list[int]
    dropped: list[int]
    capped: list[int]
    mixed: list[int]
    turned_away: int = 0
    evicted: int = 0
    late_decisions: int = 0
    late_reports: int = 0
    late_withdrawals: int = 0
    unmatched: int = 0

    @classmethod
    def none(cls, variations: int) -> Self:
        """Count nothing yet."""
        empty = [0] * variations
        return cls(empty[:], empty[:], empty[:], empty[:], empty[:])

    def released_scores(self, scores: Scores) -> None:
        """Count scores as released."""
        add_by_variation(self.released, scores.variation)
        add_by_variation(self.capped, scores.variation[scores.capped])
        add_by_variation(self.mixed, scores.variation[scores.mixed])


def add_by_variation(counts: list[int], variations: NDArray[np.integer[Any]]) -> None:
    """Add to each variation's count how often it is named.

    >>> counts = [1, 0]
    >>> add_by_variation(counts, np.array([1, 1, 0]))
    >>> counts
    [2, 2]
    """
    added = np.bincount(variations, minlength=len(counts)).tolist()
    counts[:] = [one + other for one, other in zip(counts, added, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Units that were exposed for the first time: what a sample ratio is made of."""

    variation: NDArray[np.int64]
    segment: NDArray[np.int64]
    probabilities: Floats

    @classmethod
    def of(cls, rows: NDArray[np.void]) -> Self:
        """Give those that decisions exposed."""
        return cls(
            variation=rows["variation"].astype(np.int64),
            segment=rows["segment"].astype(np.int64),
            probabilities=rows["probabilities"].copy(),
        )

    @classmethod
    def joined(cls, parts: Sequence["Opened"]) -> "Opened":
        """Put parts, of which there is one at least, behind each other."""
        return cls(
            variation=np.concatenate([part.variation for part in parts]),
            segment=np.concatenate([part.segment for part in parts]),
            probabilities=np.concatenate([part.probabilities for part in parts]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What a step of the watermark gave: units newly exposed, and scores that are final."""

    opened: Opened
    scores: Scores
