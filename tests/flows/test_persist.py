"""The persist flow: exactly one copy of everything, whatever fails on the way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bytewax.errors import BytewaxRuntimeError
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main, run_main

from flows.persist import build
from flows.runtime.clock import system_clock
from operators.envelope import Batch
from operators.io.metrics.records import RecordMetrics
from operators.io.reading import read_undecoded
from operators.io.store.protocol import Store, StoreError, StoreUnavailable, Writes
from operators.io.store.sqlite import SqliteStore
from operators.persist import Patience, StoreSink, rows_of
from schemas.codec import MAX_RECORD_BYTES
from schemas.settings import load
from schemas.topics import Topic
from tests.support import records as make

SETTINGS = load({}, secret="sixteen letters!", partitions=2)


class CrashError(Exception):
    """A process dies here."""


@dataclass
class _Partition(StatefulSourcePartition[Any, int]):
    batches: list[Any]
    at: int
    crash_at: int | None = None

    def next_batch(self) -> list[Any]:
        if self.at >= len(self.batches):
            raise StopIteration
        if self.at == self.crash_at:
            raise CrashError
        self.at += 1
        return [self.batches[self.at - 1]]

    def snapshot(self) -> int:
        return self.at


@dataclass
class Batches(FixedPartitionedSource[Any, int]):
    """Batches of records per partition, with a place where the process dies."""

    shards: dict[str, list[Any]]
    crash_at: int | None = None

    def list_parts(self) -> list[str]:
        return sorted(self.shards)

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Partition:
        shard = int(for_part)
        batches = [(for_part, Batch(shard, 0, batch)) for batch in self.shards[for_part]]
        return _Partition(batches, resume_state or 0, self.crash_at)


@dataclass
class Failing:
    """A store whose transactions fail at will: before they start, or after they committed.

    No real database fails at these places on demand without a network between.
    """

    store: Store
    before: list[Exception | None] = field(default_factory=list)
    after: list[Exception | None] = field(default_factory=list)
    pings: int = 0

    def ping(self) -> None:
        self.pings += 1
        self.store.ping()

    def apply(self, writes: Writes) -> Any:
        early = self.before.pop(0) if self.before else None
        if early:
            raise early
        applied = self.store.apply(writes)
        late = self.after.pop(0) if self.after else None
        if late:
            raise late
        return applied


@contextmanager
def dies(kind: type[Exception], message: str = "") -> Iterator[None]:
    """Expect the flow to stop for this reason."""
    with pytest.raises(BytewaxRuntimeError) as caught:
        yield
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__
    assert cause is not None
    assert message in str(cause)


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    opened = SqliteStore(tmp_path / "store.db")
    opened.migrate(system_clock())
    return opened


def batches(count: int = 40, size: int = 25) -> dict[str, list[Any]]:
    """Two partitions of decisions and outcomes, each outcome in two revisions."""
    shards: dict[str, list[Any]] = {"0": [], "1": []}
    for number in range(count):
        ids = range(number * size, (number + 1) * size)
        decisions = [make.decision(at) for at in ids]
        outcomes = [make.outcome(at, revision) for at in ids for revision in (1, 2)]
        offset = number * size * 3
        shards[str(number % 2)].append(make.events(*decisions, *outcomes, offset=offset))
    return shards


def sink(store: Any, naps: list[float] | None = None, max_rows: int = 20_000) -> StoreSink:
    patience = Patience(sleep=(naps if naps is not None else []).append)
    return StoreSink(lambda: store, SETTINGS.kafka.partitions, max_rows, patience)


def expect_everything(store: SqliteStore, shards: dict[str, list[Any]]) -> None:
    total = sum(len(batch) for batches in shards.values() for batch in batches) // 3
    counts = store.counts()
    assert (counts["decisions"], counts["outcomes"]) == (total, total)
    assert counts["dead_letters"] == 0
    assert {row["revision"] for row in store.rows("outcomes", limit=total)} == {2}


@pytest.mark.parametrize("run", [run_main, lambda flow: cluster_main(flow, [], 0)])
def test_everything_is_stored_once(store: SqliteStore, run: Callable[[Any], None]) -> None:
    shards = batches()
    run(build(Batches(shards), sink(store), MAX_RECORD_BYTES, RecordMetrics()))
    expect_everything(store, shards)


def test_a_killed_flow_leaves_no_gap_and_no_second_copy(store: SqliteStore, tmp_path: Path) -> None:
    shards = batches()
    recovery = tmp_path / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    config = RecoveryConfig(str(recovery))
    for crash_at in (3, 7, 7, 15):
        flow = build(Batches(shards, crash_at), sink(store), MAX_RECORD_BYTES, RecordMetrics())
        with dies(CrashError):
            run_main(flow, epoch_interval=timedelta(0), recovery_config=config)
    flow = build(Batches(shards), sink(store), MAX_RECORD_BYTES, RecordMetrics())
    run_main(flow, epoch_interval=timedelta(0), recovery_config=config)
    expect_everything(store, shards)


def test_the_flow_waits_while_the_store_is_away(store: SqliteStore) -> None:
    shards = batches()
    away = StoreUnavailable("DPY-6005")
    failing = Failing(store, before=[away] * 9, after=[StoreUnavailable("DPY-4011")])
    naps: list[float] = []
    run_main(
        build(Batches(shards), sink(failing, naps), MAX_RECORD_BYTES, RecordMetrics()),
        epoch_interval=timedelta(0),
    )
    expect_everything(store, shards)
    assert len(naps) == 10
    assert failing.pings >= 4
    assert all(0 < nap <= 30 for nap in naps)
    assert naps[6] > naps[0]


def test_a_store_that_cannot_work_stops_the_flow(store: SqliteStore) -> None:
    failing = Failing(store, before=[StoreError("ORA-01017: wrong password")])
    with dies(StoreError, "wrong password"):
        run_main(build(Batches(batches()), sink(failing), MAX_RECORD_BYTES, RecordMetrics()))


def test_an_unmigrated_store_says_what_to_do(tmp_path: Path) -> None:
    empty = SqliteStore(tmp_path / "empty.db")
    with dies(StoreError, "banditflow store migrate"):
        run_main(build(Batches(batches()), sink(empty), MAX_RECORD_BYTES, RecordMetrics()))


def test_a_partition_holds_a_bounded_number_of_rows(store: SqliteStore) -> None:
    """Within an epoch that never closes, rows are committed as they fill the buffer."""
    part = sink(store, max_rows=100).build_part("store", "0", None)
    shards = batches()
    part.write_batch([rows_of(0, shards["0"][0])])
    assert store.counts()["decisions"] == 0
    part.write_batch([rows_of(0, shards["0"][1])])
    assert store.counts()["decisions"] == 50
    part.snapshot()
    assert store.counts()["decisions"] == 50


def test_nothing_becomes_durable_in_close(store: SqliteStore) -> None:
    part = sink(store).build_part("store", "0", None)
    part.write_batch([rows_of(0, batches()["0"][0])])
    part.close()
    assert store.counts()["decisions"] == 0


def test_bad_records_are_dead_letters_and_the_rest_is_stored(store: SqliteStore) -> None:
    shards = batches(4)
    payload = shards["1"][0][0].payload
    for offset, broken in ((9_000, payload[:-2]), (9_001, b"\xff" * 10)):
        shards["1"][0].append(read_undecoded(Topic.DECISIONS, 1, None, broken, offset, 0))
    shards["1"][0] += make.events(make.outcome(1, propensity=1.5), offset=9_002, shard=1)
    run_main(build(Batches(shards), sink(store), MAX_RECORD_BYTES, RecordMetrics()))
    assert store.counts()["decisions"] == 100
    assert store.counts()["outcomes"] == 100
    letters = store.rows("dead_letters")
    assert {(row["topic_partition"], row["topic_offset"]) for row in letters} == {
        (1, 9_000),
        (1, 9_001),
        (1, 9_002),
    }


def test_a_catalog_record_that_the_flow_refuses_is_not_stored(store: SqliteStore) -> None:
    """A tombstone is one dead letter and removes nothing."""
    good = [*make.events(make.slot("home"), make.action("a"))]
    bad = make.events(
        make.slot("home", 5, reward_range=(1.0, 0.0)),
        make.action("a", 5, content=2**70),
        make.action("a", 5, embedding=[1e39]),
        offset=2,
    )
    empty = [read_undecoded(Topic.CATALOG, 0, b"slot-home-0", None, 5, 0)]
    empty.append(read_undecoded(Topic.CATALOG, 0, b"slot-home-0", b"", 6, 0))
    shards = {"0": [good + bad + empty]}
    run_main(build(Batches(shards), sink(store), MAX_RECORD_BYTES, RecordMetrics()))
    assert [row["deleted"] for row in store.rows("slots")] == [0]
    assert [row["time"] for row in store.rows("actions")] == [make.action("a").time]
    letters = {row["topic_offset"]: row for row in store.rows("dead_letters")}
    assert {offset: (row["reason"], row["field"]) for offset, row in letters.items()} == {
        2: ("invalid_value", "reward_range"),
        3: ("invalid_value", "content"),
        4: ("invalid_value", "embedding"),
        5: ("empty", None),
        6: ("empty", None),
    }
