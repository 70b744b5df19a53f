"""Pending decisions, packed: columns for numbers, one slab of bytes per chunk for the rest."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any, Final, Protocol

import numpy as np
from msgspec import Raw, Struct, msgpack
from numpy.typing import NDArray

from operators.logic.attribution import texts
from operators.logic.attribution.index import KeyIndex
from operators.logic.attribution.rewards import Rewards

CHUNK: Final = 4096
"""Decisions per chunk."""

FAR: Final = 2**62

_SLAB: Final = 65_536

LIVE: Final = 1
ACTIVE: Final = 2
VOID: Final = 4
SHOWN: Final = 8

Rows = NDArray[np.int64]

_RECORD: Final = (
    ("key", np.uint64),
    ("at", np.int64),
    ("kind", np.uint32),
    ("propensity", np.float64),
    ("eta", np.float64),
    ("version", np.uint32),
    ("end", np.uint32),
    ("tag", np.uint16),
)
"""The columns that never change once written."""

_STATUS: Final = (("flags", np.uint8), ("weight", np.uint8))
"""The columns that do: what has happened, and how much of the decision has been taught."""


class ChunkState(Struct, array_like=True):
    """What a snapshot keeps of a chunk: status, rewards, and the decisions as a ``block``.

    The block of a full chunk is in the chunk's segment instead, where there are segments.
    """

    name: int
    family: int
    rows: int
    status: bytes
    rewards: dict[int, Rewards]
    block: bytes = b""


class Segments(Protocol):
    """Where full chunks are kept outside the snapshot: they are written once and never change."""

    def write(self, name: int, block: bytes) -> None:
        """Begin to write a segment."""
        ...

    def settle(self, names: Collection[int]) -> None:
        """Return once all is durable; ``names`` are the segments that the snapshot needs."""
        ...

    def read(self, name: int) -> bytes:
        """Give a segment's block."""
        ...


def _column(rows: int, type_: type) -> NDArray[Any]:
    """Make a column in a mapping of its own, so that outgrown ones leave no holes."""
    column: NDArray[Any] = np.frombuffer(_slab(rows * np.dtype(type_).itemsize), dtype=type_)
    return column


def _slab(size: int = _SLAB) -> mmap:
    return mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)


