"""From a kill to the first decision: personalize is killed in live traffic, its state large.

The clock starts at SIGKILL, the process is started again at once, and it stops when the decision of
a request that was due after the kill is consumed. A start without state, for comparison: from the
process's start to its first decision.
"""

import argparse
import threading
import time

from flows.devkit.demo_catalog import demo_catalog
from flows.devkit.embedded import APACHE_KAFKA, BROKERS, Embedded
from flows.registry import PERSONALIZE
from flows.verification.findings import describe
from flows.verification.verify import verify
from ops.benchmarks.speed.loop import SEED
from ops.benchmarks.speed.report import Bar, Invalid, Report
from ops.benchmarks.speed.rig import FlowProcess, Rig, until
from ops.benchmarks.speed.traffic import EVENTS_PER_REQUEST, Heard, Visits
from schemas.catalog import PolicySettings


def main() -> None:
    """Kill, start again, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default=APACHE_KAFKA.name)
    parser.add_argument("--pending", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=2000, help="events/s meanwhile")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--epoch", type=int, default=5)
    parser.add_argument("--actions", type=int, default=10)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help="one kill, 5,000 pending")
    args = parser.parse_args()
    if args.quick:
        args.pending, args.kills, args.rate, args.epoch = 5000, 1, 500, 1
    name = "recovery" if args.broker == APACHE_KAFKA.name else f"recovery-{args.broker}"
    titles = ("", "to the first decision, s", "pending")
    report = Report(name, titles, vars(args).copy())
    with Embedded(broker=args.broker) as parts:
        catalog = demo_catalog(
            args.seed, PolicySettings(kind="logistic"), actions=args.actions, reward_window=3600.0
        )
        try:
            _measure(args, Rig(parts, "recovery", catalog, epoch=args.epoch), report)
        except Invalid as reason:
            report.invalid.append(str(reason))
    raise SystemExit(report.finish())


def _measure(args: argparse.Namespace, rig: Rig, report: Report) -> None:
    visits = Visits(rig.settings, "burst", args.actions, args.seed)
    visits.consent()
    flow = FlowProcess(rig, PERSONALIZE.name)
    try:
        visits.burst(1)
        report.rows.append(("first start", time.monotonic() - flow.started, 0))
        visits.close()
        visits = Visits(rig.settings, "pending", args.actions, args.seed)
        visits.burst(args.pending)
        visits.close()
        rig.settle(flow)
        flow = _live(args, rig, flow, report)
        rig.settle(flow)
    finally:
        flow.end()
    found = verify(rig.settings)
    if not found.holds:
        raise Invalid("; ".join(describe(found)))
    slowest = max(float(row[1] or 0.0) for row in report.rows[1:])
    report.bars.append(Bar("kill to first decision", "≤", 10.0, slowest, "s", not args.quick))


def _live(args: argparse.Namespace, rig: Rig, flow: FlowProcess, report: Report) -> FlowProcess:
    visits = Visits(rig.settings, "live", args.actions, args.seed)
    heard: list[Heard] = []
    rate = args.rate / EVENTS_PER_REQUEST
    thread = threading.Thread(
        target=lambda: heard.append(visits.open_loop(rate, 600.0, patience=120.0))
    )
    thread.start()
    try:
        for kill in range(args.kills):
            first = visits.answered
            until("live traffic", lambda n=first: visits.answered > n + 3 * rate * args.epoch)  # type: ignore[misc]
            killed, clock = time.time(), time.monotonic()
            flow.end()
            flow = FlowProcess(rig, PERSONALIZE.name, life=kill + 1)
            until("a decision", lambda at=killed: visits.last_due > at, every=0.002)  # type: ignore[misc]
            took = time.monotonic() - clock
            pending = int(flow.metrics().total("banditflow_pending_decisions"))
            report.rows.append((f"kill {kill + 1}", took, pending))
    finally:
        visits.stopped = True
        thread.join()
        visits.close()
    if not heard or heard[0].twice:
        raise Invalid("a request was answered twice, or the visitors failed")
    return flow


if __name__ == "__main__":
    main()
