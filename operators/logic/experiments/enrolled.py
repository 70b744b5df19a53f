"""The subjects of an experiment, by first exposure: a queue whose windows close in its order."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.attribution.key_index import KeyIndex
from operators.logic.experiments.score_columns import Floats, Scores
from operators.logic.experiments.scored_metric import ScoredMetric
from schemas.state import pack, unpack

Serials = NDArray[np.int64]

BLOCK: Final = 4096
"""Subjects in a block of the written form: they were first exposed at about the same time."""

_KIND, _VERSION = "enrolled_subjects", 1
_OPEN: Final = 1
_MIXED: Final = 2


class _Block(Struct, array_like=True):
    units: bytes
    subjects: bytes


class Enrolled:
    """Every subject that was ever exposed, in the order of (first exposure, subject).

    A subject's serial number is its place in that order. As all windows are of one length, they
    close in the same order: what is closed is a prefix, of which only the subjects' keys are kept,
    so that none is counted twice. A subject that was dropped stays known, too.
    """

    def __init__(self, variations: int) -> None:
        self._layout = np.dtype(
            [
                ("first", "<i8"),
                ("total", "<f8"),
                ("variation", "<i2"),
                ("segment", "<i4"),
                ("flags", "u1"),
                ("probabilities", "<f8", (variations,)),
            ]
        )
        self._index = KeyIndex()
        self._units = np.empty(BLOCK, dtype=np.uint64)
        self._rows: NDArray[np.void] = np.empty(BLOCK, dtype=self._layout)
        self._count = 0
        self._closed = 0
        self._base = 0  # the serial of the first of ``_rows``
        self.touched: set[int] = set()
        """The blocks that changed since their owner last cleared this."""

    def __len__(self) -> int:
        """Count the subjects ever exposed."""
        return self._count

    @property
    def waiting(self) -> int:
        """How many windows have not closed, those of subjects that were dropped included."""
        return self._count - self._closed

    def find(self, units: NDArray[np.uint64]) -> Serials:
        """Give the serial number of each subject, -1 where it was never exposed."""
        return self._index.find(units, self._units)

    def open(self, decisions: NDArray[np.void]) -> None:
        """Add subjects by the decisions that exposed them first, in the order of those."""
        if not len(decisions):
            return
        start, stop = self._count, self._count + len(decisions)
        self._make_room(stop)
        self._units[start:stop] = decisions["unit"]
        rows = self._rows[start - self._base : stop - self._base]
        for name in ("variation", "segment", "probabilities"):
            rows[name] = decisions[name]
        rows["first"], rows["total"], rows["flags"] = decisions["at"], 0.0, _OPEN
        self._count = stop
        serials = np.arange(start, stop)
        self._index.insert(self._units[start:stop], serials, self._units)
        self._touch(serials)

    def is_open(self, serials: Serials) -> NDArray[np.bool_]:
        """Tell whose window has not closed, and who was not dropped."""
        known = serials >= self._closed
        known[known] = self._rows["flags"][serials[known] - self._base] & _OPEN != 0
        return known

    def first(self, serials: Serials) -> NDArray[np.int64]:
        """Give the time of the first exposure of subjects whose windows have not closed."""
        first: NDArray[np.int64] = self._rows["first"][serials - self._base]
        return first

    def variation(self, serials: Serials) -> NDArray[np.int64]:
        """Give their variations."""
        return self._rows["variation"][serials - self._base].astype(np.int64)

    def earn(self, serials: Serials, values: Floats) -> None:
        """Add values to their totals, one after the other."""
        np.add.at(self._rows["total"], serials - self._base, values)
        self._touch(serials)

    def mix(self, serials: Serials) -> None:
        """Note that they were exposed to another variation, too."""
        self._rows["flags"][serials - self._base] |= _MIXED
        self._touch(serials)

    def drop(self, serials: Serials) -> NDArray[np.int64]:
        """Take open ones out, each named once or more; give the variation of each, once."""
        serials = np.unique(serials)
        self._rows["flags"][serials - self._base] = 0
        self._touch(serials)
        return self.variation(serials)

    def close(self, before: int, metric: ScoredMetric) -> Scores:
        """Take out those whose first exposure lies before a time; give their scores, in order."""
        firsts = self._rows["first"][self._closed - self._base : self._count - self._base]
        stop = self._closed + int(np.searchsorted(firsts, before))
        serials = np.arange(self._closed, stop)
        serials = serials[self.is_open(serials)]
        rows, units = self._rows[serials - self._base], self._units[serials]
        self._touch(np.arange(self._closed, stop))
        self._closed = stop
        total = rows["total"].copy()
        cap = np.inf if metric.cap is None else metric.cap
        return Scores(
            closing=rows["first"] + (metric.span + metric.settle),
            unit=units,
            first=rows["first"].copy(),
            variation=rows["variation"].astype(np.int64),
            segment=rows["segment"].astype(np.int64),
            probabilities=rows["probabilities"].copy(),
            value=np.minimum(total, cap),
            capped=total > cap,
            mixed=rows["flags"] & _MIXED != 0,
        )

    def blocks(self) -> Iterator[int]:
        """Give the numbers of the blocks."""
        return iter(range(-(-self._count // BLOCK)))

    def pack(self, block: int) -> bytes:
        """Give the written form of a block: all keys, and what is known of those not closed."""
        start, stop = block * BLOCK, min((block + 1) * BLOCK, self._count)
        rows = self._rows[max(start, self._closed) - self._base : max(stop - self._base, 0)]
        units = self._units[start:stop].astype("<u8").tobytes()
        return pack(_KIND, _VERSION, _Block(units, rows.tobytes()))

    def load(self, blocks: Mapping[int, bytes]) -> None:
        """Take in all blocks that :meth:`pack` gave; only once, and before anything else."""
        parts = [unpack(_KIND, _VERSION, _Block, blocks[block]) for block in sorted(blocks)]
        units = np.frombuffer(b"".join(part.units for part in parts), dtype="<u8")
        rows = np.frombuffer(b"".join(part.subjects for part in parts), dtype=self._layout)
        self._closed = self._base = len(units) - len(rows)
        self._make_room(len(units))
        self._count = len(units)
        self._units[: self._count] = units
        self._rows[: len(rows)] = rows
        self._index.insert(self._units[: self._count], np.arange(self._count), self._units)

    def _touch(self, serials: Serials) -> None:
        self.touched.update(np.unique(serials // BLOCK).tolist())

    def _make_room(self, count: int) -> None:
        if count > len(self._units):
            self._units = _grown(self._units, count, self._count)
        if count - self._base > len(self._rows):
            closed = self._closed - self._base
            kept = self._rows[closed : self._count - self._base]
            needed = count - self._closed
            self._base = self._closed
            self._rows = _grown(kept, needed, len(kept))


def _grown(column: NDArray[Any], needed: int, used: int) -> NDArray[Any]:
    room = np.empty(max(needed, 2 * used, BLOCK), dtype=column.dtype)
    room[:used] = column[:used]
    return room
