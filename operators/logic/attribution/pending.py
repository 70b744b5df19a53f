"""Pending decisions, packed: columns for numbers, one slab of bytes per chunk for the rest."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Raw
from numpy.typing import NDArray

from operators.logic.attribution import keeping, texts
from operators.logic.attribution.chunks import FAR, RECORD, STATUS, Chunk, column
from operators.logic.attribution.index import KeyIndex
from operators.logic.attribution.rewards import Rewards
from operators.logic.state.segments import Segments

CHUNK: Final = 1024
"""Decisions per chunk."""

LIVE: Final = 1
ACTIVE: Final = 2
VOID: Final = 4
SHOWN: Final = 8

_FEW: Final = 48
"""So few keys are looked up one by one, which is faster than whole-array steps."""

Rows = NDArray[np.int64]
Places = slice | Rows


class Pending:
    """The decisions of one shard that are not settled, found by key and by expiry.

    A row is a decision. Rows lie in chunks; a chunk holds one ``family`` (reward windows of
    similar length), so that all of it can be dropped at about the same time and a short window
    does not wait for a long one. ``window`` gives the reward window of each kind.
    """

    key: NDArray[np.uint64]
    at: NDArray[np.int64]
    kind: NDArray[np.uint32]
    propensity: NDArray[np.float64]
    eta: NDArray[np.float64]
    version: NDArray[np.uint32]
    end: NDArray[np.uint32]
    tag: NDArray[np.uint16]
    flags: NDArray[np.uint8]
    weight: NDArray[np.uint8]

    def __init__(self, segments: Segments | None = None) -> None:
        for name, type_ in RECORD + STATUS:
            setattr(self, name, np.zeros(0, dtype=type_))
        self.index = KeyIndex()
        self.chunks: list[Chunk | None] = []
        self.size = 0
        self.segments = segments
        self._free: list[int] = []
        self._open: dict[int, Chunk] = {}
        self._names = 0

    def __len__(self) -> int:
        """Count the pending decisions, void ones that wait for their window to end included."""
        return self.size

    def add(
        self, family: int, columns: Sequence[Sequence[Any]], blobs: Sequence[bytes], soon: int
    ) -> Rows:
        """Add decisions of one family, whose keys are new; ``soon`` is the earliest expiry.

        ``columns`` are key, at, kind, propensity, eta, version and tag.
        """
        total, done = len(blobs), 0
        rows = np.empty(total, dtype=np.int64)
        while done < total:
            chunk = self._room(family)
            into = self._given()
            count = min(CHUNK - chunk.fill, total - done)
            first = chunk.start + chunk.fill
            span, part = slice(first, first + count), slice(done, done + count)
            if count == 1:
                for target, values in zip(into, columns, strict=True):
                    target[first] = values[done]
                self.end[first] = chunk.used + len(blobs[done])
            else:
                for target, values in zip(into, columns, strict=True):
                    target[span] = values[part]
                self.end[span] = chunk.used + np.cumsum([len(blob) for blob in blobs[part]])
            self.flags[span] = LIVE
            self.weight[span] = 0
            chunk.write(b"".join(blobs[part]))
            chunk.first_expiry = min(chunk.first_expiry, soon)
            chunk.fill += count
            chunk.kept = None
            chunk.alive += count
            if chunk.full:
                del self._open[family]
                if self.segments is not None:
                    self.segments.write(chunk.name, keeping.block(self, chunk))
            rows[part] = np.arange(first, first + count)
            done += count
        self.index.insert(self.key[rows], rows, self.key)
        self.size += total
        return rows

    def find(self, keys: list[int]) -> list[int]:
        """Give the row of each key, -1 where it is not pending."""
        if not self.size:
            return [-1] * len(keys)
        if len(keys) <= _FEW:
            return self.index.find_few(keys, self.key)
        found: list[int] = self.index.find(np.array(keys, dtype=np.uint64), self.key).tolist()
        return found

    def rewards(self, row: int) -> dict[int, Rewards]:
        """Give the rewards, by decision key, of the chunk that a row lies in."""
        return self._chunk(row).rewards

    def rewarded(self, rows: Rows) -> list[int]:
        """Give the places in ``rows`` of the decisions with rewards."""
        slots = rows // CHUNK
        earned = {slot: self._chunk(slot * CHUNK).rewards for slot in np.unique(slots).tolist()}
        if not any(earned.values()):
            return []
        pairs = enumerate(zip(self.key[rows].tolist(), slots.tolist(), strict=True))
        return [place for place, (key, slot) in pairs if key in earned[slot]]

    def touch(self, rows: Rows) -> None:
        """Say that the status or the rewards of rows change: the next snapshot writes them."""
        for slot in set((rows // CHUNK).tolist()):
            self._chunk(slot * CHUNK).kept = None

    def touch_row(self, row: int) -> None:
        """Say the same of one row."""
        self._chunk(row).kept = None

    def blob(self, row: int) -> bytes:
        """Give what :mod:`texts` packed for a row."""
        start = int(self.end[row - 1]) if row % CHUNK else 0
        return self._chunk(row).slab[start : int(self.end[row])]

    def headers(self, rows: Rows) -> NDArray[Any]:
        """Give the header of each row's bytes (:data:`texts.HEADER`)."""
        return self.cut(rows, 0, texts.HEADER_BYTES).view(texts.HEADER)

    def features(self, rows: Rows) -> Iterator[tuple[Places, NDArray[np.float64]]]:
        """Give the features of rows as matrices, each with the places in ``rows`` of its rows.

        There is one matrix for each number of features.
        """
        return ((part, x.astype(np.float64)) for part, x in self.singles(rows))

    def singles(self, rows: Rows) -> Iterator[tuple[Places, NDArray[np.float32]]]:
        """Give the same in the precision that they are kept in."""
        if len(rows) <= _FEW:
            vectors = [texts.vector_of(self.blob(row)) for row in rows.tolist()]
            size = len(vectors[0])
            if all(len(vector) == size for vector in vectors):
                yield slice(None), _matrix(np.frombuffer(b"".join(vectors), "<f4"), len(rows))
                return
        floats = self.headers(rows)["floats"]
        floats = np.where(floats == texts.NO_FEATURES, 0, floats)
        for part in alike(floats):
            some, width = rows[part], 4 * int(floats[part][0])
            flat = (
                self.cut(some, texts.HEADER_BYTES, width).view("<f4")
                if width
                else np.empty(0, "<f4")
            )
            yield part, _matrix(flat, len(some))

    def cut(self, rows: Rows, skip: Rows | int, width: int) -> NDArray[np.void]:
        """Give ``width`` bytes of what :mod:`texts` packed for each row, after the first ``skip``.

        There is at least one row, and each has so many bytes.
        """
        starts = np.where(rows % CHUNK == 0, 0, self.end[rows - 1]) + skip
        slots = rows // CHUNK
        first = int(slots[0])
        if (slots == first).all():
            found: NDArray[np.void] = _windows(self._chunk(first * CHUNK), width)[starts]
            return found
        found = np.empty(len(rows), dtype=f"V{width}")
        for slot in np.unique(slots).tolist():
            mine = slots == slot
            found[mine] = _windows(self._chunk(slot * CHUNK), width)[starts[mine]]
        return found

    def due(self, horizon: int, window: NDArray[np.int64]) -> Rows:
        """Give the rows that expire before ``horizon``, by (expiry, key)."""
        found: list[Rows] = []
        for chunk in self.held():
            if chunk.first_expiry < horizon:
                rows, expiry = self.expiries(chunk, window)
                late = expiry < horizon
                found.append(rows[late])
                chunk.first_expiry = int(expiry[~late].min(initial=FAR))
        if not found:
            return np.empty(0, dtype=np.int64)
        rows = np.concatenate(found)
        return rows[np.lexsort((self.key[rows], self.at[rows] + window[self.kind[rows]]))]

    def soonest(self, count: int, window: NDArray[np.int64]) -> Rows:
        """Give about ``count`` rows that expire first, by (expiry, key)."""
        chunks = sorted(self.held(), key=lambda chunk: (chunk.first_expiry, chunk.name))
        found: list[Rows] = []
        for chunk in chunks:
            if count <= sum(map(len, found)):
                break
            found.append(self.expiries(chunk, window)[0])
        rows = np.concatenate(found)
        order = np.lexsort((self.key[rows], self.at[rows] + window[self.kind[rows]]))
        return rows[order[:count]]

    def remove(self, rows: Rows) -> None:
        """Forget rows; a chunk with no decision left gives its place back."""
        self.index.remove(self.key[rows], rows)
        self.touch(rows)
        self.flags[rows] = 0
        self.size -= len(rows)
        slots, counts = np.unique(rows // CHUNK, return_counts=True)
        for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
            chunk = self._chunk(slot * CHUNK)
            chunk.alive -= count
            if not chunk.alive:
                family = chunk.family
                if self._open.get(family) is chunk:
                    del self._open[family]
                self.chunks[slot] = None
                self._free.append(slot)

    def held(self) -> Iterator[Chunk]:
        """Go through the chunks."""
        return (chunk for chunk in self.chunks if chunk is not None)

    def expiries(self, chunk: Chunk, window: NDArray[np.int64]) -> tuple[Rows, Rows]:
        """Give the rows of a chunk that hold a decision, and when each expires."""
        rows = chunk.start + np.flatnonzero(self.flags[chunk.rows] & LIVE)
        return rows, self.at[rows] + window[self.kind[rows]]

    def state(self) -> list[Raw]:
        """Give what a snapshot keeps, once the segments it needs are durable."""
        return keeping.state(self)

    def restore(self, states: Sequence[Raw], window: NDArray[np.int64]) -> None:
        """Take in what :meth:`state` gave."""
        for raw in states:
            state = keeping.read(raw)
            chunk = self._claim(state.name, state.family)
            keeping.fill(self, chunk, state)
            live, expiry = self.expiries(chunk, window)
            chunk.alive = len(live)
            chunk.first_expiry = int(expiry.min(initial=FAR))
            if not chunk.full:
                self._open[chunk.family] = chunk
            self._names = max(self._names, chunk.name + 1)
            self.index.insert(self.key[live], live, self.key)
            self.size += chunk.alive

    def _given(self) -> tuple[NDArray[Any], ...]:
        return (self.key, self.at, self.kind, self.propensity, self.eta, self.version, self.tag)

    def _chunk(self, row: int) -> Chunk:
        chunk = self.chunks[row // CHUNK]
        assert chunk is not None
        return chunk

    def _room(self, family: int) -> Chunk:
        if family not in self._open:
            self._open[family] = self._claim(self._names, family)
            self._names += 1
        return self._open[family]

    def _claim(self, name: int, family: int) -> Chunk:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        chunk = Chunk(name, family, slot * CHUNK, CHUNK)
        self.chunks[slot] = chunk
        return chunk

    def _grow(self) -> None:
        slots = len(self.chunks)
        more = max(1, slots // 8)
        self.chunks += [None] * more
        self._free += reversed(range(slots, slots + more))
        for name, type_ in RECORD + STATUS:
            made = column((slots + more) * CHUNK, type_)
            made[: slots * CHUNK] = getattr(self, name)
            setattr(self, name, made)


def alike(values: NDArray[Any]) -> Iterator[Places]:
    """Give the places of each value."""
    if len(values) == 1 or (values == values[0]).all():
        yield slice(None)
    else:
        for value in np.unique(values):
            yield np.flatnonzero(values == value)


def _matrix(flat: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
    return flat.reshape(rows, len(flat) // rows)


def _windows(chunk: Chunk, width: int) -> NDArray[np.void]:
    """See a slab as overlapping items of ``width`` bytes, one from each place on."""
    places = len(chunk.slab) - width + 1
    return np.ndarray((places,), dtype=f"V{width}", buffer=chunk.slab, strides=(1,))
