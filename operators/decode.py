"""From a record's bytes to an event: checked, pseudonymised, keyed to its decision."""

import hashlib
import hmac
from collections.abc import Callable

from operators.batches import Event, Origin, Rejected, micros
from operators.logic.murmur2 import partition_of
from schemas.codec import DECODERS, Flaw, decode_with
from schemas.events import Consent, DecisionBack, DecisionRequest, Erasure
from schemas.settings import Settings
from schemas.topics import Topic

Reader = Callable[[Topic, int, bytes | None, bytes | None, int, int], Event | Rejected]
"""Reads (topic, shard, record key, payload, offset, broker's timestamp in microseconds)."""

_REMEMBERED = 200_000
_ELSEWHERE = (
    "murmur2 of the subject gives another partition: librdkafka producers need "
    "partitioner=murmur2_random"
)
_WITHOUT_DECISION = frozenset((Consent, Erasure))


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


def key_of(text: str) -> int | None:
    """Read a join key from 16 hexadecimal digits; None where they are something else.

    >>> key_of("00000000000000ff"), key_of("-00000000000000f")
    (255, None)
    """
    try:
        digits = bytes.fromhex(text)
    except ValueError:
        return None
    return int.from_bytes(digits, "big") if len(digits) == 8 else None


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
    known: dict[str, tuple[str, int, bytes]] = {}

    def identity(subject: str) -> tuple[str, int, bytes]:
        if len(known) >= _REMEMBERED:
            known.clear()
        raw = subject.encode()
        found = known[subject] = (pseudonym_of(secret, subject), partition_of(raw, shards), raw)
        return found

    def read(
        topic: Topic, shard: int, key: bytes | None, payload: bytes | None, offset: int, time: int
    ) -> Event | Rejected:
        origin = Origin(topic, shard, offset, time)
        payload = payload or b""
        body = decode_with(DECODERS[topic], payload, limit)
        kind = type(body)
        if kind is Flaw:
            return Rejected(body.reason, origin, payload, body.field, body.detail)
        at = micros(body.time)
        if at > time + max_skew:
            return Rejected("time_in_future", origin, payload, "time")
        if kind is DecisionBack:
            number = key_of(body.key)
            if number is None:
                return Rejected("invalid_value", origin, payload, "key", "not 16 hex digits")
            return Event(at, body, body.subject or "", number, origin, payload)
        pseudonym, home, raw = known.get(body.subject) or identity(body.subject)
        if home != shard:
            return Rejected("misrouted", origin, payload, "subject", _ELSEWHERE)
        if key is not None and key != raw:
            return Rejected("misrouted", origin, payload, "subject", "keyed by another visitor")
        if kind is DecisionRequest:
            body.decision_id = body.decision_id or body.id
        join_key = 0 if kind in _WITHOUT_DECISION else decision_key(pseudonym, body.decision_id)
        return Event(at, body, pseudonym, join_key, origin, payload)

    return read
