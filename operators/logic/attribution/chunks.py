"""How pending decisions are stored: columns of numbers, and chunks that expire at about one time.

A chunk is a run of rows of the columns, the bytes that go with them and the rewards that they
earned. It is dropped as a whole, and once full it never changes but for its status.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from struct import Struct as Layout
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec import Struct, msgpack
from numpy.typing import NDArray

from operators.logic.attribution.rewards import Rewards

Rows = NDArray[np.int64]

CHUNK: Final = 1024
"""Decisions per chunk."""

FAR: Final = 2**62

_STATUS_KEY: Final = "/status"

_SLAB: Final = 2**18
"""The bytes that a slab starts with: only those that are written take memory."""

_RECORD: Final = (
    ("key", np.uint64),
    ("at", np.int64),
    ("decision_class", np.uint32),
    ("propensity", np.float64),
    ("eta", np.float64),
    ("version", np.uint32),
    ("end", np.uint32),
    ("tag", np.uint16),
    ("visitor", np.uint32),
)
"""The columns that never change once written, in the order in which they are stored."""

_STATUS: Final = (("flags", np.uint8), ("weight", np.uint8))
"""The columns that do, in the order in which they are stored."""


class DecisionColumns(NamedTuple):
    """New decisions, the values of each column; those that :class:`ChunkedColumns` explains."""

    key: Sequence[int]
    at: Sequence[int]
    decision_class: Sequence[int]
    propensity: Sequence[float]
    eta: Sequence[float]
    version: Sequence[int]
    tag: Sequence[int]
    visitor: Sequence[int]


class ChunkStatus(Struct, array_like=True):
    """The stored form of what changes of a chunk's decisions: status, weights and rewards."""

    columns: bytes
    rewards: dict[int, Rewards]


_SHAPE: Final = Layout("<qq")
"""How stored decisions begin: the chunk's family and its number of rows."""
_STATUS_DECODER: Final = msgpack.Decoder(ChunkStatus)


@dataclass(slots=True, kw_only=True)
class Chunk:
    """Decisions that arrived one after another and expire at about the same time.

    The slab is anonymous memory of its own, so that growing and dropping it leaves no holes; the
    first ``used`` bytes are taken. The decisions are stored under ``decisions_key``, the status
    and the rewards under ``status_key``.
    """

    name: int
    family: int
    start: int
    capacity: int
    fill: int = 0
    alive: int = 0
    first_expiry: int = FAR
    slab: mmap = field(default_factory=lambda: _anonymous(_SLAB))
    used: int = 0
    rewards: dict[int, Rewards] = field(default_factory=dict)
    decisions_key: str = field(init=False)
    status_key: str = field(init=False)

    def __post_init__(self) -> None:
        """Name what is stored of it."""
        self.decisions_key = str(self.name)
        self.status_key = f"{self.name}{_STATUS_KEY}"

    def write(self, data: bytes) -> None:
        """Append to the slab."""
        end = self.used + len(data)
        if end > len(self.slab):
            self._resize(max(end, 2 * len(self.slab)))
        self.slab[self.used : end] = data
        self.used = end

    def _resize(self, size: int) -> None:
        slab = _anonymous(size)
        slab[: self.used] = self.slab[: self.used]
        self.slab.close()
        self.slab = slab

    @property
    def full(self) -> bool:
        """Whether nothing more can be added."""
        return self.fill == self.capacity

    @property
    def rows(self) -> slice:
        """The rows that have been written."""
        return slice(self.start, self.start + self.fill)


