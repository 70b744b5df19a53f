"""Spoiled records by the hundred thousand, written to every topic of a deployment."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import confluent_kafka

from flows.devkit.demo_catalog import SLOT
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.visitors import Visitors
from flows.runtime.clock import system_clock
from operators.io.kafka import producer_config
from operators.io.kafka.client import consumer
from schemas.codec import Flaw, decode
from schemas.settings import Settings
from schemas.topics import GROUP, TOPICS, Topic
from tests.support.fuzz.records import Decided, Fuzzer, FuzzRecord, Surroundings, wild_keys
from tests.support.stage import SEED, InVain

OURS = tuple(
    topic for topic, spec in TOPICS.items() if spec.record is not None and topic not in GROUP
)
SHARES: tuple[Topic, ...] = (
    *GROUP * 4,
    *(t for t in OURS if t is not Topic.CATALOG),
    Topic.CATALOG,
)
"""The topics, as often as they are chosen: most records are for what decides and learns."""

TEMPLATES = 2_000
"""Records that are made at a time; each is sent some times, under other ids, while it is new."""

_ABOUT, _AT_ONCE = 2_000, 1_000


@dataclass
class Poison:
    """Makes and writes spoiled records; ``written`` are the offsets that they got, by partition."""

    settings: Settings
    seed: int
    sent: int = 0
    written: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    refused: int = 0
    """Records that the broker or the client did not take."""

    def __post_init__(self) -> None:
        """Connect."""
        kafka = self.settings.kafka
        self._fuzzer = Fuzzer(self.seed, kafka.partitions, SHARES, large=0.0001)
        self._producer = confluent_kafka.Producer(producer_config(kafka))
        self._names = wild_keys(self.settings.secret.encode())
        self._decided: list[Decided] = []
        keys = RecordWriter("fuzz", Visitors(SEED)).keys
        self._visitors = [key.decode() for key in keys[:1000]]
        self._reader = consumer(kafka)
        topic = kafka.topic(Topic.DECISIONS)
        self._reader.assign(
            [confluent_kafka.TopicPartition(topic, k, 0) for k in range(kafka.partitions)]
        )

    def send(self, count: int) -> None:
        """Write so many records, and wait until the broker has them."""
        while count > 0:
            portion = min(count, 5 * TEMPLATES)
            for record in self._records(portion):
                self._write(record)
            count -= portion
        if self._producer.flush(120):
            raise InVain("the broker did not take the spoiled records")

    def close(self) -> None:
        """End the connections."""
        self._reader.close()

    def _records(self, count: int) -> Iterator[FuzzRecord]:
        self._look()
        about = Surroundings(system_clock(), [SLOT], self._visitors, self._decided[-_ABOUT:])
        made = min(count, TEMPLATES)
        templates = [self._fuzzer.make(self.sent + n, about) for n in range(made)]
        rng = Random(f"{self.seed}/{self.sent}")
        yield from templates
        for number in range(count - made):
            yield _under_another_id(rng.choice(templates), self.sent + number)

    def _look(self) -> None:
        """Read the newest decisions: records are about them."""
        more = True
        while more:
            messages = self._reader.consume(_AT_ONCE, 0.2)
            self._note(messages)
            more = len(messages) == _AT_ONCE
        del self._decided[: -10 * _ABOUT]

    def _note(self, messages: list[confluent_kafka.Message]) -> None:
        for message in messages:
            if message.error() is None:
                body = decode(Topic.DECISIONS, message.value())
                if not isinstance(body, Flaw):
                    wild = body.decision_id.startswith(("d-", "z-"))
                    visitor = "" if wild else self._visitors[0]  # whoever it was
                    name = self._names.get(int(body.key, 16), visitor) if _is_key(body.key) else ""
                    self._decided.append(
                        Decided(
                            subject=name,
                            decision_id=body.decision_id,
                            slot_id=body.slot_id,
                            action_id=body.action_id,
                            key=body.key,
                            partition=message.partition() or 0,
                            time=body.time,
                        )
                    )

    def _write(self, record: FuzzRecord) -> None:
        self.sent += 1
        topic = self.settings.kafka.topic(record.topic)
        while True:
            try:
                self._producer.produce(
                    topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=self._delivered,
                    timestamp=max(0, record.time // 1000),
                )
                break
            except BufferError:
                self._producer.poll(0.05)
            except confluent_kafka.KafkaException:
                self.refused += 1  # larger than the client sends
                return
        self._producer.poll(0)

    def _delivered(
        self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message
    ) -> None:
        if error is not None:
            self.refused += 1
            return
        name = (message.topic() or "").removeprefix(self.settings.kafka.topic_prefix)
        self.written.setdefault((name, message.partition() or 0), []).append(message.offset() or 0)


def _under_another_id(record: FuzzRecord, number: int) -> FuzzRecord:
    value = record.value
    if value is None:
        return record
    start = value.find(b'"id":"z-')
    if start < 0:
        return record
    end = value.find(b'"', start + 7)
    return record._replace(value=value[: start + 8] + b"%d" % (10**7 + number) + value[end:])


def _is_key(text: str) -> bool:
    try:
        return int(text, 16) >= 0
    except ValueError:
        return False


def offsets_of(written: dict[tuple[str, int], Sequence[int]]) -> dict[tuple[str, int], set[int]]:
    """Collect the offsets in sets."""
    return {place: set(offsets) for place, offsets in written.items()}
