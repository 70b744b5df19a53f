"""When the catalog counts as read to its end, at a first start and at a restart."""

import time

import confluent_kafka

from flows.devkit.embedded import Server
from flows.runtime.clock import system_clock
from operators.envelope import CatalogUpdate
from operators.io.kafka import CatalogSource, create_topics, producer_config
from operators.logic.catalog_check import flaw_of
from schemas.catalog import CatalogEntry
from schemas.codec import encode
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import settings_for


def write(settings: Settings, *entries: CatalogEntry) -> None:
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    for entry in entries:
        producer.produce(settings.kafka.topic(Topic.CATALOG), encode(entry), entry.id.encode())
    assert producer.flush(20) == 0


def read_to_end(
    settings: Settings, snapshot: bytes | None = None
) -> tuple[list[CatalogUpdate], int, bytes]:
    """Updates up to the first that is complete, how often was looked for them, and a snapshot."""
    source = CatalogSource(settings.kafka, flaw_of, system_clock)
    part, deadline = source.build_part("in", "catalog", snapshot), time.monotonic() + 20
    out: list[CatalogUpdate] = []
    looks = 0
    while not (out and out[-1].complete):
        assert time.monotonic() < deadline
        out += [update for _, update in part.next_batch()]
        looks += 1
    return out, looks, part.snapshot()


def test_it_is_complete_with_what_was_written_before_the_start_and_at_once_without_news(
    broker: Server, topic_prefix: str
) -> None:
    settings = settings_for(broker.address, topic_prefix)
    create_topics(settings.kafka)
    updates, looks, snapshot = read_to_end(settings)
    assert ([update.entries for update in updates], looks) == ([[]], 1)
    slot, off = make.slot("home"), make.action("a", enabled=False)
    for new in ([slot], [], [off]):
        write(settings, *new)
        updates, looks, snapshot = read_to_end(settings, snapshot)
        assert [entry for update in updates for entry in update.entries] == new
        assert looks == 1 or new


def test_a_record_was_appended_no_earlier_than_those_before_it_also_after_a_restart(
    broker: Server, topic_prefix: str
) -> None:
    """Whatever its producer's clock says: the broker keeps that as the record's timestamp."""
    settings = settings_for(broker.address, topic_prefix)
    create_topics(settings.kafka)
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    found, snapshot = [], None
    for name, stamp in (("a", 1_700_000_000_000), ("b", 1_600_000_000_000)):
        value = encode(make.action(name))
        producer.produce(settings.kafka.topic(Topic.CATALOG), value, name, timestamp=stamp)
        assert producer.flush(20) == 0
        updates, _, snapshot = read_to_end(settings, snapshot)
        found += [place.appended for update in updates for place in update.places]
    assert len(found) == 2
    assert found == sorted(found)
    assert found[0] >= 1_700_000_000_000_000
