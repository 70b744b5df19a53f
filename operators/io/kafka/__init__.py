"""Kafka as Banditflow uses it: aligned sources, checked sinks, topics."""

from operators.io.kafka.admin import create_topics
from operators.io.kafka.catalog_source import CatalogSource
from operators.io.kafka.client import (
    ERRORS,
    KafkaTrouble,
    client_config,
    consumer_config,
    producer_config,
)
from operators.io.kafka.group import lags
from operators.io.kafka.sink import SUPPRESSED, KafkaSink, SharedProducer
from operators.io.kafka.source import GroupSource, TopicSource

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
