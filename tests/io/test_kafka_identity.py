"""Offsets of a topic that was made anew: refused where they are read from, known where we write."""

import time
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from flows.devkit.embedded import Server
from flows.runtime.clock import system_clock
from operators.envelope import Message
from operators.io.kafka import (
    CatalogSource,
    GroupSource,
    KafkaSink,
    KafkaTrouble,
    SharedProducer,
    TopicSource,
    client_config,
    create_topics,
)
from operators.io.kafka import identity as kafka_identity
from operators.io.kafka.client import partition_counts
from operators.io.kafka.group import restore
from operators.io.kafka.identity import TopicIds
from operators.logic.catalog_check import flaw_of
from schemas.codec import encode
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import identify, log_of, produce, read, settings_for

REFUSED = (
    r"{}', partition 0: offset {} is to be read next, but the topic was made anew: .*"
    r"start with an empty recovery store \(BANDITFLOW_RECOVERY\)"
)


@pytest.fixture
def deployment(server: Server, topic_prefix: str) -> Settings:
    settings = settings_for(server.address, topic_prefix)
    create_topics(settings.kafka)
    return settings


@pytest.fixture
def without_ids(broker: Server, topic_prefix: str) -> Settings:
    """A deployment on a broker that gives topics no ids."""
    settings = settings_for(broker.address, topic_prefix)
    create_topics(settings.kafka)
    return settings


def group(settings: Settings) -> GroupSource:
    return GroupSource(settings.kafka, settings.time, read, system_clock, (Topic.CLICKS,))


def single(settings: Settings) -> TopicSource:
    return TopicSource(settings.kafka, settings.time, read, system_clock, [Topic.OUTCOMES])


def catalog(settings: Settings) -> CatalogSource:
    return CatalogSource(settings.kafka, flaw_of, system_clock)


SOURCES: list[tuple[Callable[[Settings], Any], str, Topic]] = [
    (group, "0", Topic.CLICKS),
    (single, "outcomes/0", Topic.OUTCOMES),
    (catalog, "catalog", Topic.CATALOG),
]


def records(topic: Topic, count: int, kind: str) -> list[bytes]:
    if topic is Topic.CATALOG:
        return [encode(make.slot(f"{kind}-{number}")) for number in range(count)]
    return [b"%d:%b" % (number, kind.encode()) for number in range(count)]


def read_all(part: Any, settings: Settings, topic: Topic, end: int) -> bytes:
    """Poll a partition to its end; give its snapshot."""
    deadline = time.monotonic() + 20
    while True:
        part.next_batch()
        snapshot: bytes = part.snapshot()
        fields = msgspec.msgpack.decode(snapshot.partition(b"\n")[2])
        offset = fields["offset"] if "offset" in fields else fields["offsets"][topic.value]
        if offset == end:
            return snapshot
        assert time.monotonic() < deadline, offset


def make_anew(settings: Settings, topic: Topic) -> None:
    """Delete a topic and create it again, once the broker has forgotten it."""
    admin = AdminClient(client_config(settings.kafka))
    name = settings.kafka.topic(topic)
    admin.delete_topics([name], operation_timeout=10)[name].result(20)
    deadline = time.monotonic() + 20
    while name in partition_counts(settings.kafka, admin):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    create_topics(settings.kafka)


@pytest.mark.parametrize(("source", "part", "topic"), SOURCES)
def test_a_topic_made_anew_with_more_records_is_refused(
    deployment: Settings, source: Callable[[Settings], Any], part: str, topic: Topic
) -> None:
    produce(deployment, topic, {0: records(topic, 5, "old")})
    snapshot = read_all(source(deployment).build_part("in", part, None), deployment, topic, 5)
    source(deployment).build_part("in", part, snapshot)  # it is still the same
    make_anew(deployment, topic)
    produce(deployment, topic, {0: records(topic, 9, "new")})
    with pytest.raises(KafkaTrouble, match=REFUSED.format(topic.value, 5)):
        source(deployment).build_part("in", part, snapshot)


