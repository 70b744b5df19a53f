"""What travels between steps: events, batches of one shard, and messages on their way out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from schemas.catalog import CatalogEntry


class Origin(Struct, frozen=True, gc=False):
    """Where a record lies: what a dead letter says of it."""

    topic: str
    partition: int
    offset: int
    time: int
    """The latest time that it may honestly bear, in microseconds since 1970.

    When the broker appended it, where the topic keeps that; otherwise when it was read.
    """


class Event(Struct, gc=False):
    """A decoded record of one visitor.

    ``at`` is its event time in microseconds, ``body`` the record, ``subject`` the visitor's
    pseudonym, ``key`` the 64-bit join key of its decision (0 where it has none). ``personal`` says
    that the subject consents to a profile, which ``profile`` then holds for a decision request.
    ``further`` marks those but the first of several events that were made of one record: of the
    record at most one is refused.
    """

    at: int
    body: Any
    subject: str
    key: int
    origin: Origin
    payload: bytes = b""
    personal: bool = False
    profile: Mapping[str, float] | None = None
    embedding: Sequence[float] | None = None
    further: bool = False


class Rejected(NamedTuple):
    """An event that a later step could not use: counted by reason and dead-lettered."""

    reason: str
    origin: Origin
    payload: bytes = b""
    field: str | None = None
    detail: str = ""


@dataclass(slots=True)
class Batch:
    """Events of one shard in event-time order, and the shard's watermark after them.

    ``rejected`` are the records that could not become events; ``at_end`` says that the source had
    nothing more to read, so that what a step holds back to fill a batch may go on; ``ends_epoch``
    that an epoch ends after it, over which nothing should be held back that need not be.
    """

    shard: int
    watermark: int
    events: Sequence[Event] = field(default_factory=list)
    rejected: Sequence[Rejected] = field(default_factory=list)
    at_end: bool = True
    ends_epoch: bool = False


class CatalogPlace(NamedTuple):
    """Where a catalog record lies, its bytes, and when it was appended as far as is known.

    That is in microseconds since 1970, and never before what lies in front of it was appended.
    """

    origin: Origin
    payload: bytes
    appended: int


@dataclass(slots=True)
class CatalogUpdate:
    """New catalog records; ``complete`` once this execution has read the topic to its end.

    ``places`` says of each entry where it lies, what its bytes are and when it was appended, for
    the one shard that reports those that the catalog cannot take as they are; it is empty for the
    others.
    """

    entries: Sequence[CatalogEntry] = field(default_factory=list)
    rejected: Sequence[Rejected] = field(default_factory=list)
    complete: bool = False
    places: Sequence[CatalogPlace] = field(default_factory=list)


class Message(Struct, frozen=True, gc=False):
    """An encoded record on its way to a topic; ``id`` is its 64-bit fence key (0: not fenced)."""

    id: int
    key: bytes | None
    value: bytes
