"""Creates the topics of a deployment."""

import time
from functools import partial

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from operators.io.kafka.client import (
    PATIENCE,
    KafkaUnavailable,
    ask_until_answered,
    check_partitions,
    client_config,
    partition_counts,
    refused_settings,
)
from schemas.settings import KafkaSettings
from schemas.topics import Topic


def create_topics(settings: KafkaSettings) -> list[str]:
    """Create the topics that are missing and give their names; existing ones are left as they are.

    Returns once the broker knows all of them, so that a flow can start at once. Raises
    :class:`~operators.io.kafka.client.KafkaTrouble` when an existing topic has another partition
    count than the settings say.
    """
    with refused_settings():
        admin = AdminClient(client_config(settings))
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


def _create(admin: AdminClient, settings: KafkaSettings, topic: Topic) -> bool:
    name = settings.topic(topic)
    new = NewTopic(name, settings.partitions_of(topic), settings.replication)
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
