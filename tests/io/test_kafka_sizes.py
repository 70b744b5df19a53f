"""A broker that takes less than we write is named before a flow starts, and never a crash loop."""

import logging

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import CollectorRegistry

from flows.devkit.embedded import Server
from operators.envelope import Message
from operators.io.kafka import KafkaSink, KafkaTrouble, SharedProducer, create_topics
from operators.io.kafka.admin import check_sizes
from operators.io.metrics.kafka import KafkaMetrics
from schemas.bounds import LEAST_RECORD_BYTES
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.kafka_flow import log_of, settings_for

pytestmark = pytest.mark.kafka

NARROW = 450_000


@pytest.fixture
def narrow(apache_kafka: Server, topic_prefix: str) -> Settings:
    """A deployment whose decisions take less than it writes."""
    settings = settings_for(apache_kafka.address, topic_prefix, partitions=1)
    name = settings.kafka.topic(Topic.DECISIONS)
    admin = AdminClient({"bootstrap.servers": apache_kafka.address})
    topic = NewTopic(name, 1, 1, config={"max.message.bytes": str(NARROW)})
    admin.create_topics([topic])[name].result(timeout=20)
    create_topics(settings.kafka)
    return settings


def test_a_topic_that_takes_less_than_we_write_is_named_at_the_start(narrow: Settings) -> None:
    with pytest.raises(KafkaTrouble) as said:
        check_sizes(narrow.kafka, [Topic.OUTCOMES, Topic.DECISIONS])
    for part in ("decisions'", "450,000", "1,000,000", "BANDITFLOW_MAX_RECORD_BYTES", "400,000"):
        assert part in str(said.value)
    check_sizes(narrow.kafka, [Topic.OUTCOMES])
    lower = narrow.replaced(max_record_bytes=LEAST_RECORD_BYTES)
    check_sizes(lower.kafka, [Topic.OUTCOMES, Topic.DECISIONS])


def test_what_the_broker_never_takes_is_left_out_and_the_rest_is_written(
    narrow: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    shared = SharedProducer(narrow.kafka, KafkaMetrics(registry))
    part = KafkaSink(shared, Topic.DECISIONS).build_part("out", "00000", None)
    small = [b"%d" % number + bytes(4_000) for number in range(200)]  # one batch is too large
    large = [b"L" + bytes(size) for size in (narrow.kafka.max_value_bytes - 1, NARROW)]
    with caplog.at_level(logging.ERROR):
        part.write_batch([[Message(0, None, value) for value in (*small, *large, b"last")]])
        part.snapshot()
    assert sorted(log_of(narrow, Topic.DECISIONS)[0]) == sorted([*small, b"last"])
    labels = {"topic": narrow.kafka.topic(Topic.DECISIONS)}
    assert registry.get_sample_value("banditflow_left_out_total", labels) == 2
    assert caplog.text.count("larger than the broker takes") == 2
    assert "998,000 bytes" in caplog.text
    part.write_batch([[Message(0, None, b"next")]])
    part.snapshot()


def test_the_largest_record_that_we_write_is_taken_by_a_topic_that_just_takes_it(
    apache_kafka: Server, topic_prefix: str
) -> None:
    settings = settings_for(apache_kafka.address, topic_prefix, partitions=1)
    name = settings.kafka.topic(Topic.POLICIES)
    admin = AdminClient({"bootstrap.servers": apache_kafka.address})
    largest = {"max.message.bytes": str(settings.kafka.max_written_bytes)}
    admin.create_topics([NewTopic(name, 1, 1, config=largest)])[name].result(timeout=20)
    create_topics(settings.kafka)
    check_sizes(settings.kafka, [Topic.POLICIES])
    part = KafkaSink(SharedProducer(settings.kafka), Topic.POLICIES).build_part("o", "00000", None)
    key = "\U0001f600".encode() * 256
    messages = [Message(0, key, bytes(settings.kafka.max_value_bytes)) for _ in range(3)]
    part.write_batch([messages])
    part.snapshot()
    assert len(log_of(settings, Topic.POLICIES)[0]) == 3


def test_topics_are_created_as_large_as_what_is_written(
    apache_kafka: Server, topic_prefix: str
) -> None:
    settings = settings_for(apache_kafka.address, topic_prefix, partitions=1)
    settings = settings.replaced(max_record_bytes=3_000_000)
    create_topics(settings.kafka)
    check_sizes(settings.kafka, Topic)
