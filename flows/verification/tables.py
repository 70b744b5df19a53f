"""Rows of the store, against those of a fresh store that is given the topics' records once."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec.msgpack import Encoder

from flows.registry import PERSIST
from flows.runtime.clock import system_clock
from flows.runtime.quarantine.files import QuarantineFiles
from flows.runtime.recovery import recovery_folder
from flows.runtime.snapshots import offsets_of, read_states
from flows.verification.findings import TableCheck
from operators.envelope import Event, Rejected
from operators.io.kafka.partition import read_partition
from operators.io.reading import read_undecoded
from operators.io.releases import PROCESSING_ERROR
from operators.io.store.lookups import read_row
from operators.io.store.open import open_store
from operators.io.store.protocol import Store, StoredRow
from operators.io.store.sqlite import SqliteStore
from operators.io.store.tables import DEAD_LETTERS, TABLES, Table
from operators.persist import rows_of
from schemas.settings import Settings
from schemas.topics import Topic

KEPT = [table for table in TABLES.values() if len(table.key) == 1]
"""The tables whose rows are compared; of dead letters only the number is."""

_AT_ONCE = 5_000
_ENCODER = Encoder(order="deterministic")

Digests = dict[str, int]
"""What a row says, by its key."""


def compare_tables(settings: Settings) -> tuple[list[TableCheck], int]:
    """Compare each table, and say how many records the persist flow has still to write.

    What the store holds of those already, from an epoch that did not close, may be there or not.
    Gives nothing where no persist flow has run with these settings' recovery folder.
    """
    folder = recovery_folder(settings, PERSIST.name)
    if not settings.state.recovery or not list(folder.glob("part-*.sqlite3")):
        return [], 0
    offsets = offsets_of(PERSIST, read_states(folder))
    quarantined = {
        (each.place, each.offset): "" if each.unreported else f"{each.error} in {each.step}"
        for each in QuarantineFiles(folder).quarantined()
    }
    store = open_store(settings.store)
    try:
        with tempfile.TemporaryDirectory(prefix="banditflow-") as temporary:
            fresh = SqliteStore(Path(temporary) / "fresh.db")
            try:
                fresh.migrate(system_clock())
                return _compare(settings, store, fresh, offsets, quarantined)
            finally:
                fresh.close()
    finally:
        store.close()


def _compare(
    settings: Settings,
    store: Store,
    fresh: Store,
    offsets: dict[tuple[Topic, int], int],
    quarantined: Mapping[tuple[str, int], str],
) -> tuple[list[TableCheck], int]:
    held = {table.name: digests(table, store) for table in KEPT}
    letters = store.counts()[DEAD_LETTERS.name]
    later: dict[tuple[str, str], set[int]] = {}
    behind = 0
    for topic in PERSIST.resumes:
        for shard in range(settings.kafka.partitions_of(topic)):
            limit = offsets.get((topic, shard), 0)
            for batch in _batches(settings, topic, shard, limit):
                good, bad = _parted(batch, quarantined)
                writes = rows_of(shard, good, settings.kafka.max_record_bytes, rejected=bad)
                if batch[0].origin.offset < limit:
                    fresh.apply(writes)
                    continue
                behind += len(batch)
                for table, rows, _ in writes.tables():
                    for row in rows if table in KEPT else ():
                        key = str(table.identity(row)[0])
                        later.setdefault((table.name, key), set()).add(
                            _digest(read_row(table, row))
                        )
    checks = [
        TableCheck(table.name, len(held[table.name]), _different(table, held, fresh, later))
        for table in KEPT
    ]
    missing = fresh.counts()[DEAD_LETTERS.name] - letters
    wrong = abs(missing) if not behind else max(missing, 0)
    checks.append(TableCheck(DEAD_LETTERS.name, letters, wrong))
    return [check for check in checks if check.rows or check.different], behind


def _parted(
    batch: list[Event], quarantined: Mapping[tuple[str, int], str]
) -> tuple[list[Event], list[Rejected]]:
    """Take the records out that the persist flow has quarantined."""
    if not quarantined:
        return batch, []
    good: list[Event] = []
    bad: list[Rejected] = []
    for event in batch:
        origin = event.origin
        detail = quarantined.get((f"{origin.topic}/{origin.partition}", origin.offset))
        if detail is None:
            good.append(event)
        elif detail:  # otherwise it was passed over
            bad.append(Rejected(PROCESSING_ERROR, origin, event.payload, None, detail))
    return good, bad


def _different(
    table: Table,
    held: dict[str, Digests],
    fresh: Store,
    later: dict[tuple[str, str], set[int]],
) -> int:
    wanted, there = digests(table, fresh), held[table.name]
    return sum(
        wanted.get(key) != there.get(key)
        and there.get(key) not in later.get((table.name, key), set())
        for key in wanted.keys() | there
    )


def digests(table: Table, store: Store) -> Digests:
    """Digest every row of a table."""
    (key,) = table.key
    return {str(row[key]): _digest(row) for row in _rows(table, store)}


def _rows(table: Table, store: Store) -> Iterator[StoredRow]:
    (key,) = table.key
    after = None
    while rows := store.rows(table.name, after, _AT_ONCE):
        yield from rows
        after = str(rows[-1][key])


def _digest(row: StoredRow) -> int:
    try:
        return hash(_ENCODER.encode(row))
    except OverflowError:  # free JSON may hold integers of any length
        return hash(repr(row))


def _batches(settings: Settings, topic: Topic, shard: int, limit: int) -> Iterator[list[Event]]:
    """Give a partition's records in batches, cut at ``limit``."""
    batch: list[Event] = []
    for payload, key, offset, time in read_partition(settings.kafka, topic, shard, system_clock):
        if batch and (len(batch) == _AT_ONCE or batch[0].origin.offset < limit <= offset):
            yield batch
            batch = []
        batch.append(read_undecoded(topic, shard, key, payload, offset, time))
    if batch:
        yield batch
