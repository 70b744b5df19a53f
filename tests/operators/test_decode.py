"""The reader: what becomes an event, what is rejected and why."""

from datetime import UTC, datetime

import msgspec
import pytest

from operators.decode import join_key, pseudonym_of, reader
from operators.envelope import Event, Rejected
from operators.logic.murmur2 import partition_of
from schemas.clock import micros
from schemas.events import DecisionRequest
from schemas.settings import load
from schemas.topics import Topic

SETTINGS = load({}, secret="a secret of tests", partitions=4)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VISITOR = "visitor-17"
HOME = partition_of(VISITOR, 4)

read = reader(SETTINGS)


def record(**changes: object) -> bytes:
    fields = {
        "id": "e-1",
        "time": NOW,
        "subject": VISITOR,
        "decision_id": "d-1",
        "slot_id": "home",
    } | changes
    kept = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode(kept)


def click(shard: int = HOME, key: bytes | None = VISITOR.encode(), **changes: object) -> object:
    return read(Topic.CLICKS, shard, key, record(**changes), 5, micros(NOW))


def test_a_click_is_keyed_to_its_decision_and_pseudonymised() -> None:
    event = click()
    assert isinstance(event, Event)
    assert event.at == micros(NOW)
    assert event.subject == pseudonym_of(b"a secret of tests", VISITOR)
    assert VISITOR not in event.subject
    assert event.key == join_key(event.subject, "d-1")


def test_a_request_without_an_id_is_named_by_its_envelope() -> None:
    payload = record(decision_id=None, id="request-9")
    event = read(Topic.DECISION_REQUESTS, HOME, None, payload, 1, micros(NOW))
    assert isinstance(event, Event)
    assert isinstance(event.body, DecisionRequest)
    assert event.body.decision_id == "request-9"
    assert event.key == join_key(event.subject, "request-9")


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"time": "2026-03-01T12:00:00"}, "time_without_zone", "time"),
        ({"time": "2026-03-01T12:05:01Z"}, "time_in_future", "time"),
        ({"time": "1969-12-31T23:59:59Z"}, "invalid_value", "time"),
        ({"time": "2200-01-01T00:00:00Z"}, "invalid_value", "time"),
        ({"time": None}, "missing_field", "time"),
        ({"slot_id": 7}, "wrong_type", "slot_id"),
        ({"subject": ""}, "invalid_value", "subject"),
        ({"id": "x" * 257}, "invalid_value", "id"),
    ],
)
def test_a_bad_record_is_rejected_by_reason_and_field(
    changes: dict[str, object], reason: str, field: str
) -> None:
    rejected = click(**changes)
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.field) == (reason, field)
    assert rejected.origin.offset == 5


def test_a_record_in_a_wrong_partition_is_misrouted() -> None:
    rejected = click(shard=(HOME + 1) % 4)
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "misrouted"


def test_a_record_keyed_by_another_visitor_is_misrouted() -> None:
    rejected = click(key=b"somebody else")
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "misrouted"


def test_reasons_never_quote_the_record() -> None:
    rejected = read(Topic.CONSENTS, HOME, None, record(type=VISITOR, purposes=[]), 5, micros(NOW))
    assert isinstance(rejected, Rejected)
    assert VISITOR not in rejected.detail
