"""Zero mean and unit variance for numbers, learned online and put in force by version."""

from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WARM = 100
"""Values of a column before it is scaled at all."""

CLIP = 10.0
"""Scaled numbers are held to this many standard deviations."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """The scaling in force: a mean and a deviation per number; version 0 changes nothing."""

    version: int = 0
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()

    def apply(self, numbers: Floats) -> Floats:
        """Scale an array of shape (rows, numbers); NaN stays NaN."""
        if not self.mean:
            return numbers
        scaled: Floats = (numbers - self.mean) / self.deviation
        return np.maximum(np.minimum(scaled, CLIP), -CLIP)


class ScalerState(Struct):
    """What a snapshot keeps of a :class:`Scaler`."""

    count: list[float] = []
    mean: list[float] = []
    m2: list[float] = []
    version: int = 0
    in_force_mean: list[float] = []
    in_force_deviation: list[float] = []


class Scaler:
    """Running mean and variance of each number, and the scaling that they last gave.

    Statistics merge in any order (Chan, Golub and LeVeque 1979, eq. 2.1), to rounding. A new
    scaling comes into force only when the number of values has doubled since the last one, so
    that a policy does not learn from ever-moving features.

    >>> scaler = Scaler(1)
    >>> scaler.update(np.array([[1.0], [3.0]] * 50))
    >>> scaler.renew()
    Scaling(version=1, mean=(2.0,), deviation=(1.0,))
    """

    def __init__(self, width: int, state: ScalerState | None = None) -> None:
        state = state or ScalerState()
        if state.count and len(state.count) != width:
            raise ValueError(f"a scaler of {len(state.count)} numbers was given to {width}")
        self._count = np.array(state.count or [0.0] * width)
        self._mean = np.array(state.mean or [0.0] * width)
        self._m2 = np.array(state.m2 or [0.0] * width)
        self.in_force = Scaling(
            state.version, tuple(state.in_force_mean), tuple(state.in_force_deviation)
        )

    def update(self, numbers: Floats) -> None:
        """Take in an array of shape (rows, numbers), NaN where a number is missing."""
        here = np.isfinite(numbers)
        count = here.sum(axis=0).astype(np.float64)
        mean = np.where(here, numbers, 0.0).sum(axis=0) / np.maximum(count, 1.0)
        m2 = (np.where(here, numbers - mean, 0.0) ** 2).sum(axis=0)
        self._merge(count, mean, m2)

    def merge(self, other: "Scaler") -> None:
        """Take in what another scaler saw."""
        self._merge(other._count, other._mean, other._m2)

    def renew(self) -> Scaling:
        """Put a new scaling in force if it is due; give the one in force."""
        count = int(self._count.max(initial=0.0))
        version = max(0, (count // WARM).bit_length())
        if version > self.in_force.version:
            deviation = np.sqrt(self._m2 / np.maximum(self._count, 1.0))
            warm = (self._count >= WARM) & (deviation > 1e-9)
            mean = np.where(self._count >= WARM, self._mean, 0.0)
            self.in_force = Scaling(
                version,
                tuple(mean.tolist()),
                tuple(np.where(warm, deviation, 1.0).tolist()),
            )
        return self.in_force

    def state(self) -> ScalerState:
        """Give what a snapshot keeps."""
        return ScalerState(
            self._count.tolist(),
            self._mean.tolist(),
            self._m2.tolist(),
            self.in_force.version,
            list(self.in_force.mean),
            list(self.in_force.deviation),
        )

    def _merge(self, count: Floats, mean: Floats, m2: Floats) -> None:
        total = self._count + count
        share = count / np.maximum(total, 1.0)
        away = mean - self._mean
        self._m2 = self._m2 + m2 + away**2 * self._count * share
        self._mean = self._mean + away * share
        self._count = total
