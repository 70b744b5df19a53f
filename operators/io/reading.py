"""How a source reads the records that it fetched: by column, or one by one."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from operators.envelope import Event, Origin, Rejected
from operators.io.releases import PROCESSING_ERROR, Notes
from schemas.topics import Topic

Read = Callable[[Topic, int, bytes | None, bytes | None, int, int], Event | Rejected]
"""Reads (topic, shard, record key, payload, offset, latest honest time in microseconds)."""

READING = "reading"
"""What is at fault where a record cannot even be read."""

EventsAndRejected = tuple[list[Event], list[Rejected]]


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
    ) -> EventsAndRejected:
        """Give what became an event, and what did not."""


def in_offset_order(
    events: Sequence[Event], rejected: Sequence[Rejected]
) -> list[Event | Rejected]:
    """Put what became of records of one partition back into the order in which they lie there."""
    return sorted([*events, *rejected], key=lambda item: item.origin.offset)


def parted(items: Sequence[Event | Rejected]) -> EventsAndRejected:
    """Part events from what could not be read; both keep their order."""
    events = [item for item in items if isinstance(item, Event)]
    return events, [item for item in items if isinstance(item, Rejected)]


@runtime_checkable
class ColumnReader(Protocol):
    """A :data:`Read` that has a cheaper way for many records."""

    many: ReadMany


def read_undecoded(
    topic: Topic,
    shard: int,
    key: bytes | None,
    payload: bytes | None,
    offset: int,
    time: int,
) -> Event:
    """Read a record as it lies on its topic: undecoded, ordered by its offset."""
    return Event(
        at=offset,
        body=None,
        subject="",
        key=0,
        origin=Origin(topic, shard, offset, time),
        payload=payload or b"",
    )


def unreadable(origin: Origin, payload: bytes, error: Exception, notes: Notes) -> Rejected:
    """Reject a record that reading failed on, which is a fault of this release, and note it."""
    what, place = type(error).__name__, f"{origin.topic}/{origin.partition}"
    notes.note_unreadable(place, origin.offset, READING, what)
    return Rejected(PROCESSING_ERROR, origin, payload, None, f"{what} in {READING}")


def resilient(read_many: ReadMany, read: Read, notes: Notes) -> ReadMany:
    """Read records one by one where reading them together fails; reject those that fail alone."""

    def one(
        topic: Topic, shard: int, key: bytes | None, payload: bytes | None, offset: int, time: int
    ) -> Event | Rejected:
        try:
            return read(topic, shard, key, payload, offset, time)
        except Exception as error:  # a fault of this release costs one record
            return unreadable(Origin(topic, shard, offset, time), payload or b"", error, notes)

    each = _one_by_one(one)

    def many(
        topic: Topic,
        shard: int,
        keys: Sequence[bytes | None],
        payloads: Sequence[bytes | None],
        offsets: Sequence[int],
        times: Sequence[int],
    ) -> EventsAndRejected:
        try:
            return read_many(topic, shard, keys, payloads, offsets, times)
        except Exception:  # read once more, to find which
            return each(topic, shard, keys, payloads, offsets, times)

    return many


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
    ) -> EventsAndRejected:
        events: list[Event] = []
        rejected: list[Rejected] = []
        for record in zip(keys, payloads, offsets, times, strict=True):
            event = read(topic, shard, *record)
            if isinstance(event, Event):
                events.append(event)
            else:
                rejected.append(event)
        return events, rejected

    return many
