"""Whatever bytes arrive, decoding gives a record or a flaw with a reason."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.inspect import StructType, type_info
from msgspec.structs import fields

from schemas.clock import EARLIEST, LATEST, in_calendar, micros, moment
from schemas.codec import (
    DECODERS,
    MAX_RECORD_BYTES,
    Flaw,
    decode,
    decode_many,
    encode,
    encode_for_people,
)
from schemas.events import Click, Consent, DecisionBack, DecisionRequest, Erasure
from schemas.experiments import RampStep
from schemas.topics import TOPICS, Topic
from tests.support import records as make

READ = [
    Topic.DECISION_REQUESTS,
    Topic.DECISIONS,
    Topic.IMPRESSIONS,
    Topic.CLICKS,
    Topic.REWARDS,
    Topic.CONSENTS,
    Topic.CATALOG,
    Topic.OUTCOMES,
    Topic.PROFILES,
    Topic.POLICIES,
    Topic.CHECKPOINTS,
    Topic.DEAD_LETTERS,
]
REASONS = {
    "empty",
    "too_large",
    "invalid_utf8",
    "too_deep",
    "not_json",
    "missing_field",
    "time_without_zone",
    "wrong_type",
    "invalid_value",
}
EVENT = {"id": "e1", "time": "2026-03-01T12:00:00Z", "subject": "visitor-1"}
OF_DECISION = {**EVENT, "decision_id": "d1", "slot_id": "home"}
GOOD: dict[Topic, Any] = {
    Topic.DECISION_REQUESTS: {**EVENT, "slot_id": "home", "context": {"age": 3}},
    Topic.DECISIONS: msgspec.to_builtins(make.decision(1)),
    Topic.IMPRESSIONS: {**OF_DECISION, "position": 0},
    Topic.CLICKS: OF_DECISION,
    Topic.REWARDS: {**OF_DECISION, "value": 0.5},
    Topic.CONSENTS: {**EVENT, "type": "consent", "purposes": [5, 6]},
    Topic.CATALOG: msgspec.to_builtins(make.slot("home")),
    Topic.OUTCOMES: msgspec.to_builtins(make.outcome(1)),
    Topic.PROFILES: msgspec.to_builtins(make.profile("s", 1)),
    Topic.POLICIES: msgspec.to_builtins(make.policy("home", 1)),
    Topic.CHECKPOINTS: msgspec.to_builtins(make.checkpoint("home")),
    Topic.DEAD_LETTERS: msgspec.to_builtins(make.dead_letter(1)),
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


def payload(record: Any) -> bytes:
    return json.dumps(record).encode()


def judged(topic: Topic, raw: bytes) -> Any:
    """Decode; a flaw has one of the known reasons."""
    found = decode(topic, raw)
    if isinstance(found, Flaw):
        assert found.reason in REASONS
    return found


@pytest.mark.parametrize("topic", READ)
def test_a_good_record_reads_back_as_it_was_written(topic: Topic) -> None:
    record = decode(topic, payload(GOOD[topic]))
    assert not isinstance(record, Flaw)
    assert decode(topic, encode(record)) == record


def test_unknown_fields_are_no_error() -> None:
    assert isinstance(decode(Topic.CLICKS, payload({**OF_DECISION, "extra": [1, {}]})), Click)


def test_the_type_tells_consent_from_erasure() -> None:
    assert isinstance(decode(Topic.CONSENTS, payload(GOOD[Topic.CONSENTS])), Consent)
    assert isinstance(decode(Topic.CONSENTS, payload({**EVENT, "type": "erasure"})), Erasure)


@pytest.mark.parametrize(
    ("raw", "reason", "field"),
    [
        (None, "empty", None),
        (b"", "empty", None),
        (b"{", "not_json", None),
        (b"visitor-1 clicked", "not_json", None),
        (b"NaN", "not_json", None),
        (b'{"id": NaN}', "not_json", None),
        (b'{"id": "\xff"}', "invalid_utf8", None),
        (b'{"extra": ' + b"[" * 100_000, "too_deep", None),
        (b'{"extra": ' + b'{"a":' * 50_000, "too_deep", None),
        (b"[]", "wrong_type", None),
        (b"null", "wrong_type", None),
        (payload({**OF_DECISION, "time": 5}), "wrong_type", "time"),
        (payload({**OF_DECISION, "position": "first"}), "wrong_type", "position"),
        (payload({**OF_DECISION, "id": None}), "wrong_type", "id"),
        (payload({**OF_DECISION, "time": "2026-03-01T12:00:00"}), "time_without_zone", "time"),
        (payload({**OF_DECISION, "time": "yesterday"}), "invalid_value", "time"),
        (payload({**OF_DECISION, "id": ""}), "invalid_value", "id"),
        (payload({**OF_DECISION, "id": "i" * 257}), "invalid_value", "id"),
        (payload(EVENT), "missing_field", "decision_id"),
        (b"{}", "missing_field", "id"),
        (b'"' + b"x" * MAX_RECORD_BYTES + b'"', "too_large", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_click_says_what_is_wrong_and_where(
    raw: bytes | None, reason: str, field: str | None
) -> None:
    flaw = decode(Topic.CLICKS, raw)
    assert isinstance(flaw, Flaw)
    assert (flaw.reason, flaw.field) == (reason, field)


def test_a_field_within_is_named_by_its_path() -> None:
    bad = msgspec.to_builtins(make.slot("home"))
    bad["policy"]["publish_rewards"] = 0
    flaw = decode(Topic.CATALOG, payload(bad))
    assert (flaw.reason, flaw.field) == ("invalid_value", "policy.publish_rewards")
    assert decode(Topic.CATALOG, payload({"type": "page"})).reason == "invalid_value"


def test_ten_megabytes_are_refused_by_size_alone() -> None:
    raw = payload({**OF_DECISION, "extra": "u" * 10_000_000})
    flaw = decode(Topic.CLICKS, raw)
    assert flaw == Flaw("too_large", detail=f"{len(raw)} bytes, the limit is {MAX_RECORD_BYTES}")
    assert isinstance(decode(Topic.CLICKS, raw, limit=len(raw)), Click)


def test_a_value_of_the_record_does_not_get_into_the_detail() -> None:
    """It may be a raw id; the detail goes into a dead letter."""
    for record in (
        {**GOOD[Topic.CONSENTS], "type": "visitor-1"},
        {**OF_DECISION, "time": "visitor-1"},
        {**OF_DECISION, "subject": {"visitor-1": "visitor-1"}},
    ):
        for topic in READ:
            flaw = decode(topic, payload(record))
            if isinstance(flaw, Flaw):
                assert "visitor-1" not in f"{flaw.field} {flaw.detail}"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(READ), st.binary(max_size=200))
def test_random_bytes_never_raise(topic: Topic, raw: bytes) -> None:
    judged(topic, raw)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(READ), json_values)
def test_random_json_never_raises(topic: Topic, value: Any) -> None:
    judged(topic, payload(value))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_record_never_raises_and_its_flaw_names_the_field(data: st.DataObject) -> None:
    topic = data.draw(st.sampled_from(READ))
    good = GOOD[topic]
    field = data.draw(st.sampled_from(sorted(good)))
    if data.draw(st.booleans()):
        found = judged(topic, payload({name: v for name, v in good.items() if name != field}))
        if isinstance(found, Flaw):
            assert found.field == field or field == "type"
    else:
        found = judged(topic, payload({**good, field: data.draw(json_values)}))
        if isinstance(found, Flaw) and found.field is not None and found.reason != "not_json":
            assert found.field.split(".")[0].split("[")[0] == field


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(READ), st.data())
def test_cut_and_flipped_records_never_raise(topic: Topic, data: st.DataObject) -> None:
    raw = bytearray(payload(GOOD[topic]))
    at = data.draw(st.integers(0, len(raw) - 1))
    judged(topic, bytes(raw[:at]) or b"{")
    raw[at] = data.draw(st.integers(0, 255))
    judged(topic, bytes(raw))


@given(st.text(max_size=50), st.dictionaries(st.text(max_size=5), st.integers(-(2**53), 2**53)))
def test_any_text_survives_the_round_trip(text: str, context: dict[str, int]) -> None:
    record = decode(
        Topic.DECISION_REQUESTS,
        payload({**EVENT, "slot_id": "home", "source": text, "context": context}),
    )
    assert isinstance(record, DecisionRequest)
    assert record.source == text
    assert record.context == context


def test_people_read_arrays_and_structs() -> None:
    shown = encode_for_people({"x": np.array([1.0, 2.5]), "flaw": Flaw("empty"), 3: None})
    assert json.loads(shown) == {
        "x": [1.0, 2.5],
        "flaw": {"reason": "empty", "field": None, "detail": ""},
        "3": None,
    }


def test_the_calendar_of_records_is_what_its_constants_say() -> None:
    assert moment(EARLIEST) == datetime(1970, 1, 1, tzinfo=UTC)
    assert moment(LATEST) == datetime(2200, 1, 1, tzinfo=UTC)


def times_of(record: Any) -> list[str]:
    return [field.name for field in fields(record) if "datetime" in str(field.type)]


@given(st.one_of(st.integers(), st.integers(EARLIEST, LATEST - 1), st.integers(-(2**63), 2**63)))
def test_every_number_is_a_moment_and_those_of_records_are_exact(at: int) -> None:
    time = moment(at)
    assert time.tzinfo is UTC
    if EARLIEST <= at < LATEST:
        assert micros(time) == at
        assert in_calendar(time)
    else:
        assert not in_calendar(time)


TIMES = [
    (topic, name, record.__name__)
    for topic in READ
    for record in TOPICS[topic].records()
    for name in times_of(record)
    if topic != Topic.DECISIONS or name in DecisionBack.__struct_fields__
]
AT_THE_ENDS = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00+00:01",
    "2199-12-31T23:59:00-00:01",
    "2200-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
]


def of_type(topic: Topic, record: str) -> dict[str, Any]:
    """A good record of this type: what the topic's good one lacks is added."""
    tag = next(r for r in TOPICS[topic].records() if r.__name__ == record).__struct_config__.tag
    more = {"action_id": "a", "slots": [], "experiment_id": "e"} if topic == Topic.CATALOG else {}
    return {**GOOD[topic], **more, **({"type": tag} if tag else {})}


