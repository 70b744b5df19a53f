"""Records of every topic, as an old release wrote them, are read as it read them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.topics import Topic
from tests.support.recording.archive import OldRecord, recorded
from tests.support.recording.old_records import read

READ_BACK = {
    Topic.OUTCOMES,
    Topic.PROFILES,
    Topic.POLICIES,
    Topic.CHECKPOINTS,
    Topic.DEAD_LETTERS,
}
"""Our own topics, whose records are read in full."""


@pytest.fixture(scope="module")
def old() -> Iterator[list[OldRecord]]:
    with recorded() as found:
        yield found.records


def test_they_are_of_every_topic_that_a_flow_writes_or_reads(old: list[OldRecord]) -> None:
    assert {each.topic for each in old} >= READ_BACK | {
        Topic.DECISION_REQUESTS,
        Topic.DECISIONS,
        Topic.IMPRESSIONS,
        Topic.CLICKS,
        Topic.REWARDS,
        Topic.CONSENTS,
        Topic.CATALOG,
    }
    assert any("flaw" in each.read for each in old)


def is_within(before: Any, now: Any) -> bool:
    """Tell whether all fields are as they were; newer ones may stand beside them."""
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() <= now.keys() and all(is_within(before[k], now[k]) for k in before)
    return bool(before == now)


def test_old_records_are_read_as_before(old: list[OldRecord]) -> None:
    for each in old:
        found = read(Topic(each.topic), each.payload.encode())
        assert is_within(each.read, found), (each.topic, each.payload)


def test_no_field_of_our_own_records_is_lost(old: list[OldRecord]) -> None:
    for each in old:
        if each.topic in READ_BACK:
            found = read(Topic(each.topic), each.payload.encode())
            assert json.loads(each.payload).keys() <= found.keys(), each.topic
