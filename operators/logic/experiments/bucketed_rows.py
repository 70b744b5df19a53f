"""Rows that are not final, by buckets of event time, whatever the order in which they come."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.void]

_LEAST: Final = 512
"""So many new rows in a bucket are merged with it at least; more where it holds more."""


class BucketedRows:
    """Rows by ``at`` // ``width``, each bucket merged to one row for each key.

    New rows are appended, and merged once there are as many as merged ones: a merge of rows must
    give the same for the same set of them, however often each comes and in whatever parts.

    Parameters
    ----------
    layout
        A structured type with fields ``key`` and ``at``.
    width
        Of a bucket.
    merge
        Gives one row for each key, sorted by it.
    """

    def __init__(self, layout: np.dtype[Any], width: int, merge: Callable[[Table], Table]) -> None:
        self._layout = layout
        self._width = width
        self._merge = merge
        self._merged: dict[int, Table] = {}
        self._fresh: dict[int, list[Table]] = {}
        self.touched: set[int] = set()
        """The buckets that changed since their owner last cleared this."""

    def __len__(self) -> int:
        """Count the rows, those not merged yet one by one."""
        fresh = sum(len(rows) for parts in self._fresh.values() for rows in parts)
        return fresh + sum(map(len, self._merged.values()))

    def __iter__(self) -> Iterator[int]:
        """Give the numbers of the buckets that hold rows, ascending."""
        return iter(sorted(self._merged.keys() | self._fresh.keys()))

    def before(self, bucket: int) -> set[int]:
        """Give the numbers below ``bucket`` of the buckets that hold rows."""
        return {each for each in (*self._merged, *self._fresh) if each < bucket}

    def add(self, rows: Table) -> None:
        """Add rows of any buckets."""
        if not len(rows):
            return
        buckets = rows["at"] // self._width
        for bucket in np.unique(buckets).tolist():
            parts = self._fresh.setdefault(bucket, [])
            parts.append(rows[buckets == bucket])
            self.touched.add(bucket)
            if sum(map(len, parts)) > max(_LEAST, len(self._merged.get(bucket, ()))):
                self.bucket(bucket)

    def bucket(self, bucket: int) -> Table:
        """Give a bucket's rows, one for each key, sorted by key."""
        parts = self._fresh.pop(bucket, None)
        merged = self._merged.get(bucket)
        if parts is not None:
            if merged is not None:
                parts.append(merged)
            merged = self._merged[bucket] = self._merge(np.concatenate(parts))
        return np.empty(0, dtype=self._layout) if merged is None else merged

    def take(self, bucket: int) -> Table:
        """Give a bucket's rows, and forget them."""
        rows = self.bucket(bucket)
        if self._merged.pop(bucket, None) is not None:
            self.touched.add(bucket)
        return rows

    def keep(self, bucket: int, rows: Table) -> None:
        """Set a bucket's rows, merged ones; without any the bucket is gone."""
        self._fresh.pop(bucket, None)
        self._merged.pop(bucket, None)
        self.touched.add(bucket)
        if len(rows):
            self._merged[bucket] = rows

    def pack(self, bucket: int) -> bytes:
        """Give a bucket's rows as bytes, the same for the same set of rows."""
        return self.bucket(bucket).tobytes()

    def unpack(self, bucket: int, data: bytes) -> None:
        """Take in what :meth:`pack` gave."""
        self._merged[bucket] = np.frombuffer(data, dtype=self._layout).copy()


def first_of_each(rows: Table) -> Table:
    """Merge decisions: a decision is the same however often it comes."""
    rows = rows[np.lexsort((rows["unit"], rows["at"], rows["key"]))]
    return rows[_starts(rows["key"])]


def newest_of_each(rows: Table) -> Table:
    """Merge reports of outcomes: the highest revision holds; activated by one is activated."""
    rows = rows[np.lexsort((rows["flags"], rows["value"], rows["revision"], rows["key"]))]
    starts = np.flatnonzero(_starts(rows["key"]))
    ends = np.append(starts[1:], len(rows)) - 1
    newest: Table = rows[ends]
    newest["flags"] |= np.bitwise_or.reduceat(rows["flags"] & 1, starts)
    return newest


def _starts(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    return np.concatenate((np.ones(1, dtype=np.bool_), keys[1:] != keys[:-1]))
