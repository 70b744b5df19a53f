"""Whose times topics keep: those that are made, and those that are there."""

from collections.abc import Mapping

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.cli.main import main
from flows.devkit.embedded import Server
from operators.io.kafka import admin, client_config, create_topics
from operators.io.kafka.admin import APPEND_TIME, compacted_topics, expiring_topics, timestamp_types
from schemas.settings import Settings, environment_of
from schemas.topics import Topic
from tests.support.kafka_flow import settings_for


@pytest.fixture
def deployment(server: Server, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    settings = settings_for(server.address, topic_prefix)
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    return settings


def make_old(settings: Settings, topic: Topic, **config: str) -> str:
    """Make a topic as an earlier release did, or as somebody else did."""
    name = settings.kafka.topic(topic)
    client = AdminClient(client_config(settings.kafka))
    new = NewTopic(name, settings.kafka.partitions_of(topic), 1, config=config)
    client.create_topics([new])[name].result(timeout=20)
    return name


def test_new_topics_keep_the_brokers_times(
    deployment: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["topics", "check"]) == 1
    assert "`banditflow topics create` makes them" in capsys.readouterr().out
    assert main(["topics", "create"]) == 0
    assert f"all {len(Topic)} topics keep the broker's times" in capsys.readouterr().out
    types = timestamp_types(deployment.kafka)
    assert types == dict.fromkeys(map(deployment.kafka.topic, Topic), APPEND_TIME)
    assert main(["topics", "check"]) == 0


def test_an_existing_topic_with_other_times_is_named_with_what_changes_it(
    deployment: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    name = make_old(deployment, Topic.CLICKS)
    assert main(["topics", "create"]) == 0
    said = capsys.readouterr().out
    assert f"--entity-name {name} --add-config message.timestamp.type=LogAppendTime" in said
    assert said.count("--entity-name") == 1
    assert main(["topics", "check"]) == 1
    assert capsys.readouterr().out in said


def test_a_compacted_catalog_is_named_for_a_tombstone_would_take_records_out_of_it(
    deployment: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    compact = {"cleanup.policy": "compact,delete", "message.timestamp.type": APPEND_TIME}
    name = make_old(deployment, Topic.CATALOG, **compact, **{"retention.ms": "-1"})
    assert compacted_topics(deployment.kafka) == [name]
    assert main(["topics", "create"]) == 0
    said = capsys.readouterr().out
    assert f"--entity-name {name} --add-config cleanup.policy=delete" in said
    assert said.count("--entity-name") == 1
    assert main(["topics", "check"]) == 1


def test_a_catalog_that_is_deleted_by_age_is_named_and_a_new_one_is_not(
    deployment: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    short = {"retention.ms": "86400000", "message.timestamp.type": APPEND_TIME}
    name = make_old(deployment, Topic.CATALOG, **short)
    assert main(["topics", "create"]) == 0
    said = capsys.readouterr().out
    assert f"{name} is deleted by age, after 1 days" in said
    assert f"--entity-name {name} --add-config retention.ms=-1" in said
    other = settings_for(deployment.kafka.bootstrap_servers, f"{deployment.kafka.topic_prefix}new-")
    create_topics(other.kafka)
    assert expiring_topics(other.kafka) == {}


class Refusing(AdminClient):
    """A broker that knows no settings of topics, and says nothing of them."""

    def create_topics(self, new: list[NewTopic], **options: float) -> Mapping[str, object]:
        if new[0].config:
            raise KafkaException(KafkaError(KafkaError.INVALID_CONFIG))
        made: Mapping[str, object] = super().create_topics(new, **options)
        return made


def test_a_broker_without_settings_of_topics_gets_them_without(
    deployment: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "admin_client", lambda kafka: Refusing(client_config(kafka)))
    create_topics(deployment.kafka)
    assert set(timestamp_types(deployment.kafka).values()) == {"CreateTime"}
