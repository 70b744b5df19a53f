"""What travels between operators: batches of one shard, so that a step costs per batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import Struct

from operators.logic.catalog import Catalog
from operators.logic.policies.base import Deltas, Posterior
from operators.logic.settlements import Settlements
from schemas.catalog import Action, CatalogEntry, Slot
from schemas.clock import EPOCH, micros, moment

__all__ = [
    "ALWAYS",
    "EPOCH",
    "NEVER",
    "NO_CATALOG",
    "Batch",
    "CatalogNews",
    "Event",
    "FactorLesson",
    "FactorNews",
    "Lesson",
    "Message",
    "Origin",
    "PolicyNews",
    "Rejected",
    "micros",
    "moment",
]

NEVER = -(2**62)
"""The watermark before the first event."""

ALWAYS = 2**62
"""The watermark after the last event of a bounded input."""


NO_CATALOG = Catalog()


class Origin(Struct, frozen=True, gc=False):
    """Where a record lies: what a dead letter says of it."""

    topic: str
    partition: int
    offset: int
    time: int
    """The broker's timestamp in microseconds since 1970."""


class Event(Struct, gc=False):
    """A decoded record of one visitor.

    ``at`` is its event time in microseconds, ``body`` the record, ``subject`` the visitor's
    pseudonym, ``key`` the 64-bit join key of its decision (0 where it has none). ``personal`` says
    that the subject consents to a profile, which ``profile`` then holds for a decision request.
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
    nothing more to read, so that what a step holds back to fill a batch may go on. ``catalog`` is
    the catalog that holds for all of its events.
    """

    shard: int
    watermark: int
    events: Sequence[Event] = field(default_factory=list)
    rejected: Sequence[Rejected] = field(default_factory=list)
    at_end: bool = True
    catalog: Catalog = NO_CATALOG


@dataclass(slots=True)
class Lesson:
    """What one shard has to teach one slot's learner, with the slot and its actions as they stand.

    ``deltas`` change the policy's statistics; ``settled`` are final rewards, for models that learn
    in a canonical order, complete before ``watermark``; ``rewards`` counts the rewards among the
    deltas and ``newest`` is the event time of the newest one (``NEVER`` without any); ``version``
    is the newest policy version that made one of the decisions, ``mapping`` the fingerprint of the
    deltas' features (empty: not logged).
    """

    shard: int
    watermark: int
    slot: Slot
    actions: tuple[Action, ...]
    deltas: Deltas | None = None
    settled: Sequence[Settlements] = ()
    rewards: int = 0
    newest: int = NEVER
    version: int = 0
    mapping: str = ""


@dataclass(slots=True)
class FactorLesson:
    """What one shard has to teach the factors, of all slots that ask for them.

    ``settled`` name their subjects and are complete before ``watermark``; ``withdrawn`` subjects
    are to be forgotten at the time beside them. ``width`` is the number of factors asked for, 0
    when nobody asks.
    """

    shard: int
    watermark: int
    width: int
    settled: Sequence[Settlements] = ()
    withdrawn: Sequence[tuple[int, str]] = ()


@dataclass(slots=True)
class FactorNews:
    """Subjects whose factors changed: how many outcomes taught them since then, and the factors.

    It holds nothing of what a subject withdrew before ``time``, the settlement of the last outcome
    learned.
    """

    time: int
    changes: Mapping[str, tuple[int, list[float]]]


@dataclass(slots=True)
class CatalogNews:
    """New catalog records; ``complete`` once the topic has first been read to its end."""

    entries: Sequence[CatalogEntry] = field(default_factory=list)
    rejected: Sequence[Rejected] = field(default_factory=list)
    complete: bool = False


@dataclass(slots=True)
class PolicyNews:
    """What a slot's learner tells the scoring shards: its posterior, named by its version.

    ``newest`` is the event time of the newest outcome that the posterior holds. ``shape`` names the
    settings that it was learned under: it can decide for no others.
    """

    slot_id: str
    kind: str
    version: int
    newest: int
    posterior: Posterior
    shape: str = ""


class Message(Struct, frozen=True, gc=False):
    """An encoded record on its way to a topic; ``id`` is its 64-bit fence key (0: not fenced)."""

    id: int
    key: bytes | None
    value: bytes
