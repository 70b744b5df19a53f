"""Which row holds a key: an open-addressing hash table that works on whole batches."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Rows = NDArray[np.int64]

_EMPTY: Final = -1
_GONE: Final = -2
_LEAST: Final = 1024
_FEW: Final = 48
"""So few keys are looked up one by one, which is faster than whole-array steps."""


class KeyIndex:
    """Maps 64-bit keys to rows in about 10 bytes each; the keys themselves lie in a column.

    Triangular probing over a power of two (Knuth, TAOCP 3, section 6.4, exercise 20), a batch at
    a time. ``column[row]`` is the key of a row; methods are given the column, which may grow.

    >>> column = np.array([7, 9, 11], dtype=np.uint64)
    >>> index = KeyIndex()
    >>> index.insert(column[:2], np.array([0, 1]), column)
    >>> index.find(np.array([9, 11], dtype=np.uint64), column).tolist()
    [1, -1]
    """

    def __init__(self) -> None:
        self._clear(_LEAST)

    def __len__(self) -> int:
        """Count the keys."""
        return self._live

    def find(self, keys: Keys, column: Keys) -> Rows:
        """Give the row of each key, -1 where there is none."""
        rows = np.full(len(keys), _EMPTY, dtype=np.int64)
        mask = len(self._table) - 1
        place = _home(keys, mask)
        open_ = np.arange(len(keys))
        step = 0
        while len(open_) > _FEW:
            here = self._table[place]
            hit = (here >= 0) & (column[here] == keys)
            rows[open_[hit]] = here[hit]
            on = np.flatnonzero(~hit & (here != _EMPTY))
            step += 1
            open_, keys = open_[on], keys[on]
            place = (place[on] + step) & mask
        if len(open_):
            rest = zip(open_.tolist(), keys.tolist(), place.tolist(), strict=True)
            view = column.data
            for number, key, at in rest:
                rows[number] = self._seek(key, at, step, view)
        return rows

    def find_few(self, keys: list[int], column: Keys) -> list[int]:
        """Give the row of each of a few keys, -1 where there is none."""
        mask = len(self._table) - 1
        view = column.data
        return [self._seek(key, key & mask, 0, view) for key in keys]

    def insert(self, keys: Keys, rows: Rows, column: Keys) -> None:
        """Add keys that the index does not hold, each once."""
        if (self._used + len(keys)) * 5 > len(self._table) * 3:
            self._rebuild(self._live + len(keys), column)
        self._place(keys, rows)

    def remove(self, keys: Keys, rows: Rows) -> None:
        """Take out keys that the index holds in these rows."""
        mask = len(self._table) - 1
        place = _home(keys, mask)
        step = 0
        self._live -= len(rows)
        while len(rows) > _FEW:
            here = self._table[place] == rows
            self._table[place[here]] = _GONE
            on = np.flatnonzero(~here)
            step += 1
            rows = rows[on]
            place = (place[on] + step) & mask
        table = self._view
        for row, at in zip(rows.tolist(), place.tolist(), strict=True):
            probe = step
            while table[at] != row:
                probe += 1
                at = (at + probe) & mask
            table[at] = _GONE

    def _seek(self, key: int, place: int, step: int, column: memoryview) -> int:
        table, mask = self._view, len(self._table) - 1
        while (row := table[place]) != _EMPTY:
            if row >= 0 and column[row] == key:
                return row
            step += 1
            place = (place + step) & mask
        return _EMPTY

    def _place(self, keys: Keys, rows: Rows) -> None:
        mask = len(self._table) - 1
        place = _home(keys, mask)
        step = 0
        self._live += len(rows)
        while len(rows) > _FEW:
            before = self._table[place]
            free = before < 0
            self._table[place[free]] = rows[free]
            won = free & (self._table[place] == rows)
            self._used += int(np.count_nonzero(before[won] == _EMPTY))
            on = np.flatnonzero(~won)
            step += 1
            rows = rows[on]
            place = (place[on] + step) & mask
        table = self._view
        for row, at in zip(rows.tolist(), place.tolist(), strict=True):
            probe = step
            while table[at] >= 0:
                probe += 1
                at = (at + probe) & mask
            self._used += table[at] == _EMPTY
            table[at] = row

    def _rebuild(self, size: int, column: Keys) -> None:
        rows = self._table[self._table >= 0].astype(np.int64)
        capacity = _LEAST
        while capacity < 2 * size:
            capacity *= 2
        self._clear(capacity)
        self._place(column[rows], rows)

    def _clear(self, capacity: int) -> None:
        self._table = np.full(capacity, _EMPTY, dtype=np.int32)
        self._view = self._table.data
        self._live = self._used = 0


def _home(keys: Keys, mask: int) -> NDArray[np.int64]:
    return (keys & np.uint64(mask)).astype(np.int64)
