"""Somebody else's clock: what a producer, a visitor or this machine says the time is."""

import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.devkit.embedded import Server
from operators.decode import reader
from operators.envelope import Batch, Rejected
from operators.io.kafka import GroupSource, client_config, producer_config
from operators.io.kafka.group import GroupPartition
from operators.io.kafka.timestamps import SteadyClock
from operators.logic.alignment import Alignment
from operators.logic.murmur2 import partition_of
from schemas.clock import ALWAYS, NEVER, Clock, micros
from schemas.codec import encode
from schemas.events import Click
from schemas.topics import Topic
from tests.support.kafka_flow import settings_for

PAIR = (Topic.IMPRESSIONS, Topic.CLICKS)
TWO_DAYS = timedelta(days=2)
KINDS = {"message.timestamp.after.max.ms": str(2**63 - 1)}
"""Kafka before 3.6 takes any time that a producer sets; this lets later ones, too."""
VISITOR = next(name for name in map(str, range(99)) if partition_of(name.encode(), 2) == 0)


class Clicks:
    """Two topics whose timestamps are of a kind, and what is sent to one of them."""

    def __init__(self, server: Server, prefix: str, kind: str) -> None:
        self.kind = kind
        self.settings = settings_for(server.address, prefix, idle_after=0.05)
        kafka = self.settings.kafka
        admin = AdminClient(client_config(kafka))
        made = admin.create_topics(
            [
                NewTopic(kafka.topic(topic), 2, 1, config=KINDS | {"message.timestamp.type": kind})
                for topic in PAIR
            ]
        )
        for each in made.values():
            each.result(timeout=20)
        self._producer = confluent_kafka.Producer(producer_config(kafka))
        self.sent = 0

    def send(self, at: datetime, stamped: datetime) -> None:
        """Send a click that bears a time, and whose producer says that it is another."""
        self.sent += 1
        click = Click(id=f"c{self.sent}", time=at, subject=VISITOR, decision_id="d", slot_id="home")
        self._producer.produce(
            self.settings.kafka.topic(Topic.CLICKS), encode(click), VISITOR.encode(), 0,
            timestamp=round(stamped.timestamp() * 1000),
        )  # fmt: skip
        assert self._producer.flush(20) == 0

    def open(self, clock: Clock, snapshot: bytes | None = None) -> GroupPartition:
        """Open the partition that they are in."""
        settings = self.settings
        source = GroupSource(settings.kafka, settings.time, reader(settings), clock, PAIR)
        part = source.build_part("in", "0", snapshot)
        assert isinstance(part, GroupPartition)
        return part


def read_until(part: GroupPartition, done: Callable[[list[Batch]], bool]) -> list[Batch]:
    """Poll a partition as Bytewax does until the batches satisfy a condition."""
    got: list[Batch] = []
    deadline = time.monotonic() + 20.0
    while not done(got):
        assert time.monotonic() < deadline, f"only {taken(got)} and {refused(got)}"
        got += [batch for _, batch in part.next_batch()]
    return got


def taken(got: list[Batch]) -> list[str]:
    return [event.body.id for batch in got for event in batch.events]


def refused(got: list[Batch]) -> list[Rejected]:
    return [rejected for batch in got for rejected in batch.rejected]


def came(count: int) -> Callable[[list[Batch]], bool]:
    return lambda got: len(taken(got)) + len(refused(got)) == count and got[-1].at_end


def now() -> datetime:
    return datetime.now(UTC)


def present() -> int:
    """The time of day, and what virtual machines' clocks are apart."""
    return micros(now()) + 200_000


@pytest.fixture(params=["CreateTime", "LogAppendTime"])
def clicks(server: Server, topic_prefix: str, request: pytest.FixtureRequest) -> Clicks:
    return Clicks(server, topic_prefix, request.param)


def test_a_record_two_days_ahead_by_all_its_times_moves_nothing(clicks: Clicks) -> None:
    began = now()
    clicks.send(began + TWO_DAYS, began + TWO_DAYS)
    clicks.send(began, began)
    part = clicks.open(now)
    got = read_until(part, came(2))
    assert taken(got) == ["c2"]
    (rejected,) = refused(got)
    assert (rejected.reason, rejected.field) == ("time_in_future", "time")
    assert micros(began) <= rejected.origin.time <= present(), "never the producer's"
    assert got[-1].watermark <= present()
    again = clicks.open(now, part.snapshot())
    clicks.send(began, began)
    got = read_until(again, came(1))
    assert got[-1].watermark <= present()


