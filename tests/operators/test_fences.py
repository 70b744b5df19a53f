"""The fence keys that a start reads from our own topics, whatever lies there."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.publish import FENCES, dead_letter_message
from schemas.codec import encode
from schemas.topics import Topic
from tests.support import records as make

FENCED = sorted(FENCES)
GOOD = {
    Topic.DECISIONS: encode(make.decision(7)),
    Topic.OUTCOMES: encode(make.outcome(7)),
    Topic.DEAD_LETTERS: encode(make.dead_letter(7)),
}
KEYED = (Topic.DECISIONS, Topic.OUTCOMES)

ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**130), 2**130)
    | st.floats()
    | st.text()
    | st.sampled_from(["0x000000000000ff", "-00000000000000f", "+000000000000_1", "f" * 400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def allowed(key: int | None) -> bool:
    return key is None or (type(key) is int and 0 <= key < 2**64)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FENCED), st.binary(max_size=200))
def test_any_bytes_have_a_fence_key_or_none(topic: Topic, value: bytes) -> None:
    assert FENCES[topic](value) is None


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FENCED), st.data())
def test_so_do_records_of_ours_with_anything_in_their_fields(
    topic: Topic, data: st.DataObject
) -> None:
    fields: dict[str, Any] = msgspec.json.decode(GOOD[topic])
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
        fields[name] = data.draw(ANY_JSON)
    try:
        value = msgspec.json.encode(fields)
    except (UnicodeEncodeError, OverflowError):
        return
    assert allowed(FENCES[topic](value))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FENCED), st.data())
def test_so_do_damaged_records(topic: Topic, data: st.DataObject) -> None:
    value = bytearray(GOOD[topic])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(value) - 1))
        value[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(value)))
    assert allowed(FENCES[topic](bytes(value[:end])))
    assert allowed(FENCES[topic](bytes(value)))


@pytest.mark.parametrize("topic", KEYED)
@pytest.mark.parametrize("key", ["", "zz", "-00000000000000f", "0x00000000000000", "1" * 17])
def test_a_key_that_is_none_is_no_fence_key(topic: Topic, key: str) -> None:
    value = msgspec.json.encode(msgspec.json.decode(GOOD[topic]) | {"key": key})
    assert FENCES[topic](value) is None


def test_a_record_that_does_not_read_back_answers_nothing() -> None:
    """What has a key and is otherwise no decision does not keep the request's answer away."""
    fields = msgspec.json.decode(GOOD[Topic.DECISIONS])
    for name in ("action_id", "propensity", "expires_at"):
        damaged = msgspec.json.encode({key: fields[key] for key in fields if key != name})
        assert FENCES[Topic.DECISIONS](damaged) is None


def test_another_writers_decision_is_not_ours_to_fence() -> None:
    ours, theirs = make.decision(7), make.decision(7, writer="edge")
    assert FENCES[Topic.DECISIONS](encode(ours)) == 7
    assert FENCES[Topic.DECISIONS](encode(theirs)) == 0


def test_a_dead_letters_key_is_that_of_its_message() -> None:
    letter = make.dead_letter(7)
    assert FENCES[Topic.DEAD_LETTERS](encode(letter)) == dead_letter_message(letter).id
