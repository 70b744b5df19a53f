"""Batches of records become rows, and an epoch's rows one transaction of the store."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from msgspec import Struct

from operators.envelope import Event, Rejected
from operators.io.backoff import Backoff
from operators.io.metrics.records import RecordMetrics
from operators.io.metrics.store import StoreMetrics
from operators.io.store.protocol import Store, StoreUnavailable, Writes
from operators.io.store.rows import (
    RecordPlace,
    StoredDeadLetter,
    StoredDecision,
    StoredOutcome,
    StoredPolicyCheckpoint,
    StoredPolicySnapshot,
    StoredProfile,
    StoredReport,
    content_rows,
    refusal_row,
    row_of,
)
from operators.io.store.tables import ACTION_CONTENTS, DEAD_LETTERS
from operators.logic.catalog_check import flaw_of
from schemas.catalog import CatalogEntry
from schemas.codec import MAX_RECORD_BYTES, Flaw, RecordDecoder, decode_with, record_limit
from schemas.topics import STORED, TOPICS, Topic

log = logging.getLogger(__name__)

_READ_AS: dict[Topic, type[Struct]] = {
    Topic.DECISIONS: StoredDecision,
    Topic.OUTCOMES: StoredOutcome,
    Topic.PROFILES: StoredProfile,
    Topic.POLICIES: StoredPolicySnapshot,
    Topic.CHECKPOINTS: StoredPolicyCheckpoint,
    Topic.DEAD_LETTERS: StoredDeadLetter,
    Topic.TEST_REPORTS: StoredReport,
}

DECODERS: dict[Topic, RecordDecoder] = {
    topic: RecordDecoder(_READ_AS.get(topic, TOPICS[topic].record)) for topic in STORED
}
"""How each topic that the store keeps is read."""


def rows_of(
    shard: int,
    events: Iterable[Event],
    limit: int = MAX_RECORD_BYTES,
    metrics: RecordMetrics | None = None,
    rejected: Iterable[Rejected] = (),
) -> Writes:
    """Read undecoded records of a partition; one that cannot be read becomes a dead letter's row.

    Only the events' origin and payload are looked at. ``rejected`` are those that the source has
    not given as events.
    """
    writes = Writes()
    limits = {topic: record_limit(topic, limit) for topic in STORED}
    for event in events:
        origin, payload = event.origin, event.payload
        place = RecordPlace(str(origin.topic), shard, origin.offset, origin.time, payload)
        record = decode_with(DECODERS[Topic(origin.topic)], payload, limits[Topic(origin.topic)])
        if isinstance(record, CatalogEntry):
            record = flaw_of(record) or record
        if not isinstance(record, Flaw):
            try:
                table, row = row_of(record)
            except (ValueError, OverflowError) as error:
                record = Flaw("invalid_value", str(error).partition(":")[0])
            else:
                writes.add(table, row, place)
                if isinstance(record, StoredDecision) and record.contents:
                    for content in content_rows(record):
                        writes.add(ACTION_CONTENTS, content, place)
                continue
        if metrics is not None:
            metrics.dead_letters([record.reason])
        letter = refusal_row(place, record.reason, record.field, record.detail)
        writes.add(DEAD_LETTERS, letter, place)
    for reason, origin, payload, field, detail in rejected:
        if metrics is not None:
            metrics.dead_letters([reason])
        place = RecordPlace(str(origin.topic), shard, origin.offset, origin.time, payload)
        writes.add(DEAD_LETTERS, refusal_row(place, reason, field, detail), place)
    return writes


@dataclass(frozen=True)
class Patience:
    """How long a sink waits between attempts at a store that does not answer, in seconds.

    After ``open_after`` failures in a row the circuit is open: the store is only pinged, and the
    transaction is sent again once it answers.
    """

    first: float = 0.1
    longest: float = 30.0
    open_after: int = 5
    sleep: Callable[[float], None] = time.sleep


class StoreSink(FixedPartitionedSink[Writes, None]):
    """Writes keyed by partition number, committed when their epoch closes.

    ``connect`` opens the store; the process's partitions share it. A partition holds at most
    ``max_rows`` rows (more are committed early, which a replay does not notice); while the store is
    away it blocks, so that nothing more is read.
    """

    def __init__(
        self,
        connect: Callable[[], Store],
        partitions: int,
        max_rows: int = 5_000,
        patience: Patience | None = None,
        metrics: StoreMetrics | None = None,
    ) -> None:
        self._connect = connect
        self._partitions = partitions
        self._max_rows = max_rows
        self._patience = patience or Patience()
        self._metrics = metrics or StoreMetrics()
        self._lock = threading.Lock()
        self._store: Store | None = None

    def list_parts(self) -> list[str]:
        """Name the partitions: the event topics' numbers."""
        return [str(number) for number in range(self._partitions)]

    def part_fn(self, item_key: str) -> int:
        """Route a batch to its own partition."""
        return int(item_key)

    def build_part(
        self,
        step_id: str,  # noqa: ARG002
        for_part: str,  # noqa: ARG002
        resume_state: None,  # noqa: ARG002
    ) -> StatefulSinkPartition[Writes, None]:
        """Make a partition; it connects with its first commit, waiting if it must."""
        return _Partition(self._shared, self._max_rows, self._patience, self._metrics)

    def _shared(self) -> Store:
        with self._lock:
            if self._store is None:
                self._store = self._connect()
            return self._store


class _Partition(StatefulSinkPartition[Writes, None]):
    def __init__(
        self,
        connect: Callable[[], Store],
        max_rows: int,
        patience: Patience,
        metrics: StoreMetrics,
    ) -> None:
        self._connect = connect
        self._max_rows = max_rows
        self._patience = patience
        self._metrics = metrics
        self._writes = Writes()

    def write_batch(self, items: list[Writes]) -> None:
        for writes in items:
            self._writes.extend(writes)
            if len(self._writes) >= self._max_rows:
                self._commit()

    def snapshot(self) -> None:
        self._commit()

    def close(self) -> None:
        """Do nothing: what is not committed is read again."""

    def _commit(self) -> None:
        if not self._writes:
            return
        patience = self._patience
        backoff = Backoff(patience.first, patience.longest)
        while True:
            try:
                if backoff.failures >= patience.open_after:
                    self._connect().ping()
                started = time.monotonic()
                applied = self._connect().apply(self._writes)
                break
            except StoreUnavailable as reason:
                wait = backoff.next()
                self._metrics.unavailable(reason.code)
                log.warning("store: %s; waiting %.1f s", reason, wait)
                patience.sleep(wait)
        seconds = time.monotonic() - started
        self._metrics.committed(applied.rows, applied.refused, seconds)
        self._writes = Writes()
