"""The newcomer's share of a trial's decisions as a curve, and at the end."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POINTS = 30
"""Points of a curve of shares."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The newcomer's mean probability in each of ``POINTS`` parts of the horizon, and at its end.

    ``final`` is over the last tenth of the decisions.
    """

    shares: Floats
    final: float


def summed_up(shares: Floats) -> Trial:
    """Reduce the newcomer's probability in each decision to a curve and its last tenth."""
    parts = [part.mean() for part in np.array_split(shares, POINTS)]
    return Trial(np.array(parts), float(shares[-len(shares) // 10 :].mean()))
