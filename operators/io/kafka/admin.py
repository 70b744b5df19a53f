"""Creates the topics of a deployment; says whose times they keep and what they cannot take."""

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._resource import ResourceType
from confluent_kafka.cimpl import NewTopic

from operators.io.kafka.client import (
    PATIENCE,
    KafkaTrouble,
    KafkaUnavailable,
    admin_client,
    ask_until_answered,
    check_partitions,
    partition_counts,
)
from schemas.bounds import LEAST_RECORD_BYTES
from schemas.settings import KafkaSettings
from schemas.topics import Topic

TIMESTAMP_TYPE: Final = "message.timestamp.type"
APPEND_TIME: Final = "LogAppendTime"
"""With it a record's timestamp is the broker's; by default (``CreateTime``) its producer's."""

CLEANUP: Final = "cleanup.policy"
DELETE: Final = "delete"
"""With it a topic keeps every record for its retention time. A compacted one loses the earlier
records of a key, and all of them once somebody writes a tombstone."""

LARGEST_MESSAGE: Final = "max.message.bytes"
"""The largest batch of records that a topic takes, one record alone included."""

_BROKERS_LARGEST: Final = 1_048_588
"""What it is where nobody says otherwise."""

_CONFIG: Final = {TIMESTAMP_TYPE: APPEND_TIME, CLEANUP: DELETE}
"""What topics are created with."""

RETENTION: Final = "retention.ms"
FOREVER: Final = "-1"

_KEPT_FOR_GOOD: Final = {Topic.CATALOG: {RETENTION: FOREVER}}
"""What a topic is created with, besides, whose first record may be the one that holds."""

_REFUSED: Final = {KafkaError.INVALID_CONFIG, KafkaError.INVALID_REQUEST}
"""What a broker answers that knows no such setting of a topic."""


def create_topics(settings: KafkaSettings) -> list[str]:
    """Create the topics that are missing and give their names; existing ones are left as they are.

    They keep the broker's times (:data:`APPEND_TIME`), and are not compacted, where the broker can.
    Returns once the broker knows all of them, so that a flow can start at once. Raises
    :class:`~operators.io.kafka.client.KafkaTrouble` when an existing topic has another partition
    count than the settings say.
    """
    admin = admin_client(settings)
    counts = partition_counts(settings, admin)
    for topic in Topic:
        name = settings.topic(topic)
        if name in counts:
            check_partitions(settings, topic, counts[name])
    created = [
        settings.topic(topic)
        for topic in Topic
        if settings.topic(topic) not in counts
        and ask_until_answered(settings, partial(_create, admin, settings, topic))
    ]
    _wait_until_known(settings, admin)
    return created


def timestamp_types(settings: KafkaSettings) -> dict[str, str | None]:
    """Ask which times each existing topic keeps, by its name; None: the broker does not say."""
    return _topic_settings(settings, TIMESTAMP_TYPE)


def compacted_topics(settings: KafkaSettings) -> list[str]:
    """Name the existing topics that the broker compacts."""
    policies = _topic_settings(settings, CLEANUP)
    return [name for name, policy in policies.items() if policy and "compact" in policy]


def expiring_topics(settings: KafkaSettings) -> dict[str, float]:
    """Give the days after which the broker deletes records of topics that must keep them all."""
    kept = {settings.topic(topic) for topic in _KEPT_FOR_GOOD}
    times = _topic_settings(settings, RETENTION)
    return {
        name: int(time) / 86_400_000
        for name, time in times.items()
        if name in kept and time not in (None, FOREVER)
    }


def check_sizes(settings: KafkaSettings, topics: Iterable[Topic]) -> None:
    """Refuse to go on where one of the topics takes no record as large as we write them.

    A broker that does not say is believed to take them.
    """
    names = {settings.topic(topic) for topic in topics}
    if not names:
        return
    for name, largest in _topic_settings(settings, LARGEST_MESSAGE).items():
        if name in names and largest and int(largest) < settings.max_written_bytes:
            raise KafkaTrouble(
                f"topic {name!r} takes records of {int(largest):,} bytes at most "
                f"({LARGEST_MESSAGE}), and this deployment writes up to "
                f"{settings.max_written_bytes:,}: raise the topic's {LARGEST_MESSAGE}, or lower "
                f"BANDITFLOW_MAX_RECORD_BYTES (to {LEAST_RECORD_BYTES:,} at the least)"
            )


def _topic_settings(settings: KafkaSettings, setting: str) -> dict[str, str | None]:
    """Ask for a setting of each existing topic; None where the broker does not say."""
    admin = admin_client(settings)
    known = partition_counts(settings, admin)
    names = [name for name in map(settings.topic, Topic) if name in known]
    asked = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    answers = admin.describe_configs(asked, request_timeout=10) if asked else {}
    values: dict[str, str | None] = {}
    for resource, answer in answers.items():
        try:
            entry = answer.result(timeout=20).get(setting)
        except KafkaException:  # some brokers have no such request, or do not allow it
            entry = None
        values[resource.name] = entry.value if entry else None
    return {name: values[name] for name in names}


def _create(admin: AdminClient, settings: KafkaSettings, topic: Topic) -> bool:
    try:
        config = _CONFIG | _KEPT_FOR_GOOD.get(topic, {})
        if settings.max_written_bytes > _BROKERS_LARGEST:
            config[LARGEST_MESSAGE] = str(settings.max_written_bytes)
        return _create_with(admin, settings, topic, config)
    except KafkaException as error:
        if error.args[0].code() not in _REFUSED:
            raise
        return _create_with(admin, settings, topic, {})


def _create_with(
    admin: AdminClient, settings: KafkaSettings, topic: Topic, config: Mapping[str, str]
) -> bool:
    name = settings.topic(topic)
    new = NewTopic(name, settings.partitions_of(topic), settings.replication, config=dict(config))
    try:
        admin.create_topics([new], operation_timeout=10)[name].result(timeout=20)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        return False
    return True


def _wait_until_known(settings: KafkaSettings, admin: AdminClient) -> None:
    """Ask for the topics until all are there: brokers learn of a new one after its creator."""
    wanted = {settings.topic(topic) for topic in Topic}
    deadline = time.monotonic() + PATIENCE
    while missing := wanted - partition_counts(settings, admin).keys():
        if time.monotonic() > deadline:
            raise KafkaUnavailable(
                f"topic {min(missing)!r} was created on {settings.bootstrap_servers} "
                f"(BANDITFLOW_BOOTSTRAP_SERVERS), which did not know it for {PATIENCE:.0f} s"
            )
        time.sleep(0.05)
