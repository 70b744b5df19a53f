"""Prove that decisions keep their latency while the durable store is away, and nothing is lost.

Both flows run as processes on the embedded broker. Control runs and runs without a store ask the
same flow at the same rate, in turns; during the latter another connection holds SQLite's only write
lock. A run that warms the flow up comes first; its latency is not counted. What persist's resident
memory is at the end of each run without a store is compared with what it was after the warm-up.
"""

import argparse
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import confluent_kafka
import msgspec

from flows.devkit.demo_catalog import demo_catalog
from flows.devkit.embedded import Child, Embedded
from flows.devkit.simulation.tally import SimulatorReport
from flows.registry import PERSIST, PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.flow_metrics import read_metrics
from flows.runtime.ports import HOST, free_port
from operators.io.kafka import create_topics, producer_config
from operators.io.store.open import migrate, open_store
from ops.benchmarks.reporting.judged import JudgedBar, report
from schemas.catalog import PolicySettings
from schemas.codec import encode
from schemas.settings import Settings, child_environment, load
from schemas.topics import Topic

WARM_UP = 5.0
CATCH_UP = 90.0
START = 90.0
TIMES_CONTROL = 2.0
GROWTH = 64.0
"""The most MB by which persist may grow, whatever waits: fetched records and its largest batch."""


def main() -> None:
    """Run the proof, print one table and write it as JSON; fail when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="requests per second (200)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run (20)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of either kind (3)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one round of 8 seconds each")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 8.0, 1
    bars = decisions_without_a_store(options.rate, options.seconds, options.rounds, options.seed)
    sys.exit(1 if report("store_away", "Decisions while the store is away", bars) else 0)


def decisions_without_a_store(
    rate: float, seconds: float, rounds: int, seed: int
) -> list[JudgedBar]:
    """Compare runs whose store is locked with control runs; wait for the store after each."""
    stored, waited, expected, most = 0, 0.0, 0, 0.0
    controls: list[SimulatorReport] = []
    aways: list[SimulatorReport] = []
    with tempfile.TemporaryDirectory() as folder, Embedded(Path(folder)) as parts:
        path = parts.folder / "banditflow.db"
        settings, persist = _start(parts, path, seed)
        expected += _simulate(settings, "warm", rate, WARM_UP, seed).decisions
        _await_decisions(settings, expected)
        warm = resident(persist)
        for number in range(2 * rounds):
            away = number % 4 in (1, 2)  # control, away, away, control: neither is always the later
            before = _decisions(settings)
            with locked(path) if away else nullcontext():
                run = _simulate(settings, f"run-{number}", rate, seconds, seed)
                if away:
                    stored += _decisions(settings) - before
                    most = max(most, resident(persist))
            (aways if away else controls).append(run)
            expected += run.decisions
            needed = _await_decisions(settings, expected)
            waited = max(waited, needed) if away else waited
        counts = _counts(settings)
    unanswered = sum(run.unanswered for run in controls + aways)
    requests = sum(run.requests for run in controls + aways)
    usual, slowest = _median_p99(controls), _median_p99(aways)
    return [
        JudgedBar("decisions stored while it was locked", "0", str(stored), stored == 0),
        JudgedBar("requests unanswered", "0", f"{unanswered} of {requests}", unanswered == 0),
        JudgedBar(
            f"p99 latency without the store, median of {rounds}",
            f"at most {TIMES_CONTROL:g} x {usual:.0f} ms",
            f"{slowest:.0f} ms (runs {_p99s(aways)}; control {_p99s(controls)})",
            0.0 < slowest <= TIMES_CONTROL * usual,
        ),
        JudgedBar(
            "persist's memory at the end of a run without the store",
            f"at most {GROWTH:g} MB more than after the warm-up",
            f"{most - warm:+.0f} MB ({warm:.0f} before)",
            0.0 < most <= warm + GROWTH,
        ),
        JudgedBar(
            f"decisions stored {waited:.1f} s after its return",
            f"exactly {expected:,}",
            f"{counts['decisions']:,}",
            counts["decisions"] == expected and counts["dead_letters"] == 0,
        ),
    ]


def _median_p99(runs: list[SimulatorReport]) -> float:
    return statistics.median(run.latency_p99_ms or 0.0 for run in runs)


def _p99s(runs: list[SimulatorReport]) -> str:
    return ", ".join(f"{run.latency_p99_ms or 0.0:.0f}" for run in runs)


def _decisions(settings: Settings) -> int:
    return _counts(settings)["decisions"]


def resident(flow: Child) -> float:
    """Give the resident memory of a flow and the processes that it has started, in MB."""
    pids, pages = [flow.pid], 0
    for pid in pids:
        pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            pids += map(int, task.read_text().split())
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _start(parts: Embedded, path: Path, seed: int) -> tuple[Settings, Child]:
    settings = load(
        {},
        secret="only for campaigns",
        bootstrap_servers=parts.bootstrap_servers,
        redis_url=parts.redis_url,
        store=f"sqlite:{path}",
        recovery=str(parts.folder / "recovery"),
        metrics_port=free_port(),
    )
    create_topics(settings.kafka)
    migrate(settings.store, system_clock())
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    for entry in demo_catalog(seed, PolicySettings(kind="logistic"), reward_window=10.0):
        producer.produce(settings.kafka.topic(Topic.CATALOG), encode(entry), entry.id.encode())
    producer.flush()
    url = f"http://{HOST}:{settings.metrics.port}/metrics"
    quiet = settings.replaced(metrics_port=0)
    started = [
        parts.supervisor.start(
            flow,
            [sys.executable, "-m", "flows", "run", flow, "--processes=1"],
            env=child_environment(given),
            ready=(lambda: _reads(url)) if flow == PERSONALIZE.name else None,
            timeout=START,
        )
        for flow, given in ((PERSIST.name, quiet), (PERSONALIZE.name, settings))
    ]
    return settings, started[0]


def _reads(url: str) -> bool:
    found = read_metrics(url)
    return found is not None and bool(found.by("banditflow_consumer_lag_records", "topic"))


def _simulate(
    settings: Settings, run: str, rate: float, seconds: float, seed: int
) -> SimulatorReport:
    arguments = [f"--rate={rate}", f"--seconds={seconds}", f"--seed={seed}", f"--run={run}"]
    done = subprocess.run(
        [sys.executable, "-m", "flows", "simulate", "--json", "--articles=0", *arguments],
        env=child_environment(settings),
        stdout=subprocess.PIPE,
        check=False,
    )
    return msgspec.json.decode(done.stdout, type=SimulatorReport)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of a SQLite file, so that nobody else can write."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def _counts(settings: Settings) -> dict[str, int]:
    store = open_store(settings.store)
    try:
        return store.counts()
    finally:
        store.close()


def _await_decisions(settings: Settings, expected: int) -> float:
    """Wait until the store has as many decisions; give the seconds that it took, at most."""
    started = time.monotonic()
    while _decisions(settings) < expected:
        if time.monotonic() - started > CATCH_UP:
            break
        time.sleep(0.2)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
