"""The visitors' side of Kafka: they write events and read the decisions made from now on."""

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition

from operators.io.kafka.client import (
    Fetched,
    KafkaTrouble,
    check_topics,
    consumer_config,
    producer_config,
    range_of,
    refused_settings,
)
from schemas.settings import Settings
from schemas.topics import Topic

TOPICS = [Topic.DECISION_REQUESTS, Topic.DECISIONS, Topic.IMPRESSIONS, Topic.CLICKS, Topic.CONSENTS]
_AT_ONCE = 2000


class Wire:
    """A producer of visitors' events and a consumer of the decisions written after it was made.

    ``undelivered`` counts records that the broker did not take.
    """

    def __init__(self, settings: Settings) -> None:
        self.undelivered = 0
        # Malformed records may be as long as a broker takes them.
        long = {"message.max.bytes": 2_000_000, "delivery.report.only.error": True}
        with refused_settings(settings.kafka):
            self._producer = confluent_kafka.Producer(
                producer_config(settings.kafka)
                | long
                | {"on_delivery": self._failed, "linger.ms": 5}
            )
            self._consumer = confluent_kafka.Consumer(
                consumer_config(settings.kafka) | {"enable.partition.eof": False}
            )
        check_topics(settings.kafka, self._producer, TOPICS)
        self._names = {topic: settings.kafka.topic(topic) for topic in TOPICS}
        self._consumer.assign(
            [
                self._end_of(settings, k)
                for k in range(settings.kafka.partitions_of(Topic.DECISIONS))
            ]
        )

    def send(self, topic: Topic, key: bytes, value: bytes) -> None:
        """Produce one record, waiting where the producer's queue is full."""
        while True:
            try:
                self._producer.produce(self._names[topic], value, key)
                return
            except BufferError:
                self._producer.poll(0.01)

    def receive(self, wait: float) -> list[bytes]:
        """Give the decisions that came in, after ``wait`` seconds at the latest."""
        self._producer.poll(0)
        messages: list[Fetched] = self._consumer.consume(_AT_ONCE, wait)
        return [message.value() for message in messages if not _broken(message)]

    def flush(self, wait: float = 30.0) -> None:
        """Wait until the broker has what was sent; what is left counts as undelivered."""
        self.undelivered += self._producer.flush(wait)

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _end_of(self, settings: Settings, partition: int) -> TopicPartition:
        name = self._names[Topic.DECISIONS]
        _, end = range_of(settings.kafka, self._consumer, name, partition)
        return TopicPartition(name, partition, end)

    def _failed(self, error: KafkaError | None, message: Fetched) -> None:  # noqa: ARG002
        if error is not None:
            self.undelivered += 1


def _broken(message: Fetched) -> bool:
    """Say whether this is an error to try past; raise one that will not pass."""
    error = message.error()
    if error is None:
        return message.value() is None
    if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
        raise KafkaTrouble(f"topic {message.topic()!r}: decisions were lost: {error.str()}")
    return True
