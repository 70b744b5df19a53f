import time
from collections.abc import Callable
from itertools import chain, repeat
from unittest.mock import DEFAULT, Mock

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from flows.devkit.embedded import Server
from flows.runtime.clock import system_clock
from operators.envelope import Batch, Event
from operators.io.kafka import (
    CatalogSource,
    GroupSource,
    KafkaTrouble,
    TopicSource,
    client_config,
    create_topics,
)
from operators.io.kafka import admin as kafka_admin
from operators.io.kafka import group as kafka_group
from operators.io.kafka.client import check_topics
from operators.io.kafka.group import GroupPartition, begin_at
from operators.io.metrics.kafka import KafkaMetrics
from operators.logic.answer_window import AnswerProgress
from operators.logic.catalog_check import flaw_of
from schemas.clock import ALWAYS, NEVER
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.kafka_flow import produce, read, settings_for

TRIO = (Topic.DECISION_REQUESTS, Topic.IMPRESSIONS, Topic.CLICKS)


@pytest.fixture
def deployment(server: Server, topic_prefix: str) -> Settings:
    settings = settings_for(server.address, topic_prefix, idle_after=0.2)
    create_topics(settings.kafka)
    return settings


def batches_until(
    part: GroupPartition, done: Callable[[list[Batch]], bool], seconds: float = 20.0
) -> list[Batch]:
    """Poll a partition as Bytewax does until the batches satisfy a condition."""
    got: list[Batch] = []
    deadline = time.monotonic() + seconds
    while not done(got):
        assert time.monotonic() < deadline, f"only {got}"
        got += [batch for _, batch in part.next_batch()]
    return got


def events_in(got: list[Batch]) -> list[Event]:
    return [event for batch in got for event in batch.events]


def at_end(got: list[Batch]) -> bool:
    return bool(got) and got[-1].at_end


def numbers(*values: int) -> list[bytes]:
    return [b"%d" % value for value in values]


def backlog(settings: Settings, count: int) -> None:
    """Topic after topic, as a backlog lies there: each topic has all of its time."""
    for place, topic in enumerate(TRIO):
        step = len(TRIO)
        values = [b"%d" % (n * step + place) for n in range(count)]
        produce(settings, topic, {0: values})


def test_a_backlog_over_topics_comes_in_time_order(deployment: Settings) -> None:
    backlog(deployment, 2000)
    part = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO).build_part(
        "in", "0", None
    )
    got = batches_until(part, lambda got: at_end(got) and len(events_in(got)) == 6000)
    assert [event.at for event in events_in(got)] == list(range(6000))
    assert got[-1].watermark == 5999
    for batch in got:
        assert all(e.at <= batch.watermark or not batch.at_end for e in batch.events)


def test_a_backlog_fills_its_batches(deployment: Settings) -> None:
    backlog(deployment, 2000)
    few = deployment.replaced(batch_size=700)
    part = GroupSource(few.kafka, few.time, read, system_clock, TRIO).build_part("in", "0", None)
    got = batches_until(part, lambda got: at_end(got) and len(events_in(got)) == 6000)
    sizes = [len(batch.events) for batch in got]
    assert max(sizes) == 700
    assert sizes.count(700) >= 6


def test_a_topic_that_ran_ahead_is_paused_and_loses_nothing(
    deployment: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_group, "CAPACITY", 300)
    produce(deployment, Topic.CLICKS, {0: numbers(*range(0, 9000, 3))})
    for start in range(0, 9000, 1000):
        produce(deployment, Topic.IMPRESSIONS, {0: numbers(*range(start, start + 1000, 2))})
    part = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO).build_part(
        "in", "0", None
    )
    got = batches_until(part, lambda got: at_end(got) and len(events_in(got)) >= 7500)
    clicks = [e.at for e in events_in(got) if e.origin.topic == Topic.CLICKS]
    impressions = [e.at for e in events_in(got) if e.origin.topic == Topic.IMPRESSIONS]
    assert clicks == list(range(0, 9000, 3))
    assert impressions == list(range(0, 9000, 2))