@dataclass(slots=True)
class Chunk:
    """Decisions that arrived one after another and expire at about the same time.

    The slab is anonymous memory of its own, so that growing and dropping it leaves no holes; the
    first ``used`` bytes are taken. ``kept`` is what the last snapshot kept of the chunk, if that
    still holds.
    """

    name: int
    family: int
    start: int
    fill: int = 0
    alive: int = 0
    first_expiry: int = FAR
    slab: mmap = field(default_factory=_slab)
    used: int = 0
    rewards: dict[int, Rewards] = field(default_factory=dict)
    kept: Raw | None = None

    def write(self, data: bytes) -> None:
        """Append to the slab."""
        end = self.used + len(data)
        if end > len(self.slab):
            self.resize(max(end, 2 * len(self.slab)))
        self.slab[self.used : end] = data
        self.used = end

    def resize(self, size: int) -> None:
        """Give the slab another size."""
        slab = _slab(size)
        slab[: self.used] = self.slab[: self.used]
        self.slab.close()
        self.slab = slab

    @property
    def rows(self) -> slice:
        """The rows that have been written."""
        return slice(self.start, self.start + self.fill)


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

    def __init__(self) -> None:
        for name, type_ in _RECORD + _STATUS:
            setattr(self, name, np.zeros(0, dtype=type_))
        self.index = KeyIndex()
        self.chunks: list[Chunk | None] = []
        self.size = 0
        self.segments: Segments | None = None
        self._free: list[int] = []
        self._open: dict[int, Chunk] = {}
        self._names = 0

    def __len__(self) -> int:
        """Count the pending decisions, void ones that wait for their window to end included."""
        return self.size

    def add(
        self, family: int, columns: Mapping[str, Sequence[Any]], blobs: list[bytes], soon: int
    ) -> Rows:
        """Add decisions of one family, whose keys are new; ``soon`` is the earliest expiry."""
        total, done = len(blobs), 0
        rows = np.empty(total, dtype=np.int64)
        while done < total:
            chunk = self._room(family)
            count = min(CHUNK - chunk.fill, total - done)
            first = chunk.start + chunk.fill
            span, part = slice(first, first + count), slice(done, done + count)
            for name, values in columns.items():
                getattr(self, name)[span] = values[part]
            sizes = np.fromiter(map(len, blobs[part]), dtype=np.int64, count=count)
            self.end[span] = chunk.used + np.cumsum(sizes)
            self.flags[span] = LIVE
            self.weight[span] = 0
            chunk.write(b"".join(blobs[part]))
            chunk.first_expiry = min(chunk.first_expiry, soon)
            chunk.fill += count
            chunk.kept = None
            chunk.alive += count
            if chunk.fill == CHUNK:
                chunk.resize(chunk.used)
                del self._open[family]
                if self.segments is not None:
                    self.segments.write(chunk.name, self._block(chunk))
            rows[part] = np.arange(first, first + count)
            done += count
        self.index.insert(self.key[rows], rows, self.key)
        self.size += total
        return rows

    def find(self, keys: Sequence[int]) -> Rows:
        """Give the row of each key, -1 where it is not pending."""
        asked = np.array(keys, dtype=np.uint64)
        if not self.size:
            return np.full(len(keys), -1, dtype=np.int64)
        return self.index.find(asked, self.key)

    def rewards(self, row: int) -> dict[int, Rewards]:
        """Give the rewards, by decision key, of the chunk that a row lies in."""
        chunk = self.chunks[row // CHUNK]
        assert chunk is not None
        return chunk.rewards

    def touch(self, rows: Rows) -> None:
        """Say that the status or the rewards of rows change: the next snapshot writes them."""
        for slot in set((rows // CHUNK).tolist()):
            chunk = self.chunks[slot]
            assert chunk is not None
            chunk.kept = None

    def blob(self, row: int) -> bytes:
        """Give what :mod:`texts` packed for a row."""
        chunk = self.chunks[row // CHUNK]
        assert chunk is not None
        start = int(self.end[row - 1]) if row % CHUNK else 0
        return chunk.slab[start : int(self.end[row])]

    def blobs(self, rows: Rows) -> list[bytes]:
        """Give what :mod:`texts` packed for each row."""
        starts = np.where(rows % CHUNK == 0, 0, self.end[rows - 1]).tolist()
        places = zip((rows // CHUNK).tolist(), starts, self.end[rows].tolist(), strict=True)
        slabs = {slot: chunk.slab for slot, chunk in enumerate(self.chunks) if chunk is not None}
        return [slabs[slot][start:end] for slot, start, end in places]

    def due(self, horizon: int, window: NDArray[np.int64]) -> Rows:
        """Give the rows that expire before ``horizon``, by (expiry, key)."""
        found: list[Rows] = []
        for chunk in self.held():
            if chunk.first_expiry < horizon:
                rows, expiry = self._expiries(chunk, window)
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
            found.append(self._expiries(chunk, window)[0])
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
            chunk = self.chunks[slot]
            assert chunk is not None
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

    def live(self) -> Rows:
        """Give every row that holds a decision."""
        return np.flatnonzero(self.flags & LIVE)

    def state(self) -> list[Raw]:
        """Give what a snapshot keeps, once the segments it needs are durable.

        Each chunk is a :class:`ChunkState`; a chunk that has not changed is not encoded again.
        """
        states = []
        for chunk in self.held():
            if chunk.kept is None:
                chunk.kept = Raw(msgpack.encode(self._chunk_state(chunk)))
            states.append(chunk.kept)
        if self.segments is not None:
            self.segments.settle({each.name for each in self.held() if each.fill == CHUNK})
        return states

    def restore(self, states: Sequence[Raw], window: NDArray[np.int64]) -> None:
        """Take in what :meth:`state` gave."""
        for raw in states:
            state = msgpack.decode(raw, type=ChunkState)
            chunk = self._claim(state.name, state.family)
            chunk.fill, chunk.rewards = state.rows, state.rewards
            block = state.block
            if not block:
                assert self.segments is not None
                block = self.segments.read(state.name)
            chunk.write(block[self._read(_RECORD, chunk.rows, block) :])
            self._read(_STATUS, chunk.rows, state.status)
            rows, expiry = self._expiries(chunk, window)
            chunk.alive = len(rows)
            chunk.first_expiry = int(expiry.min(initial=FAR))
            if chunk.fill < CHUNK:
                self._open[chunk.family] = chunk
            else:
                chunk.resize(chunk.used)
                if state.block and self.segments is not None:
                    self.segments.write(state.name, block)
            self._names = max(self._names, chunk.name + 1)
            self.index.insert(self.key[rows], rows, self.key)
            self.size += chunk.alive

    def _chunk_state(self, chunk: Chunk) -> ChunkState:
        inline = self.segments is None or chunk.fill < CHUNK
        return ChunkState(
            chunk.name,
            chunk.family,
            chunk.fill,
            self._bytes(_STATUS, chunk.rows),
            chunk.rewards,
            self._block(chunk) if inline else b"",
        )

    def _block(self, chunk: Chunk) -> bytes:
        return self._bytes(_RECORD, chunk.rows) + chunk.slab[: chunk.used]

    def _expiries(self, chunk: Chunk, window: NDArray[np.int64]) -> tuple[Rows, Rows]:
        rows = chunk.start + np.flatnonzero(self.flags[chunk.rows] & LIVE)
        return rows, self.at[rows] + window[self.kind[rows]]

    def _room(self, family: int) -> Chunk:
        if family not in self._open:
            self._open[family] = self._claim(self._names, family)
            self._names += 1
        return self._open[family]

    def _claim(self, name: int, family: int) -> Chunk:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        chunk = Chunk(name, family, slot * CHUNK)
        self.chunks[slot] = chunk
        return chunk

    def _grow(self) -> None:
        slots = len(self.chunks)
        more = max(1, slots // 8)
        self.chunks += [None] * more
        self._free += reversed(range(slots, slots + more))
        for name, type_ in _RECORD + _STATUS:
            column = _column((slots + more) * CHUNK, type_)
            column[: slots * CHUNK] = getattr(self, name)
            setattr(self, name, column)

    def _bytes(self, columns: tuple[tuple[str, type], ...], span: slice) -> bytes:
        return b"".join(getattr(self, name)[span].tobytes() for name, _ in columns)

    def _read(self, columns: tuple[tuple[str, type], ...], span: slice, raw: bytes) -> int:
        rows, start = span.stop - span.start, 0
        for name, type_ in columns:
            values: NDArray[Any] = np.frombuffer(raw, dtype=type_, count=rows, offset=start)
            getattr(self, name)[span] = values
            start += values.nbytes
        return start


def vectors(blobs: Sequence[bytes]) -> NDArray[np.float64]:
    """Give the features of rows that all have equally many, as a matrix."""
    flat = np.frombuffer(b"".join(map(texts.vector_of, blobs)), dtype="<f4")
    return flat.reshape(len(blobs), len(flat) // len(blobs)).astype(np.float64)
