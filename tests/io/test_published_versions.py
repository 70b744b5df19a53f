"""The versions that a learner without state goes on above: the end of the topic of policies."""

import pytest
from msgspec import structs

from flows.devkit.embedded import Server
from operators.io.kafka import create_topics
from operators.io.kafka import published as kafka_published
from operators.io.kafka.published import PublishedVersions
from operators.io.metrics.kafka import KafkaMetrics
from schemas.codec import encode
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import produce, settings_for


@pytest.fixture
def deployment(broker: Server, topic_prefix: str) -> Settings:
    settings = settings_for(broker.address, topic_prefix)
    create_topics(settings.kafka)
    return settings


def policies(*versions: tuple[str, int]) -> list[bytes]:
    return [
        encode(structs.replace(make.policy(slot, 1), version=version)) for slot, version in versions
    ]


def test_the_highest_version_of_each_slot_counts_whatever_else_lies_there(
    deployment: Settings,
) -> None:
    published = PublishedVersions(deployment.kafka, KafkaMetrics())
    strange = [b"", b"\xff", b"[]", b'{"slot_id": "home"}', b'{"slot_id": "home", "version": []}']
    foreign = policies(("home", 4_294_967_295), ("home", -1), ("home", 10**30))
    ours = policies(("home", 7), ("side", 70_000), ("home", 9))
    produce(deployment, Topic.POLICIES, {0: [*strange, *ours, *foreign, *policies(("home", 8))]})
    assert [published(slot) for slot in ("home", "side", "unheard of")] == [9, 70_000, 0]


def test_an_empty_topic_says_nothing(deployment: Settings) -> None:
    assert PublishedVersions(deployment.kafka, KafkaMetrics())("home") == 0


def test_only_the_end_is_read(deployment: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_published, "LAST", 2)
    produce(deployment, Topic.POLICIES, {0: policies(("side", 9), ("home", 4), ("home", 5))})
    published = PublishedVersions(deployment.kafka, KafkaMetrics())
    assert (published("side"), published("home")) == (0, 5)
