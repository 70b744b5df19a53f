"""The decisions of one shard that are not settled: found by key, by expiry, and kept small."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from operators.logic.attribution.chunks import (
    FAR,
    Chunk,
    ChunkedColumns,
    DecisionColumns,
    Rows,
    family_of,
    is_status,
    name_of,
)
from operators.logic.attribution.decision_codec import (
    DESCRIBED,
    HEADER,
    HEADER_BYTES,
    NAME_CODES,
    NO_FEATURES,
    SITUATED,
    content_of,
    context_of,
    packed_features,
)
from operators.logic.attribution.key_index import KeyIndex
from operators.logic.attribution.rewards import Rewards
from operators.logic.state.segmented import SegmentedSnapshot, SegmentedState
from operators.logic.state.segments import SegmentFiles

LIVE: Final = 1
ACTIVE: Final = 2
VOID: Final = 4
SHOWN: Final = 8
NOT_LEARNED: Final = 48
FURTHER: Final = 64
"""What ``flags`` say: the row holds a decision; it counts; it is void; its impression came; it does
not teach, for the reason in these two bits; it is a slate's, below its first position."""

_REASON: Final = 4
"""The place of the reason's bits."""

_FEW: Final = 48
"""So few keys are looked up one by one, which is faster than whole-array steps."""

Places = slice | Rows


