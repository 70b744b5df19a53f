"""The codec over its whole domain: whatever bytes, it answers, and with the same words again."""

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import DECODERS, Flaw, decode, decode_many, encode
from schemas.topics import TOPICS, Topic
from tests.support.fuzz.extremes import NO_NUMBERS, NUMBERS, OTHERS, TEXTS, TIMES
from tests.support.fuzz.records import Fuzzer, Surroundings
from tests.support.fuzz.shapes import START, Shapes, places, put

READ = [topic for topic, spec in TOPICS.items() if spec.record is not None]
REASONS = {
    "empty", "too_large", "not_json", "invalid_utf8", "too_deep", "missing_field", "wrong_type",
    "invalid_value", "time_without_zone",
}  # fmt: skip
SECRET = "a-raw-id-of-somebody"

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([*NUMBERS, *OTHERS, *(f'"{time}"' for time in TIMES), *TEXTS]).map(
        lambda text: msgspec.Raw(text.encode("utf-8", "surrogatepass"))
    ),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=10,
)


def expect_an_answer(topic: Topic, payload: bytes | None) -> Any:
    """Read a record: it is one, or a flaw of a known reason; alone, among others, and again."""
    answer = decode(topic, payload)
    assert decode(topic, payload) == answer
    together = decode_many(DECODERS[topic], [b"", payload, None])[1]
    if not isinstance(together, Flaw):
        together = DECODERS[topic].flaw(together) or together
    assert together == answer
    if isinstance(answer, Flaw):
        assert answer.reason in REASONS
        assert len(answer.detail) < 500
        assert SECRET not in answer.detail + (answer.field or "")
    return answer


@settings(max_examples=200)
@given(st.sampled_from(READ), st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes_have_an_answer(topic: Topic, payload: bytes) -> None:
    expect_an_answer(topic, payload)


@settings(max_examples=300)
@given(st.sampled_from(READ), JSON)
def test_any_json_has_an_answer(topic: Topic, value: Any) -> None:
    expect_an_answer(topic, msgspec.json.encode(value))


@settings(max_examples=300)
@given(st.sampled_from(READ), st.integers(0, 2**32), st.data())
def test_any_json_at_any_place_of_a_record_has_an_answer(
    topic: Topic, seed: int, data: st.DataObject
) -> None:
    type_ = Random(seed).choice(list(TOPICS[topic].records()))
    tree = Shapes({"subject": lambda _: SECRET}).record(Random(seed), type_)
    path = data.draw(st.sampled_from(list(places(tree))))
    answer = expect_an_answer(topic, msgspec.json.encode(put(tree, path, data.draw(JSON))))
    if not isinstance(answer, Flaw):
        expect_an_answer(topic, encode(answer))


@pytest.mark.parametrize("text", [text for text in NO_NUMBERS if text])
@pytest.mark.parametrize("topic", READ)
def test_what_is_no_json_is_a_flaw_at_any_place(topic: Topic, text: str) -> None:
    for type_ in TOPICS[topic].records():
        tree = Shapes({}).record(Random(1), type_)
        for path in places(tree):
            payload = msgspec.json.encode(put(tree, path, msgspec.Raw(text.encode())))
            assert isinstance(expect_an_answer(topic, payload), Flaw), path


def test_what_the_fuzzer_makes_has_an_answer() -> None:
    fuzzer = Fuzzer(3, 2, READ)
    about = Surroundings(START, ["home"], ["visitor"])
    records = [fuzzer.make(number, about) for number in range(2_000)]
    assert records == [fuzzer.make(number, about) for number in range(2_000)]
    flawed = 0
    for record in records:
        answer = expect_an_answer(record.topic, record.value)
        flawed += isinstance(answer, Flaw)
    assert 800 < flawed < 1_600


@pytest.mark.parametrize("topic", READ)
def test_a_record_made_from_its_schema_is_valid(topic: Topic) -> None:
    """So that what is spoiled afterwards is spoiled in the place that was meant."""
    fuzzer = Fuzzer(3, 2, [topic])
    about = Surroundings(START, ["home"], ["visitor"])
    known = fuzzer.known(Random(1), topic, about)
    trees = [fuzzer.valid(Random(n), n, topic, known, about) for n in range(100)]
    flaws = [decode(topic, msgspec.json.encode(tree)) for tree in trees]
    wrong = [flaw for flaw in flaws if isinstance(flaw, Flaw)]
    assert len(wrong) < 10, wrong
