"""From a record's bytes to an event: checked, pseudonymised, keyed to its decision."""

import hmac
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from hashlib import blake2b
from struct import unpack
from typing import Any

from operators.envelope import Event, Origin, Rejected
from operators.logic.murmur2 import partition_of
from schemas.bounds import LONGEST_REWARD_WINDOW
from schemas.clock import EARLIEST, micros
from schemas.codec import DECODERS, Flaw, decode_many, record_limit
from schemas.settings import EventTimeSettings, KafkaSettings, Settings
from schemas.topics import Topic

Reader = Callable[[Topic, int, bytes | None, bytes | None, int, int], Event | Rejected]
"""Reads (topic, shard, record key, payload, offset, latest honest time in microseconds)."""

_Records = Iterable[tuple[bytes | None, bytes | None, int, int, Any]]
"""Record key, payload, offset, latest honest time and what was decoded of each record."""

_NO_WINDOW, _LONGEST_WINDOW = timedelta(0), timedelta(seconds=LONGEST_REWARD_WINDOW)
_IN_FUTURE = Flaw("time_in_future", "time")
_NO_SUCH_WINDOW = Flaw(
    "invalid_value", "expires_at", "before its time, or more than 400 days after it"
)
_EMPTY = blake2b(digest_size=8)
_REMEMBERED = 200_000
_ELSEWHERE = (
    "murmur2 of the subject gives another partition: librdkafka producers need "
    "partitioner=murmur2_random"
)


def pseudonym_of(secret: bytes, subject: str) -> str:
    """Give the visitor's pseudonym: 128 bits of HMAC-SHA256, in hexadecimal.

    >>> len(pseudonym_of(b"sixteen letters!", "visitor-1"))
    32
    """
    return hmac.digest(secret, subject.encode(), "sha256")[:16].hex()


def join_key(pseudonym: str, decision_id: str) -> int:
    """Give the 64-bit join key of a subject's decision; it tells nothing of either."""
    return join_keys([f"{pseudonym}\0{decision_id}".encode()])[0]


def join_keys(identities: Sequence[bytes]) -> tuple[int, ...]:
    """Give many join keys, each of a pseudonym, a zero byte and a decision's id."""
    digests: list[bytes] = []
    for identity in identities:
        state = _EMPTY.copy()  # a third cheaper than a new one
        state.update(identity)
        digests.append(state.digest())
    return _numbers(b"".join(digests))


def read_key(text: str) -> int | None:
    """Read a join key from 16 hexadecimal digits; None where they are something else.

    >>> read_key("00000000000000ff"), read_key("-00000000000000f")
    (255, None)
    """
    try:
        digits = bytes.fromhex(text)
    except ValueError:
        return None
    return int.from_bytes(digits, "big") if len(digits) == 8 else None


def read_keys(texts: Sequence[str]) -> Sequence[int | None]:
    """Read many join keys as :func:`read_key` reads one.

    >>> read_keys(["00000000000000ff", "0000000000000001"]), read_keys(["00000000000000ff", "1"])
    ((255, 1), [255, None])
    """
    try:
        digits = bytes.fromhex("".join(texts))
    except ValueError:
        return [read_key(text) for text in texts]
    if len(digits) == 8 * len(texts) and all(len(text) == 16 for text in texts):
        return _numbers(digits)
    return [read_key(text) for text in texts]


def _numbers(digits: bytes) -> tuple[int, ...]:
    return unpack(f">{len(digits) // 8}Q", digits)