class ChunkedColumns:
    """An array for each number of a decision, and the chunks that rows lie in; a row is a decision.

    ``key`` is its join key, ``at`` its time in microseconds, ``decision_class`` the number of its
    class, ``version`` that of the policy, ``end`` where its bytes end in the chunk's slab, ``tag``
    16 bits of a hash of the subject, ``visitor`` its name within the window that its decisions are
    counted in (0: they are not), ``flags`` what has happened to it, and ``weight`` how much of
    it its learner counts, in steps of 1/WHOLE.
    """

    key: NDArray[np.uint64]
    at: NDArray[np.int64]
    decision_class: NDArray[np.uint32]
    propensity: NDArray[np.float64]
    eta: NDArray[np.float64]
    version: NDArray[np.uint32]
    end: NDArray[np.uint32]
    tag: NDArray[np.uint16]
    visitor: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    weight: NDArray[np.uint8]

    def __init__(self) -> None:
        for name, type_ in _RECORD + _STATUS:
            setattr(self, name, np.zeros(0, dtype=type_))
        self._chunks: list[Chunk | None] = []
        self._free: list[int] = []

    def make_chunk(self, name: int, family: int) -> Chunk:
        """Make an empty chunk; the arrays grow where there is no room for it."""
        if not self._free:
            self._grow()
        slot = self._free.pop()
        chunk = Chunk(name=name, family=family, start=slot * CHUNK, capacity=CHUNK)
        self._chunks[slot] = chunk
        return chunk

    def free_chunk(self, slot: int) -> None:
        """Give the room of a chunk back."""
        self._chunks[slot] = None
        self._free.append(slot)

    def chunks_in_use(self) -> Iterator[Chunk]:
        """Go through the chunks."""
        return (chunk for chunk in self._chunks if chunk is not None)

    def slots_of(self, rows: Rows) -> Rows:
        """Give the number of the chunk that each row lies in."""
        return rows // CHUNK

    def chunk_in(self, slot: int) -> Chunk:
        """Give the chunk with this number."""
        chunk = self._chunks[slot]
        assert chunk is not None
        return chunk

    def chunk_of(self, row: int) -> Chunk:
        """Give the chunk that a row lies in."""
        return self.chunk_in(row // CHUNK)

    def byte_starts(self, rows: Rows) -> Rows:
        """Give where each row's bytes start in its chunk's slab."""
        starts: Rows = np.where(rows % CHUNK == 0, 0, self.end[rows - 1])
        return starts

    def _grow(self) -> None:
        slots = len(self._chunks)
        more = max(1, slots // 8)
        self._chunks += [None] * more
        self._free += reversed(range(slots, slots + more))
        self._resize((slots + more) * CHUNK)

    def _resize(self, rows: int) -> None:
        """Make room for more rows: each array is a mapping of its own, which leaves no holes."""
        for name, type_ in _RECORD + _STATUS:
            before = getattr(self, name)
            slab = _anonymous(rows * np.dtype(type_).itemsize)
            made: NDArray[Any] = np.frombuffer(slab, dtype=type_)
            made[: len(before)] = before
            setattr(self, name, made)

    def pack_records(self, chunk: Chunk) -> bytes:
        """Write what never changes of a chunk once it is full."""
        shape = _SHAPE.pack(chunk.family, chunk.fill)
        return shape + self._bytes(_RECORD, chunk.rows) + chunk.slab[: chunk.used]

    def pack_status(self, chunk: Chunk) -> bytes:
        """Write what changes of a chunk: status and rewards."""
        return msgpack.encode(ChunkStatus(self._bytes(_STATUS, chunk.rows), chunk.rewards))

    def unpack_records(self, chunk: Chunk, block: bytes) -> None:
        """Fill a chunk of the block's family with what :meth:`pack_records` wrote."""
        _, chunk.fill = _SHAPE.unpack_from(block)
        chunk.write(block[self._read(_RECORD, chunk.rows, block, _SHAPE.size) :])

    def unpack_status(self, chunk: Chunk, block: bytes) -> None:
        """Give a chunk that has its decisions the status that :meth:`pack_status` wrote."""
        status = _STATUS_DECODER.decode(block)
        self._read(_STATUS, chunk.rows, status.columns, 0)
        chunk.rewards = status.rewards

    def _bytes(self, columns: tuple[tuple[str, type], ...], span: slice) -> bytes:
        return b"".join(getattr(self, name)[span].tobytes() for name, _ in columns)

    def _read(
        self, columns: tuple[tuple[str, type], ...], span: slice, data: bytes, start: int
    ) -> int:
        rows = span.stop - span.start
        for name, type_ in columns:
            values: NDArray[Any] = np.frombuffer(data, dtype=type_, count=rows, offset=start)
            getattr(self, name)[span] = values
            start += values.nbytes
        return start


def family_of(block: bytes) -> int:
    """Read the family of stored decisions."""
    family: int = _SHAPE.unpack_from(block)[0]
    return family


def is_status(key: str) -> bool:
    """Tell the key of a chunk's status from that of its decisions."""
    return key.endswith(_STATUS_KEY)


def name_of(key: str) -> int:
    """Read the name of the chunk that a key belongs to."""
    return int(key.removesuffix(_STATUS_KEY))


def _anonymous(size: int) -> mmap:
    return mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS)
