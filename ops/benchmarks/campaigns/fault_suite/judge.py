"""What holds after every fault: one answer each, exactly what was learned, one copy of each row."""

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from flows.persist import as_written
from flows.verify import Verification, _records, verify
from operators.io.sqlite import SqliteStore
from operators.io.tables import TABLES
from operators.persist import rows_of
from operators.persist import topics as stored_topics
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.stage import Flow, Stage
from schemas.codec import decode
from schemas.results import DeadLetter
from schemas.settings import Settings
from schemas.topics import Topic

_AT_ONCE = 5_000


def judge(
    found: Finding,
    stage: Stage,
    personalize: Flow,
    *,
    requests: int | None = None,
    dead_letters: Mapping[str, int] | None = None,
    seconds: float = 180.0,
) -> Verification:
    """Wait until all is processed, end the flow, and compare with recomputations.

    ``requests`` were made, those of the stage's visitors if None; ``dead_letters`` are those that
    the fault must cause, by reason.
    """
    waited = stage.settle("personalize", seconds=seconds)
    personalize.stop()
    waited += stage.settle("persist", seconds=seconds)
    if requests is None:
        requests = stage.report.requests
        found.exactly("requests without an answer to their visitor", 0, stage.report.unanswered)
    learned = verify(stage.settings)
    found.that(
        "learned and answered, against a recomputation",
        f"holds, {requests:,} requests",
        describe(learned),
        learned.holds and learned.requests == learned.decisions == requests,
    )
    letters = Counter(letter.reason for letter in letters_of(stage.settings))
    found.exactly("dead letters", dict(dead_letters or {}), dict(letters))
    rows, different = compare_store(stage.settings, stage.folder)
    found.that(
        f"store rows that differ from a fresh store's ({waited:.0f} s after the last request)",
        "0",
        f"{different:,} of {rows:,}",
        different == 0 and rows > 0,
    )
    return learned


def describe(found: Verification) -> str:
    """Say what a verification found, in a line."""
    agreeing = sum(check.agrees for check in found.actions)
    parts = [
        "holds" if found.holds else "DIFFERS",
        f"{found.requests:,} requests",
        f"{found.unanswered:,} unanswered",
        f"{found.contradicted:,} with two different answers",
        f"{agreeing}/{len(found.actions)} actions agree",
    ]
    return ", ".join(parts)


def letters_of(settings: Settings) -> Iterator[DeadLetter]:
    """Read the dead letters."""
    for k in range(settings.partitions_of(Topic.DEAD_LETTERS)):
        for payload, _, _, _ in _records(settings, Topic.DEAD_LETTERS, k):
            letter = decode(Topic.DEAD_LETTERS, payload)
            if isinstance(letter, DeadLetter):
                yield letter


def compare_store(settings: Settings, folder: Path) -> tuple[int, int]:
    """Write all topics to a fresh store, once and in order; give its rows and those that differ."""
    path = folder / "fresh.db"
    fresh = SqliteStore(path)
    fresh.migrate()
    for topic in stored_topics():
        for k in range(settings.partitions_of(topic)):
            batch = []
            for payload, key, offset, time in _records(settings, topic, k):
                batch.append(as_written(topic, k, key, payload, offset, time))
                if len(batch) == _AT_ONCE:
                    fresh.apply(rows_of(k, batch))
                    batch = []
            fresh.apply(rows_of(k, batch))
    fresh.close()
    rows = different = 0
    with closing(sqlite3.connect(settings.store.removeprefix("sqlite:"))) as store:
        store.execute("ATTACH ? AS fresh", (str(path),))
        for table in TABLES.values():
            names = ", ".join(table.names)
            here, there = (f"SELECT {names} FROM {base}.{table.name}" for base in ("main", "fresh"))
            for left, right in ((here, there), (there, here)):
                (count,) = store.execute(f"SELECT count(*) FROM ({left} EXCEPT {right})").fetchone()
                different += count
            rows += store.execute(f"SELECT count(*) FROM fresh.{table.name}").fetchone()[0]
    path.unlink()
    return rows, different
