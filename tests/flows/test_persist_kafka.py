"""The persist flow from a real broker's topics to the store."""

from pathlib import Path

import msgspec
from bytewax.testing import run_main

from flows.devkit.embedded import Server
from flows.persist import build
from flows.registry import PERSIST
from flows.runtime.clock import system_clock
from operators.io.kafka import TopicSource, create_topics
from operators.io.metrics.records import RecordMetrics
from operators.io.reading import read_undecoded
from operators.io.store.sqlite import SqliteStore
from operators.persist import StoreSink
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import produce, settings_for

COUNT = 400


def test_topics_reach_the_store(broker: Server, topic_prefix: str, tmp_path: Path) -> None:
    settings = settings_for(broker.address, topic_prefix)
    create_topics(settings.kafka)
    encode = msgspec.json.encode
    shards = range(settings.kafka.partitions)
    per_shard = {
        shard: [make.decision(at) for at in range(COUNT) if at % len(shards) == shard]
        for shard in shards
    }
    later = [make.decision(0, action_id="another"), make.decision(0, action_id="a third")]
    decisions = {shard: [encode(made) for made in per_shard[shard]] for shard in shards}
    decisions[0] += [encode(made) for made in later] + [b"not a decision"]
    outcomes = {
        shard: [
            encode(make.outcome(int(made.key, 16), revision))
            for made in per_shard[shard]
            for revision in (1, 2)
        ]
        for shard in shards
    }
    produce(settings, Topic.DECISIONS, decisions)
    produce(settings, Topic.OUTCOMES, outcomes)
    produce(settings, Topic.POLICIES, {0: [encode(make.policy("home", at)) for at in (1, 2, 3)]})
    produce(settings, Topic.CATALOG, {0: [encode(make.slot("home"))]})
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(system_clock())
    source = TopicSource(
        settings.kafka, settings.time, read_undecoded, system_clock, PERSIST.resumes, bounded=True
    )
    run_main(
        build(
            source,
            StoreSink(lambda: store, settings.kafka.partitions),
            settings.kafka.max_record_bytes,
            RecordMetrics(),
        )
    )
    counts = store.counts()
    assert (counts["decisions"], counts["outcomes"], counts["slots"]) == (COUNT, COUNT, 1)
    assert counts["dead_letters"] == 1
    assert store.decision("d0")[0]["action_id"] == make.decision(0).action_id
    assert {row["revision"] for row in store.rows("outcomes")} == {2}
    found = store.policy("home")
    assert found is not None
    assert found["version"] == 3
    store.close()
