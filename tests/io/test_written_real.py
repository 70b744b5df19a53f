"""The largest records of a flow on the embedded broker, Valkey and SQLite: all are taken whole."""

from pathlib import Path

import pytest
from bytewax.testing import run_main

from flows.devkit.embedded import Server
from operators.envelope import Event, Origin
from operators.io.kafka import KafkaSink, SharedProducer, create_topics
from operators.io.redis import client, read
from operators.io.redis.call import SCRIPT, send
from operators.io.store.sqlite import SqliteStore
from operators.persist import rows_of
from operators.publish import FENCES
from schemas.topics import STORED, TOPICS, Topic
from tests.support.kafka_flow import log_of, settings_for
from tests.support.widest import START, Written, widest_actions, widest_slot, write_everything


@pytest.fixture(scope="module")
def written() -> Written:
    """What the flow writes of a slot whose rankings and policies do not fit whole."""
    slot = widest_slot("beta", columns=0)
    settings = settings_for("nowhere:9", "", partitions=1)
    return write_everything(run_main, slot, widest_actions(slot, 700), settings)


def test_the_broker_takes_the_largest_records(
    written: Written, broker: Server, topic_prefix: str
) -> None:
    settings = settings_for(broker.address, topic_prefix, partitions=1)
    create_topics(settings.kafka)
    shared = SharedProducer(settings.kafka)
    longest = 0
    for topic, messages in written.messages.items():
        part = KafkaSink(shared, topic, FENCES.get(topic)).build_part("out", "00000", None)
        part.write_batch([messages])
        part.snapshot()
        values = [message.value for message in messages]
        assert log_of(settings, topic)[0] == values
        longest = max(longest, *map(len, values))
        again = KafkaSink(shared, topic, FENCES.get(topic)).build_part("out", "00000", None)
        if TOPICS[topic].fence:  # a record of any size is known again
            again.write_batch([messages])
            again.snapshot()
            assert log_of(settings, topic)[0] == values
    assert longest > 0.95 * settings.kafka.max_value_bytes


def test_valkey_takes_the_largest_copies(written: Written, valkey: Server) -> None:
    connection = client(f"redis://{valkey.address}/0")
    connection.flushall()
    script = connection.register_script(SCRIPT)
    newest = {copy.key: copy for copy in written.copies}
    assert send(script, written.copies) >= len(newest)
    for key, copy in newest.items():
        cached = read(connection, key)
        assert cached is not None
        fields = {
            name: value if isinstance(value, str) else value.decode()
            for name, value in copy.fields.items()
        }
        assert (cached.version, cached.fields) == (copy.version, fields)
    connection.close()


def test_the_store_takes_the_largest_rows(written: Written, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(START)
    for topic in STORED:
        events = [
            Event(0, None, "", 0, Origin(topic, 0, offset, 1), message.value)
            for offset, message in enumerate(written.messages.get(topic, ()))
        ]
        assert store.apply(rows_of(0, events)).refused == {}
    policy = store.policy(written.messages[Topic.POLICIES][-1].key.decode())  # type: ignore[union-attr]
    assert policy is not None
    assert policy["actions_left_out"] + len(policy["actions"]) == 700
    decision = store.rows("decisions", None, 1)[0]
    assert decision["ranking_left_out"] + len(decision["ranking"]) == 700
    assert decision["ranking_left_out_probability"] > 0.0
    store.close()
