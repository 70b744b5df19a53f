"""Bounds that rules may act on: those of an anytime-valid confidence sequence at a look."""

import math
from dataclasses import dataclass
from typing import Literal

Direction = Literal["increase", "decrease"]
"""Which way of a metric is better."""


class BoundsError(ValueError):
    """Bounds are no numbers, or their level is none."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The ends of a confidence sequence, which hold at all looks with the probability ``level``.

    Only sequences whose theorem covers what was done to the scores make these. Where nothing is
    known an end is infinite; ends that have crossed say nothing at all.

    Examples
    --------
    >>> Bounds(0.01, 0.05, 0.95).positive
    True
    >>> Bounds(0.01, 0.05, 0.95).towards("decrease")
    Bounds(lower=-0.05, upper=-0.01, level=0.95)
    """

    lower: float
    upper: float
    level: float

    def __post_init__(self) -> None:
        """Refuse what is no number."""
        if math.isnan(self.lower) or math.isnan(self.upper) or not 0.0 < self.level < 1.0:
            raise BoundsError(f"[{self.lower}, {self.upper}] at {self.level} are no bounds")

    @property
    def positive(self) -> bool:
        """Whether they rule out 0 and all below."""
        return 0.0 < self.lower <= self.upper

    @property
    def negative(self) -> bool:
        """Whether they rule out 0 and all above."""
        return self.lower <= self.upper < 0.0

    def below(self, value: float) -> bool:
        """Tell whether they rule out ``value`` and all above."""
        return self.lower <= self.upper < value

    def towards(self, direction: Direction) -> "Bounds":
        """Give them so that more is better."""
        if direction == "increase":
            return self
        return Bounds(-self.upper, -self.lower, self.level)
