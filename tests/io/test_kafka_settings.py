"""A setting that the Kafka client cannot use ends in a sentence, whoever makes the client."""

from collections.abc import Callable

import pytest

from flows.devkit.simulation.wire import Wire
from flows.runtime.catalog import publish
from operators.io.kafka import KafkaTrouble, create_topics
from operators.io.kafka import client as kafka_client
from schemas.settings import Settings, load


@pytest.mark.parametrize(
    "make",
    [
        lambda settings: kafka_client.consumer(settings.kafka),
        lambda settings: kafka_client.producer(settings.kafka),
        lambda settings: create_topics(settings.kafka),
        lambda settings: publish(settings, []),
        Wire,
    ],
    ids=["consumer", "producer", "topics", "catalog", "visitors"],
)
@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("BANDITFLOW_KAFKA_SECURITY", "TLS", "security.protocol"),
        ("BANDITFLOW_KAFKA_OPTIONS", '{"no.such.option": "1"}', "no.such.option"),
    ],
)
def test_a_setting_that_the_client_refuses_is_named(
    make: Callable[[Settings], object], variable: str, value: str, named: str
) -> None:
    settings = load({"BANDITFLOW_SECRET": "sixteen letters!", variable: value})

    with pytest.raises(KafkaTrouble, match=rf"BANDITFLOW_KAFKA_.*{named}"):
        make(settings)
