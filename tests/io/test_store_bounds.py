"""What no column can hold costs its record alone: a row of dead letters, never an exception."""

import json
from typing import Any

import pytest
from msgspec import to_builtins
from msgspec.structs import fields

from operators.envelope import Event, Origin
from operators.io.store.protocol import Store
from operators.io.store.sqlite import SqliteStore
from operators.persist import rows_of
from schemas.topics import STORED, TOPICS, Topic
from tests.support import records as make

GOOD: dict[Topic, dict[str, Any]] = {
    Topic.DECISIONS: to_builtins(make.decision(1)),
    Topic.OUTCOMES: to_builtins(make.outcome(1)),
    Topic.PROFILES: to_builtins(make.profile("s1", 1)),
    Topic.POLICIES: to_builtins(make.policy("home", 1)),
    Topic.CHECKPOINTS: to_builtins(make.checkpoint("home")),
    Topic.DEAD_LETTERS: to_builtins(make.dead_letter(1)),
    Topic.CATALOG: to_builtins(make.action("a0")),
    Topic.TEST_REPORTS: to_builtins(make.report("exp")),
}

WILD = [
    "null",
    "true",
    "-1",
    str(2**62),
    str(2**63 - 1),
    str(2**63),
    str(-(2**63)),
    str(-(2**64)),
    str(10**40),
    "9" * 400,
    "1e308",
    "-1e308",
    "5e-324",
    "1e400",
    "-0.0",
    '""',
    '"\\u0000"',
    '"a\\u0000b"',
    '"\\ud83d\\ude00"',
    json.dumps("é" * 256),
    json.dumps("é" * 257),
    json.dumps("x" * 100_000),
    '"0001-01-01T00:00:00Z"',
    '"0001-01-01T00:00:00+14:00"',
    '"9999-12-31T23:59:59-14:00"',
    '"2026-03-01T12:00:00"',
    '"ffffffffffffffff"',
    '"AACAfw=="',  # an infinite float32
    '"AADAfw=="',  # not a number
    '"AAA="',
    "[]",
    "{}",
    "[1e400]",
    "[1e39, 1]",
    "[" * 300 + "]" * 300,
    '{"a": 1e400}',
    json.dumps({"a\0": 2**70}),
    '{"a": 1, "a": 2}',
]


def records_of(topic: Topic) -> list[bytes]:
    """Make good records of a topic, each with one field that says something wild."""
    good = GOOD[topic]
    names = {field.encode_name for record in TOPICS[topic].records() for field in fields(record)}
    made = []
    for name in sorted(names):
        rest = json.dumps({field: value for field, value in good.items() if field != name})
        made += [f'{rest[:-1]}, "{name}": {value}}}'.encode() for value in WILD]
    return made


def test_every_stored_topic_is_tried() -> None:
    assert set(GOOD) == set(STORED)


@pytest.mark.parametrize("topic", GOOD)
def test_each_record_is_a_row_or_a_dead_letter(store: Store, topic: Topic) -> None:
    payloads = records_of(topic)
    if not isinstance(store, SqliteStore):  # the mirror's own database takes no NUL; Oracle does
        payloads = [payload for payload in payloads if b"\\u0000" not in payload]
    events = [
        Event(offset, None, "", 0, Origin(topic, 0, offset, 2**62), payload)
        for offset, payload in enumerate(payloads)
    ]
    writes = rows_of(0, events)
    assert len(writes) == len(payloads)
    applied = store.apply(writes)
    refused = {row["topic_offset"] for row in store.rows("dead_letters", limit=10_000)}
    if topic != Topic.DEAD_LETTERS:  # whose own rows are dead letters, too
        unread = applied.rows["dead_letters"]
        assert len(refused) == unread + sum(applied.refused.values())
        assert 0 < len(refused) < len(payloads)
