"""Sparse vectors, one a row: what a shared policy scores and learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Rows:
    """A matrix of K rows and ``width`` columns by its non-zero entries (compressed sparse rows).

    Row k has the columns ``indices[indptr[k]:indptr[k + 1]]``, each once, in any order, and the
    numbers ``values`` beside them. Nothing is copied or looked at when it is made: :attr:`flaw`
    says what is wrong with one that came from elsewhere.

    Parameters
    ----------
    indptr : int64[K + 1]
    indices : int64[nnz]
        Columns, from 0 to ``width`` - 1.
    values : float64[nnz]
    width
        The number of columns.

    >>> rows = Rows(np.array([0, 2, 3]), np.array([0, 5, 2]), np.array([1.0, 0.5, 2.0]), 8)
    >>> len(rows), rows.flaw
    (2, None)
    >>> rows.take([1, 1]).indices.tolist()
    [2, 2]
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int64]
    values: NDArray[np.float64]
    width: int

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.indptr) - 1

    def take(self, rows: ArrayLike) -> Self:
        """Give the rows of these numbers, in this order; a row may be given more than once."""
        chosen = np.asarray(rows, dtype=np.int64)
        starts, sizes = self.indptr[:-1][chosen], np.diff(self.indptr)[chosen]
        indptr = _starts(sizes)
        places = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], sizes)
        return type(self)(indptr, self.indices[places], self.values[places], self.width)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Stack matrices of one width, the first one on top.

        Raises ValueError where there is none, or their widths differ.
        """
        widths = {part.width for part in parts}
        if len(widths) != 1:
            raise ValueError(f"rows of {len(widths)} widths cannot be stacked: {sorted(widths)}")
        sizes = np.concatenate([np.diff(part.indptr) for part in parts])
        indices = np.concatenate([part.indices for part in parts])
        values = np.concatenate([part.values for part in parts])
        return cls(_starts(sizes), indices, values, widths.pop())

    def dense(self) -> NDArray[np.float64]:
        """Give the matrix [K, width] itself, for small widths."""
        x = np.zeros((len(self), self.width))
        np.add.at(
            x, (np.repeat(np.arange(len(self)), np.diff(self.indptr)), self.indices), self.values
        )
        return x

    @property
    def flaw(self) -> str | None:
        """Say what breaks the form; None where nothing does."""
        if self.indptr.ndim != 1 or not len(self.indptr) or self.indptr[0] != 0:
            return "indptr does not begin with 0"
        if (np.diff(self.indptr) < 0).any():
            return "indptr falls"
        if not self.indptr[-1] == len(self.indices) == len(self.values):
            return "indptr does not end where indices and values do"
        if self.indices.dtype != np.int64 or self.indptr.dtype != np.int64:
            return "indices and indptr are not int64"
        if self.values.dtype != np.float64 or not np.isfinite(self.values).all():
            return "values are not finite float64"
        if len(self.indices) and not 0 <= self.indices.min() <= self.indices.max() < self.width:
            return f"a column is not one of {self.width:,}"
        row = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        order = np.lexsort((self.indices, row))
        same = (np.diff(row[order]) == 0) & (np.diff(self.indices[order]) == 0)
        return "a row names a column twice" if same.any() else None


def _starts(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    starts = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=starts[1:])
    return starts
