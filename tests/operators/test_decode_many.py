"""Reading many records gives what reading each by itself gives, malformed ones included."""

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decode import read_key, read_keys, reader
from operators.envelope import Event, Origin, Rejected
from operators.logic.murmur2 import partition_of
from schemas.bounds import LONGEST_REWARD_WINDOW
from schemas.clock import micros
from schemas.codec import DECODERS, Flaw, decode_with, record_limit
from schemas.settings import load
from schemas.topics import GROUP, Topic

SETTINGS = load({}, secret="a secret of tests", partitions=2, max_record_bytes=2000)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VISITORS = [f"visitor-{n}" for n in range(6)] + ["Zoë"]


def one(
    topic: Topic, shard: int, key: bytes | None, payload: bytes | None, offset: int, time: int
) -> Event | Rejected:
    """What a record becomes, written out."""
    origin, payload = Origin(topic, shard, offset, time), payload or b""
    limit = record_limit(topic, SETTINGS.kafka.max_record_bytes)
    body = decode_with(DECODERS[topic], payload, limit)
    if isinstance(body, Flaw):
        return Rejected(body.reason, origin, payload, body.field, body.detail)
    if micros(body.time) > time + SETTINGS.time.max_skew * 1e6:
        return Rejected("time_in_future", origin, payload, "time")
    if topic is Topic.DECISIONS:
        if not 0.0 <= (body.expires_at - body.time).total_seconds() <= LONGEST_REWARD_WINDOW:
            detail = "before its time, or more than 400 days after it"
            return Rejected("invalid_value", origin, payload, "expires_at", detail)
        if not set(body.key) <= set("0123456789abcdefABCDEF"):
            return Rejected("invalid_value", origin, payload, "key", "not 16 hex digits")
        subject = body.subject or ""
        return Event(micros(body.time), body, subject, int(body.key, 16), origin, payload)
    if partition_of(body.subject, SETTINGS.kafka.partitions) != shard:
        detail = "murmur2 of the subject gives another partition: librdkafka producers need "
        detail += "partitioner=murmur2_random"
        return Rejected("misrouted", origin, payload, "subject", detail)
    if key is not None and key != body.subject.encode():
        return Rejected("misrouted", origin, payload, "subject", "keyed by another visitor")
    secret = SETTINGS.secret.encode()
    pseudonym = hmac.new(secret, body.subject.encode(), "sha256").hexdigest()[:32]
    number = 0
    if topic is Topic.DECISION_REQUESTS:
        body.decision_id = body.decision_id or body.id
    if topic is not Topic.CONSENTS:
        text = f"{pseudonym}\0{body.decision_id}".encode()
        number = int(hashlib.blake2b(text, digest_size=8).hexdigest(), 16)
    return Event(micros(body.time), body, pseudonym, number, origin, payload)


names = st.sampled_from(["d-1", "d-2", "é", "", "x" * 257])
hexadecimal = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")
keys = st.one_of(hexadecimal, st.sampled_from(["00 0000000000000", "-" * 16, "F" * 16, "٣" * 16]))


@st.composite
def payloads(draw: st.DrawFn) -> bytes | None:
    """A record that any topic might hold: usually sound, sometimes broken somewhere."""
    fields: dict[str, object] = {
        "id": draw(names.filter(bool)),
        "time": NOW + timedelta(seconds=draw(st.sampled_from([-5, 0, 59, 301, 9000]))),
        "subject": draw(st.sampled_from(VISITORS)),
        "decision_id": draw(names),
        "slot_id": "home",
        "type": draw(st.sampled_from(["consent", "erasure"])),
        "purposes": [5, 6],
        "value": 0.5,
        "key": draw(keys),
        "action_id": "a",
        "propensity": draw(st.sampled_from([0.5, 1.0, 0.0, 2.0])),
        "policy": "beta",
        "policy_version": 1,
        "expires_at": NOW + timedelta(seconds=draw(st.sampled_from([0, 600, 401 * 86_400]))),
    }
    if draw(st.integers(0, 3)) == 0:
        fields[draw(st.sampled_from(sorted(fields)))] = draw(
            st.sampled_from([None, 7, "", [], "2026-03-01T12:00:00"])
        )
    sound = msgspec.json.encode(fields)
    cut = draw(st.integers(0, len(sound)))
    return draw(
        st.sampled_from(
            [sound] * 8
            + [None, b"", b"1,2", b"{},{}", b"}],[{", b"\xff\xfe", b"NaN", b"[" * 1900, b" " * 2001]
            + [sound[:cut], sound + sound, sound + b"," + sound, sound[:cut] + b"\xff" + sound]
        )
    )


@settings(max_examples=150, deadline=None)
@given(
    topic=st.sampled_from(GROUP),
    shard=st.integers(0, 1),
    records=st.lists(
        st.tuples(st.sampled_from([None, *(v.encode() for v in VISITORS)]), payloads()),
        max_size=8,
    ),
)
def test_many_records_become_what_each_becomes(
    topic: Topic, shard: int, records: list[tuple[bytes | None, bytes | None]]
) -> None:
    rows = [
        (key, payload, offset, micros(NOW) + offset)
        for offset, (key, payload) in enumerate(records, 7)
    ]
    expected = [one(topic, shard, *row) for row in rows]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    events, rejected = reader(SETTINGS).many(topic, shard, *columns)
    assert events == [found for found in expected if isinstance(found, Event)]
    assert rejected == [found for found in expected if isinstance(found, Rejected)]
    single = reader(SETTINGS)
    assert [single(topic, shard, *row) for row in rows] == expected


@given(st.lists(st.one_of(keys, st.text("0f gF-", max_size=17)), max_size=5))
def test_many_keys_are_what_each_is(texts: list[str]) -> None:
    assert list(read_keys(texts)) == [read_key(text) for text in texts]
