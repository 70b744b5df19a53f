"""The ramp: which share of the units is included at a moment of event time.

Inclusion is one hash below a threshold, so a larger share only adds units and a smaller one only
removes them, and neither changes anybody's variation.
"""

from bisect import bisect_right
from collections.abc import Sequence

from msgspec import Struct

from operators.logic.experiments.hashes import WHOLE, threshold
from schemas.clock import micros
from schemas.experiments import RampStep


class Ramp(Struct, frozen=True):
    """The thresholds of the inclusion hash by the times, in microseconds, that they hold from."""

    times: tuple[int, ...]
    thresholds: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether everybody is included at all times."""
        return self.times == (0,) and self.thresholds == (WHOLE,)

    def at(self, time: int) -> int:
        """Give the threshold at a time: nobody is included before the first step."""
        place = bisect_right(self.times, time)
        return self.thresholds[place - 1] if place else 0


def ramp_of(steps: Sequence[RampStep]) -> Ramp:
    """Read the steps of a ramp, whose times rise; without any everybody is included.

    >>> from schemas.clock import moment
    >>> ramp = ramp_of([RampStep(time=moment(10), share=0.1), RampStep(time=moment(20), share=1.0)])
    >>> [ramp.at(time) / WHOLE for time in (9, 10, 20)]
    [0.0, 0.1, 1.0]
    """
    if not steps:
        return Ramp((0,), (WHOLE,))
    return Ramp(
        tuple(micros(step.time) for step in steps), tuple(threshold(step.share) for step in steps)
    )
