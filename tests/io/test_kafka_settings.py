"""A setting that the Kafka client cannot use ends in a sentence, whoever makes the client."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.devkit.simulation.wire import Wire
from flows.devkit.verify_replay.runs import prepare
from flows.runtime.catalog_topic import publish_entries
from flows.runtime.clock import system_clock
from operators.io.kafka import KafkaTrouble, create_topics
from operators.io.kafka import client as kafka_client
from schemas.settings import Settings, load

MAKERS = {
    "consumer": lambda settings: kafka_client.consumer(settings.kafka),
    "producer": lambda settings: kafka_client.producer(settings.kafka),
    "admin": lambda settings: kafka_client.admin_client(settings.kafka),
    "topics": lambda settings: create_topics(settings.kafka),
    "catalog": lambda settings: publish_entries(settings, system_clock, []),
    "visitors": Wire,
    "replay": prepare,
}


def settings_of(variable: str, value: str, **others: str) -> Settings:
    return load(
        {"BANDITFLOW_SECRET": "sixteen letters!", f"BANDITFLOW_{variable}": value}, **others
    )


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_setting_that_the_client_refuses_is_named(make: Callable[[Settings], object]) -> None:
    settings = settings_of("KAFKA_OPTIONS", '{"no.such.option": "1"}')

    with pytest.raises(KafkaTrouble, match=r"^BANDITFLOW_KAFKA_OPTIONS: .*no\.such\.option"):
        make(settings)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ('{"": "1"}', "No such"),
        ('{"linger.ms": "unspoken"}', "queue.buffering.max.ms"),
        ('{"linger.ms": "-5"}', "range"),
        ('{"compression.codec": "unspoken"}', "compression.codec"),
        ('{"linger.ms": "5\\u0000"}', "control character"),
        ('{"linger\\u001b.ms": "5"}', "control character"),
        ('{"bootstrap.servers": "unspoken:1"}', "set BANDITFLOW_BOOTSTRAP_SERVERS instead"),
        ('{"sasl.password": "unspoken"}', "set BANDITFLOW_KAFKA_PASSWORD instead"),
        ('{"security.protocol": "SSL"}', "set BANDITFLOW_KAFKA_SECURITY instead"),
        ('{"enable.auto.commit": "true"}', "cannot be changed"),
        ('{"acks": "0"}', "cannot be changed"),
        ('{"partitioner": "random"}', "cannot be changed"),
        ('{"error_cb": "print"}', "cannot be changed"),
        ('{"logger": "unspoken"}', "cannot be changed"),
        ('{"on_delivery": "unspoken"}', "refuses its settings"),
        ('{"plugin.library.paths": "/unspoken"}', "refuses its settings"),
    ],
)
def test_an_option_that_cannot_be_used_is_named_and_its_value_is_not(
    options: str, named: str
) -> None:
    settings = settings_of("KAFKA_OPTIONS", options)

    for make in (kafka_client.consumer, kafka_client.producer, kafka_client.admin_client):
        with pytest.raises(KafkaTrouble, match=r"^BANDITFLOW_KAFKA_OPTIONS: ") as refused:
            make(settings.kafka)
        assert "unspoken" not in str(refused.value)
        assert "\n" not in str(refused.value)
    assert named in str(refused.value) or "No such" in str(refused.value)


@pytest.mark.parametrize("variable", ["KAFKA_CA", "KAFKA_CERT", "KAFKA_KEY"])
@pytest.mark.parametrize("kind", ["missing", "folder", "no certificate"])
def test_a_file_of_tls_that_cannot_be_used_is_named(
    variable: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.pem"
    if kind == "folder":
        path.mkdir()
    elif kind == "no certificate":
        path.write_text("nothing of the kind")
    settings = settings_of(variable, str(path), kafka_security="SSL")

    if (variable, kind) == ("KAFKA_CA", "folder"):  # of certificates
        kafka_client.consumer(settings.kafka).close()
        return
    with pytest.raises(KafkaTrouble, match=f"^BANDITFLOW_{variable}: "):
        kafka_client.consumer(settings.kafka)


@pytest.mark.parametrize(
    ("variable", "value"), [("KAFKA_MECHANISM", "NONE-SUCH"), ("KAFKA_USERNAME", "")]
)
def test_what_sasl_lacks_is_named(variable: str, value: str) -> None:
    settings = settings_of(variable, value, kafka_security="SASL_SSL")

    with pytest.raises(KafkaTrouble, match=f"^BANDITFLOW_{variable}: "):
        kafka_client.producer(settings.kafka)