class Pending(ChunkedColumns):
    """The decisions of one shard that are not settled, found by key and by expiry.

    A row is a decision. Rows lie in chunks; a chunk holds one ``family`` (reward windows of
    similar length), so that all of it can be dropped at about the same time and a short window
    does not wait for a long one. Numbers lie in columns, names and features as bytes that
    :mod:`decision_codec` wrote. Where ``window`` is asked for, it is the reward window of each
    decision class.
    """

    def __init__(self) -> None:
        super().__init__()
        self.index = KeyIndex()
        self.size = 0
        self.described = False
        """Whether any row that there ever was has features of its action, or a context, beside."""
        self._open: dict[int, Chunk] = {}
        self._names = 0
        self._keyed: dict[str, Chunk] = {}
        self._blocks = SegmentedState(self._keyed, self._pack_blocks)

    def __len__(self) -> int:
        """Count the pending decisions, void ones that wait for their window to end included."""
        return self.size

    def add(
        self, family: int, columns: DecisionColumns, blobs: Sequence[bytes], first_expiry: int
    ) -> Rows:
        """Add decisions of one family, whose keys are new; give their rows."""
        total, done = len(blobs), 0
        rows = np.empty(total, dtype=np.int64)
        while done < total:
            chunk = self._room(family)
            count = min(chunk.capacity - chunk.fill, total - done)
            first = chunk.start + chunk.fill
            part = blobs[done : done + count]
            if count == 1:  # faster than slices of one
                self._write(first, columns, done)
                self.end[first] = chunk.used + len(part[0])
            else:
                span = slice(first, first + count)
                self._write(span, columns, slice(done, done + count))
                self.end[span] = chunk.used + np.cumsum([len(blob) for blob in part])
            chunk.write(b"".join(part))
            chunk.first_expiry = min(chunk.first_expiry, first_expiry)
            chunk.fill += count
            chunk.alive += count
            self._blocks.touch(chunk.status_key)
            if chunk.full:
                del self._open[family]
                self._blocks.seal(chunk.decisions_key)
            else:
                self._blocks.touch(chunk.decisions_key)
            rows[done : done + count] = np.arange(first, first + count)
            done += count
        self.index.insert(self.key[rows], rows, self.key)
        self.size += total
        return rows

    def _write(self, into: slice | int, columns: DecisionColumns, part: slice | int) -> None:
        self.key[into] = columns.key[part]
        self.at[into] = columns.at[part]
        self.decision_class[into] = columns.decision_class[part]
        self.propensity[into] = columns.propensity[part]
        self.eta[into] = columns.eta[part]
        self.version[into] = columns.version[part]
        self.tag[into] = columns.tag[part]
        self.visitor[into] = columns.visitor[part]
        self.flags[into] = LIVE
        self.weight[into] = 0

    def decision(self, row: int) -> tuple[DecisionColumns, bytes]:
        """Give a row as it was added: its columns, of one value each, and its bytes."""
        values = {name: [getattr(self, name)[row].item()] for name in DecisionColumns._fields}
        return DecisionColumns(**values), self.blob(row)

    def reasons(self, rows: Rows) -> Rows:
        """Give the number of the reason why each row does not teach, 0 where it does."""
        return (self.flags[rows] & NOT_LEARNED).astype(np.int64) >> _REASON

    def give_reason(self, row: int, reason: int) -> None:
        """Say why a row does not teach."""
        self.touch_row(row)
        self.flags[row] = int(self.flags[row]) & ~NOT_LEARNED | reason << _REASON

    def find(self, keys: list[int]) -> list[int]:
        """Give the row of each key, -1 where it is not pending."""
        if not self.size:
            return [-1] * len(keys)
        if len(keys) <= _FEW:
            return self.index.find_few(keys, self.key)
        rows: list[int] = self.index.find(np.array(keys, dtype=np.uint64), self.key).tolist()
        return rows

    def rewards(self, row: int) -> dict[int, Rewards]:
        """Give the rewards, by decision key, of the chunk that a row lies in."""
        return self.chunk_of(row).rewards

    def rewarded(self, rows: Rows) -> list[int]:
        """Give the places in ``rows`` of the decisions with rewards."""
        slots = self.slots_of(rows)
        by_slot = {slot: self.chunk_in(slot).rewards for slot in np.unique(slots).tolist()}
        if not any(by_slot.values()):
            return []
        pairs = enumerate(zip(self.key[rows].tolist(), slots.tolist(), strict=True))
        return [place for place, (key, slot) in pairs if key in by_slot[slot]]

    def touch(self, rows: Rows) -> None:
        """Say that the status or the rewards of rows change: the next snapshot writes them."""
        for slot in set(self.slots_of(rows).tolist()):
            self._blocks.touch(self.chunk_in(slot).status_key)

    def touch_row(self, row: int) -> None:
        """Say that the status or the rewards of one row change, as :meth:`touch` does."""
        self._blocks.touch(self.chunk_of(row).status_key)

    def blob(self, row: int) -> bytes:
        """Give what :mod:`decision_codec` packed for a row."""
        chunk = self.chunk_of(row)
        start = int(self.end[row - 1]) if row > chunk.start else 0
        return chunk.slab[start : int(self.end[row])]

    def headers(self, rows: Rows) -> NDArray[Any]:
        """Give the header of each row's bytes (:data:`decision_codec.HEADER`)."""
        return self.packed(rows, 0, HEADER_BYTES).view(HEADER)

    def contents(self, rows: Rows) -> list[bytes | None] | None:
        """Give the features of the actions shown, as JSON; None where none has any."""
        return self._texts(rows, DESCRIBED, content_of)

    def contexts(self, rows: Rows) -> list[bytes | None] | None:
        """Give the contexts that were kept as JSON; None where none was."""
        return self._texts(rows, SITUATED, context_of)

    def _texts(
        self, rows: Rows, bit: int, read: Callable[[bytes], bytes | None]
    ) -> list[bytes | None] | None:
        if not self.described:
            return None
        has_one = self.headers(rows)["codes"] & bit != 0
        if not has_one.any():
            return None
        pairs = zip(rows.tolist(), has_one.tolist(), strict=True)
        return [read(self.blob(row)) if is_there else None for row, is_there in pairs]

    def features(self, rows: Rows) -> Iterator[tuple[Places, NDArray[np.float64]]]:
        """Give the features of rows as matrices, each with the places in ``rows`` of its rows.

        There is one matrix for each number of features.
        """
        return ((part, x.astype(np.float64)) for part, x in self.stored_features(rows))

    def stored_features(self, rows: Rows) -> Iterator[tuple[Places, NDArray[np.float32]]]:
        """Give what :meth:`features` gives, but as the float32 numbers that are stored."""
        if len(rows) <= _FEW:
            vectors = [packed_features(self.blob(row)) for row in rows.tolist()]
            size = len(vectors[0])
            if all(len(vector) == size for vector in vectors):
                yield slice(None), _matrix(np.frombuffer(b"".join(vectors), "<f4"), len(rows))
                return
        floats = self.headers(rows)["floats"]
        floats = np.where(floats == NO_FEATURES, 0, floats)
        for part in places_by_value(floats):
            part_rows, width = rows[part], 4 * int(floats[part][0])
            flat = np.empty(0, "<f4")
            if width:
                flat = self.packed(part_rows, HEADER_BYTES, width).view("<f4")
            yield part, _matrix(flat, len(part_rows))

    def packed(self, rows: Rows, skip: Rows | int, width: int) -> NDArray[np.void]:
        """Give ``width`` of the bytes that each row was packed in, after the first ``skip``.

        There is at least one row, and each has so many bytes.
        """
        starts = self.byte_starts(rows) + skip
        slots = self.slots_of(rows)
        first = int(slots[0])
        if (slots == first).all():
            packed: NDArray[np.void] = _windows(self.chunk_in(first), width)[starts]
            return packed
        every = np.empty(len(rows), dtype=f"V{width}")
        for slot in np.unique(slots).tolist():
            in_slot = slots == slot
            every[in_slot] = _windows(self.chunk_in(slot), width)[starts[in_slot]]
        return every

    def due(self, horizon: int, window: NDArray[np.int64]) -> Rows:
        """Give the rows that expire before ``horizon``, by (expiry, key)."""
        late: list[Rows] = []
        for chunk in self.chunks_in_use():
            if chunk.first_expiry < horizon:
                rows, expiry = self.expiries(chunk, window)
                over = expiry < horizon
                late.append(rows[over])
                chunk.first_expiry = int(expiry[~over].min(initial=FAR))
        return self._by_expiry(late, window)

    def soonest(self, count: int, window: NDArray[np.int64]) -> Rows:
        """Give about ``count`` rows that expire first, by (expiry, key)."""
        chunks = sorted(self.chunks_in_use(), key=lambda chunk: (chunk.first_expiry, chunk.name))
        first: list[Rows] = []
        for chunk in chunks:
            if count <= sum(map(len, first)):
                break
            first.append(self.expiries(chunk, window)[0])
        return self._by_expiry(first, window)[:count]

    def _by_expiry(self, parts: Sequence[Rows], window: NDArray[np.int64]) -> Rows:
        if not parts:
            return np.empty(0, dtype=np.int64)
        rows = np.concatenate(parts)
        expiry = self.at[rows] + window[self.decision_class[rows]]
        return rows[np.lexsort((self.key[rows], expiry))]

    def remove(self, rows: Rows) -> None:
        """Forget rows; a chunk with no decision left gives its place back."""
        self.index.remove(self.key[rows], rows)
        self.touch(rows)
        self.flags[rows] = 0
        self.size -= len(rows)
        slots, counts = np.unique(self.slots_of(rows), return_counts=True)
        for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
            chunk = self.chunk_in(slot)
            chunk.alive -= count
            if not chunk.alive:
                family = chunk.family
                if self._open.get(family) is chunk:
                    del self._open[family]
                self.free_chunk(slot)
                for key in (chunk.decisions_key, chunk.status_key):
                    del self._keyed[key]
                    self._blocks.touch(key)

    def expiries(self, chunk: Chunk, window: NDArray[np.int64]) -> tuple[Rows, Rows]:
        """Give the rows of a chunk that hold a decision, and when each expires."""
        rows = chunk.start + np.flatnonzero(self.flags[chunk.rows] & LIVE)
        return rows, self.at[rows] + window[self.decision_class[rows]]

    def use(self, segments: SegmentFiles) -> None:
        """Keep most of the state in these segment files from now on."""
        self._blocks.use(segments)

    def tidy(self) -> None:
        """Write what changed to a segment, when it is time to."""
        self._blocks.tidy()

    def snapshot(self) -> SegmentedSnapshot:
        """Give what a snapshot keeps, once the segments it needs are durable."""
        return self._blocks.snapshot()

    def restore(
        self,
        snapshot: SegmentedSnapshot,
        segments: SegmentFiles | None,
        window: NDArray[np.int64],
    ) -> None:
        """Take in what :meth:`snapshot` gave."""
        statuses: dict[int, bytes] = {}

        def take(key: str, block: bytes) -> None:
            name = name_of(key)
            if is_status(key):
                statuses[name] = block
            else:
                self.unpack_records(self._new_chunk(name, family_of(block)), block)

        self._blocks.restore(snapshot, segments, take)
        for chunk in self.chunks_in_use():
            self.unpack_status(chunk, statuses[chunk.name])
            live, expiry = self.expiries(chunk, window)
            chunk.alive = len(live)
            chunk.first_expiry = int(expiry.min(initial=FAR))
            if not chunk.full:
                self._open[chunk.family] = chunk
            self._names = max(self._names, chunk.name + 1)
            self.index.insert(self.key[live], live, self.key)
            self.size += chunk.alive
            if len(live) and not self.described:
                self.described = bool((self.headers(live)["codes"] > NAME_CODES).any())

    def _pack_blocks(self, keys: Sequence[str]) -> Iterator[bytes]:
        for key in keys:
            chunk = self._keyed[key]
            yield self.pack_status(chunk) if is_status(key) else self.pack_records(chunk)

    def _room(self, family: int) -> Chunk:
        if family not in self._open:
            self._open[family] = self._new_chunk(self._names, family)
            self._names += 1
        return self._open[family]

    def _new_chunk(self, name: int, family: int) -> Chunk:
        chunk = self.make_chunk(name, family)
        self._keyed[chunk.decisions_key] = self._keyed[chunk.status_key] = chunk
        return chunk


def places_by_value(values: NDArray[Any]) -> Iterator[Places]:
    """Give the places of each distinct value, an array for each."""
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
