"""The time frame of sums that forget: weights by decision time that need no clock and no order.

As in :mod:`operators.logic.policies.statistics`, for sums that are not kept by action.
"""

import math

import numpy as np

from operators.logic.policies.base import Floats
from operators.logic.policies.statistics import GRID

_FORGOTTEN = -1000.0


class Frame:
    """Holds sums of 2^((t - reference) / half_life); the reference sits on a grid of half-lives.

    >>> frame = Frame(10.0)
    >>> frame.move_to(640.0), frame.weights(np.array([640.0, 630.0]))
    (0.0, array([1. , 0.5]))
    >>> frame.scale(650.0)
    0.5
    """

    def __init__(self, half_life: float | None) -> None:
        self.half_life = half_life
        self.newest = -math.inf
        self.reference = -math.inf

    def move_to(self, time: float) -> float:
        """See a time; give what sums in the old frame are to be multiplied by, 0 for no old one."""
        self.newest = max(self.newest, time)
        if self.half_life is None or not math.isfinite(self.newest):
            return 1.0
        reference = math.floor(self.newest / self.half_life / GRID) * float(GRID)
        if reference <= self.reference:
            return 1.0
        factor = 2.0 ** max(self.reference - reference, _FORGOTTEN)
        factor = factor if math.isfinite(self.reference) else 0.0
        self.reference = reference
        return factor

    def weights(self, time: Floats) -> Floats:
        """Give the weights of contributions made at these times."""
        if self.half_life is None:
            return np.ones(len(time))
        return np.exp2(np.maximum(time / self.half_life - self.reference, _FORGOTTEN))

    def weight_of(self, other: "Frame") -> float:
        """Give what another frame's sums are multiplied by in this one."""
        if self.half_life is None or not math.isfinite(other.reference):
            return 1.0
        return float(2.0 ** max(other.reference - self.reference, _FORGOTTEN))

    def scale(self, now: float | None) -> float:
        """Give what the sums are multiplied by to be as of ``now``, by default the newest time."""
        if self.half_life is None or not math.isfinite(self.newest):
            return 1.0
        age = (self.newest if now is None else now) / self.half_life - self.reference
        return float(2.0 ** float(np.clip(-age, -1000.0, 1000.0)))
