"""The columns that scores are made of and made to: decisions, reports of outcomes, scores."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from operators.logic.attribution.reasons import NOT_ACTIVATED
from operators.logic.experiments.scored_metric import ScoreError

Floats = NDArray[np.float64]

ACTIVATED: Final = 1
VOID: Final = 2
"""What the flags of a report say."""

NOT_EXPOSED: Final = -1
"""The variation of a decision that counts for its subject's total and exposes it to none."""

REPORT_ROW: Final = np.dtype(
    [("key", "<u8"), ("at", "<i8"), ("revision", "<i8"), ("value", "<f8"), ("flags", "u1")]
)


def decision_row(variations: int) -> np.dtype[Any]:
    """Give the layout of a decision's row in an experiment of so many variations."""
    return np.dtype(
        [
            ("key", "<u8"),
            ("unit", "<u8"),
            ("at", "<i8"),
            ("variation", "<i2"),
            ("segment", "<i4"),
            ("probabilities", "<f8", (variations,)),
        ]
    )


def report_flags(status: str, activated: bool, reason: str) -> int:
    """Give the flags of an outcome record.

    An outcome that is void only because its decision was never shown is no void score: what
    becomes of it, the metric declares.

    >>> report_flags("settled", True, ""), report_flags("void", False, "not_activated")
    (1, 0)
    >>> report_flags("void", False, "consent_withdrawn")
    2
    """
    void = status == "void" and reason != NOT_ACTIVATED
    return (ACTIVATED if activated else 0) | (VOID if void else 0)


def decision_rows(
    *,
    key: NDArray[np.uint64],
    unit: NDArray[np.uint64],
    at: NDArray[np.int64],
    variation: NDArray[np.integer[Any]],
    probabilities: Floats,
    segment: NDArray[np.integer[Any]],
) -> NDArray[np.void]:
    """Put the columns of decisions together, a row each, and check what was logged.

    Parameters
    ----------
    key, unit, at : array [n]
        The decision's join key, that of its unit, and its time.
    variation : array [n]
        The number of its variation, or :data:`NOT_EXPOSED`.
    probabilities : array [n, variations]
        Those of all variations when the unit was drawn; zeros where it was not.
    segment : array [n]

    Raises
    ------
    ScoreError
        For a variation that there is not, or one that was drawn with a probability of 0.
    """
    rows = np.empty(len(key), dtype=decision_row(probabilities.shape[1]))
    exposed = variation != NOT_EXPOSED
    if not ((variation >= NOT_EXPOSED) & (variation < probabilities.shape[1])).all():
        raise ScoreError("variation is none of the experiment's")
    drawn = probabilities[np.flatnonzero(exposed), variation[exposed]]
    if not ((drawn > 0.0) & (drawn <= 1.0)).all():
        raise ScoreError("a variation's probability must lie in (0, 1] where it was drawn")
    rows["key"], rows["unit"], rows["at"] = key, unit, at
    rows["variation"], rows["segment"], rows["probabilities"] = variation, segment, probabilities
    return rows


def report_rows(
    *,
    key: NDArray[np.uint64],
    at: NDArray[np.int64],
    revision: NDArray[np.int64],
    value: Floats,
    flags: NDArray[np.integer[Any]],
) -> NDArray[np.void]:
    """Put the columns of outcome records together; ``at`` is the decision's time.

    Raises
    ------
    ScoreError
        For a value that is no finite number: it would make every later sum one, too.
    """
    if not np.isfinite(value).all():
        raise ScoreError("value must be a finite number")
    rows = np.empty(len(key), dtype=REPORT_ROW)
    rows["key"], rows["at"], rows["revision"] = key, at, revision
    rows["value"], rows["flags"] = value, flags
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Final scores, a row for each unit, by (closing time, unit).

    ``probabilities`` [n, variations] are those at the first exposure, ``first`` is its time,
    ``segment`` the unit's at that time. ``capped`` tells where the cap cut the total, ``mixed``
    where the unit was exposed to another variation, too, within its window.
    """

    closing: NDArray[np.int64]
    unit: NDArray[np.uint64]
    first: NDArray[np.int64]
    variation: NDArray[np.int64]
    segment: NDArray[np.int64]
    probabilities: Floats
    value: Floats
    capped: NDArray[np.bool_]
    mixed: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the units."""
        return len(self.unit)

    @property
    def probability(self) -> Floats:
        """The probability of the variation that was drawn."""
        drawn: Floats = self.probabilities[np.arange(len(self)), self.variation]
        return drawn

    def weights(self, variation: int) -> Floats:
        """Give each unit's weight for a variation's mean: 1{it was drawn} / its probability."""
        return np.where(self.variation == variation, 1.0 / self.probability, 0.0)

    def of_segment(self, segment: int) -> "Scores":
        """Give the rows of one segment."""
        rows = self.segment == segment
        return Scores(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})

    @classmethod
    def none(cls, variations: int) -> Self:
        """Give scores of no unit."""
        integers = np.empty(0, dtype=np.int64)
        return cls(
            closing=integers,
            unit=np.empty(0, dtype=np.uint64),
            first=integers,
            variation=integers,
            segment=integers,
            probabilities=np.empty((0, variations)),
            value=np.empty(0),
            capped=np.empty(0, dtype=np.bool_),
            mixed=np.empty(0, dtype=np.bool_),
        )

    @classmethod
    def joined(cls, blocks: Sequence["Scores"]) -> "Scores":
        """Put blocks, of which there is one at least, behind each other."""
        if len(blocks) == 1:
            return blocks[0]
        names = [each.name for each in fields(cls)]
        return cls(
            **{name: np.concatenate([getattr(block, name) for block in blocks]) for name in names}
        )
