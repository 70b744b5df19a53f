"""A small flow on Kafka that tests kill: answers each request at random, counts what it saw.

Run as ``python kafka_flow.py ADDRESS PREFIX RECOVERY_FOLDER``.
"""

import secrets
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import confluent_kafka
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from flows.runtime.clock import system_clock
from operators.envelope import Batch, Event, Message, Origin, Rejected
from operators.io.kafka import GroupSource, KafkaSink, SharedProducer, producer_config
from schemas.clock import ALWAYS
from schemas.settings import Settings, load
from schemas.topics import Topic
from tests.support.parts import range_of

TOPICS = (Topic.DECISION_REQUESTS, Topic.DECISIONS)
SECRET = "sixteen letters!"


def settings_for(address: str, prefix: str, **more: object) -> Settings:
    """Settings of a test deployment with two partitions."""
    fields = {"partitions": 2, "batch_size": 50, **more}
    return load({}, secret=SECRET, bootstrap_servers=address, topic_prefix=prefix, **fields)


def read(
    topic: Topic, shard: int, key: bytes | None, value: bytes | None, offset: int, time: int
) -> Event | Rejected:
    """Read ``number:…``: the event time and the id in one; anything else is rejected."""
    origin = Origin(topic, shard, offset, time)
    number = (value or b"").partition(b":")[0]
    if not number.isdigit():
        return Rejected("not_a_number", origin, value or b"")
    return Event(int(number), value, "", int(number), origin)


def identify(payload: bytes) -> int:
    """Give the id of an answer."""
    return int(payload.partition(b":")[0])


def produce(settings: Settings, topic: Topic, values: dict[int, list[bytes]]) -> None:
    """Write values to their partitions and wait until the broker has them."""
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    for partition, portion in values.items():
        for value in portion:
            producer.produce(settings.kafka.topic(topic), value, partition=partition)
    assert producer.flush(20) == 0


def log_of(settings: Settings, topic: Topic) -> dict[int, list[bytes]]:
    """Read all of a topic, partition by partition, without our own source."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": settings.kafka.bootstrap_servers,
            "group.id": "test",
            "fetch.wait.max.ms": 10,
        }
    )
    log: dict[int, list[bytes]] = {}
    for partition in range(settings.kafka.partitions_of(topic)):
        place = confluent_kafka.TopicPartition(settings.kafka.topic(topic), partition, 0)
        low, high = range_of(consumer, place)
        log[partition] = []
        consumer.assign([confluent_kafka.TopicPartition(place.topic, partition, low)])
        deadline = time.monotonic() + 20
        while len(log[partition]) < high - low and time.monotonic() < deadline:
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                log[partition].append(message.value())
    consumer.close()
    return log


def answer(item: tuple[str, Batch]) -> tuple[str, list[Message]]:
    """Answer each request with a random number, slowly enough to be killed in between."""
    key, batch = item
    requests = [e for e in batch.events if e.origin.topic == Topic.DECISION_REQUESTS]
    time.sleep(len(requests) * 5e-5)
    return key, [Message(e.key, None, b"%d:%d" % (e.key, secrets.randbits(32))) for e in requests]


def count(state: list[int] | None, batch: Batch) -> tuple[list[int], list[Message]]:
    """Count and sum the requests; give both once the last is counted."""
    requests = [e.key for e in batch.events if e.origin.topic == Topic.DECISION_REQUESTS]
    number, total = state or [0, 0]
    number, total = number + len(requests), total + sum(requests)
    messages = [Message(0, None, b"%d:%d" % (number, total))] if batch.watermark == ALWAYS else []
    return [number, total], messages


def build(
    settings: Settings, decide: Callable[[tuple[str, Batch]], tuple[str, list[Message]]] = answer
) -> Dataflow:
    """Build the flow: requests and answers in, answers and the final count out."""
    producer = SharedProducer(settings.kafka)
    flow = Dataflow("answers")
    batches = op.input(
        "in",
        flow,
        GroupSource(settings.kafka, settings.time, read, system_clock, TOPICS, bounded=True),
    )
    answers = op.map("answer", batches, decide)
    op.output("answers", answers, KafkaSink(producer, Topic.DECISIONS, identify))
    counts = op.stateful_map("count", batches, count)
    op.output("counts", counts, KafkaSink(producer, Topic.OUTCOMES))
    return flow


def run(flow: Dataflow, recovery: Path) -> None:
    """Run a flow with epochs of 100 ms and a recovery store, which is made if it is missing."""
    if not recovery.exists():
        recovery.mkdir()
        init_db_dir(recovery, 1)
    run_main(
        flow,
        epoch_interval=timedelta(milliseconds=100),
        recovery_config=RecoveryConfig(str(recovery)),
    )


if __name__ == "__main__":
    run(build(settings_for(sys.argv[1], sys.argv[2])), Path(sys.argv[3]))
