"""Decision latency at set rates, beside the latency of the bare broker.

Open loop: a request's latency counts from the time at which it was due (``speed/traffic.py``), to
the consumption of its decision. An event is a request, an impression or a click. Before the rates,
a burst of requests fills the flow with pending decisions. The echo is a process that only copies
requests to the decisions topic, under the same requests and the same client settings.
"""

import argparse
import sys
import time

from flows.devkit.demo_catalog import demo_catalog
from flows.devkit.embedded import APACHE_KAFKA, BROKERS, Embedded
from flows.registry import PERSONALIZE
from ops.benchmarks.reporting.machine import ROOT
from ops.benchmarks.speed.loop import SEED
from ops.benchmarks.speed.report import Bar, Invalid, Report
from ops.benchmarks.speed.rig import FlowProcess, Process, Rig, until
from ops.benchmarks.speed.traffic import EVENTS_PER_REQUEST, Heard, Visits
from schemas.catalog import PolicySettings
from schemas.settings import child_environment

BARS = {5000: (20.0, 60.0), 10_000: (None, 100.0)}
"""Milliseconds, median and 99th percentile, by events/s."""

WARM_UP = 5.0


def main() -> None:
    """Run every rate, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default=APACHE_KAFKA.name)
    parser.add_argument("--rates", type=int, nargs="+", default=[5000, 10_000], help="events/s")
    parser.add_argument("--seconds", type=float, default=30.0, help="measured, of each rate")
    parser.add_argument("--echo-seconds", type=float, default=10.0)
    parser.add_argument("--pending", type=int, default=110_000)
    parser.add_argument("--processes", type=int, default=1, help="of personalize")
    parser.add_argument("--epoch", type=int, default=5)
    parser.add_argument("--actions", type=int, default=10)
    parser.add_argument("--policy", default="logistic")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help="one rate, few pending, 5 seconds")
    args = parser.parse_args()
    if args.quick:
        args.rates, args.seconds, args.echo_seconds, args.pending = [2000], 5.0, 3.0, 5000
        args.epoch = 1
    name = "latency" if args.broker == APACHE_KAFKA.name else f"latency-{args.broker}"
    if args.processes > 1:
        name += f"-{args.processes}-processes"
    titles = ("", "events/s", "p50 ms", "p99 ms", "max ms", "sent late p99 ms", "CPU %", "pending")
    report = Report(name, titles, vars(args).copy())
    catalog = demo_catalog(
        args.seed, PolicySettings(kind=args.policy), actions=args.actions, reward_window=3600.0
    )
    with Embedded(broker=args.broker) as parts:
        try:
            _echoes(args, Rig(parts, "echo", catalog, epoch=args.epoch), report)
            _decisions(args, Rig(parts, "flow", catalog, epoch=args.epoch), report)
        except Invalid as reason:
            report.invalid.append(str(reason))
    raise SystemExit(report.finish())


def _echoes(args: argparse.Namespace, rig: Rig, report: Report) -> None:
    env = child_environment(rig.settings) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ops.benchmarks.speed.echo"]
    echo = Process(rig.parts, "echo", command, env)
    try:
        visits = Visits(rig.settings, "hello", args.actions, args.seed)
        visits.burst(100)
        visits.close()
        for rate in args.rates:
            _row(args, rig, echo, report, rate, args.echo_seconds, "broker alone (echo)")
    finally:
        echo.end()


def _decisions(args: argparse.Namespace, rig: Rig, report: Report) -> None:
    flow = FlowProcess(rig, PERSONALIZE.name, processes=args.processes)
    try:
        visits = Visits(rig.settings, "burst", args.actions, args.seed)
        visits.consent()
        visits.burst(args.pending)
        visits.close()
        until(
            "all pending",
            lambda: _pending(flow) >= args.pending,
            seconds=60.0,
        )
        for rate in args.rates:
            _row(args, rig, flow, report, rate, args.seconds, "decision")
    finally:
        flow.end()


def _row(
    args: argparse.Namespace,
    rig: Rig,
    process: Process,
    report: Report,
    rate: int,
    seconds: float,
    label: str,
) -> None:
    decides = isinstance(process, FlowProcess)
    visits = Visits(rig.settings, f"v{rate}", args.actions, args.seed)
    before, started = process.cpu, time.monotonic()
    heard = visits.open_loop(rate / EVENTS_PER_REQUEST, WARM_UP + seconds)
    elapsed = time.monotonic() - started
    share = 100 * (process.cpu - before) / elapsed
    visits.close()
    process.check()
    _check(heard, f"{label} at {rate:,}/s", decides)
    pending = None
    if isinstance(process, FlowProcess):
        pending = _pending(process)
        if pending < args.pending:
            raise Invalid(f"{pending:,} decisions pending, not {args.pending:,}")
    p50, p99, worst = heard.quantiles(WARM_UP, 0.5, 0.99, 1.0)
    late = 1e3 * float(sorted(heard.sent_late)[int(0.99 * len(heard.sent_late))])
    events = heard.events / elapsed
    report.rows.append((label, events, p50, p99, worst, late, share, pending))
    if decides and rate in BARS:
        judged = not args.quick and seconds >= 5 * args.epoch and args.pending >= 100_000
        median, tail = BARS[rate]
        if median:
            report.bars.append(Bar(f"p50 at {rate:,} events/s", "≤", median, p50, "ms", judged))
        report.bars.append(Bar(f"p99 at {rate:,} events/s", "≤", tail, p99, "ms", judged))


def _pending(flow: FlowProcess) -> int:
    return int(sum(each.total("banditflow_pending_decisions") for each in flow.all_metrics()))


def _check(heard: Heard, label: str, decides: bool) -> None:
    if heard.unanswered or heard.twice:
        raise Invalid(f"{label}: {heard.unanswered:,} unanswered, {heard.twice:,} answered twice")
    if decides and not heard.version:
        raise Invalid(f"{label}: the policy had learned nothing")


if __name__ == "__main__":
    main()
