"""Reads a partition of a topic to the end that it has now, whole or its newest records."""

from collections.abc import Iterator

from confluent_kafka import KafkaError, TopicPartition

from operators.io.kafka.client import consumer, range_of
from operators.io.kafka.timestamps import written_at
from schemas.clock import Clock, micros
from schemas.settings import KafkaSettings
from schemas.topics import Topic

Record = tuple[bytes, bytes | None, int, int]
"""Payload, key, offset, the timestamp in microseconds, whoever set it."""


def read_partition(
    settings: KafkaSettings,
    topic: Topic,
    partition: int,
    clock: Clock,
    newest: int | None = None,
) -> Iterator[Record]:
    """Give the records of a partition that are there now; ``clock`` stands in for a timestamp.

    With ``newest`` those of its last so many offsets.
    """
    client = consumer(settings)
    try:
        name = settings.topic(topic)
        low, high = range_of(settings, client, name, partition)
        if newest is not None:
            low = max(low, high - newest)
        position = low
        if low < high:
            client.assign([TopicPartition(name, partition, low)])
        while position < high:
            for message in client.consume(10_000, 0.02):
                error = message.error()
                offset = int(message.offset() or 0)
                if error is None:
                    position = offset + 1
                    time = written_at(message, micros(clock()))
                    yield message.value() or b"", message.key(), offset, time
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = max(position, offset)
    finally:
        client.close()


def first_offset(settings: KafkaSettings, topic: Topic, partition: int) -> int:
    """Ask for the offset of the first record that retention has left of a partition."""
    client = consumer(settings)
    try:
        return range_of(settings, client, settings.topic(topic), partition)[0]
    finally:
        client.close()
