"""Every bound of every field: at it a record is read, beyond it refused by the field's name."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec import inspect as types

from schemas import bounds
from schemas.codec import Flaw, decode
from schemas.events import DecisionBack
from schemas.topics import APPLICATIONS, TOPICS, Topic
from tests.schemas.test_codec import GOOD, of_type, payload
from tests.schemas.test_topics_reference import rows, section

EVENTS = [
    *(
        (topic, record)
        for topic, spec in TOPICS.items()
        if APPLICATIONS in spec.writers and topic != Topic.CATALOG
        for record in spec.records()
    ),
    (Topic.DECISIONS, DecisionBack),
]
"""The records of visitors, and what is read back of decisions."""


class Bound(NamedTuple):
    """A field, its greatest and least values that are read, and what is just beyond."""

    field: str
    number: float
    inside: Any
    beyond: Any


def bounds_of(name: str, type_: types.Type) -> Iterator[Bound]:
    """Read what a field's type says of its values, and of those that it lists."""
    match type_:
        case types.Metadata():
            yield from bounds_of(name, type_.type)
        case types.UnionType():
            for each in type_.types:
                yield from bounds_of(name, each)
        case types.StrType(min_length=least, max_length=most):
            if least:
                yield Bound(name, least, "é" * least, "")
            if most is not None:
                letter = "é" if most < 100_000 else "x"  # a record has a million bytes at most
                yield Bound(name, most, letter * most, letter * (most + 1))
        case types.IntType(ge=least, le=most) | types.FloatType(ge=least, le=most):
            for number, sign in ((least, -1), (most, 1)):
                if number is not None:
                    beyond = number + sign * max(1, abs(number) // 1000)
                    yield Bound(name, number, number, beyond)
        case types.ListType(item_type=item, max_length=most):
            for each in bounds_of(name, item):
                yield each._replace(inside=[each.inside], beyond=[each.beyond])
            if most is not None:
                good = next(good_items(item))
                yield Bound(name, most, [good] * most, [good] * (most + 1))
        case types.StructType():
            for field in type_.fields:
                for each in bounds_of(name, field.type):
                    yield each._replace(
                        inside=next(good_items(type_)) | {field.encode_name: each.inside},
                        beyond=next(good_items(type_)) | {field.encode_name: each.beyond},
                    )


def good_items(type_: types.Type) -> Iterator[Any]:
    """Draw a value of this type within its bounds."""
    match type_:
        case types.Metadata():
            yield from good_items(type_.type)
        case types.StructType():
            yield {field.encode_name: next(good_items(field.type)) for field in type_.fields}
        case types.StrType(min_length=least):
            yield "é" * (least or 1)
        case types.IntType() | types.FloatType():
            yield 0
        case types.UnionType():
            yield from good_items(type_.types[0])
        case types.RawType():
            yield None


BOUNDS = [
    (topic, record.__name__, bound)
    for topic, record in EVENTS
    for field in msgspec.structs.fields(record)
    for bound in bounds_of(field.encode_name, types.type_info(field.type))
]


def unbounded(type_: types.Type) -> bool:
    match type_:
        case types.Metadata():
            return unbounded(type_.type)
        case types.UnionType():
            return any(map(unbounded, type_.types))
        case types.ListType():
            return unbounded(type_.item_type)
        case types.StrType():
            return type_.max_length is None
        case types.IntType() | types.FloatType():
            return type_.le is None or (type_.ge is None and type_.gt is None)
        case types.StructType():
            return any(unbounded(field.type) for field in type_.fields)
        case _:
            return False


@pytest.mark.parametrize("record", [record for _, record in EVENTS])
def test_every_text_and_number_of_an_event_has_a_bound(record: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(record):
        assert not unbounded(types.type_info(field.type)), field.name


@pytest.mark.parametrize(
    ("topic", "record", "bound"),
    BOUNDS,
    ids=[f"{record}.{bound.field}-{bound.number:g}" for _, record, bound in BOUNDS],
)
def test_a_field_is_read_at_its_bound_and_refused_beyond(
    topic: Topic, record: str, bound: Bound
) -> None:
    good = GOOD[topic] if topic == Topic.DECISIONS else of_type(topic, record)
    assert not isinstance(decode(topic, payload({**good, bound.field: bound.inside})), Flaw)
    flaw = decode(topic, payload({**good, bound.field: bound.beyond}))
    assert isinstance(flaw, Flaw)
    assert flaw.reason == "invalid_value"
    assert flaw.field is not None
    assert flaw.field.partition("[")[0] == bound.field


STATED = {cells[0]: cells[1] for cells in rows(section("Bounds"))[2:]}


def stated(field: str) -> str:
    """What the reference says of a field's bounds."""
    return " ".join(text for cell, text in STATED.items() if f"`{field}`" in cell)


def numbers_in(text: str) -> set[float]:
    return {
        float(number.replace(",", "").replace("−", "-"))
        for number in re.findall(r"−?\d[\d,]*", text)
    }


_ROUNDING = 1e-6
"""A probability may exceed 1 by the rounding of its computation."""


@pytest.mark.parametrize(
    ("record", "bound"),
    [(record, bound) for _, record, bound in BOUNDS],
    ids=[f"{record}.{bound.field}-{bound.number:g}" for _, record, bound in BOUNDS],
)
def test_the_reference_states_every_bound(record: str, bound: Bound) -> None:
    numbers = numbers_in(stated(bound.field))
    assert any(abs(bound.number - number) < _ROUNDING for number in numbers), (record, bound.field)


def test_the_reference_states_what_a_context_keeps() -> None:
    assert numbers_in(stated("context")) >= {bounds.CONTEXT_DEPTH, 64}
    assert "1970-01-01T00:00:00Z to before 2200-01-01T00:00:00Z" in STATED["every time"]