def test_a_snapshot_resumes_at_the_first_unreleased_record(deployment: Settings) -> None:
    backlog(deployment, 1000)
    source = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO)
    part = source.build_part("in", "0", None)
    first = batches_until(part, lambda got: len(events_in(got)) > 1000)
    snapshot = part.snapshot()
    resumed = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO).build_part(
        "in", "0", snapshot
    )
    rest = batches_until(resumed, lambda got: at_end(got) and bool(events_in(got)))
    assert [e.at for e in events_in(first) + events_in(rest)] == list(range(3000))
    assert all(batch.watermark >= first[-1].watermark for batch in rest)


def test_a_record_that_cannot_be_read_is_given_as_rejected(deployment: Settings) -> None:
    produce(deployment, Topic.CLICKS, {1: [b"1", b"what?", b"2"]})
    part = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO).build_part(
        "in", "1", None
    )
    got = batches_until(part, at_end)
    assert [e.at for e in events_in(got)] == [1, 2]
    [rejected] = [r for batch in got for r in batch.rejected]
    assert (rejected.origin.topic, rejected.origin.partition, rejected.origin.offset) == (
        Topic.CLICKS, 1, 1,
    )  # fmt: skip


def test_what_cannot_be_read_is_rejected_once_whatever_snapshot_is_resumed(
    deployment: Settings,
) -> None:
    produce(deployment, Topic.IMPRESSIONS, {0: numbers(*range(3000))})
    produce(deployment, Topic.CLICKS, {0: [b"2999", b"what?", b"2999"]})
    source = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO)
    part = source.build_part("in", "0", None)
    first = batches_until(part, lambda got: bool(events_in(got)))
    resumed = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO).build_part(
        "in", "0", part.snapshot()
    )
    rest = batches_until(resumed, at_end)
    assert len(events_in(first)) < 3000, "the clicks wait for the impressions before them"
    assert len([rejected for batch in first + rest for rejected in batch.rejected]) == 1
    assert len(events_in(first) + events_in(rest)) == 3002


def test_the_end_is_not_declared_before_the_first_fetch(deployment: Settings) -> None:
    produce(deployment, Topic.CLICKS, {0: numbers(*range(500))})
    part = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO).build_part(
        "in", "0", None
    )
    got = batches_until(part, at_end)
    assert len(events_in(got)) == 500


def test_idle_groups_go_on_with_the_clock_and_silent_ones_follow(deployment: Settings) -> None:
    source = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO)
    heard, silent = (source.build_part("in", k, None) for k in ("0", "1"))
    batches_until(heard, at_end)
    batches_until(silent, at_end)
    assert silent.alignment.watermark == NEVER
    produce(deployment, Topic.CLICKS, {0: [b"7"]})
    batches_until(heard, lambda got: any(batch.events for batch in got))
    start = time.monotonic()
    got = batches_until(heard, lambda got: bool(got) and got[-1].watermark > 7 + 300_000)
    assert 0.25 < time.monotonic() - start < 5.0
    assert not events_in(got)
    assert len(got) < 20, "idle batches are rare"
    batches_until(silent, lambda got: bool(got) and got[-1].watermark >= 7 + 300_000)


def test_live_events_do_not_wait_for_silent_topics(deployment: Settings) -> None:
    part = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO).build_part(
        "in", "0", None
    )
    batches_until(part, at_end)
    for n in range(1, 20):
        produce(deployment, Topic.DECISION_REQUESTS, {0: [b"%d" % n]})
        start = time.monotonic()
        batches_until(part, lambda got: bool(events_in(got)))
        assert time.monotonic() - start < 1.0


