"""From a record's bytes to an event: checked, pseudonymised, keyed to its decision."""

import hashlib
import hmac
from collections.abc import Callable

from operators.batches import Event, Origin, Rejected, micros
from operators.logic.murmur2 import partition_of
from schemas.codec import Flaw, decode
from schemas.events import DecisionBack, DecisionRequest, Envelope
from schemas.settings import Settings
from schemas.topics import Topic

Reader = Callable[[Topic, int, bytes | None, bytes | None, int, int], Event | Rejected]
"""Reads (topic, shard, record key, payload, offset, broker's timestamp in microseconds)."""

_REMEMBERED = 200_000


def pseudonym_of(secret: bytes, subject: str) -> str:
    """Give the visitor's pseudonym: 128 bits of HMAC-SHA256, in hexadecimal.

    >>> len(pseudonym_of(b"sixteen letters!", "visitor-1"))
    32
    """
    return hmac.digest(secret, subject.encode(), "sha256")[:16].hex()


def decision_key(pseudonym: str, decision_id: str) -> int:
    """Give the 64-bit join key of a subject's decision; it tells nothing of either."""
    text = f"{pseudonym}\0{decision_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def reader(settings: Settings) -> Reader:
    """Make the function that reads records of the personalize topics for these settings.

    A record becomes a :class:`Rejected` when it does not decode, lies in the wrong partition for
    its subject (``misrouted``) or is ahead of the broker's clock by more than ``max_skew``
    (``time_in_future``).
    """
    secret = settings.secret.encode()
    max_skew = round(settings.max_skew * 1e6)
    shards = settings.partitions
    limit = settings.max_record_bytes
    known: dict[str, tuple[str, int]] = {}

    def identity(subject: str) -> tuple[str, int]:
        found = known.get(subject)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            found = known[subject] = (pseudonym_of(secret, subject), partition_of(subject, shards))
        return found

    def read(
        topic: Topic, shard: int, key: bytes | None, payload: bytes | None, offset: int, time: int
    ) -> Event | Rejected:
        origin = Origin(topic, shard, offset, time)
        payload = payload or b""
        body = decode(topic, payload, limit)
        if isinstance(body, Flaw):
            return Rejected(body.reason, origin, payload, body.field, body.detail)
        at = micros(body.time)
        if at > time + max_skew:
            return Rejected("time_in_future", origin, payload, "time")
        if isinstance(body, DecisionBack):
            return Event(at, body, body.subject or "", int(body.key, 16), origin, payload)
        pseudonym, home = identity(body.subject)
        if home != shard or (key is not None and key != body.subject.encode()):
            return Rejected("misrouted", origin, payload, "subject", "keyed by another visitor")
        return Event(at, body, pseudonym, _key_of(body, pseudonym), origin, payload)

    return read


def _key_of(body: Envelope, pseudonym: str) -> int:
    if isinstance(body, DecisionRequest):
        body.decision_id = body.decision_id or body.id
    decision_id: str | None = getattr(body, "decision_id", None)
    return decision_key(pseudonym, decision_id) if decision_id else 0
