"""What a score is: its unit, when it is final, its cap, and what counts as an exposure."""

from dataclasses import dataclass
from typing import Literal

Unit = Literal["subject", "decision"]


class ScoreError(ValueError):
    """A metric is declared in a way that gives no scores, or its input is no such thing."""


def usual_grain(settle: int) -> int:
    """Give a grain that adds little to the time until a score is released: a second at least.

    >>> usual_grain(600_000_000), usual_grain(7 * 86_400_000_000)
    (2343750, 2362500000)
    """
    return max(1_000_000, settle // 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredMetric:
    """How the decisions of an experiment become one score for each unit.

    Unit ``decision``: a score is the decision's final reward. Unit ``subject``: it is the total of
    the final rewards of the subject's decisions from its first exposure on until ``span`` after it,
    both included; ``cap``, declared before the start, is part of the metric: min(total, cap).

    Times are whole microseconds of event time.

    Attributes
    ----------
    unit
    settle : int
        How long after a decision its reward is final: the slot's reward window.
    span : int
        How long after its first exposure a subject's decisions count; 0 for unit ``decision``.
    cap : float or None
        The greatest score.
    activated_only : bool
        Whether only decisions that were activated expose a unit and count. If not, all that were
        assigned do, those that were not activated with ``default_reward``.
    default_reward : float
    start, end : int or None
        Exposures count from ``start`` to before ``end``. A unit exposed before the end is scored
        until its window closes.
    grain : int
        Scores are released at multiples of it, counted from ``settle``: :func:`usual_grain`. It is
        also the time that one block of rows holds.

    Raises
    ------
    ScoreError

    Examples
    --------
    >>> ScoredMetric(unit="subject", settle=60, span=3600, grain=10).closing(1_000)
    4660
    >>> ScoredMetric(unit="subject", settle=60, span=3600).may_act
    False
    """

    unit: Unit
    settle: int
    span: int = 0
    cap: float | None = None
    activated_only: bool = True
    default_reward: float = 0.0
    start: int | None = None
    end: int | None = None
    grain: int = 1_000_000

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if self.settle < 0 or self.span < 0 or self.grain < 1:
            raise ScoreError("settle and span must be 0 or more, grain 1 or more")
        if self.unit == "decision" and self.span:
            raise ScoreError("span is of unit subject: a decision's reward is final after settle")
        if self.cap is not None and not self.cap > 0.0:
            raise ScoreError(f"cap must be above 0, got {self.cap}")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise ScoreError("the end lies before the start")

    @property
    def may_act(self) -> bool:
        """Whether scores are bounded, so that what is concluded from them may act."""
        return self.unit == "decision" or self.cap is not None

    @property
    def finished(self) -> int | None:
        """The watermark from which on every score is final; None while no end is set."""
        if self.end is None:
            return None
        return self.end + self.span + self.settle + self.grain

    def closing(self, first: int) -> int:
        """Give the time at which the window of a unit closes that was first exposed then."""
        return first + self.span + self.settle

    def settled_before(self, watermark: int) -> int:
        """Give the time before which decisions are final at a watermark, on the grid of grains.

        >>> ScoredMetric(unit="decision", settle=60, grain=10).settled_before(87)
        20
        """
        return (watermark - self.settle) // self.grain * self.grain
