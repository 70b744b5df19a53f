"""A deployment with live traffic: its topics and catalog, and waiting for what it does."""

import time
from collections.abc import Callable
from pathlib import Path

import confluent_kafka

from flows.devkit.demo_catalog import demo_catalog
from flows.devkit.embedded import Server
from operators.io.kafka import create_topics, producer_config
from schemas.catalog import PolicySettings
from schemas.codec import encode
from schemas.settings import Settings, load
from schemas.topics import Topic


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until the condition holds; fail when it takes longer."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def deployed(broker: Server, valkey: Server, topic_prefix: str, folder: Path) -> Settings:
    """Make the topics of two partitions, with the demo's catalog; windows outlive the test."""
    settings = load(
        {},
        secret="a secret of the tests",
        bootstrap_servers=broker.address,
        redis_url=f"redis://{valkey.address}/0",
        topic_prefix=topic_prefix,
        partitions=2,
        recovery=str(folder / "recovery"),
        allowed_lateness=300.0,  # a restart may take its time on a busy machine
        epoch=1,
        metrics_port=0,
    )
    create_topics(settings.kafka)
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    for entry in demo_catalog(7, PolicySettings(kind="logistic"), reward_window=300.0):
        producer.produce(settings.kafka.topic(Topic.CATALOG), encode(entry))
    producer.flush()
    return settings
