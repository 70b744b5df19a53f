"""Prove what survives what: each fault on a deployment of its own, in live traffic.

Both flows run as processes on Apache Kafka (``--broker noida``: on the embedded broker), with
Valkey and SQLite. Oracle's faults around COMMIT have a campaign of their own, ``oracle``.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.devkit.embedded import APACHE_KAFKA, BROKERS, Embedded, PartUnavailable
from ops.benchmarks.campaigns.fault_suite import (
    brokers,
    caches,
    clocks,
    disks,
    kills,
    owners,
    stores,
    topics,
)
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.lab import Lab
from ops.benchmarks.reporting.judged import WORDS, write_result
from ops.benchmarks.reporting.machine import machine_line
from tests.support.stage import InVain

EXACT = "one answer per request, exactly what was learned, one copy of each row"
DECIDES = f"decisions go on; {EXACT}"
REFUSES = "stops with a message that says why and what to do; nothing is skipped"

FAULTS: dict[str, tuple[str, str, Callable[[Finding, Lab], None]]] = {
    "flow-killed": ("kill -9 of personalize, again and again", EXACT, kills.kill_the_flow),
    "broker-killed": ("the broker is killed and restarted", EXACT, brokers.kill_the_broker),
    "broker-frozen": ("the broker is frozen for 20 s", EXACT, brokers.freeze_the_broker),
    "redis-lost": ("Valkey is killed, empty, emptied", DECIDES, caches.lose_redis),
    "store-locked": ("the store is locked", DECIDES, stores.lock_the_store),
    "store-full": ("the store's disk is full", DECIDES, stores.fill_the_store),
    "writer-killed": ("persist is killed in and after COMMIT", EXACT, stores.kill_the_writer),
    "store-slow": (
        "the store is slow, a backlog waits",
        "back-pressure: bounded memory, then one copy of each row",
        stores.slow_the_store,
    ),
    "recovery-full": (
        "the recovery store's disk is full",
        f"stops and names the folder; with room again {EXACT}",
        disks.fill_the_recovery_disk,
    ),
    "visitors-clocks": (
        "visitors' clocks step by ±1 h",
        f"what is ahead is a dead letter, nothing else is lost; {EXACT}",
        clocks.step_the_visitors_clocks,
    ),
    "quiet-partitions": (
        "partitions without traffic",
        f"hold nobody back; {EXACT}",
        topics.silence_partitions,
    ),
    "retention": (
        "retention deleted the resume offset",
        REFUSES,
        topics.delete_what_comes_next,
    ),
    "two-flows": (
        "two flows on one recovery store",
        f"the second refuses; {EXACT}",
        owners.start_two_flows,
    ),
}
"""What is done, what is promised, and the function that does it."""


def main() -> None:
    """Do the faults, print one table and write it as JSON; fail when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=sorted(BROKERS), default=APACHE_KAFKA.name)
    parser.add_argument("--only", nargs="+", choices=FAULTS, metavar="FAULT", default=list(FAULTS))
    parser.add_argument("--requests", type=int, default=300_000, help="of the stream with kills")
    parser.add_argument("--stream-rate", type=float, default=1000.0, help="of them, per second")
    parser.add_argument("--kills", type=int, default=20, help="kill -9 of the flow in that stream")
    parser.add_argument("--rate", type=float, default=400.0, help="requests per second elsewhere")
    parser.add_argument("--seconds", type=float, default=8.0, help="of traffic around a fault")
    parser.add_argument("--backlog", type=int, default=300_000, help="rows behind a slow store")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--quick", action="store_true", help="two kills and nothing else, in under a minute"
    )
    options = parser.parse_args()
    if options.quick:
        options.requests, options.kills, options.only = 5_000, 2, ["flow-killed"]
    report(run(options), options)


def run(options: argparse.Namespace) -> list[Finding]:
    """Do the faults one after another on the same parts."""
    findings = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            with Embedded(Path(folder), broker=options.broker) as parts:
                lab = Lab(
                    parts,
                    rate=options.rate,
                    seconds=options.seconds,
                    requests=options.requests,
                    stream_rate=options.stream_rate,
                    kills=options.kills,
                    writer_kills=10,
                    backlog=options.backlog,
                    seed=options.seed,
                )
                findings = [_do(name, lab) for name in options.only]
        except PartUnavailable as why:
            sys.exit(f"no figures: a part cannot be had here: {why}")
    return findings


def _do(name: str, lab: Lab) -> Finding:
    fault, promise, do = FAULTS[name]
    found = Finding(fault, promise)
    started = time.monotonic()
    print(f"{name} …", file=sys.stderr, flush=True)
    try:
        do(found, lab)
    except disks.NotHere as why:
        found.not_proven = str(why)
    except InVain as why:
        found.that("it came to an end", "yes", str(why), passed=False)
    finally:
        lab.close()
    found.seconds = time.monotonic() - started
    for bar in found.bars:
        verdict = "pass" if bar.passed else "MISSED"
        print(f"  {verdict}: {bar.name}: {bar.figure} ({bar.limit})", file=sys.stderr, flush=True)
    return found


def report(findings: list[Finding], options: argparse.Namespace) -> None:
    """Print the bars, write them as JSON, and exit non-zero when one is missed."""
    console = Console(width=150)
    table = Table(title=f"Faults, on {options.broker}")
    for title in ("fault", "bar", "must be", "figure", ""):
        table.add_column(title)
    for found in findings:
        for number, bar in enumerate(found.bars):
            fault = f"{found.fault} ({found.seconds:.0f} s)" if number == 0 else ""
            table.add_row(fault, bar.name, bar.limit, bar.figure, WORDS[bar.passed])
        table.add_section()
    console.print(table)
    for found in findings:
        if found.not_proven:
            console.print(f"NOT PROVEN: {found.fault}: {found.not_proven}", style="yellow")
    seconds = sum(found.seconds for found in findings)
    console.print(f"{len(findings)} faults in {seconds / 60:.0f} minutes")
    console.print(machine_line(), highlight=False)
    write_result(
        f"faults-{options.broker}",
        options=vars(options),
        seconds=round(seconds),
        faults=[asdict(found) for found in findings],
    )
    missed = any(not bar.passed for found in findings for bar in found.bars)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