def test_a_record_within_the_skew_is_taken_and_moves_time_up_to_the_present_only(
    clicks: Clicks,
) -> None:
    began = now()
    ahead = timedelta(seconds=clicks.settings.time.max_skew - 30.0)
    clicks.send(began + ahead, began + ahead)
    got = read_until(clicks.open(now), came(1))
    assert taken(got) == ["c1"]
    assert got[-1].watermark <= present()


def test_this_machines_clock_set_ahead_moves_nothing_where_the_broker_keeps_its_own(
    server: Server, topic_prefix: str
) -> None:
    clicks = Clicks(server, topic_prefix, "LogAppendTime")
    began = now()
    clicks.send(began, began)
    clicks.send(began + TWO_DAYS, began + TWO_DAYS)
    got = read_until(clicks.open(lambda: now() + TWO_DAYS), came(2))
    assert taken(got) == ["c1"]
    assert [rejected.reason for rejected in refused(got)] == ["time_in_future"]


def test_a_machine_whose_clock_is_behind_is_told_why_all_is_refused(
    server: Server, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    clicks = Clicks(server, topic_prefix, "LogAppendTime")
    clicks.send(now(), now())
    with caplog.at_level(logging.WARNING, "banditflow.kafka"):
        got = read_until(clicks.open(lambda: now() - TWO_DAYS), came(1))
    assert [rejected.reason for rejected in refused(got)] == ["time_in_future"]
    assert re.search(r"this machine's clock is 17[23]\d{3} s behind", caplog.text)


def test_this_machines_clock_set_back_loses_nothing(clicks: Clicks) -> None:
    set_back = [timedelta(0)]
    part = clicks.open(lambda: now() - set_back[0])
    clicks.send(now(), now())
    before = read_until(part, came(1))[-1].watermark
    set_back[0] = TWO_DAYS
    clicks.send(now(), now())
    got = read_until(part, came(1))
    assert taken(got) == ["c2"]
    assert before <= got[-1].watermark <= present()


def test_a_restored_watermark_ahead_of_the_clock_stands_still_and_says_so(
    clicks: Clicks, caplog: pytest.LogCaptureFixture
) -> None:
    ahead = clicks.open(now)
    ahead.alignment.watermark = held = micros(now() + TWO_DAYS)
    with caplog.at_level(logging.WARNING, "banditflow.kafka"):
        part = clicks.open(now, ahead.snapshot())
    assert "lower-watermark" in caplog.text
    clicks.send(now(), now())
    got = read_until(part, came(1))
    deadline = time.monotonic() + 3 * clicks.settings.time.idle_after
    while time.monotonic() < deadline:
        got += [batch for _, batch in part.next_batch()]
    assert {batch.watermark for batch in got} == {held}, "not even an idle group goes on"


def test_a_start_on_producers_times_says_once_that_a_backlog_is_not_protected(
    clicks: Clicks, caplog: pytest.LogCaptureFixture
) -> None:
    clicks.send(now(), now())
    with caplog.at_level(logging.WARNING, "banditflow.kafka"):
        read_until(clicks.open(now), came(1))
    said = [record.message for record in caplog.records if "CreateTime" in record.message]
    assert len(said) == (clicks.kind == "CreateTime")


CLOCKS = st.lists(
    st.tuples(st.integers(-(10**7), 10**7), st.integers(0, 10**6)), min_size=1, max_size=20
)


@given(CLOCKS)
def test_a_steady_clock_never_goes_back_and_follows_a_clock_set_ahead(
    steps: list[tuple[int, int]],
) -> None:
    wall, elapsed = [10**9], [0]
    clock = SteadyClock(
        lambda: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=wall[0]),
        lambda: elapsed[0] * 1000,
    )
    before = clock()
    for step, passed in steps:
        wall[0] += step + passed
        elapsed[0] += passed
        present = clock()
        assert present >= before + passed
        assert present >= wall[0]
        before = present


LANE = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100)), max_size=8)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), LANE, st.integers(0, 30)), max_size=10),
    st.sampled_from([NEVER, 50, 10**6]),
)
def test_no_watermark_passes_the_present_nor_falls(
    portions: list[tuple[int, list[tuple[int, int]], int]], restored: int
) -> None:
    group = Alignment[int](2, idle_after=5, watermark=restored)
    clock, present, before = 0, 0, restored
    for lane, events, passed in portions:
        clock, present = clock + passed, present + passed
        limits = [min(appended, present) for _, appended in events]
        group.lanes[lane].extend(range(len(events)), [at for at, _ in events], limits)
        for each in group.lanes:
            each.at_end = True
        group.release(100, clock, present)
        group.follow(ALWAYS, present)
        assert before <= group.watermark <= max(restored, present)
        before = group.watermark
