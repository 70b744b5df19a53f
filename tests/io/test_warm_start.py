"""A start from the store: what is learned equals a recomputation, or the loss is said."""

import base64
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import confluent_kafka
import msgspec
import numpy as np
import pytest
from bytewax.inputs import Source
from bytewax.testing import TestingSink, run_main
from confluent_kafka.admin import AdminClient
from msgspec import structs
from prometheus_client import CollectorRegistry

from flows import persist, personalize
from flows.devkit.embedded import Server
from flows.personalize import Steps
from flows.replay.logged import SLOT, catalog_of, records_of
from flows.replay.open_bandit import SHIPPED, OpenBanditLog, read_open_bandit
from flows.replay.replay import ETA
from flows.runtime.clock import system_clock
from flows.runtime.recovery import RecoveryError, owned_recovery, recovery_config
from flows.runtime.snapshots import read_states
from flows.runtime.warm_start import (
    Checkpoint,
    WarmStart,
    WarmStartError,
    before_run,
    newest,
    warm_start,
)
from operators.decode import reader
from operators.envelope import Event
from operators.io.kafka import (
    GroupSource,
    KafkaSink,
    SharedProducer,
    TopicSource,
    create_topics,
    producer_config,
)
from operators.io.memory import MemoryCatalogSource, MemorySink, Records
from operators.io.metrics.records import RecordMetrics
from operators.io.metrics.root import Metrics
from operators.io.reading import read_undecoded
from operators.io.store.open import migrate, open_store
from operators.io.store.sqlite import SqliteStore
from operators.learner_state import LEARNER_STATE, LearnerState, unpack_learner
from operators.logic.policies import load_policy
from operators.logic.recount import contributions, recount
from operators.logic.slot_policy import new_policy
from operators.persist import StoreSink
from operators.publish import FENCES
from schemas.catalog import Action, CatalogEntry, PolicySettings, Slot, SubjectLimit
from schemas.clock import micros
from schemas.codec import encode
from schemas.settings import load
from schemas.topics import GROUP, STORED, Topic
from tests.support import records as make
from tests.support.kafka_flow import log_of
from tests.support.mirror import Mirror
from tests.support.parts import create_topics as with_create_time

SHARDS = 2
HEADER = f"{LEARNER_STATE.kind}/{LEARNER_STATE.version}\n".encode()
ACTIONS = 6


def dense(log: OpenBanditLog) -> OpenBanditLog:
    """Let a row happen in each second of the last hour: many are pending at once, and clicked.

    The times are recent, because brokers delete old records.
    """
    clicks = np.random.default_rng(5).random(len(log.rows)) < 0.3
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    rows = [
        replace(
            row,
            time=start + timedelta(seconds=number),
            click=int(click),
            item=row.item % ACTIONS,
        )
        for number, (row, click) in enumerate(zip(log.rows, clicks, strict=True))
    ]
    return OpenBanditLog(log.policy, rows, log.items[:ACTIONS])


