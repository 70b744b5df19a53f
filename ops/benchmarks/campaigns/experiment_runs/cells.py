"""The settings in which experiments are simulated: split, click rate, delay, unit and drift."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

Floats = NDArray[np.float64]

CAP: Final = 5
MOST_VISITS: Final = 1_000
TAIL: Final = 2.2
"""Visits of a subject: P(V = v) is proportional to v^-2.2, up to 1,000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One setting.

    Attributes
    ----------
    rate : float
        The click rate of the baseline.
    challenger : float
        The challenger's probability in a fixed split; where a bandit moves the split, that of
        its first block.
    bandit : bool
        Thompson sampling sets the split of each block from the rewards that are closed by then,
        mixed with ``floor``.
    floor : float
        The declared least probability of either.
    delay : int
        So many blocks after its decision a reward is closed: it trains and scores only then.
    unit
        A subject's score is the clicks of all its visits, 5 at most.
    drift : bool
        The rates of both arms swing by half of themselves, three times in 100,000 decisions.
    effect : float
        By how much of itself the challenger's click rate is higher.
    """

    rate: float
    challenger: float = 0.5
    bandit: bool = False
    floor: float = 0.1
    delay: int = 0
    unit: Literal["decision", "subject"] = "decision"
    drift: bool = False
    effect: float = 0.0

    @property
    def name(self) -> str:
        """What tells it from the others."""
        share = f"{1.0 - self.challenger:.0%}/{self.challenger:.0%}".replace("%", "")
        parts = [f"bandit, floor {self.floor:g}" if self.bandit else share, f"{self.rate:.1%}"]
        if self.delay:
            parts.append(f"delay {self.delay * 100:,}")
        if self.unit == "subject":
            parts.append("subjects")
        if self.drift:
            parts.append("drift")
        return ", ".join(parts)

    @property
    def cap(self) -> float:
        """The greatest score of a unit."""
        return 1.0 if self.unit == "decision" else float(CAP)

    @property
    def values(self) -> Floats:
        """The scores above 0 that a unit can have."""
        return np.arange(1.0, self.cap + 1.0)

    def law(self, progress: float, challenger: bool) -> Floats:
        """Give the probabilities of these scores at a progress, in units of 100,000 decisions."""
        rate = self.rate * (1.0 + self.effect if challenger else 1.0)
        if self.drift:
            rate *= 1.0 + 0.5 * math.sin(6.0 * math.pi * progress)
        if self.unit == "decision":
            return np.array([rate])
        visits = np.arange(1, MOST_VISITS + 1)
        shares = visits**-TAIL / (visits**-TAIL).sum()
        below = [float(shares @ binom.cdf(total, visits, rate)) for total in range(CAP)]
        law: Floats = np.diff(below, append=1.0)
        return law

    @property
    def units_per_decision(self) -> float:
        """How many units there are to a decision."""
        if self.unit == "decision":
            return 1.0
        visits = np.arange(1, MOST_VISITS + 1)
        shares = visits**-TAIL / (visits**-TAIL).sum()
        return 1.0 / float(shares @ visits)


def _cells() -> tuple[Cell, ...]:
    rates = (0.005, 0.01, 0.05, 0.2)
    return (
        *(Cell(rate=rate, floor=0.5) for rate in rates),
        *(Cell(rate=rate, challenger=0.1) for rate in (0.005, 0.2)),
        *(Cell(rate=rate, floor=0.5, drift=True) for rate in (0.01, 0.2)),
        Cell(rate=0.05, floor=0.5, delay=20, drift=True),
        *(Cell(rate=rate, bandit=True) for rate in rates),
        *(Cell(rate=rate, bandit=True, delay=20) for rate in rates),
        *(Cell(rate=rate, bandit=True, delay=5, drift=True) for rate in (0.01, 0.2)),
        *(Cell(rate=rate, floor=0.5, unit="subject") for rate in (0.01, 0.2)),
        *(Cell(rate=rate, unit="subject", bandit=True, delay=20) for rate in (0.01, 0.2)),
    )


A_A: Final = _cells()
"""The cells without any effect: 23."""
