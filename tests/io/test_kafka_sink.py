import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from flows.devkit.embedded import Server
from operators.envelope import Message
from operators.io.kafka import KafkaSink, KafkaTrouble, SharedProducer, create_topics
from operators.io.metrics.kafka import KafkaMetrics
from operators.publish import FENCES
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.kafka_flow import identify, log_of, produce, settings_for


@pytest.fixture
def deployment(server: Server, topic_prefix: str) -> Settings:
    settings = settings_for(server.address, topic_prefix, partitions=12)
    create_topics(settings.kafka)
    return settings


def messages(*ids: int, text: bytes = b"first") -> list[Message]:
    return [Message(n, None, b"%d:%b" % (n, text)) for n in ids]


def fenced(settings: Settings, metrics: KafkaMetrics | None = None) -> KafkaSink:
    return KafkaSink(SharedProducer(settings.kafka, metrics), Topic.DECISIONS, identify)


def test_a_key_is_a_partition_number_beyond_ten_partitions(deployment: Settings) -> None:
    sink = fenced(deployment)
    parts = sorted(sink.list_parts())
    assert [int(parts[sink.part_fn(str(k))]) for k in range(12)] == list(range(12))
    for k in (2, 11):
        part = sink.build_part("out", parts[k], None)
        part.write_batch([messages(k)])
        part.snapshot()
    log = log_of(deployment, Topic.DECISIONS)
    assert {k: values for k, values in log.items() if values} == {
        2: [b"2:first"],
        11: [b"11:first"],
    }


def test_a_snapshot_returns_once_the_broker_has_everything(deployment: Settings) -> None:
    part = fenced(deployment).build_part("out", "00000", None)
    part.write_batch([messages(*range(1, 501)), messages(*range(501, 1001))])
    part.snapshot()
    assert [identify(v) for v in log_of(deployment, Topic.DECISIONS)[0]] == list(range(1, 1001))


def test_the_fence_suppresses_what_lies_behind_the_snapshot_once(deployment: Settings) -> None:
    part = fenced(deployment).build_part("out", "00000", None)
    part.write_batch([messages(1, 2)])
    snapshot = part.snapshot()
    part.write_batch([messages(3, 4)])
    part.snapshot()  # the broker has 3 and 4, but their epoch is not committed
    registry = CollectorRegistry()
    resumed = fenced(deployment, KafkaMetrics(registry)).build_part("out", "00000", snapshot)
    resumed.write_batch([messages(4, 5, text=b"second"), messages(3, text=b"second")])
    resumed.snapshot()
    log = log_of(deployment, Topic.DECISIONS)[0]
    assert log == [b"1:first", b"2:first", b"3:first", b"4:first", b"5:second"]
    labels = {"topic": deployment.kafka.topic(Topic.DECISIONS)}
    assert registry.get_sample_value("banditflow_suppressed_total", labels) == 2


def test_without_a_snapshot_the_fence_reads_from_the_start(deployment: Settings) -> None:
    produce(deployment, Topic.DECISIONS, {0: [b"1:first", b"2:first"]})
    part = fenced(deployment).build_part("out", "00000", None)
    part.write_batch([messages(1, 2, 3, text=b"second")])
    part.snapshot()
    assert log_of(deployment, Topic.DECISIONS)[0] == [b"1:first", b"2:first", b"3:second"]


def test_a_second_crash_before_all_was_repeated_gives_no_second_answer(
    deployment: Settings,
) -> None:
    part = fenced(deployment).build_part("out", "00000", None)
    snapshot = part.snapshot()
    part.write_batch([messages(1, 2, 3)])
    part.snapshot()  # lost with the crash
    once = fenced(deployment).build_part("out", "00000", snapshot)
    once.write_batch([messages(1, 9, text=b"second")])  # the replayed epoch is shorter
    snapshot = once.snapshot()
    twice = fenced(deployment).build_part("out", "00000", snapshot)
    twice.write_batch([messages(2, 3, 9, 10, text=b"third")])
    twice.snapshot()
    log = log_of(deployment, Topic.DECISIONS)[0]
    assert log == [b"1:first", b"2:first", b"3:first", b"9:second", b"10:third"]


def test_duplicated_bytes_of_a_killed_producer_count_once(deployment: Settings) -> None:
    produce(deployment, Topic.DECISIONS, {0: [b"1:first", b"1:late"]})
    part = fenced(deployment).build_part("out", "00000", None)
    part.write_batch([messages(1, text=b"second")])
    part.snapshot()
    assert log_of(deployment, Topic.DECISIONS)[0] == [b"1:first", b"1:late"]


@pytest.mark.parametrize("topic", sorted(FENCES))
def test_a_fence_reads_past_what_is_no_record(deployment: Settings, topic: Topic) -> None:
    strange = [b"\xff\x00", b"", b"{}", b'{"key": "no key", "status": "settled", "revision": 1}']
    produce(deployment, topic, {0: strange})
    registry = CollectorRegistry()
    shared = SharedProducer(deployment.kafka, KafkaMetrics(registry))
    part = KafkaSink(shared, topic, FENCES[topic]).build_part("out", "00000", None)
    part.write_batch([messages(1)])
    part.snapshot()
    assert len(log_of(deployment, topic)[0]) == len(strange) + 1
    labels = {"topic": deployment.kafka.topic(topic)}
    assert registry.get_sample_value("banditflow_unreadable_total", labels) == len(strange)


def test_a_frozen_broker_is_waited_for(deployment: Settings, server: Server) -> None:
    part = fenced(deployment).build_part("out", "00000", None)
    part.write_batch([messages(1)])
    part.snapshot()
    server.pause()
    try:
        part.write_batch([messages(*range(2, 300))])
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            part.write_batch([])
    finally:
        server.resume()
    part.snapshot()
    written = {identify(v) for v in log_of(deployment, Topic.DECISIONS)[0]}
    assert written == set(range(1, 300))


def test_a_full_queue_is_waited_for(deployment: Settings) -> None:
    small = settings_for(
        deployment.kafka.bootstrap_servers,
        deployment.kafka.topic_prefix,
        partitions=12,
        kafka_options={"queue.buffering.max.messages": "10"},
    )
    part = fenced(small).build_part("out", "00000", None)
    part.write_batch([messages(*range(1, 301))])
    part.snapshot()
    assert len(log_of(deployment, Topic.DECISIONS)[0]) == 300


def await_stop(server: Server) -> None:
    """Wait until the kernel has really stopped the server: the signal alone only asks for it."""
    stat = Path(f"/proc/{server.child.pid}/stat")
    deadline = time.monotonic() + 10.0
    while stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "T":
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_cannot_be_delivered_raises(deployment: Settings, server: Server) -> None:
    impatient = settings_for(
        deployment.kafka.bootstrap_servers,
        deployment.kafka.topic_prefix,
        partitions=12,
        kafka_options={"message.timeout.ms": "300", "socket.timeout.ms": "200"},
    )
    part = fenced(impatient).build_part("out", "00000", None)
    server.pause()
    await_stop(server)
    try:
        part.write_batch([messages(1)])
        with pytest.raises(KafkaTrouble, match=r"decisions', partition 0: .*was not written"):
            part.snapshot()
    finally:
        server.resume()


def test_an_unknown_topic_names_the_command(server: Server, topic_prefix: str) -> None:
    sink = fenced(settings_for(server.address, topic_prefix))
    with pytest.raises(KafkaTrouble, match=r"does not exist.*banditflow topics create"):
        sink.build_part("out", "00000", None)
