"""Kafka as Banditflow uses it: aligned sources, checked sinks, topics."""

from operators.io.kafka_admin import create_topics
from operators.io.kafka_catalog import CatalogSource
from operators.io.kafka_client import (
    ERRORS,
    KafkaTrouble,
    client_config,
    consumer_config,
    producer_config,
)
from operators.io.kafka_group import lags
from operators.io.kafka_sink import SUPPRESSED, KafkaSink, SharedProducer
from operators.io.kafka_source import GroupSource, TopicSource

__all__ = [
    "ERRORS",
    "SUPPRESSED",
    "CatalogSource",
    "GroupSource",
    "KafkaSink",
    "KafkaTrouble",
    "SharedProducer",
    "TopicSource",
    "client_config",
    "consumer_config",
    "create_topics",
    "lags",
    "producer_config",
]
