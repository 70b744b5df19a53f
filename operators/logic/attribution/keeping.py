"""Chunks to bytes and back: what a snapshot keeps of pending decisions."""

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Raw, msgpack
from numpy.typing import NDArray

from operators.logic.attribution.chunks import RECORD, STATUS, Chunk, ChunkState

if TYPE_CHECKING:
    from operators.logic.attribution.pending import Pending

_STATE = msgpack.Decoder(ChunkState)


def state(pending: "Pending") -> list[Raw]:
    """Give what a snapshot keeps, once the segments it needs are durable.

    Each chunk is a :class:`ChunkState`; a chunk that has not changed is not encoded again.
    """
    states = []
    for chunk in pending.held():
        if chunk.kept is None:
            chunk.kept = Raw(msgpack.encode(_state(pending, chunk)))
        states.append(chunk.kept)
    if pending.segments is not None:
        pending.segments.settle({each.name for each in pending.held() if each.full})
    return states


def read(raw: Raw) -> ChunkState:
    """Read a chunk."""
    return _STATE.decode(raw)


def fill(pending: "Pending", chunk: Chunk, state: ChunkState) -> None:
    """Write a chunk's columns, bytes and rewards from what a snapshot kept."""
    chunk.fill, chunk.rewards = state.rows, state.rewards
    data = state.block
    if not data:
        assert pending.segments is not None
        data = pending.segments.read(state.name)
    chunk.write(data[_read(pending, RECORD, chunk.rows, data) :])
    _read(pending, STATUS, chunk.rows, state.status)
    if chunk.full and state.block and pending.segments is not None:
        pending.segments.write(state.name, data)


def block(pending: "Pending", chunk: Chunk) -> bytes:
    """Write what never changes of a chunk once it is full."""
    return _bytes(pending, RECORD, chunk.rows) + chunk.slab[: chunk.used]


def _state(pending: "Pending", chunk: Chunk) -> ChunkState:
    inline = pending.segments is None or not chunk.full
    return ChunkState(
        chunk.name,
        chunk.family,
        chunk.fill,
        _bytes(pending, STATUS, chunk.rows),
        chunk.rewards,
        block(pending, chunk) if inline else b"",
    )


def _bytes(pending: "Pending", columns: tuple[tuple[str, type], ...], span: slice) -> bytes:
    return b"".join(getattr(pending, name)[span].tobytes() for name, _ in columns)


def _read(
    pending: "Pending", columns: tuple[tuple[str, type], ...], span: slice, raw: bytes
) -> int:
    rows, start = span.stop - span.start, 0
    for name, type_ in columns:
        values: NDArray[Any] = np.frombuffer(raw, dtype=type_, count=rows, offset=start)
        getattr(pending, name)[span] = values
        start += values.nbytes
    return start
