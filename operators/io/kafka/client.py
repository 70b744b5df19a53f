"""How Banditflow's Kafka clients are configured, and what is known of their health."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from operators.io.kafka.options import flaw_of_options, refusal
from operators.io.kafka.reach import unanswered
from operators.io.metrics.kafka import KafkaMetrics
from schemas.settings import KafkaSettings
from schemas.topics import Topic

Fetched = Any
"""A record as confluent-kafka gives it, which types each of its fields as optional."""

logger = logging.getLogger("banditflow.kafka")

PATIENCE = 120.0
"""Seconds for which an unreachable broker is waited for before a start or a write gives up."""


class KafkaTrouble(RuntimeError):  # noqa: N818 - it reads as what is the case
    """Kafka cannot do what a flow needs; the message names the topic or setting and a remedy."""


class KafkaUnavailable(KafkaTrouble):
    """Kafka does not answer, or not in time: started again, the flow may go on."""

    may_pass = True


def client_config(settings: KafkaSettings, metrics: KafkaMetrics | None = None) -> dict[str, Any]:
    """Give the librdkafka settings that every client shares: addresses and security.

    ``BANDITFLOW_KAFKA_OPTIONS`` are applied last, so a deployment can change anything but what
    :mod:`operators.io.kafka.options` refuses. A client's errors are counted in ``metrics``.
    """
    config: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.security,
        "log_level": 2,
        "error_cb": partial(note_error, metrics or KafkaMetrics()),
        # Some brokers answer a first fetch with everything that they have.
        "receive.message.max.bytes": 1_000_000_000,
        "reconnect.backoff.max.ms": 1000,
        "topic.metadata.refresh.interval.ms": 60_000,
    }
    if settings.security.upper().startswith("SASL"):
        config["sasl.mechanism"] = settings.mechanism
    optional = {
        "sasl.username": settings.username,
        "sasl.password": settings.password,
        "ssl.ca.location": settings.ca,
        "ssl.certificate.location": settings.cert,
        "ssl.key.location": settings.key,
    }
    config |= {name: value for name, value in optional.items() if value}
    return config | settings.options


def producer_config(settings: KafkaSettings, metrics: KafkaMetrics | None = None) -> dict[str, Any]:
    """Give the settings of a producer that keys records as the Java client does.

    Every record is acknowledged by all in-sync replicas. There is no idempotent producer
    (OCI Streaming has none), so a retried request may be written twice or change places with the
    next one: readers take the lowest offset and go by event time and version, not by offset order.
    """
    return {
        "acks": "all",
        "enable.idempotence": False,
        "max.in.flight.requests.per.connection": 5,
        "partitioner": "murmur2_random",
        "linger.ms": 2,
        "queue.buffering.max.messages": 100_000,
        # A batch is no larger than the largest record: a topic that takes the one takes the other.
        "message.max.bytes": settings.max_written_bytes,
        "batch.size": min(settings.max_written_bytes, 1_000_000),
        "message.timeout.ms": int(PATIENCE * 1000),
        "retry.backoff.ms": 50,
        "retry.backoff.max.ms": 1000,
    } | client_config(settings, metrics)


def consumer_config(settings: KafkaSettings, metrics: KafkaMetrics | None = None) -> dict[str, Any]:
    """Give the settings of a consumer that is told its offsets: no group, no commits."""
    return {
        "group.id": "banditflow",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 100,
        "fetch.error.backoff.ms": 50,
        # After its queue was full the client would not fetch for a whole second.
        "fetch.queue.backoff.ms": 5,
        "queued.min.messages": 2_000,
        "allow.auto.create.topics": False,
    } | client_config(settings, metrics)


def note_error(metrics: KafkaMetrics, error: KafkaError, address: str = "") -> None:
    """Count a client's error and say it once a minute; librdkafka goes on trying by itself."""
    if metrics.error(error.name()):
        where = f" at {address} (BANDITFLOW_BOOTSTRAP_SERVERS)" if address else ""
        logger.warning("Kafka%s: %s (trying again)", where, error.str())


def partition_counts(
    settings: KafkaSettings, client: Any, metrics: KafkaMetrics | None = None
) -> dict[str, int]:
    """Ask the broker for every topic and its partition count, waiting for it to be reachable.

    ``client`` is any confluent-kafka client.
    """
    metadata = ask_until_answered(settings, lambda: client.list_topics(timeout=5), metrics)
    return {
        name: len(topic.partitions)
        for name, topic in metadata.topics.items()
        if topic.error is None
    }


