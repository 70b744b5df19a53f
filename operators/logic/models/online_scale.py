"""Scaled numbers for models that learn in a canonical order: a scale that is renewed in steps."""

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.features.scaling import WARM, Coordinates, Moments, Scaled, coordinates

Floats = NDArray[np.float64]


class OnlineScaleState(Struct):
    """The written form: sums as raw float64, and the coordinates in force."""

    scaled: Scaled
    count: int
    due: int
    sums: bytes
    rows: list[int]
    matrix: bytes


class OnlineScale:
    """Means and deviations of the rows seen so far, put in force whenever their number doubles.

    A model whose weights are about scaled numbers would chase a scale that moves with every row.

    >>> scale = OnlineScale(Scaled((1,)), 2)
    >>> for price in range(40):
    ...     scale.take(np.array([1.0, price]))
    >>> abs(scale.apply(np.array([1.0, 19.5]))).round(9).tolist()
    [1.0, 0.0]
    """

    def __init__(self, scaled: Scaled, dim: int) -> None:
        self._scaled = scaled
        self._count, self._due = 0, round(WARM)
        self._sums = np.zeros((2, dim))
        self._view = self._renewed()

    def apply(self, row: Floats) -> Floats:
        """Give a row in the scale in force."""
        return self._view.transform(row)

    def take(self, row: Floats) -> None:
        """Take in a row; the scale in force changes when their number has doubled."""
        self._count += 1
        self._sums[0] += row
        self._sums[1] += row * row
        if self._count == self._due:
            self._due *= 2
            self._view = self._renewed()

    def _renewed(self) -> Coordinates:
        count = float(self._count)
        return coordinates(self._scaled, Moments(count, self._sums[0], self._sums[1], count))

    def state(self) -> OnlineScaleState:
        """Give the written form."""
        view, sums = self._view, self._sums.tobytes()
        rows, matrix = view.rows.tolist(), view.matrix.tobytes()
        return OnlineScaleState(
            scaled=self._scaled,
            count=self._count,
            due=self._due,
            sums=sums,
            rows=rows,
            matrix=matrix,
        )

    @classmethod
    def of(cls, state: OnlineScaleState) -> "OnlineScale":
        """Read the written form."""
        sums = np.frombuffer(state.sums).reshape(2, -1).copy()
        scale = cls(state.scaled, sums.shape[1])
        scale._count, scale._due, scale._sums = state.count, state.due, sums
        matrix = np.frombuffer(state.matrix).reshape(len(state.rows), -1).copy()
        scale._view = Coordinates(np.array(state.rows, dtype=np.intp), matrix)
        return scale
