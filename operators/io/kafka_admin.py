"""Creates the topics of a deployment."""

from functools import partial

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from operators.io.kafka_client import check_partitions, client_config, partition_counts, patiently
from schemas.settings import Settings
from schemas.topics import Topic


def create_topics(settings: Settings) -> list[str]:
    """Create the topics that are missing and give their names; existing ones are left as they are.

    Raises :class:`~operators.io.kafka_client.KafkaTrouble` when an existing topic has another
    partition count than the settings say.
    """
    admin = AdminClient(client_config(settings))
    counts = partition_counts(settings, admin)
    for topic in Topic:
        name = settings.topic(topic)
        if name in counts:
            check_partitions(settings, topic, counts[name])
    return [
        settings.topic(topic)
        for topic in Topic
        if settings.topic(topic) not in counts
        and patiently(settings, partial(_create, admin, settings, topic))
    ]


def _create(admin: AdminClient, settings: Settings, topic: Topic) -> bool:
    name = settings.topic(topic)
    new = NewTopic(name, settings.partitions_of(topic), settings.replication)
    try:
        admin.create_topics([new], operation_timeout=10)[name].result(timeout=20)
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
        return False
    return True
