"""Null is absent where a field may be left out, and what a context cannot keep is as if missing."""

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect as types

from schemas.bounds import CONTEXT_DEPTH, GREATEST_INTEGER, LEAST_INTEGER
from schemas.codec import DECODERS, Flaw, decode, decode_many
from schemas.events import DecisionRequest
from schemas.topics import APPLICATIONS, TOPICS, Topic
from tests.schemas.test_codec import EVENT, GOOD, json_values, of_type, payload

REQUEST = {**EVENT, "slot_id": "home"}
TWENTY_FOUR_DIGITS = "123456789012345678901234"


def request(context: str) -> DecisionRequest:
    """Read a request whose context is this JSON, in both ways."""
    raw = payload(REQUEST)[:-1] + f', "context": {context}}}'.encode()
    record = decode(Topic.DECISION_REQUESTS, raw)
    assert decode_many(DECODERS[Topic.DECISION_REQUESTS], [raw]) == [record]
    assert isinstance(record, DecisionRequest), record
    return record


def nested(levels: int, inner: str = "1") -> str:
    return "[" * levels + inner + "]" * levels


@pytest.mark.parametrize(
    ("value", "read_as"),
    [
        (TWENTY_FOUR_DIGITS, 1.2345678901234568e23),
        ("18446744073709551615", 1.8446744073709552e19),
        ("9223372036854775808", 9.223372036854775808e18),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", -9.223372036854775808e18),
        ("1e400", None),
        ("-1e999", None),
        ("9" * 309, None),
        ("9" * 100_000, None),
        ("0." + "3" * 100_000, 1 / 3),
        ("1e308", 1e308),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
        ("[1, 1e400]", [1, None]),
        ('{"a": 1e400, "a": 2}', {"a": 2}),
        ('"\\u0000"', "\0"),
        ("null", None),
        (nested(CONTEXT_DEPTH - 1), [[[[[1]]]]]),
        (nested(CONTEXT_DEPTH), [[[[[None]]]]]),
        (nested(500), [[[[[None]]]]]),
        ('{"b": ' * 300 + "1" + "}" * 300, {"b": {"b": {"b": {"b": {"b": None}}}}}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_context_holds_64_bit_integers_and_finite_numbers(value: str, read_as: Any) -> None:
    assert request(f'{{"a": {value}, "b": 1}}').context == {"a": read_as, "b": 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("NaN", "not_json"),
        ("Infinity", "not_json"),
        ("-Infinity", "not_json"),
        ('"\\ud800"', "not_json"),
        ('"\\udc00\\ud800"', "not_json"),
        (nested(100_000), "too_deep"),
    ],
    ids=lambda value: str(value)[:30],
)
@pytest.mark.parametrize("before", ["", "1e400, "])
def test_what_is_no_json_is_refused_after_a_number_that_overflows_too(
    value: str, reason: str, before: str
) -> None:
    raw = payload(REQUEST)[:-1] + f', "context": {{"a": [{before}{value}]}}}}'.encode()
    record = decode(Topic.DECISION_REQUESTS, raw)
    assert isinstance(record, Flaw)
    assert record.reason in {reason, "invalid_value"}


def every_number(value: Any) -> Iterator[int | float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from every_number(each)
    elif isinstance(value, int | float):
        yield value


extreme_numbers = st.one_of(
    st.integers().map(str),
    st.integers(2**62, 2**65).map(str),
    st.integers(-(10**400), 10**400).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1e309", "-1e400", "1E+999", "-0", "-0.0", "0e5", "9" * 500]),
)
extreme_json = st.recursive(
    extreme_numbers
    | st.sampled_from(["null", "true", '"\\u0000"', '"\\ud83d\\ude00"', '"1e400"'])
    | st.text(max_size=5).map(json.dumps).filter(lambda text: "\\ud" not in text),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]")
        | st.lists(st.tuples(st.sampled_from(["a", "b", "é"]), inner), max_size=3).map(
            lambda pairs: "{" + ",".join(f"{json.dumps(name)}:{each}" for name, each in pairs) + "}"
        )
    ),
    max_leaves=12,
)


def tolerable(value: Any, levels: int) -> Any:
    """What a context keeps of a value, said once more in Python's numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | list | dict):
        return value
    if isinstance(value, list | dict) and not levels:
        return None
    if isinstance(value, list):
        return [tolerable(each, levels - 1) for each in value]
    if isinstance(value, dict):
        return {name: tolerable(each, levels - 1) for name, each in value.items()}
    if isinstance(value, int) and LEAST_INTEGER <= value <= GREATEST_INTEGER:
        return value
    try:
        return float(value) if isfinite(value) else None
    except OverflowError:
        return None


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), extreme_json, max_size=3))
def test_any_json_is_a_context_that_every_step_can_write(context: dict[str, str]) -> None:
    text = "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in context.items()) + "}"
    read = request(text).context
    assert read == tolerable(json.loads(text), CONTEXT_DEPTH)
    for number in every_number(read):
        assert isfinite(number)
        assert isinstance(number, float) or LEAST_INTEGER <= number <= GREATEST_INTEGER
    msgspec.msgpack.encode(read)


WRITTEN = [
    (topic, record.__name__)
    for topic, spec in TOPICS.items()
    if APPLICATIONS in spec.writers
    for record in spec.records()
]


def optional_fields(type_: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Name every field that may be left out, within the structs of the record, too.

    Structs with fields that are required stand in records of their own below.
    """
    match type_:
        case types.Metadata():
            yield from optional_fields(type_.type, path)
        case types.UnionType():
            for each in type_.types:
                yield from optional_fields(each, path)
        case types.StructType():
            if path and any(field.required for field in type_.fields):
                return
            for field in type_.fields:
                if not field.required:
                    yield (*path, field.encode_name)
                yield from optional_fields(field.type, (*path, field.encode_name))


def record_type(topic: Topic, name: str) -> Any:
    return next(each for each in TOPICS[topic].records() if each.__name__ == name)


@pytest.mark.parametrize(("topic", "name"), WRITTEN)
def test_null_is_absent_for_every_field_that_may_be_left_out(topic: Topic, name: str) -> None:
    good = of_type(topic, name)
    paths = list(optional_fields(types.type_info(record_type(topic, name))))
    assert paths
    every: dict[str, Any] = dict(good)
    for path in paths:
        inner, bare = {path[-1]: None}, {}
        for outer in reversed(path[1:-1]):
            inner, bare = {outer: inner}, {outer: bare}
        with_null = {**good, path[0]: inner if len(path) > 1 else None}
        without = {field: value for field, value in good.items() if field != path[0]}
        if len(path) > 1:
            without[path[0]] = bare
        assert decode(topic, payload(with_null)) == decode(topic, payload(without)), path
        assert not isinstance(decode(topic, payload(with_null)), Flaw)
        if len(path) == 1:
            every[path[0]] = None
    assert not isinstance(decode(topic, payload(every)), Flaw)


@pytest.mark.parametrize(("topic", "name"), WRITTEN)
def test_null_for_a_field_that_is_needed_is_of_the_wrong_type(topic: Topic, name: str) -> None:
    good = of_type(topic, name)
    for field in msgspec.structs.fields(record_type(topic, name)):
        if field.required:
            record = decode(topic, payload({**good, field.encode_name: None}))
            assert isinstance(record, Flaw)
            assert (record.reason, record.field) == ("wrong_type", field.encode_name)


def test_null_is_absent_in_what_a_list_holds_and_a_value_in_free_json() -> None:
    slot = {
        **GOOD[Topic.CATALOG],
        "policy": {"kind": None, "params": {"prior": None}},
        "features": {"interactions": [{"left": "a", "right": "b"}], "vectors": None},
    }
    record = decode(Topic.CATALOG, payload(slot))
    assert not isinstance(record, Flaw)
    assert (record.policy.kind, record.policy.params) == ("beta", {"prior": None})
    bad = decode(Topic.CATALOG, payload({**slot, "features": {"vectors": {"taste": None}}}))
    assert (bad.reason, bad.field) == ("wrong_type", "features.vectors[...]")
    strange = decode(Topic.CATALOG, payload({**slot, "policy": {"kind": None, "name": None}}))
    assert (strange.reason, strange.field) == ("invalid_value", "policy")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(WRITTEN), st.data())
