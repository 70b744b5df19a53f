"""Steady traffic for long: resident memory stays flat, and a store that stalls loses nothing.

Both flows run in live traffic at a set rate. In the middle the store is locked by another process
for ``--stall`` seconds: persist waits, stops reading, and catches up; decisions go on. Memory
growth compares the medians of the run's second fifth and of its last.
"""

import argparse
import sqlite3
import statistics
import sys
import threading
import time
from dataclasses import asdict

from flows.devkit.demo_catalog import demo_catalog
from flows.devkit.embedded import APACHE_KAFKA, BROKERS, Embedded
from flows.registry import PERSIST, PERSONALIZE
from flows.verification.findings import describe
from flows.verification.verify import verify
from ops.benchmarks.speed.loop import SEED
from ops.benchmarks.speed.report import Bar, Invalid, Report
from ops.benchmarks.speed.rig import FlowProcess, Rig, Sample
from ops.benchmarks.speed.traffic import EVENTS_PER_REQUEST, Heard, Visits
from schemas.catalog import PolicySettings

EVERY = 2.0
HORIZON = 60.0
"""Seconds for which seen requests are kept: what fills up is full before memory is compared."""
Series = dict[str, list[Sample]]


def main() -> None:
    """Run the traffic, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default=APACHE_KAFKA.name)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=6400, help="events/s")
    parser.add_argument("--stall", type=float, default=20.0, help="seconds of a locked store")
    parser.add_argument("--window", type=float, default=30.0, help="reward window, seconds")
    parser.add_argument("--epoch", type=int, default=5)
    parser.add_argument("--actions", type=int, default=10)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--no-verify", action="store_true", help="it reads all topics again")
    parser.add_argument("--quick", action="store_true", help="half a minute at 500 events/s")
    args = parser.parse_args()
    if args.quick:
        args.minutes, args.rate, args.stall, args.window = 0.5, 500, 3.0, 3.0
    titles = ("flow", "MB at 2/5", "MB at the end", "growth %", "CPU µs/event", "most lag")
    report = Report("soak", titles, vars(args).copy())
    with Embedded(broker=args.broker) as parts:
        catalog = demo_catalog(
            args.seed,
            PolicySettings(kind="logistic"),
            actions=args.actions,
            reward_window=args.window,
        )
        try:
            rig = Rig(parts, "soak", catalog, epoch=args.epoch, dedup_horizon=HORIZON)
            _measure(args, rig, report)
        except Invalid as reason:
            report.invalid.append(str(reason))
    raise SystemExit(report.finish())


def _measure(args: argparse.Namespace, rig: Rig, report: Report) -> None:
    flows = [FlowProcess(rig, PERSONALIZE.name), FlowProcess(rig, PERSIST.name)]
    try:
        heard, series, lags = _traffic(args, rig, flows)
        for flow in flows:
            rig.settle(flow, flow.flow)
    finally:
        for flow in flows:
            flow.end()
    if heard.unanswered or heard.twice:
        raise Invalid(f"{heard.unanswered:,} unanswered, {heard.twice:,} answered twice")
    if not args.no_verify:
        found = verify(rig.settings)
        if not found.holds:
            raise Invalid("; ".join(describe(found)))
    for name, samples in series.items():
        fifth = len(samples) // 5
        early = statistics.median(one.resident for one in samples[fifth : 2 * fifth])
        late = statistics.median(one.resident for one in samples[-fifth:])
        growth = 100 * (late / early - 1)
        cpu = 1e6 * (samples[-1].cpu - samples[fifth].cpu)
        share = heard.events * (samples[-1].at - samples[fifth].at) / (60 * args.minutes)
        row = (name, early / 1e6, late / 1e6, growth, cpu / share, max(lags[name]))
        report.rows.append(row)
        judged = args.minutes >= 10
        report.bars.append(Bar(f"{name}: growth", "≤", 5.0, growth, "%", judged))
    p50, p99 = heard.quantiles(10.0, 0.5, 0.99)
    report.conditions |= {"p50 ms": p50, "p99 ms": p99}
    report.detail = {name: [asdict(one) for one in samples] for name, samples in series.items()}


def _traffic(
    args: argparse.Namespace, rig: Rig, flows: list[FlowProcess]
) -> tuple[Heard, Series, dict[str, list[float]]]:
    visits = Visits(rig.settings, "soak", args.actions, args.seed)
    visits.consent()
    seconds, heard = 60 * args.minutes, list[Heard]()
    rate = args.rate / EVENTS_PER_REQUEST
    thread = threading.Thread(
        target=lambda: heard.append(visits.open_loop(rate, seconds, patience=120.0))
    )
    thread.start()
    series: Series = {flow.flow: [] for flow in flows}
    lags: dict[str, list[float]] = {flow.flow: [] for flow in flows}
    started, stalled = time.monotonic(), False
    while thread.is_alive():
        time.sleep(EVERY)
        for flow in flows:
            sample, found = flow.sample()
            series[flow.flow].append(sample)
            lags[flow.flow].append(found[0].total("banditflow_consumer_lag_records"))
        if not stalled and time.monotonic() - started > seconds / 2:
            stalled = True
            threading.Thread(target=_stall, args=(rig, args.stall), daemon=True).start()
    visits.close()
    if not heard:
        raise Invalid("the visitors failed")
    return heard[0], series, lags


def _stall(rig: Rig, seconds: float) -> None:
    """Hold the store's write lock."""
    connection = sqlite3.connect(rig.settings.store.address.removeprefix("sqlite:"), timeout=60.0)
    connection.execute("BEGIN IMMEDIATE")
    print(f"soak: the store is locked for {seconds:.0f} s", file=sys.stderr, flush=True)
    time.sleep(seconds)
    connection.rollback()
    connection.close()


if __name__ == "__main__":
    main()
