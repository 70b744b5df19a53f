"""Additive statistics per action under event-time forgetting.

A contribution made at decision time t counts 2^((t - now) / half_life). The sums are held in the
frame of a reference time, 2^((t - reference) / half_life), so that adding needs no clock and no
order. The reference sits on a fixed grid of whole half-lives and moves on with the newest time;
moving it multiplies by an exact power of two.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Self

import numpy as np
from msgspec import Struct

from operators.logic.policies.base import Floats, Indices, PolicyError
from operators.logic.policies.packing import pack_symmetric, unpack_symmetric

GRID = 32
"""Half-lives between two reference times."""

_FORGOTTEN = -1000.0
"""An exponent of two below which a contribution is nothing."""


class StatisticsState(Struct):
    """The written form of :class:`Statistics`; arrays as raw little-endian bytes."""

    half_life: float | None
    newest: float | None
    reference: float
    ids: list[str]
    shapes: dict[str, tuple[int, ...]]
    arrays: dict[str, bytes]


class Statistics:
    """Named arrays with one row per action that has contributed.

    Parameters
    ----------
    shapes
        The shape of one action's entry in each array; a square one is a symmetric matrix.
    half_life
        In seconds of decision time; None keeps everything for ever, and whole counts exact.

    Examples
    --------
    >>> s = Statistics({"counts": ()}, half_life=10.0)
    >>> rows, w = s.place(["a", "b"], np.array([0.0, 10.0]))
    >>> np.add.at(s["counts"], rows, w)
    >>> s.at(None)["counts"]
    array([0.5, 1. ])
    """

    def __init__(
        self, shapes: Mapping[str, tuple[int, ...]], half_life: float | None = None
    ) -> None:
        self.half_life = half_life
        self.newest = -math.inf
        self._reference = 0.0
        self._shapes = dict(shapes)
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._arrays = {name: np.zeros((0, *shape)) for name, shape in self._shapes.items()}

    def __getitem__(self, name: str) -> Floats:
        """Give an array in the current frame, to be added to."""
        return self._arrays[name][: len(self._ids)]

    def __contains__(self, name: str) -> bool:
        """Tell whether there is an array of this name."""
        return name in self._shapes

    @property
    def ids(self) -> list[str]:
        """The actions that have contributed, in the order of the rows."""
        return self._ids

    def place(self, action_ids: Sequence[str], time: Floats) -> tuple[Indices, Floats]:
        """Give each contribution's row and its weight in the frame, moving the frame if needed."""
        if len(time):
            self._move_to(float(time.max()))
        return self._rows_of(action_ids), self._weight(time)

    def at(self, now: float | None) -> dict[str, Floats]:
        """Give the arrays weighted as of ``now``, by default the newest time seen."""
        if self.half_life is None or not self._ids:
            return {name: self[name].copy() for name in self._shapes}
        age = (self.newest if now is None else now) / self.half_life - self._reference
        factor = 2.0 ** float(np.clip(-age, -1000.0, 1000.0))
        return {name: self[name] * factor for name in self._shapes}

    def add(self, other: Self, sign: float = 1.0) -> None:
        """Add another's statistics, or with ``sign`` -1 remove them."""
        if other.half_life != self.half_life or other._shapes != self._shapes:
            raise PolicyError("the statistics are of another shape or half_life")
        if not other._ids:
            return
        self._move_to(other.newest)
        rows = self._rows_of(other._ids)
        factor = sign * 2.0 ** max(other._reference - self._reference, _FORGOTTEN)
        for name in self._shapes:
            self[name][rows] += factor * other[name]

    def drop(self, action_ids: Collection[str]) -> None:
        """Forget what these actions contributed.

        >>> s = Statistics({"counts": ()})
        >>> rows, w = s.place(["a", "b", "c"], np.zeros(3))
        >>> s["counts"][:] = [1.0, 2.0, 3.0]
        >>> s.drop(["b", "unheard-of"])
        >>> s.ids, s["counts"]
        (['a', 'c'], array([1., 3.]))
        """
        gone = set(action_ids)
        rows = [row for row, action_id in enumerate(self._ids) if action_id not in gone]
        if len(rows) < len(self._ids):
            self._arrays = {name: array[rows] for name, array in self._arrays.items()}
            self._ids = [self._ids[row] for row in rows]
            self._rows = {action_id: row for row, action_id in enumerate(self._ids)}

    def _weight(self, time: Floats) -> Floats:
        if self.half_life is None:
            return np.ones(len(time))
        return np.exp2(np.maximum(time / self.half_life - self._reference, _FORGOTTEN))

    def _move_to(self, time: float) -> None:
        self.newest = max(self.newest, time)
        if self.half_life is None or not math.isfinite(self.newest):
            return
        reference = math.floor(self.newest / self.half_life / GRID) * float(GRID)
        if not self._ids:
            self._reference = reference
        elif reference > self._reference:
            factor = 2.0 ** max(self._reference - reference, _FORGOTTEN)
            for array in self._arrays.values():
                array *= factor
            self._reference = reference

    def _rows_of(self, action_ids: Sequence[str]) -> Indices:
        rows = self._rows
        try:
            return np.array([rows[a] for a in action_ids], dtype=np.intp)
        except KeyError:
            for action_id in action_ids:
                if action_id not in rows:
                    rows[action_id] = len(self._ids)
                    self._ids.append(action_id)
            self._grow()
            return np.array([rows[a] for a in action_ids], dtype=np.intp)

    def _grow(self) -> None:
        needed = len(self._ids)
        for name, array in self._arrays.items():
            if len(array) < needed:
                room = np.zeros((max(needed, 2 * len(array)), *self._shapes[name]))
                room[: len(array)] = array
                self._arrays[name] = room

    def dump(self) -> StatisticsState:
        """Give the written form."""
        return StatisticsState(
            half_life=self.half_life,
            newest=self.newest if math.isfinite(self.newest) else None,
            reference=self._reference,
            ids=list(self._ids),
            shapes=self._shapes,
            arrays={name: pack_symmetric(self[name]) for name in self._shapes},
        )

    @classmethod
    def load(cls, state: StatisticsState, like: Mapping[str, str] | None = None) -> Self:
        """Read the written form; an array of ``like`` that it lacks is as another of its arrays."""
        arrays, shapes = dict(state.arrays), dict(state.shapes)
        for name, other in (like or {}).items():
            if name not in arrays:
                arrays[name], shapes[name] = arrays[other], shapes[other]
        statistics = cls(shapes, state.half_life)
        statistics.newest = -math.inf if state.newest is None else state.newest
        statistics._reference = state.reference
        statistics._ids = list(state.ids)
        statistics._rows = {action_id: row for row, action_id in enumerate(state.ids)}
        statistics._arrays = {
            name: unpack_symmetric(raw, (len(state.ids), *shapes[name]))
            for name, raw in arrays.items()
        }
        return statistics
