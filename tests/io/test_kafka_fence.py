"""The resume fence among other writers: one answer each, and a start that does not read theirs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from flows.devkit.embedded import Server
from operators.envelope import Message
from operators.io.kafka import KafkaSink, SharedProducer, create_topics, producer_config
from operators.io.kafka import sink as kafka_sink
from operators.io.kafka.sink import SinkPartition, SinkState, later
from operators.io.metrics.kafka import KafkaMetrics
from operators.publish import FENCES
from schemas.codec import encode
from schemas.settings import Settings
from schemas.state import unpack
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import settings_for

THEIRS = 100_000


@pytest.fixture
def deployment(broker: Server, topic_prefix: str) -> Settings:
    settings = settings_for(broker.address, topic_prefix)
    create_topics(settings.kafka)
    return settings


@pytest.fixture(autouse=True)
def looking_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_sink, "LOOK", 0.0)


def decision(number: int, **changes: Any) -> Message:
    return Message(number, None, encode(make.decision(number, **changes)))


def write_theirs(settings: Settings, count: int) -> None:
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    value = encode(make.decision(10**6, writer="edge"))
    for _ in range(count):
        producer.produce(settings.kafka.topic(Topic.DECISIONS), value, partition=0)
    assert producer.flush(60) == 0


class Counting:
    """Counts the records that a fence reads."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, value: bytes) -> int | None:
        self.read += 1
        return FENCES[Topic.DECISIONS](value)


def opened(settings: Settings, snapshot: bytes | None) -> tuple[Any, Counting]:
    counting = Counting()
    sink = KafkaSink(SharedProducer(settings.kafka), Topic.DECISIONS, counting)
    return sink.build_part("out", "00000", snapshot), counting


def test_a_start_does_not_read_again_what_another_writer_has_written(deployment: Settings) -> None:
    part, _ = opened(deployment, None)
    part.write_batch([[decision(1)]])
    part.snapshot()
    write_theirs(deployment, THEIRS)
    part.write_batch([[]])  # a touch
    snapshot = part.snapshot()
    part.write_batch([[decision(2)]])
    part.snapshot()  # lost with a crash
    resumed, counting = opened(deployment, snapshot)
    assert counting.read == 1
    resumed.write_batch([[decision(2), decision(3)]])
    _, counting = opened(deployment, resumed.snapshot())
    assert counting.read <= 1


def test_what_a_start_has_read_of_others_is_passed(deployment: Settings) -> None:
    write_theirs(deployment, 500)
    part, counting = opened(deployment, None)
    assert counting.read == 500
    part.write_batch([[]])
    _, counting = opened(deployment, part.snapshot())
    assert counting.read == 0


def test_what_waits_for_its_repetition_is_not_passed(deployment: Settings) -> None:
    part, _ = opened(deployment, None)
    part.write_batch([[decision(1), decision(2)]])
    part.snapshot()  # lost with a crash
    write_theirs(deployment, 50)
    waiting, _ = opened(deployment, None)
    waiting.write_batch([[decision(1)]])
    again, counting = opened(deployment, waiting.snapshot())
    assert counting.read == 51
    again.write_batch([[decision(2)]])
    _, counting = opened(deployment, again.snapshot())
    assert counting.read == 0


@dataclass
class Log:
    """A partition, and a producer that writes to it at once."""

    records: list[int] = field(default_factory=list)
    """Keys of ours; 0 for those of others."""

    def produce(
        self, _: str, __: bytes, key: bytes, ___: int, delivered: Callable[..., None]
    ) -> None:
        self.records.append(int(key))
        delivered(None, _Delivered(len(self.records) - 1, key))

    def poll(self, _: float) -> None:
        pass

    def flush(self, _: float) -> None:
        pass

    def open(self, snapshot: bytes | None) -> SinkPartition:
        """Open a sink as :class:`KafkaSink` does."""
        offset = unpack("kafka-sink", 2, SinkState, snapshot).offset if snapshot else None
        fence: dict[int, int] = {}
        for place, key in enumerate(self.records):
            if key and place >= (offset or 0):
                fence.setdefault(key, place)
        offset = offset if fence else later(offset, len(self.records))
        end: Callable[[], int] = self.records.__len__
        client: Any = self
        return SinkPartition(client, "decisions", 0, offset, fence, KafkaMetrics(), end=end)


@dataclass
class _Delivered:
    place: int
    name: bytes

    def offset(self) -> int:
        return self.place

    def key(self) -> bytes:
        return self.name

    def value(self) -> bytes:
        return b""


STEPS = st.lists(
    st.tuples(st.sampled_from(["ours", "others", "epoch", "crash"]), st.integers(1, 3)),
    max_size=40,
)


@examples(max_examples=200, deadline=None)
@given(STEPS)
def test_every_answer_is_written_once_over_any_crashes_beside_another_writer(
    steps: list[tuple[str, int]],
) -> None:
    log, snapshot, due, done = Log(), None, 1, 1
    part = log.open(None)
    for step, count in [*steps, ("crash", 1), ("ours", 200)]:
        if step == "ours":
            answers = range(due, due + count)
            part.write_batch([[Message(key, b"%d" % key, b"") for key in answers]])
            due += count
        elif step == "others":
            log.records += [0] * count
        elif step == "epoch":
            part.write_batch([[]])
            snapshot, done = part.snapshot(), due
        else:  # what came since the last epoch comes again, cut as it may be
            part, due = log.open(snapshot), done
    ours = [key for key in log.records if key]
    assert len(ours) == len(set(ours))
    assert set(range(1, due)) <= set(ours)
