"""Bounded sources and collecting sinks with the contracts of the Kafka ones: replay, tests."""

from collections.abc import Mapping, Sequence

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from msgspec import Struct
from typing_extensions import override

from operators.envelope import Batch, CatalogUpdate, Event, Message, Rejected
from operators.io.reading import Read, by_column, in_offset_order, parted
from operators.logic.alignment import Alignment
from operators.logic.placement import shard_key, shard_of
from schemas.catalog import CatalogEntry
from schemas.clock import ALWAYS, NEVER
from schemas.state import pack, unpack
from schemas.topics import Topic

_KIND, _VERSION = "memory-source", 1


class Record(Struct, frozen=True, gc=False):
    """A record as a broker would keep it; ``time`` is its timestamp in microseconds.

    Its offset is its place in its partition's list.
    """

    value: bytes
    time: int
    key: bytes | None = None


Records = Mapping[Topic, Mapping[int, Sequence[Record]]]
"""Records by topic and partition."""


class MemoryState(Struct):
    """The first unreleased offset of each topic, and the watermark."""

    offsets: dict[str, int]
    watermark: int


class MemoryPartition(StatefulSourcePartition[tuple[str, Batch], bytes]):
    """Partition k of all topics, aligned; its last batch has the watermark ``ALWAYS``."""

    def __init__(
        self, shard: int, logs: dict[Topic, Sequence[Record]], read: Read, batch_size: int,
        state: MemoryState,
    ) -> None:  # fmt: skip
        self._shard = shard
        self._logs = logs
        self._read_many = by_column(read)
        self._limit = batch_size
        self._next = {topic: state.offsets.get(topic.value, 0) for topic in logs}
        self._alignment = Alignment[Event | Rejected](len(logs), ALWAYS, state.watermark)
        self._over = False

    def next_batch(self) -> list[tuple[str, Batch]]:
        """Read on in every topic that has few events waiting, and give what may go."""
        if self._over:
            raise StopIteration
        self._take_in()
        alignment = self._alignment
        events, rejected = parted(alignment.release(self._limit, 0))
        self._over = alignment.at_end
        watermark = ALWAYS if self._over else alignment.watermark
        return [
            (shard_key(self._shard), Batch(self._shard, watermark, events, rejected, self._over))
        ]

    def snapshot(self) -> bytes:
        """Keep the first unreleased offset of each topic."""
        offsets = {
            topic.value: lane.events[0].origin.offset if lane.events else self._next[topic]
            for topic, lane in zip(self._logs, self._alignment.lanes, strict=True)
        }
        return pack(_KIND, _VERSION, MemoryState(offsets, self._alignment.watermark))

    def _take_in(self) -> None:
        for (topic, log), lane in zip(self._logs.items(), self._alignment.lanes, strict=True):
            start = self._next[topic]
            stop = min(len(log), start + max(0, 2 * self._limit - len(lane)))
            records = log[start:stop]
            events, refused = self._read_many(
                topic,
                self._shard,
                [record.key for record in records],
                [record.value for record in records],
                range(start, stop),
                [record.time for record in records],
            )
            items = in_offset_order(events, refused) if refused else events
            at = [item.at if isinstance(item, Event) else NEVER for item in items]
            lane.extend(items, at, [item.origin.time for item in items])
            lane.at_end = stop == len(log)
            self._next[topic] = stop


class MemoryGroupSource(FixedPartitionedSource[tuple[str, Batch], bytes]):
    """Records in memory as the batches that :class:`GroupSource` would give."""

    def __init__(self, records: Records, read: Read, partitions: int, batch_size: int) -> None:
        self._records = records
        self._read = read
        self._partitions = partitions
        self._limit = batch_size

    def list_parts(self) -> list[str]:
        """Give the partition numbers."""
        return [str(k) for k in range(self._partitions)]

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSourcePartition[tuple[str, Batch], bytes]:
        """Open partition k of all topics."""
        state = MemoryState({}, NEVER)
        if resume_state is not None:
            state = unpack(_KIND, _VERSION, MemoryState, resume_state)
        shard = int(for_part)
        logs = {topic: log.get(shard, ()) for topic, log in self._records.items()}
        return MemoryPartition(shard, logs, self._read, self._limit, state)


def memory_group_source(
    records: Records, read: Read, partitions: int, batch_size: int = 1000
) -> MemoryGroupSource:
    """Make a bounded source of records in memory, aligned by event time in each partition."""
    return MemoryGroupSource(records, read, partitions, batch_size)


class MemoryCatalogSource(FixedPartitionedSource[tuple[str, CatalogUpdate], bytes]):
    """A whole catalog as one update; after a restart an empty one says that it is complete."""

    def __init__(self, entries: Sequence[CatalogEntry]) -> None:
        self._entries = entries

    def list_parts(self) -> list[str]:
        """Give the only partition."""
        return ["catalog"]

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSourcePartition[tuple[str, CatalogUpdate], bytes]:
        """Give the catalog once; no record of it where the snapshot says that it was given."""
        return _CatalogPartition([] if resume_state is not None else self._entries)


class _CatalogPartition(StatefulSourcePartition[tuple[str, CatalogUpdate], bytes]):
    def __init__(self, entries: Sequence[CatalogEntry]) -> None:
        self._update: CatalogUpdate | None = CatalogUpdate(entries, [], True)

    def next_batch(self) -> list[tuple[str, CatalogUpdate]]:
        if self._update is None:
            raise StopIteration
        update, self._update = self._update, None
        return [("catalog", update)]

    def snapshot(self) -> bytes:
        return b"given"


class MemorySink(FixedPartitionedSink[list[Message], None]):
    """Collects the messages of each partition in ``written[partition]``.

    The lists are the caller's, so they can be looked at after (and during) the run.
    """

    def __init__(self, partitions: int) -> None:
        self.written: dict[int, list[Message]] = {k: [] for k in range(partitions)}

    def list_parts(self) -> list[str]:
        """Give the partitions, padded as :class:`KafkaSink` does."""
        return [f"{k:05d}" for k in self.written]

    def part_fn(self, item_key: str) -> int:
        """Route by the partition number that is the item's key."""
        return shard_of(item_key)

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: None
    ) -> StatefulSinkPartition[list[Message], None]:
        """Open a partition's list."""
        return _Collector(self.written[int(for_part)])


class _Collector(StatefulSinkPartition[list[Message], None]):
    def __init__(self, written: list[Message]) -> None:
        self._written = written

    def write_batch(self, values: list[list[Message]]) -> None:
        for messages in values:
            self._written.extend(messages)

    def snapshot(self) -> None:
        return None
