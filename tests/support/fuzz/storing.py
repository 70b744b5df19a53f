"""The persist flow over what another flow wrote and what somebody else did, into SQLite."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

from flows.persist import build
from flows.runtime.clock import system_clock
from flows.verification.tables import KEPT, Digests, digests
from operators.envelope import Batch, Event
from operators.io.metrics.records import RecordMetrics
from operators.io.reading import read_undecoded
from operators.io.store.protocol import Store
from operators.io.store.sqlite import SqliteStore
from operators.io.store.tables import DEAD_LETTERS
from operators.persist import StoreSink, rows_of
from schemas.codec import MAX_RECORD_BYTES
from schemas.topics import STORED
from tests.support.fuzz.records import FuzzRecord

_BATCH = 500
Events = Mapping[int, Sequence[Event]]
"""Undecoded records by partition."""


def events_of(records: Iterable[FuzzRecord], partitions: int) -> Events:
    """Make records as they lie on the topics that the store keeps."""
    by_shard: dict[int, list[Event]] = {k: [] for k in range(partitions)}
    offsets: dict[tuple[str, int], int] = {}
    for record in records:
        if record.topic in STORED:
            place = (record.topic.value, record.partition)
            offset = offsets[place] = offsets.get(place, -1) + 1
            by_shard[record.partition].append(
                read_undecoded(
                    record.topic, record.partition, record.key, record.value, offset, record.time
                )
            )
    return by_shard


@dataclass
class _Batches(FixedPartitionedSource[tuple[str, Batch], int]):
    """Batches of each partition; it dies before it gives the ``dies``-th of one."""

    events: Events
    dies: int | None

    def list_parts(self) -> list[str]:
        return [str(k) for k in self.events]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_Part":
        return _Part(self, int(for_part), resume_state or 0)


class _Part(StatefulSourcePartition[tuple[str, Batch], int]):
    def __init__(self, source: _Batches, shard: int, at: int) -> None:
        self._source, self._shard, self._at = source, shard, at

    def next_batch(self) -> list[tuple[str, Batch]]:
        events = self._source.events[self._shard]
        if self._at * _BATCH >= len(events):
            raise StopIteration
        if self._at == self._source.dies:
            raise AbortExecution
        portion = events[self._at * _BATCH : (self._at + 1) * _BATCH]
        self._at += 1
        return [(str(self._shard), Batch(self._shard, 0, portion))]

    def snapshot(self) -> int:
        return self._at


def store(events: Events, folder: Path) -> SqliteStore:
    """Run the persist flow, which dies once on the way; give the store."""
    opened = SqliteStore(folder / "store.db")
    opened.migrate(system_clock())
    recovery = folder / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 1)
    for dies in (5, None):
        source, sink = _Batches(events, dies), StoreSink(lambda: opened, len(events))
        run_main(
            build(source, sink, MAX_RECORD_BYTES, RecordMetrics()),
            epoch_interval=timedelta(0),
            recovery_config=RecoveryConfig(str(recovery)),
        )
    return opened


def rows_by_table(stored: Store) -> dict[str, Digests]:
    """Digest every row of every table but that of dead letters."""
    return {table.name: digests(table, stored) for table in KEPT}


def refused(events: Events) -> dict[int, set[int]]:
    """Name, by their places in the list of their partition, the records that are no rows."""
    bad: dict[int, set[int]] = {shard: set() for shard in events}
    for shard, portion in events.items():
        for number, event in enumerate(portion):
            here = (str(event.origin.topic), shard, event.origin.offset)
            letters = rows_of(shard, [event]).rows[DEAD_LETTERS.name]
            if any(row[:3] == here for row in letters):
                bad[shard].add(number)
    return bad


def alone(events: Events, bad: Mapping[int, set[int]], folder: Path) -> SqliteStore:
    """Make a store that is given the records without the bad ones, once."""
    fresh = SqliteStore(folder / "fresh.db")
    fresh.migrate(system_clock())
    for shard, portion in events.items():
        good = [event for number, event in enumerate(portion) if number not in bad[shard]]
        for start in range(0, len(good), 5_000):
            fresh.apply(rows_of(shard, good[start : start + 5_000]))
    return fresh
