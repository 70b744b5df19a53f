"""The additive statistics of a shared model: sums by column of the hashed width.

Only columns that have been seen have a row, in the order in which they came; every result is by
column. While they are few, all their moments are kept; the first column too many turns these into
their sketch, which is linear, so that it does not matter when.
"""

import math
from typing import Self, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.features.rows import Rows
from operators.logic.policies.base import Floats, PolicyError
from operators.logic.policies.packing import pack_array, unpack_array
from operators.logic.policies.shared.frame import Frame

Number = TypeVar("Number", np.float64, np.int64)


_DENSE = 16
"""How many products of a matrix cost as much as one at a place of its own."""


class MomentsState(Struct):
    """The written form of :class:`Moments`; arrays as raw little-endian bytes, by column."""

    width: int
    rank: int
    half_life: float | None
    newest: float | None
    reference: float | None
    totals: list[float]
    most_whole: int
    whole: bool
    columns: bytes
    weights: bytes
    slopes: bytes
    targets: bytes
    cross: bytes


class Moments:
    """Sums of w c, w c x_j², w t x_j and w c x_j z over rows x with x_j ≠ 0 and sketch z.

    c is a row's curvature, t its target, w its weight by age.

    Parameters
    ----------
    width
        How many columns are told apart, a power of two; others are folded onto
        them, none of them onto the intercept's, 0.
    rank
        The width of the sketch; where it reaches ``width``, the sketch is the row itself.
    half_life
        In seconds of decision time; None keeps everything for ever.
    most_whole
        Up to how many columns all moments Σ w c x xᵀ are kept.
    """

    def __init__(self, width: int, rank: int, half_life: float | None, most_whole: int = 0) -> None:
        self.width = width
        self.most_whole = most_whole
        self.exact = width <= rank
        self.rank = width if self.exact else rank
        self.frame = Frame(half_life)
        self.totals = np.zeros(3)
        """Decisions, rewards and squared rewards."""
        self._places = np.full(width, -1, dtype=np.int32)
        self._columns = np.zeros(0, dtype=np.int64)
        self._seen = 0
        self._weights, self._slopes, self._targets = np.zeros(0), np.zeros(0), np.zeros(0)
        self._is_whole = most_whole > 0 and not self.exact
        self._cross = np.zeros((0, 0 if self._is_whole else self.rank))
        # The intercept's prior must be there for the first decisions: what they teach is linearised
        # at the score that they were made by.
        self._place(np.zeros(1, dtype=np.int64))

    @property
    def columns(self) -> NDArray[np.int64]:
        """The columns that have been seen, in the order of the rows."""
        return self._columns[: self._seen]

    @property
    def weights(self) -> Floats:
        """Σ w c [U] over the rows in which a column is not 0, in the current frame."""
        return self._weights[: self._seen]

    @property
    def slopes(self) -> Floats:
        """Σ w c x_j² [U] in the current frame."""
        return self._slopes[: self._seen]

    @property
    def targets(self) -> Floats:
        """Σ w t x_j [U] in the current frame."""
        return self._targets[: self._seen]

    @property
    def cross(self) -> Floats:
        """Σ w c x_j z [U, d] in the current frame."""
        from operators.logic.kernels.shared_rows import sketch_sums

        whole = self.whole
        if whole is None:
            return self._cross[: self._seen]
        result = np.zeros((self.rank, self._seen))
        sketch_sums(self.columns, False, np.ascontiguousarray(whole), result)
        return np.ascontiguousarray(result.T)

    @property
    def whole(self) -> Floats | None:
        """Σ w c x xᵀ [U, U] in the current frame, None where there are too many columns."""
        return self._cross[: self._seen, : self._seen] if self._is_whole else None

    def sketch(self) -> Floats:
        """Σ w c z zᵀ [d, d] in the current frame: the cross moments, sketched once more."""
        from operators.logic.kernels.shared_rows import sketch_sums

        result = np.zeros((self.rank, self.rank))
        sketch_sums(self.columns, self.exact, self.cross, result)
        return (result + result.T) / 2.0

    def add_rows(self, rows: Rows, curvature: Floats, target: Floats, totals: Floats) -> Floats:
        """Add weighted rows and totals [n, 3] in the current frame; give the sketches [n, d]."""
        from operators.logic.kernels.shared_rows import add_rows, add_whole_rows

        if rows.width & (rows.width - 1):
            raise PolicyError(f"rows.width is {rows.width}, expected a power of two")
        folded = rows.indices & (self.width - 1)
        folded[(folded == 0) & (rows.indices != 0)] = 1  # the intercept's column is its own
        self._place(folded)
        z = np.zeros((len(rows), self.rank))
        given = rows.indptr, rows.indices, rows.values, self.width - 1, self._places
        sums = self._weights, self._slopes, self._targets, self._cross
        if self._is_whole:
            sizes = np.diff(rows.indptr)
            is_dense = (np.square(sizes).sum()) * _DENSE > len(rows) * self._seen**2
            x = np.zeros((len(rows), len(self._cross) if is_dense else 0))
            add_whole_rows(*given, curvature, target, *sums, z, x)
            if is_dense:
                self._cross += (x * curvature[:, None]).T @ x
        else:
            add_rows(*given, self.exact, curvature, target, *sums, z)
        self.totals += totals.sum(axis=0)
        return z

    def move_to(self, time: float) -> None:
        """Move the frame on to where it holds ``time``."""
        factor = self.frame.move_to(time)
        if factor != 1.0:
            for sums in (self._weights, self._slopes, self._targets, self._cross, self.totals):
                sums *= factor

    def add(self, other: Self, sign: float = 1.0) -> None:
        """Add another's sums, or with ``sign`` -1 remove them."""
        mine = (self.width, self.rank, self.frame.half_life, self.most_whole)
        if mine != (other.width, other.rank, other.frame.half_life, other.most_whole):
            raise PolicyError("the statistics are of another width, rank, half_life or most_whole")
        if not other._seen:
            return
        self.move_to(other.frame.newest)
        factor = sign * self.frame.weight_of(other.frame)
        self._place(other.columns)
        at = self._places[other.columns]
        self._weights[at] += factor * other.weights
        self._slopes[at] += factor * other.slopes
        self._targets[at] += factor * other.targets
        whole = other.whole
        if self._is_whole and whole is not None:
            self._cross[np.ix_(at, at)] += factor * whole
        else:
            self._sketch_all()
            self._cross[at] += factor * other.cross
        self.totals += factor * other.totals

    def _place(self, columns: NDArray[np.int64]) -> None:
        new = np.unique(columns[self._places[columns] < 0])
        if not len(new):
            return
        needed = self._seen + len(new)
        if needed > self.most_whole:
            self._sketch_all()
        if needed > len(self._columns):
            room = min(max(needed, 2 * len(self._columns), 64), self.width)
            self._columns = _grown(self._columns, room)
            self._weights = _grown(self._weights, room)
            self._slopes, self._targets = _grown(self._slopes, room), _grown(self._targets, room)
            if self._is_whole:
                self._cross = _grown(_grown(self._cross, room).T, room).T.copy()
            else:
                self._cross = _grown(self._cross, room)
        self._places[new] = np.arange(self._seen, needed, dtype=np.int32)
        self._columns[self._seen : needed] = new
        self._seen = needed

    def sums(self, now: float | None = None) -> tuple[NDArray[np.int64], dict[str, Floats]]:
        """Give the columns [U] that were seen, rising, and their sums as of ``now``.

        Without it, as of the newest time.
        """
        scale, order = self.frame.scale(now), np.argsort(self.columns)
        by_column = {
            "weights": self.weights,
            "slopes": self.slopes,
            "targets": self.targets,
            "cross": self.cross,
        }
        sums = {name: scale * array[order] for name, array in by_column.items()}
        return self.columns[order], sums

    def _sketch_all(self) -> None:
        """Keep of all moments their sketch only."""
        if self._is_whole:
            cross = self.cross
            self._is_whole = False
            self._cross = _grown(cross, len(self._columns))

    def dump(self) -> MomentsState:
        """Give the written form."""
        order = np.argsort(self.columns)
        whole = self.whole
        frame = self.frame
        return MomentsState(
            width=self.width,
            rank=self.rank,
            half_life=frame.half_life,
            newest=frame.newest if math.isfinite(frame.newest) else None,
            reference=frame.reference if math.isfinite(frame.reference) else None,
            totals=self.totals.tolist(),
            most_whole=self.most_whole,
            whole=self._is_whole,
            columns=self.columns[order].astype("<i4").tobytes(),
            weights=pack_array(self.weights[order]),
            slopes=pack_array(self.slopes[order]),
            targets=pack_array(self.targets[order]),
            cross=pack_array(self.cross[order] if whole is None else whole[np.ix_(order, order)]),
        )

    @classmethod
    def load(cls, state: MomentsState) -> Self:
        """Read the written form."""
        moments = cls(state.width, state.rank, state.half_life, state.most_whole)
        moments.frame.newest = -math.inf if state.newest is None else state.newest
        moments.frame.reference = -math.inf if state.reference is None else state.reference
        moments.totals = np.array(state.totals)
        columns = np.frombuffer(state.columns, dtype="<i4").astype(np.int64)
        moments._place(columns)
        n = len(columns)
        moments._weights[:n] = unpack_array(state.weights, (n,))
        moments._slopes[:n] = unpack_array(state.slopes, (n,))
        moments._targets[:n] = unpack_array(state.targets, (n,))
        if not state.whole:
            moments._sketch_all()
        columns_of_cross = n if state.whole else moments.rank
        moments._cross[:n, :columns_of_cross] = unpack_array(state.cross, (n, columns_of_cross))
        return moments


def _grown(array: NDArray[Number], room: int) -> NDArray[Number]:
    larger = np.zeros((room, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger
