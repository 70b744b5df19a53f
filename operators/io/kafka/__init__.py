"""Kafka as Banditflow uses it: aligned sources, checked sinks, topics."""

from operators.io.kafka.admin import create_topics
from operators.io.kafka.catalog_source import CatalogSource
from operators.io.kafka.client import (
    KafkaTrouble,
    client_config,
    consumer_config,
    producer_config,
)
from operators.io.kafka.sink import KafkaSink, SharedProducer
from operators.io.kafka.source import GroupSource, TopicSource

__all__ = [
    "CatalogSource",
    "GroupSource",
    "KafkaSink",
    "KafkaTrouble",
    "SharedProducer",
    "TopicSource",
    "client_config",
    "consumer_config",
    "create_topics",
    "producer_config",
]