def test_far_behind_time_goes_on_as_requests_are_answered(
    deployment: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the events of a backlog would be over before what they follow is decided."""
    monkeypatch.setattr(kafka_group, "_ANSWER_WAIT", 0)
    span = round(deployment.time.allowed_lateness * 1e6 / 2)
    asked = [number * span for number in range(1, 9)]
    produce(deployment, Topic.DECISION_REQUESTS, {0: numbers(*asked)})
    progress = AnswerProgress()
    part = GroupSource(
        deployment.kafka,
        deployment.time,
        read,
        system_clock,
        (Topic.DECISION_REQUESTS, Topic.DECISIONS),
        answered_until=lambda shard: progress.until(str(shard)),
    ).build_part("in", "0", None)
    while asked:
        got = batches_until(part, lambda got: bool(events_in(got)))
        released = [event.at for event in events_in(got)]
        assert released == asked[:2], "half the allowed lateness"
        assert got[-1].watermark <= asked[1], "nor does the time of what waits"
        del asked[:2]
        more = [batch for _ in range(20) for _, batch in part.next_batch()]
        assert not events_in(more), "before it is answered nothing goes on"
        progress.admit("0", got[-1].watermark, requests=2)
        progress.answer("0", requests=2)


def test_a_bounded_source_ends_with_the_last_watermark(deployment: Settings) -> None:
    backlog(deployment, 10)
    source = GroupSource(deployment.kafka, deployment.time, read, system_clock, TRIO, bounded=True)
    part = source.build_part("in", "0", None)
    got = batches_until(part, lambda got: bool(got) and got[-1].watermark == ALWAYS)
    assert len(events_in(got)) == 30
    with pytest.raises(StopIteration):
        part.next_batch()


def test_a_deleted_resume_offset_stops_with_a_clear_message(deployment: Settings) -> None:
    produce(deployment, Topic.CLICKS, {0: numbers(*range(10))})
    source = GroupSource(deployment.kafka, deployment.time, read, system_clock, (Topic.CLICKS,))
    snapshot = source.build_part("in", "0", None).snapshot()
    place = TopicPartition(deployment.kafka.topic(Topic.CLICKS), 0, 6)
    admin = AdminClient({"bootstrap.servers": deployment.kafka.bootstrap_servers})
    assert admin.delete_records([place])[place].result(10).low_watermark == 6
    part = GroupSource(
        deployment.kafka, deployment.time, read, system_clock, (Topic.CLICKS,)
    ).build_part("in", "0", snapshot)
    with pytest.raises(KafkaTrouble, match=r"clicks', partition 0: offset 0 .* has only 6 to 10"):
        batches_until(part, at_end)


def test_an_offset_beyond_the_end_stops_too(deployment: Settings) -> None:
    part = GroupSource(
        deployment.kafka, deployment.time, read, system_clock, (Topic.CLICKS,)
    ).build_part("in", "0", begin_at({Topic.CLICKS: 10}))  # of a log that nothing is known of
    with pytest.raises(KafkaTrouble, match=r"offset 10 .* has only 0 to 0"):
        batches_until(part, at_end)


def test_an_unknown_topic_names_the_command(server: Server, topic_prefix: str) -> None:
    settings = settings_for(server.address, topic_prefix)
    source = GroupSource(settings.kafka, settings.time, read, system_clock)
    with pytest.raises(KafkaTrouble, match=r"does not exist.*banditflow topics create"):
        source.build_part("in", "0", None)


def test_another_partition_count_names_the_setting(deployment: Settings) -> None:
    other = settings_for(
        deployment.kafka.bootstrap_servers, deployment.kafka.topic_prefix, partitions=3
    )
    with pytest.raises(KafkaTrouble, match=r"has 2 partitions.*3 \(BANDITFLOW_PARTITIONS\)"):
        create_topics(other.kafka)
    assert create_topics(deployment.kafka) == []


def test_created_topics_are_known_when_the_call_returns(
    server: Server, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock(wraps=kafka_admin.partition_counts)
    # A controller creates a topic some milliseconds before its brokers know it.
    asked.side_effect = chain([{}, {}, {}], repeat(DEFAULT))  # and a busy one later still
    monkeypatch.setattr(kafka_admin, "partition_counts", asked)
    settings = settings_for(server.address, topic_prefix)
    assert len(create_topics(settings.kafka)) == len(Topic)
    assert asked.call_count >= 4
    check_topics(settings.kafka, AdminClient(client_config(settings.kafka)), list(Topic))


def test_lags_count_what_was_not_released(deployment: Settings) -> None:
    backlog(deployment, 100)
    metrics = KafkaMetrics()
    part = GroupSource(
        deployment.kafka, deployment.time, read, system_clock, TRIO, metrics=metrics
    ).build_part("in", "0", None)
    assert part.lags() == {}  # not 0: the broker has not told any end yet
    batches_until(part, lambda got: bool(events_in(got)))
    released = 300 - sum(part.lags().values())
    assert 0 < released <= 300
    batches_until(part, lambda _: sum(part.lags().values()) == 0)
    assert all(place in metrics.lags() for place in part.lags())


def test_topics_without_alignment_come_one_by_one(deployment: Settings) -> None:
    produce(deployment, Topic.OUTCOMES, {0: numbers(5, 3), 1: numbers(4)})
    produce(deployment, Topic.POLICIES, {0: numbers(9)})
    source = TopicSource(
        deployment.kafka, deployment.time, read, system_clock, [Topic.OUTCOMES, Topic.POLICIES]
    )
    assert source.list_parts() == ["outcomes/0", "outcomes/1", "policies/0"]
    found = {}
    for name in source.list_parts():
        part = source.build_part("in", name, None)
        found[name] = [e.at for e in events_in(batches_until(part, at_end))]
    assert found == {"outcomes/0": [3, 5], "outcomes/1": [4], "policies/0": [9]}


def test_a_backlog_of_many_topics_waits_at_the_broker_and_not_in_memory(
    deployment: Settings,
) -> None:
    topics = [Topic.OUTCOMES, Topic.POLICIES, Topic.DECISIONS]
    for topic in topics:
        count = deployment.kafka.partitions_of(topic)
        produce(deployment, topic, {k: numbers(*range(3000)) for k in range(count)})
    small = deployment.replaced(batch_size=100)
    source = TopicSource(small.kafka, small.time, read, system_clock, topics)
    parts = {name: source.build_part("in", name, None) for name in source.list_parts()}
    got: dict[str, int] = dict.fromkeys(parts, 0)
    most, deadline = 0, time.monotonic() + 60
    while set(got.values()) != {3000}:
        assert time.monotonic() < deadline, got
        for name, part in parts.items():
            got[name] += sum(len(batch.events) for _, batch in part.next_batch())
            most = max(most, source._connect().waiting)
    assert 0 < most < 200, "one fetch, and what was not quite used up"


def test_the_catalog_is_complete_once_read_to_its_end(deployment: Settings) -> None:
    def news_until_complete(part):
        deadline = time.monotonic() + 20
        got = []
        while not (got and got[-1].complete):
            assert time.monotonic() < deadline
            got += [update for _, update in part.next_batch()]
        return got

    empty = news_until_complete(
        CatalogSource(deployment.kafka, flaw_of, system_clock).build_part("in", "catalog", None)
    )
    assert [(n.entries, n.rejected, n.complete) for n in empty] == [([], [], True)]
    slot = b'{"type":"slot","id":"s1","time":"2026-01-01T00:00:00Z","slot_id":"home"}'
    produce(deployment, Topic.CATALOG, {0: [slot, b"{"]})
    part = CatalogSource(deployment.kafka, flaw_of, system_clock).build_part("in", "catalog", None)
    got = news_until_complete(part)
    assert [entry.slot_id for update in got for entry in update.entries] == ["home"]
    assert [r.reason for update in got for r in update.rejected] == ["not_json"]
    resumed = CatalogSource(deployment.kafka, flaw_of, system_clock).build_part(
        "in", "catalog", part.snapshot()
    )
    assert [n.entries for n in news_until_complete(resumed)] == [[]]