def check_topics(
    settings: KafkaSettings, client: Any, topics: list[Topic], metrics: KafkaMetrics | None = None
) -> None:
    """Refuse to go on when a topic is missing or has another partition count than the settings."""
    counts = partition_counts(settings, client, metrics)
    for topic in topics:
        check_partitions(settings, topic, counts.get(settings.topic(topic)))


def check_partitions(settings: KafkaSettings, topic: Topic, count: int | None) -> None:
    """Compare a topic's partition count on the broker (None: no topic) with the settings."""
    name, wanted = settings.topic(topic), settings.partitions_of(topic)
    if count is None:
        raise KafkaTrouble(
            f"topic {name!r} does not exist on {settings.bootstrap_servers}: "
            "create it with `banditflow topics create`, or set BANDITFLOW_TOPIC_PREFIX to that of "
            "the existing topics"
        )
    if count != wanted:
        raise KafkaTrouble(
            f"topic {name!r} has {count} partitions on {settings.bootstrap_servers}, but the "
            f"settings say {wanted} (BANDITFLOW_PARTITIONS): event topics must all have the same "
            "number; set it to that of the existing topics, or choose another prefix "
            "(BANDITFLOW_TOPIC_PREFIX)"
        )


def ask_until_answered(
    settings: KafkaSettings, ask: Callable[[], Any], metrics: KafkaMetrics | None = None
) -> Any:
    """Repeat a request until the broker answers; raise after ``PATIENCE`` seconds.

    Which address does not answer, and why, is said soon, and again at the end. Raises
    :class:`KafkaTrouble` at once where the broker's answer is that it refuses.
    """
    metrics = metrics or KafkaMetrics()
    deadline = time.monotonic() + PATIENCE
    with unanswered(settings, client_config(settings), PATIENCE) as said:
        while True:
            try:
                return ask()
            except KafkaException as error:
                cause = error.args[0]
                if not cause.retriable() and cause.code() not in _PASSING:
                    raise KafkaTrouble(_refused(settings, cause)) from error
                if time.monotonic() > deadline:
                    why = said[-1] if said else f"{settings.bootstrap_servers}: {cause.str()}"
                    raise KafkaUnavailable(
                        "no answer from Kafka (BANDITFLOW_BOOTSTRAP_SERVERS) for "
                        f"{PATIENCE:.0f} s: {why}"
                    ) from error
                metrics.error(cause.name())
                time.sleep(0.1)


def _refused(settings: KafkaSettings, cause: KafkaError) -> str:
    remedy = {
        KafkaError.INVALID_REPLICATION_FACTOR: ": see BANDITFLOW_REPLICATION",
        KafkaError.INVALID_PARTITIONS: ": see BANDITFLOW_PARTITIONS",
        KafkaError.TOPIC_EXCEPTION: ": see BANDITFLOW_TOPIC_PREFIX",
    }.get(cause.code(), "")
    return f"Kafka at {settings.bootstrap_servers} refuses: {' '.join(cause.str().split())}{remedy}"


_PASSING = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT,
            KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION}  # fmt: skip


def consumer(
    settings: KafkaSettings, metrics: KafkaMetrics | None = None, **options: Any
) -> confluent_kafka.Consumer:
    """Make a consumer for explicit assignment."""
    with refused_settings(settings):
        return confluent_kafka.Consumer(consumer_config(settings, metrics) | options)


def producer(
    settings: KafkaSettings, metrics: KafkaMetrics | None = None
) -> confluent_kafka.Producer:
    """Make a producer."""
    with refused_settings(settings):
        return confluent_kafka.Producer(producer_config(settings, metrics))


def admin_client(settings: KafkaSettings, metrics: KafkaMetrics | None = None) -> AdminClient:
    """Make a client that makes and describes topics."""
    with refused_settings(settings):
        return AdminClient(client_config(settings, metrics))


@contextmanager
def refused_settings(settings: KafkaSettings) -> Iterator[None]:
    """Raise :class:`KafkaTrouble` where a client that is made within the block is refused."""
    flaw = flaw_of_options(settings)
    if flaw is not None:
        raise KafkaTrouble(flaw)
    try:
        yield
    except (KafkaException, TypeError, ValueError, AttributeError) as error:
        raise KafkaTrouble(refusal(settings, error)) from error


def range_of(
    settings: KafkaSettings,
    client: confluent_kafka.Consumer,
    topic: str,
    partition: int,
    metrics: KafkaMetrics | None = None,
) -> tuple[int, int]:
    """Ask for a partition's first offset and the offset after its last record."""
    place = confluent_kafka.TopicPartition(topic, partition)
    low, high = ask_until_answered(
        settings, lambda: client.get_watermark_offsets(place, timeout=5), metrics
    )
    return low, high