class RecordReader:
    """Reads records of the personalize topics: one, or many by column at half the cost.

    A record becomes a :class:`Rejected` when it does not decode, lies in the wrong partition for
    its subject (``misrouted``) or bears a time that is later by more than ``max_skew`` than the
    latest that it may honestly bear (``time_in_future``).
    """

    def __init__(self, secret: bytes, kafka: KafkaSettings, time: EventTimeSettings) -> None:
        self._secret = secret
        self._max_skew = round(time.max_skew * 1e6)
        self._shards = kafka.partitions
        self._limit = kafka.max_record_bytes
        self._known: dict[str, tuple[str, int, bytes, bytes]] = {}

    def __call__(
        self, topic: Topic, shard: int, key: bytes | None, payload: bytes | None, offset: int,
        time: int,
    ) -> Event | Rejected:  # fmt: skip
        """Read one record; ``time`` is the latest that it may honestly bear, in microseconds."""
        events, rejected = self.many(topic, shard, [key], [payload], [offset], [time])
        return events[0] if events else rejected[0]

    def many(
        self,
        topic: Topic,
        shard: int,
        keys: Sequence[bytes | None],
        payloads: Sequence[bytes | None],
        offsets: Sequence[int],
        times: Sequence[int],
    ) -> tuple[list[Event], list[Rejected]]:
        """Read records of one partition; what they become keeps their order."""
        bodies = decode_many(DECODERS[topic], payloads, record_limit(topic, self._limit))
        records = zip(keys, payloads, offsets, times, bodies, strict=True)
        if topic == Topic.DECISIONS:
            numbers = read_keys(["" if type(body) is Flaw else body.key for body in bodies])
            return self._decisions(topic, shard, records, numbers)
        return self._of_visitors(topic, shard, records)

    def _decisions(
        self, topic: Topic, shard: int, records: _Records, numbers: Sequence[int | None]
    ) -> tuple[list[Event], list[Rejected]]:
        max_skew, earliest = self._max_skew, EARLIEST
        events: list[Event] = []
        rejected: list[Rejected] = []
        for (_, payload, offset, time, body), number in zip(records, numbers, strict=True):
            origin, payload = Origin(topic, shard, offset, time), payload or b""
            if type(body) is Flaw:
                rejected.append(_flawed(body, origin, payload))
            elif not earliest <= (at := micros(body.time)) <= time + max_skew:
                rejected.append(_untimely(topic, body, origin, payload, _IN_FUTURE))
            elif not _NO_WINDOW <= body.expires_at - body.time <= _LONGEST_WINDOW:
                rejected.append(_untimely(topic, body, origin, payload, _NO_SUCH_WINDOW))
            elif number is None:
                detail = "not 16 hex digits"
                rejected.append(Rejected("invalid_value", origin, payload, "key", detail))
            else:
                events.append(
                    Event(
                        at=at,
                        body=body,
                        subject=body.subject or "",
                        key=number,
                        origin=origin,
                        payload=payload,
                    )
                )
        return events, rejected

    def _of_visitors(
        self, topic: Topic, shard: int, records: _Records
    ) -> tuple[list[Event], list[Rejected]]:
        known, max_skew, earliest = self._known, self._max_skew, EARLIEST
        asks, joins = topic == Topic.DECISION_REQUESTS, topic != Topic.CONSENTS
        events: list[Event] = []
        identities: list[bytes] = []
        rejected: list[Rejected] = []
        for key, payload, offset, time, body in records:
            origin, payload = Origin(topic, shard, offset, time), payload or b""
            if type(body) is Flaw:
                rejected.append(_flawed(body, origin, payload))
                continue
            if not earliest <= (at := micros(body.time)) <= time + max_skew:
                rejected.append(_untimely(topic, body, origin, payload, _IN_FUTURE))
                continue
            subject = body.subject
            pseudonym, home, raw, prefix = known.get(subject) or self._identity(subject)
            if home != shard:
                rejected.append(Rejected("misrouted", origin, payload, "subject", _ELSEWHERE))
                continue
            if key is not None and key != raw:
                detail = "keyed by another visitor"
                rejected.append(Rejected("misrouted", origin, payload, "subject", detail))
                continue
            if asks:
                body.decision_id = body.decision_id or body.id
            if joins:
                identities.append(prefix + body.decision_id.encode())
            events.append(
                Event(at=at, body=body, subject=pseudonym, key=0, origin=origin, payload=payload)
            )
        for event, number in zip(events, join_keys(identities), strict=joins):
            event.key = number
        return events, rejected

    def _identity(self, subject: str) -> tuple[str, int, bytes, bytes]:
        known, raw = self._known, subject.encode()
        if len(known) >= _REMEMBERED:
            known.clear()
        pseudonym = pseudonym_of(self._secret, subject)
        identity = (pseudonym, partition_of(raw, self._shards), raw, pseudonym.encode() + b"\0")
        known[subject] = identity
        return identity


def reader(settings: Settings) -> RecordReader:
    """Make what reads records of the personalize topics with these settings."""
    return RecordReader(settings.secret.encode(), settings.kafka, settings.time)


def _untimely(topic: Topic, body: Any, origin: Origin, payload: bytes, flaw: Flaw) -> Rejected:
    """Reject a record for its times: outside the calendar, or else for this flaw."""
    return _flawed(DECODERS[topic].flaw(body) or flaw, origin, payload)


def _flawed(flaw: Flaw, origin: Origin, payload: bytes) -> Rejected:
    return Rejected(flaw.reason, origin, payload, flaw.field, flaw.detail)