@pytest.mark.parametrize("time", AT_THE_ENDS)
@pytest.mark.parametrize(("topic", "field", "record"), TIMES)
def test_a_time_outside_the_calendar_is_refused(
    topic: Topic, field: str, record: str, time: str
) -> None:
    good = of_type(topic, record)
    record_bytes = payload({**good, field: time})
    (read,) = decode_many(DECODERS[topic], [record_bytes])
    for flaw in (decode(topic, record_bytes), DECODERS[topic].flaw(read)):
        assert isinstance(flaw, Flaw)
        assert (flaw.reason, flaw.field) == ("invalid_value", field)
        assert time not in flaw.detail


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(TIMES), st.datetimes(timezones=st.timezones()))
def test_every_time_that_is_read_lies_in_the_calendar(
    place: tuple[Topic, str, str], time: datetime
) -> None:
    topic, field, record = place
    try:
        micros(time)
    except OverflowError:
        return
    text = time.isoformat()
    offset = re.search(r"[+-]\d\d:\d\d(:.*)?$", text)
    if offset is None or offset.group(1):
        return  # RFC 3339 has no seconds of an offset
    record_read = decode(topic, payload({**of_type(topic, record), field: text}))
    assert isinstance(record_read, Flaw) == (not EARLIEST <= micros(time) < LATEST)


def test_what_records_nest_has_no_times() -> None:
    """The codec checks the times of a record itself; those of a ramp are the catalog check's."""

    def nested(type_: Any) -> Iterator[Any]:
        if isinstance(type_, StructType):
            yield type_.cls
        for name in ("types", "item_types"):
            for each in getattr(type_, name, ()):
                yield from nested(each)
        for name in ("item_type", "key_type", "value_type"):
            if hasattr(type_, name):
                yield from nested(getattr(type_, name))

    def check(record: Any) -> None:
        for field in fields(record):
            for inner in nested(type_info(field.type)):
                assert not times_of(inner) or inner is RampStep, inner
                check(inner)

    for topic in READ:
        for record in TOPICS[topic].records():
            check(record)
