"""The resume fence: a record that a partition already holds is not written again."""

from collections.abc import Callable
from typing import NamedTuple

from confluent_kafka import KafkaError, TopicPartition

from operators.io.kafka.client import Fetched, KafkaTrouble, consumer, logger, note_error, range_of
from operators.io.metrics.kafka import KafkaMetrics
from schemas.settings import KafkaSettings

Identify = Callable[[bytes], int | None]
"""Reads the 64-bit fence key of a payload; 0: of another writer, None: no record of the topic."""


class Written(NamedTuple):
    """What of ours a partition held from an offset on to ``end``: the offset of each fence key."""

    offsets: dict[int, int]
    end: int


def ids_written(
    settings: KafkaSettings,
    topic: str,
    partition: int,
    offset: int | None,
    identify: Identify,
    metrics: KafkaMetrics,
) -> Written:
    """Read a partition from ``offset`` (None: its first) to its present end.

    Keys come in the order of their lowest offsets. Records that others wrote, and what is no record
    of the topic, fence nothing; the latter are counted. Where retention has deleted from ``offset``
    on, reading starts at what is left: the deleted records can no longer be read by anybody, and a
    warning says so.
    """
    reader = consumer(settings, metrics)
    low, high = range_of(settings, reader, topic, partition, metrics)
    if offset is not None and not low <= offset <= high:
        logger.warning(
            "topic %r, partition %d: the resume fence should start at offset %d, the broker has "
            "%d to %d; starting at %d", topic, partition, offset, low, high, low,
        )  # fmt: skip
        offset = None
    position = low if offset is None else offset
    offsets: dict[int, int] = {}
    unreadable = 0
    if position < high:
        reader.assign([TopicPartition(topic, partition, position)])
    while position < high:
        fetched: list[Fetched] = reader.consume(settings.batch_size, 0.1)
        for message in fetched:
            error = message.error()
            if error is None:
                position = message.offset() + 1
                key = identify(message.value() or b"")
                if key is None:
                    unreadable += 1
                elif key:
                    offsets.setdefault(key, message.offset())
            elif error.code() == KafkaError._PARTITION_EOF:
                position = max(position, message.offset())
            elif error.code() == KafkaError._AUTO_OFFSET_RESET or error.fatal():
                raise KafkaTrouble(
                    f"topic {topic!r}, partition {partition}: the resume fence cannot be read "
                    f"at offset {position}: {error.str()}"
                )
            else:
                note_error(metrics, error)
    reader.close()
    if unreadable:
        metrics.unreadable(topic, unreadable)
        logger.warning(
            "topic %r, partition %d: %d records are none of ours, or damaged: the resume fence "
            "leaves them out", topic, partition, unreadable,
        )  # fmt: skip
    return Written(offsets, high)