class Deployment:
    """Topics on the embedded broker, a store, and flows that run to the topics' ends."""

    def __init__(self, server: Server, prefix: str, folder: Path, **store: str) -> None:
        self.settings = load(
            {},
            secret="a secret of the tests",
            bootstrap_servers=server.address,
            topic_prefix=prefix,
            partitions=SHARDS,
            recovery=str(folder / "recovery"),
            batch_size=200,
            **store,
        )
        kafka = self.settings.kafka  # its records bear the times at which they were written
        with_create_time(
            server.address, {kafka.topic(topic): kafka.partitions_of(topic) for topic in GROUP}
        )
        create_topics(kafka)
        migrate(self.settings.store, system_clock())
        log = dense(read_open_bandit(SHIPPED, "random"))
        slot, *actions = catalog_of(log, PolicySettings(kind="logistic"))
        assert isinstance(slot, Slot)
        self.slot = structs.replace(slot, subject_limit=SubjectLimit(decisions=5, window=100.0))
        self.catalog: Sequence[CatalogEntry] = [self.slot, *actions]
        self.records: Records = records_of(log, slot.features, self.settings, ETA)
        self.middle = micros(log.rows[len(log.rows) * 3 // 4].time)
        self.producer = confluent_kafka.Producer(producer_config(self.settings.kafka))
        for entry in self.catalog:
            self.producer.produce(self.settings.kafka.topic(Topic.CATALOG), encode(entry))

    def let_one_visitor_be_loud(self) -> None:
        """Let every fifth decision of a shard be of one visitor, of whom the slot learns half."""
        decisions = {
            shard: [
                record
                if number % 5
                else structs.replace(record, value=_of_loud(record.value, shard))
                for number, record in enumerate(log)
            ]
            for shard, log in self.records[Topic.DECISIONS].items()
        }
        self.records = {**self.records, Topic.DECISIONS: decisions}

    def produce(self, first: int, end: int) -> None:
        """Write what happened from one time to another, when it happened."""
        for topic, logs in self.records.items():
            for shard, log in logs.items():
                for record in log:
                    if first <= record.time < end:
                        self.producer.produce(
                            self.settings.kafka.topic(topic),
                            record.value,
                            record.key,
                            shard,
                            timestamp=record.time // 1000,
                        )
        assert self.producer.flush(20) == 0

    def personalize(self) -> None:
        settings, shared = self.settings, SharedProducer(self.settings.kafka)
        sources = personalize.Sources(
            records=GroupSource(
                settings.kafka, settings.time, reader(settings), system_clock, bounded=True
            ),
            catalog=MemoryCatalogSource(self.catalog),
        )
        sinks = personalize.Sinks(
            decisions=MemorySink(SHARDS),
            outcomes=KafkaSink(shared, Topic.OUTCOMES, FENCES[Topic.OUTCOMES]),
            profiles=MemorySink(SHARDS),
            policies=KafkaSink(shared, Topic.POLICIES),
            checkpoints=KafkaSink(shared, Topic.CHECKPOINTS),
            dead_letters=KafkaSink(shared, Topic.DEAD_LETTERS, FENCES[Topic.DEAD_LETTERS]),
            cache=TestingSink([]),
        )
        with owned_recovery(settings, "personalize"):
            run_main(
                personalize.build(
                    sources, sinks, settings, system_clock, Metrics(CollectorRegistry())
                ),
                epoch_interval=timedelta(seconds=1),
                recovery_config=recovery_config(settings, "personalize"),
            )

    def persist(self, kept: Sequence[Topic]) -> None:
        source: Source = TopicSource(
            self.settings.kafka,
            self.settings.time,
            read_undecoded,
            system_clock,
            kept,
            bounded=True,
        )
        sink = StoreSink(lambda: open_store(self.settings.store), SHARDS)
        run_main(persist.build(source, sink, self.settings.kafka.max_record_bytes, RecordMetrics()))

    def lose_recovery(self) -> None:
        shutil.rmtree(self.settings.state.recovery)

    def learner(self) -> LearnerState:
        states = read_states(Path(self.settings.state.recovery) / "personalize")
        return unpack_learner(states[Steps.LEARNERS][SLOT])

    def delete_before(self, time: int) -> None:
        """Delete what was written before a time, as retention does."""
        admin = AdminClient({"bootstrap.servers": self.settings.kafka.bootstrap_servers})
        ends = [
            confluent_kafka.TopicPartition(
                self.settings.kafka.topic(topic), shard, sum(record.time < time for record in log)
            )
            for topic, logs in self.records.items()
            for shard, log in logs.items()
        ]
        for deleted in admin.delete_records(ends).values():
            deleted.result()

    def expected(self, counted: int = 0, held: int = 0) -> tuple[np.ndarray, ...]:
        """Recompute from the whole log what those decisions taught that were not lost.

        Those are the ones whose window had closed by ``counted``, and those made from ``held`` on.
        """
        read = reader(self.settings)
        found = (
            read(topic, shard, record.key, record.value, offset, record.time)
            for topic, logs in self.records.items()
            for shard, log in logs.items()
            for offset, record in enumerate(log)
        )
        events = [event for event in found if isinstance(event, Event)]
        assert len(events) == sum(
            len(log) for logs in self.records.values() for log in logs.values()
        )
        verdicts = recount(events, {SLOT: self.slot})
        kept = [
            each for each in verdicts.values() if each.closes <= counted or each.decision.at >= held
        ]
        actions = tuple(entry for entry in self.catalog if isinstance(entry, Action))
        policy = new_policy(self.slot, actions, load_policy(self.learner().policy).dim)
        policy.learn(contributions(kept, policy.dim))
        return statistics_of(policy)


def _of_loud(value: bytes, shard: int) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(value) | {"subject_window": f"{shard + 1:08x}"})


def statistics_of(policy: object) -> tuple[np.ndarray, ...]:
    statistics = policy._statistics  # type: ignore[attr-defined]
    order = np.argsort(statistics.ids)
    return tuple(statistics[name][order] for name in ("counts", "rewards", "h", "information"))


def assert_same(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> None:
    for place, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        if place < 2:
            assert (mine == theirs).all()
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.fixture
def deployment(broker: Server, topic_prefix: str, tmp_path: Path) -> Deployment:
    return Deployment(broker, topic_prefix, tmp_path, store=f"sqlite:{tmp_path / 'store.db'}")


def test_a_start_from_sqlite_learns_exactly(deployment: Deployment) -> None:
    start_and_compare(deployment, STORED)


@pytest.mark.mirror
def test_a_start_through_oracles_protocol_learns_exactly(
    broker: Server, topic_prefix: str, tmp_path: Path, mirror: Mirror
) -> None:
    access = mirror.access()
    given = {"store_user": access.user, "store_password": access.password}
    deployment = Deployment(broker, topic_prefix, tmp_path, store=f"oracle:{access.dsn}", **given)
    start_and_compare(deployment, [Topic.POLICIES, Topic.CHECKPOINTS])  # the mirror is slow


def start_and_compare(deployment: Deployment, kept: Sequence[Topic]) -> None:
    deployment.let_one_visitor_be_loud()
    deployment.produce(0, deployment.middle)
    deployment.personalize()
    deployment.persist(kept)
    before = deployment.learner().version
    with pytest.raises(RecoveryError):
        warm_start(deployment.settings)
    deployment.lose_recovery()
    found = warm_start(deployment.settings)
    checkpoint = found.checkpoints[SLOT]
    written = sum(len(log) for log in log_of(deployment.settings, Topic.DECISIONS).values())
    assert not found.missing
    assert 500 < checkpoint.decisions < written
    assert any(found.offsets[shard][Topic.DECISIONS] > 0 for shard in range(SHARDS))
    deployment.produce(deployment.middle, 2**62)
    deployment.personalize()
    learned = deployment.learner()
    assert_same(statistics_of(load_policy(learned.policy)), deployment.expected())
    assert_same(statistics_of(load_policy(learned.settled)), deployment.expected())
    assert learned.decisions < sum(map(len, deployment.records[Topic.DECISIONS].values())) - 50
    assert learned.version > before
    assert not any(log_of(deployment.settings, Topic.DEAD_LETTERS).values())


def test_slots_that_begin_without_a_checkpoint_are_named() -> None:
    checkpoint = Checkpoint("home", 0, 1234.0, b"")
    start = WarmStart({"home": checkpoint}, {}, 0, without=["new", "quiet"])
    assert start.describe() == [
        "slot home: 1,234 settled decisions up to 1970-01-01 00:00:00 UTC",
        "slot new: no checkpoint: it learns from the topics alone",
        "slot quiet: no checkpoint: it learns from the topics alone",
        "topics are read again from 1970-01-01 00:00:00 UTC",
    ]


def test_what_retention_has_taken_is_said_and_nothing_else_is_lost(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = deployment.settings
    deployment.produce(0, deployment.middle)
    deployment.personalize()
    deployment.lose_recovery()
    with pytest.raises(WarmStartError, match="run without --from-store"):
        warm_start(settings)
    deployment.persist(STORED)
    (checkpoint,) = newest(open_store(settings.store), SLOT)
    gone = checkpoint.time - round(deployment.slot.reward_window * 1e6) + 200_000_000
    deployment.delete_before(gone)
    before_run(settings, "personalize", from_store=False)
    assert "--from-store" in capsys.readouterr().err
    before_run(settings, "personalize", from_store=True)
    said = capsys.readouterr().err
    for topic in (Topic.DECISIONS, Topic.IMPRESSIONS, Topic.CLICKS):
        assert f"LOST: {topic}/0 begins" in said
    deployment.produce(deployment.middle, 2**62)
    deployment.personalize()
    learned = load_policy(deployment.learner().policy)
    assert_same(statistics_of(learned), deployment.expected(checkpoint.time, gone))
    before_run(settings, "personalize", from_store=True)  # the recovery store knows more
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "forged",
    [
        {"parts": 2**31 - 1},
        {"state": "part 0"},
        {"state": "\u00e9"},
        {"state": base64.b64encode(HEADER + b"\xc1").decode()},
        {"state": base64.b64encode(HEADER + b"\x80").decode()},
        {"state": base64.b64encode(b"something else").decode()},
    ],
)
def test_a_checkpoint_that_no_learner_wrote_is_none(forged: dict[str, Any], tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(system_clock())
    store.apply(make.writes(make.checkpoint("home", **forged)))
    assert newest(store, "home") == []
    store.close()
