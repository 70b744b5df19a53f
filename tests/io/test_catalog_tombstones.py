"""A tombstone in the catalog is one dead letter and removes nothing, whoever reads the topic."""

import time

import confluent_kafka
import pytest

from flows.devkit.embedded import Server
from flows.runtime.clock import system_clock
from flows.runtime.warm_start import _slots
from flows.verification.reading import catalog_of
from operators.envelope import CatalogUpdate
from operators.io.kafka import CatalogSource, create_topics, producer_config
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import flaw_of
from schemas.codec import encode
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import settings_for


@pytest.fixture
def deployment(server: Server, topic_prefix: str) -> Settings:
    settings = settings_for(server.address, topic_prefix)
    create_topics(settings.kafka)
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    slot, action = make.slot("home"), make.action("a")
    for key, value in (
        (slot.id, encode(slot)),
        (action.id, encode(action)),
        (slot.id, None),
        (action.id, b""),
        ("never-there", None),
    ):
        producer.produce(settings.kafka.topic(Topic.CATALOG), value, key.encode())
    assert producer.flush(20) == 0
    return settings


def updates(settings: Settings) -> list[CatalogUpdate]:
    part = CatalogSource(settings.kafka, flaw_of, system_clock).build_part("in", "catalog", None)
    deadline, out = time.monotonic() + 20, []
    while not (out and out[-1].complete):
        assert time.monotonic() < deadline
        out += [update for _, update in part.next_batch()]
    return out


def test_a_tombstone_is_a_dead_letter_and_removes_nothing(deployment: Settings) -> None:
    history = CatalogHistory()
    for update in updates(deployment):
        for entry in update.entries:
            history.add(entry)
    letters = [each for update in updates(deployment) for each in update.rejected]
    assert [(each.reason, each.origin.offset) for each in letters] == [
        ("empty", 2),
        ("empty", 3),
        ("empty", 4),
    ]
    for known in (history, catalog_of(deployment)):
        catalog = known.as_of(2**62)
        assert [action.action_id for action in catalog.actions["home"]] == ["a"]
    assert set(_slots(deployment)) == {"home"}


def test_a_slot_that_is_to_be_deleted_is_there_until_then(deployment: Settings) -> None:
    """A start from the store begins with it, and not with one that was deleted."""
    producer = confluent_kafka.Producer(producer_config(deployment.kafka))
    for slot in (
        make.slot("home", 10**8, deleted=True),
        make.slot("side"),
        make.slot("side", 1, deleted=True),
    ):
        producer.produce(deployment.kafka.topic(Topic.CATALOG), encode(slot), slot.id.encode())
    assert producer.flush(20) == 0
    assert set(_slots(deployment)) == {"home"}
