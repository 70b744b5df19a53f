"""Prove the Oracle store through the real driver: contract, cuts around COMMIT, a day away.

The server is the mirror of ``tests/support/mirror.py``: it speaks Oracle's protocol over
PostgreSQL. What only a real Oracle Database can prove is in ``docs/reference/store.md``.
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import run_main

from flows.persist import build
from flows.runtime.clock import system_clock
from operators.envelope import Batch
from operators.io.metrics.records import RecordMetrics
from operators.io.store.oracle import OracleStore
from operators.io.store.protocol import Store
from operators.io.store.sqlite import SqliteStore
from operators.persist import Patience, StoreSink
from ops.benchmarks.reporting.judged import JudgedBar, report
from schemas.codec import MAX_RECORD_BYTES
from schemas.settings import load
from tests.support import records as make
from tests.support.mirror import Mirror, Unavailable, mirror
from tests.support.oracle_proxy import Cut, OracleProxy, proxy

PARTITIONS = 2
SETTINGS = load({}, secret="only for campaigns", partitions=PARTITIONS)
SUITES = "tests/io/test_store_contract.py"
DAY = 86_400.0


@dataclass
class _Partition(StatefulSourcePartition[Any, int]):
    shard: int
    numbers: range
    size: int
    at: int = 0

    def next_batch(self) -> list[Any]:
        chunk = self.numbers[self.at : self.at + self.size]
        if not chunk:
            raise StopIteration
        self.at += len(chunk)
        records = [record for number in chunk for record in _records(number)]
        events = make.events(*records, offset=chunk[0] * 4, shard=self.shard)
        return [(f"any/{self.shard}", Batch(self.shard, 0, events))]

    def snapshot(self) -> int:
        return self.at


@dataclass
class Log(FixedPartitionedSource[Any, int]):
    """A topic: ``count`` outcomes over the partitions; it remembers how far each was read."""

    count: int
    size: int = 500
    parts: list[_Partition] = field(default_factory=list)

    def list_parts(self) -> list[str]:
        """Name the partitions."""
        return [str(shard) for shard in range(PARTITIONS)]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _Partition:
        """Read a partition on from where it was."""
        del step_id
        numbers = range(int(for_part), self.count, PARTITIONS)
        part = _Partition(int(for_part), numbers, self.size, resume_state or 0)
        self.parts.append(part)
        return part


def _records(number: int) -> Iterator[Any]:
    """Make an outcome in two revisions; with every tenth a decision and a profile with a vector."""
    if number % 10 == 0:
        yield make.decision(number)
        yield make.profile(f"s{number}", 1, embedding=[number + 0.1, 1 / (number + 1), -0.3])
    yield make.outcome(number, 1)
    yield make.outcome(number, 2, status="settled", delay=number / 7, settled_at=make.START)


def main() -> None:
    """Run every part, print one table and write it as JSON; fail when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", type=int, default=100_000)
    parser.add_argument("--quick", action="store_true", help="2,000 outcomes, no test suites")
    options = parser.parse_args()
    if options.quick:
        options.outcomes = 2_000
    bars: list[JudgedBar] = [] if options.quick else suites()
    try:
        with mirror() as running, proxy(running.port) as between:
            bars += cuts(running, between, options.outcomes)
        with mirror() as running, proxy(running.port) as between:
            bars += a_day_away(running, between, options.outcomes // 10)
    except Unavailable as why:
        sys.exit(f"no figures: the mirror cannot be had here: {why}")
    missed = report("oracle", "Oracle store, on the mirror", bars, outcomes=options.outcomes)
    sys.exit(1 if missed else 0)


def suites() -> list[JudgedBar]:
    """Run the contract suite on each store, and the round trip of every column."""
    bars = []
    for name, selection in (("SQLite", "sqlite"), ("the mirror", "mirror")):
        passed, text = _pytest([SUITES, "-k", selection])
        bars.append(JudgedBar(f"contract suite on {name}", "all pass", text, passed))
    passed, text = _pytest(["tests/io/test_oracle_parity.py"])
    bars.append(JudgedBar("round trip of every column", "all pass", text, passed))
    passed, text = _pytest(["tests/io/test_oracle_faults.py"])
    bars.append(JudgedBar("faults around COMMIT", "all pass", text, passed))
    return bars


def _pytest(arguments: list[str]) -> tuple[bool, str]:
    command = [sys.executable, "-m", "pytest", "-o", "addopts=--import-mode=importlib", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    counts = re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout.splitlines()[-1])
    text = ", ".join(f"{number} {word}" for number, word in counts)
    words = {word for _, word in counts}
    return done.returncode == 0 and words == {"passed"}, text


def cuts(running: Mirror, between: OracleProxy, outcomes: int) -> list[JudgedBar]:
    """Stream outcomes while connections are cut, and compare every value with SQLite's."""
    transactions = max(40, outcomes // 500)
    plan: list[Cut | None] = [None] * (transactions - 6)
    spots = [round(at * (len(plan) - 1) / 9) for at in range(10)]
    for number, spot in enumerate(spots):
        plan[spot] = "after" if number in (2, 5, 8) else "before"
    with tempfile.TemporaryDirectory() as folder:
        reference = SqliteStore(Path(folder) / "store.db")
        reference.migrate(system_clock())
        size = max(1, outcomes // transactions)
        _stream(Log(outcomes, size), reference)
        store = OracleStore(running.access(between.port, acquire_timeout=1.0))
        store.migrate(system_clock())
        between.cuts = list(plan)
        started = time.monotonic()
        _stream(Log(outcomes, size), store)
        seconds = time.monotonic() - started
        counts = store.counts()
        different = sum(
            _different(store, reference, table)
            for table in ("outcomes", "decisions", "user_profiles")
        )
        store.close()
        reference.close()
    kinds = f"{between.done.count('before')} before, {between.done.count('after')} after COMMIT"
    return [
        JudgedBar(
            "connections cut", "7 before, 3 after COMMIT", kinds, sorted(between.done) == _CUTS
        ),
        JudgedBar(
            "outcomes stored",
            f"exactly {outcomes:,}",
            f"{counts['outcomes']:,} in {seconds:.0f} s",
            counts["outcomes"] == outcomes and counts["dead_letters"] == 0,
        ),
        JudgedBar("rows that differ from SQLite's", "0", str(different), different == 0),
    ]


_CUTS = ["after"] * 3 + ["before"] * 7


def _stream(log: Log, store: Store) -> None:
    patience = Patience(sleep=lambda _: None)
    sink = StoreSink(lambda: store, PARTITIONS, patience=patience)
    run_main(build(log, sink, MAX_RECORD_BYTES, RecordMetrics()), epoch_interval=timedelta(0))


def _different(store: Store, reference: Store, table: str) -> int:
    return sum(
        left != right
        for left, right in zip(_all(store, table), _all(reference, table), strict=True)
    )


def _all(store: Store, table: str) -> Iterator[Any]:
    after: str | None = None
    while page := store.rows(table, after, 5_000):
        yield from page
        after = next(iter(page[-1].values()))


def a_day_away(running: Mirror, between: OracleProxy, outcomes: int) -> list[JudgedBar]:
    """Take the database away for a day of waiting that is counted, not slept."""
    migrator = OracleStore(running.access())
    migrator.migrate(system_clock())
    migrator.close()
    store = OracleStore(running.access(between.port, acquire_timeout=0.2, connect_timeout=0.5))
    log = Log(outcomes, size=50)
    waited, attempts, held, memory = 0.0, 0, [0, 0], [0, 0]

    def sleep(seconds: float) -> None:
        nonlocal waited, attempts
        if attempts == 0:
            held[0], memory[0] = sum(part.at for part in log.parts), _resident()
        waited += seconds
        attempts += 1
        if waited >= DAY:
            held[1], memory[1] = sum(part.at for part in log.parts), _resident()
            between.open()

    between.close()
    patience = Patience(longest=300.0, sleep=sleep)
    sink = StoreSink(lambda: store, PARTITIONS, patience=patience)
    run_main(build(log, sink, MAX_RECORD_BYTES, RecordMetrics()), epoch_interval=timedelta(0))
    counts = store.counts()
    store.close()
    read, grown = held[1] - held[0], (memory[1] - memory[0]) / 2**20
    return [
        JudgedBar("waited for the database", "a day", f"{waited / 3600:.1f} h", waited >= DAY),
        JudgedBar("records read while it was away", "0", str(read), read == 0),
        JudgedBar("memory gained meanwhile", "< 10 MB", f"{grown:.1f} MB", grown < 10),
        JudgedBar(
            "outcomes stored afterwards",
            f"exactly {outcomes:,}",
            f"{counts['outcomes']:,}",
            counts["outcomes"] == outcomes and counts["dead_letters"] == 0,
        ),
    ]


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