def test_nulls_anywhere_never_raise(place: tuple[Topic, str], data: st.DataObject) -> None:
    topic, name = place
    record = dict(of_type(topic, name))
    for field in data.draw(st.sets(st.sampled_from(sorted(record)))):
        record[field] = data.draw(st.none() | json_values)
    decode(topic, payload(record))


@pytest.mark.parametrize(
    ("field", "whole", "optional"),
    [
        ("layer", {"layer_id": "x"}, ["start", "stop"]),
        ("change", {"step": "start", "author": "ann", "reason": "now"}, ["evidence"]),
        (
            "proposal",
            {"step": "stop", "author": "ann", "reason": "harm"},
            ["variation_id", "share", "evidence"],
        ),
    ],
)
def test_null_is_absent_in_what_an_experiment_may_have(
    field: str, whole: dict[str, Any], optional: list[str]
) -> None:
    good = of_type(Topic.CATALOG, "Experiment")
    bare = decode(Topic.CATALOG, payload({**good, field: whole}))
    assert not isinstance(bare, Flaw)
    nulls = dict.fromkeys(optional)
    assert decode(Topic.CATALOG, payload({**good, field: {**whole, **nulls}})) == bare
    for inner in whole:
        flaw = decode(Topic.CATALOG, payload({**good, field: {**whole, inner: None}}))
        assert isinstance(flaw, Flaw)
