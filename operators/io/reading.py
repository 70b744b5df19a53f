"""How a source reads the records that it fetched: by column, or one by one."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from operators.envelope import Event, Rejected
from schemas.topics import Topic

Read = Callable[[Topic, int, bytes | None, bytes | None, int, int], Event | Rejected]
"""Reads (topic, shard, record key, payload, offset, broker's timestamp in microseconds)."""

Found = tuple[list[Event], list[Rejected]]


class ReadMany(Protocol):
    """Reads records of one partition, given by column; what they become keeps their order."""

    def __call__(
        self,
        topic: Topic,
        shard: int,
        keys: Sequence[bytes | None],
        payloads: Sequence[bytes | None],
        offsets: Sequence[int],
        times: Sequence[int],
    ) -> Found:
        """Give what became an event, and what did not."""


@runtime_checkable
class ColumnReader(Protocol):
    """A :data:`Read` that has a cheaper way for many records."""

    many: ReadMany


def by_column(read: Read) -> ReadMany:
    """Give a reader's own way to read many records; without one, it reads them one by one."""
    return read.many if isinstance(read, ColumnReader) else _one_by_one(read)


def _one_by_one(read: Read) -> ReadMany:
    def many(
        topic: Topic,
        shard: int,
        keys: Sequence[bytes | None],
        payloads: Sequence[bytes | None],
        offsets: Sequence[int],
        times: Sequence[int],
    ) -> Found:
        events: list[Event] = []
        rejected: list[Rejected] = []
        for record in zip(keys, payloads, offsets, times, strict=True):
            found = read(topic, shard, *record)
            if isinstance(found, Event):
                events.append(found)
            else:
                rejected.append(found)
        return events, rejected

    return many
