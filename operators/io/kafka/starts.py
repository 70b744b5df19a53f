"""Looks up first offsets: of a partition, and of what it holds from a time on."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from operators.io.kafka.client import ask_until_answered, consumer, range_of
from operators.io.kafka.timestamps import written_at
from schemas.clock import Clock, micros
from schemas.settings import KafkaSettings
from schemas.topics import Topic


class FirstRecord(NamedTuple):
    """A partition's first record; ``time`` is its timestamp, None where there is no record."""

    topic: Topic
    shard: int
    offset: int
    time: int | None


class Start(NamedTuple):
    """The first offset whose record was written at or after the time that was asked for."""

    topic: Topic
    shard: int
    offset: int
    first: FirstRecord


def first_records(
    settings: KafkaSettings, topics: Iterable[Topic], clock: Clock
) -> list[FirstRecord]:
    """Give the first record of each partition of some topics."""
    client = consumer(settings)
    try:
        return [_first(settings, client, *place, clock)[0] for place in _places(settings, topics)]
    finally:
        client.close()


def starts(
    settings: KafkaSettings, topics: Iterable[Topic], time: int, clock: Clock
) -> list[Start]:
    """Give each partition's first offset at or after a time in microseconds; else its end."""
    client = consumer(settings)
    try:
        return [
            _start(settings, client, *place, time, clock) for place in _places(settings, topics)
        ]
    finally:
        client.close()


def _places(settings: KafkaSettings, topics: Iterable[Topic]) -> Iterator[tuple[Topic, int]]:
    for topic in topics:
        for shard in range(settings.partitions_of(topic)):
            yield topic, shard


def _start(
    settings: KafkaSettings, client: Consumer, topic: Topic, shard: int, time: int, clock: Clock
) -> Start:
    first, high = _first(settings, client, topic, shard, clock)
    asked = TopicPartition(settings.topic(topic), shard, max(0, time // 1000))
    (answer,) = ask_until_answered(settings, lambda: client.offsets_for_times([asked], timeout=5))
    offset = high if answer.offset in {OFFSET_END, -1} else max(answer.offset, first.offset)
    return Start(topic, shard, offset, first)


def _first(
    settings: KafkaSettings, client: Consumer, topic: Topic, shard: int, clock: Clock
) -> tuple[FirstRecord, int]:
    name = settings.topic(topic)
    low, high = range_of(settings, client, name, shard)
    time = None
    if low < high:
        client.assign([TopicPartition(name, shard, low)])
        while time is None:
            for message in client.consume(1, 0.1):
                if message.error() is None:
                    time = written_at(message, micros(clock()))
        client.unassign()
    return FirstRecord(topic, shard, low, time), high