def test_a_topic_made_anew_is_refused_before_it_has_as_many_records(without_ids: Settings) -> None:
    produce(without_ids, Topic.CLICKS, {0: records(Topic.CLICKS, 5, "old")})
    part = group(without_ids).build_part("in", "0", None)
    snapshot = read_all(part, without_ids, Topic.CLICKS, 5)
    make_anew(without_ids, Topic.CLICKS)
    produce(without_ids, Topic.CLICKS, {0: records(Topic.CLICKS, 2, "new")})
    with pytest.raises(KafkaTrouble, match=REFUSED.format("clicks", 5)):
        group(without_ids).build_part("in", "0", snapshot)


def test_what_retention_has_deleted_proves_nothing_and_hinders_nobody(
    deployment: Settings,
) -> None:
    produce(deployment, Topic.CLICKS, {0: records(Topic.CLICKS, 5, "old")})
    part = group(deployment).build_part("in", "0", None)
    snapshot = read_all(part, deployment, Topic.CLICKS, 5)
    place = TopicPartition(deployment.kafka.topic(Topic.CLICKS), 0, 5)
    admin = AdminClient(client_config(deployment.kafka))
    assert admin.delete_records([place])[place].result(10).low_watermark == 5
    produce(deployment, Topic.CLICKS, {0: [b"7:new"]})
    resumed = group(deployment).build_part("in", "0", snapshot)
    read_all(resumed, deployment, Topic.CLICKS, 6)


def test_the_record_that_was_seen_is_kept_over_stops_without_traffic(
    without_ids: Settings,
) -> None:
    produce(without_ids, Topic.CLICKS, {0: records(Topic.CLICKS, 5, "old")})
    part = group(without_ids).build_part("in", "0", None)
    snapshot = read_all(part, without_ids, Topic.CLICKS, 5)
    again = group(without_ids).build_part("in", "0", snapshot).snapshot()
    assert restore(again).logs == restore(snapshot).logs
    seen = restore(again).logs["clicks"].seen
    assert seen is not None
    assert seen.offset == 4


def test_a_snapshot_of_an_earlier_release_is_read_without_proof(deployment: Settings) -> None:
    produce(deployment, Topic.CLICKS, {0: records(Topic.CLICKS, 5, "old")})
    body = msgspec.msgpack.encode({"offsets": {"clicks": 2}, "watermark": 1})
    part = group(deployment).build_part("in", "0", b"kafka-source/1\n" + body)
    read_all(part, deployment, Topic.CLICKS, 5)
    body = msgspec.msgpack.encode({"offset": 3})
    assert catalog(deployment).build_part("in", "catalog", b"kafka-catalog/1\n" + body)
    assert sink(deployment).build_part("out", "00000", b"kafka-sink/1\n" + body)


def sink(settings: Settings) -> KafkaSink:
    return KafkaSink(SharedProducer(settings.kafka), Topic.DECISIONS, identify)


def test_a_fence_begins_at_the_start_of_a_topic_made_anew_and_says_so(
    deployment: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    part = sink(deployment).build_part("out", "00000", None)
    part.write_batch([[Message(number, None, b"%d:old" % number) for number in range(1, 4)]])
    snapshot = part.snapshot()
    sink(deployment).build_part("out", "00000", snapshot)
    assert not caplog.records
    make_anew(deployment, Topic.DECISIONS)
    produce(deployment, Topic.DECISIONS, {0: [b"%d:new" % number for number in range(1, 9)]})
    resumed = sink(deployment).build_part("out", "00000", snapshot)
    assert "made anew" in caplog.text
    assert "the resume fence begins at its first record" in caplog.text
    resumed.write_batch([[Message(2, None, b"2:twice"), Message(9, None, b"9:once")]])
    resumed.snapshot()
    written = log_of(deployment, Topic.DECISIONS)[0]
    assert [identify(value) for value in written] == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_the_broker_is_asked_once_for_the_ids_of_all_topics(
    deployment: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock(wraps=kafka_identity.admin_client)
    monkeypatch.setattr(kafka_identity, "admin_client", asked)
    ids = TopicIds(deployment.kafka)
    source = GroupSource(deployment.kafka, deployment.time, read, system_clock, ids=ids)
    for shard in ("0", "1"):
        source.build_part("in", shard, None)
    for topic in (Topic.DECISIONS, Topic.OUTCOMES):
        shared = SharedProducer(deployment.kafka)
        KafkaSink(shared, topic, identify, ids=ids).build_part("out", "00000", None)
    assert asked.call_count == 1
