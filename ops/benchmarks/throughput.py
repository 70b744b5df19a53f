"""Events per second from a backlog, and CPU per event, with every guarantee on; rivals beside it.

``rerun``: the log of a closed loop with its decisions, behind the resume fence, learned anew from
nothing. ``catch-up``: requests without an answer behind earlier requests, decisions, impressions
and clicks. An event is a request, an impression or a click; decisions that are read back cost but
do not count. The steady state leaves out the process's start and the first tenth. Each run is
verified against a recomputation from its topics, and gives no figure if anything differs.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from flows.devkit.embedded import APACHE_KAFKA, BROKERS, Embedded
from ops.benchmarks.speed.loop import SEED, Logged, Loop
from ops.benchmarks.speed.naive import NAIVE, RIVALS, finished, merged, naive_config
from ops.benchmarks.speed.report import Bar, Invalid, Report
from ops.benchmarks.speed.rig import Rig
from ops.benchmarks.speed.runs import Run, backlog, persist
from schemas.catalog import CatalogEntry
from schemas.topics import Topic

LEARNED = 0.8
"""The least share of decisions by a policy that had learned; below it a run is invalid."""

Rows = dict[str, list[Run]]


def main() -> None:
    """Record a log, run everything in turns, print one table and write it as JSON."""
    args = _arguments()
    name = "throughput" if args.broker == APACHE_KAFKA.name else f"throughput-{args.broker}"
    if args.processes > 1:
        name += f"-{args.processes}-processes"
    report = Report(
        name,
        (
            "run",
            "events/s",
            "CPU µs/event",
            "start s",
            "start CPU s",
            "staleness mean s",
            "p99 s",
            "MB",
        ),
        {name: value for name, value in vars(args).items() if name != "quix_python"},
    )
    catalog, log = recorded(args)
    with Embedded(broker=args.broker) as parts:
        bench = Bench(args, parts, catalog, log, report)
        for turn in range(args.runs):
            for name in args.only:
                print(f"throughput: {name}, turn {turn + 1}", file=sys.stderr, flush=True)
                try:
                    bench.runners[name](turn)
                except Invalid as reason:
                    report.invalid.append(str(reason))
        bench.sum_up()
    raise SystemExit(report.finish())


def _arguments() -> argparse.Namespace:
    names = ["rerun", "catch-up", "naive", "naive-contextual", "naive-single", "quix"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default=APACHE_KAFKA.name)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--runs", type=int, default=2, help="of each, in turns")
    parser.add_argument("--requests", type=int, default=150_000)
    parser.add_argument("--rival-requests", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=4000.0, help="requests/s of event time")
    parser.add_argument("--actions", type=int, default=10)
    parser.add_argument("--policy", default="logistic")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--epoch", type=int, default=2, help="seconds")
    parser.add_argument("--processes", type=int, default=1, help="of personalize")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--no-persist", action="store_true")
    parser.add_argument("--quix-python", help="of an environment with quixstreams and river")
    parser.add_argument("--log", type=Path, help="keep the recorded log here, and use it again")
    parser.add_argument("--quick", action="store_true", help="30,000 requests, one run, rerun only")
    args = parser.parse_args()
    if args.quick:
        args.requests, args.rival_requests, args.runs, args.no_persist = 30_000, 5000, 1, True
        args.rate = 2000.0
        if args.only == names:
            args.only = ["rerun"]
    return args


def recorded(args: argparse.Namespace) -> tuple[list[CatalogEntry], list[Logged]]:
    """Record a closed loop, or read one that was kept."""
    loop = Loop(args.rate, args.policy, args.actions, args.partitions, args.seed, keep=True)
    if args.log and args.log.exists():
        read = msgspec.msgpack.decode(
            args.log.read_bytes(), type=list[tuple[str, int, bytes | None, bytes, int]]
        )
        return loop.catalog, [Logged(Topic(t), k, key, value, at) for t, k, key, value, at in read]
    per_turn = round(args.rate / 20)
    print("throughput: recording the log", file=sys.stderr, flush=True)
    for _ in range(args.requests // per_turn):
        loop.turn(per_turn)
    assert loop.log is not None
    if args.log:
        args.log.write_bytes(msgspec.msgpack.encode(loop.log))
    return loop.catalog, loop.log


class Bench:
    """The runs on one broker; ``runners`` do one turn of each by name."""

    def __init__(
        self,
        args: argparse.Namespace,
        parts: Embedded,
        catalog: Sequence[CatalogEntry],
        log: Sequence[Logged],
        report: Report,
    ) -> None:
        self.args, self.parts, self.catalog, self.report = args, parts, catalog, report
        self.log = log
        self.rows: Rows = {}
        self.rivals: dict[str, list[dict[str, float]]] = {}
        self.persisted: list[tuple[float, float]] = []
        self.runners: dict[str, Callable[[int], None]] = {
            "rerun": self.rerun,
            "catch-up": self.catch_up,
            "naive": lambda turn: self.naive("naive", turn),
            "naive-contextual": lambda turn: self.naive("naive-contextual", turn, contextual=True),
            "naive-single": lambda turn: self.naive("naive-single", turn, pipelined=False),
            "quix": self.quix,
        }

    def rerun(self, turn: int) -> None:
        """Run the whole log, decisions included."""
        run, rig = self._backlog("rerun", turn, self.log, 0)
        if run.learned < LEARNED:
            raise Invalid(f"rerun: {run.learned:.0%} of decisions by a policy that had learned")
        self.rows.setdefault("rerun", []).append(run)
        if not self.args.no_persist and turn == 0:
            self.persisted.append(persist(rig, run.events))

    def catch_up(self, turn: int) -> None:
        """Run half of the log, then requests only."""
        middle = self.log[len(self.log) // 2].time
        log = [r for r in self.log if r.time <= middle or r.topic is Topic.DECISION_REQUESTS]
        before = sum(r.topic is not Topic.DECISIONS for r in log if r.time <= middle)
        run, _ = self._backlog("catchup", turn, log, before)
        run.staleness = None  # the log's clicks end at its middle
        self.rows.setdefault("catch-up", []).append(run)

    def _backlog(
        self, name: str, turn: int, log: Sequence[Logged], steady_from: int
    ) -> tuple[Run, Rig]:
        args = self.args
        rig = Rig(
            self.parts, f"{name}{turn}", self.catalog, epoch=args.epoch, partitions=args.partitions
        )
        rig.write(log)
        events = sum(r.topic is not Topic.DECISIONS for r in log)
        requests = sum(r.topic is Topic.DECISION_REQUESTS for r in log)
        return backlog(rig, name, events, steady_from, requests, args.processes), rig

    def naive(
        self, name: str, turn: int, *, pipelined: bool = True, contextual: bool = False
    ) -> None:
        """Run the naive loop over the log's first requests and what followed them."""
        if turn and name != "naive":
            return  # once is enough for what is no bar
        store = str(self.parts.folder / f"{name}{turn}.db")
        config = self._merged(f"{name}{turn}", 1 if pipelined else 2)
        config = naive_config(self.parts, config, self.args.actions, store)
        config |= {"pipelined": pipelined, "contextual": contextual}
        self._rival(name, turn, [sys.executable, str(NAIVE)], config)

    def quix(self, turn: int) -> None:
        """Run Quix Streams, where an environment with it was named."""
        python = self.args.quix_python
        if turn:
            return
        if not python:
            print("throughput: no --quix-python, so no Quix", file=sys.stderr)
            return
        config = self._merged(f"quix{turn}", 1)
        config |= {"folder": str(self.parts.folder / f"quix{turn}"), "actions": self.args.actions}
        self._rival("quix", turn, [python, str(RIVALS / "quix.py")], config)

    def _merged(self, name: str, part: int) -> dict[str, Any]:
        args = self.args
        requests = args.rival_requests // part
        return merged(self.parts, self.log, name, args.partitions, requests)

    def _rival(self, name: str, turn: int, command: list[str], config: dict[str, Any]) -> None:
        found = finished(self.parts, f"{name}-{turn}-run", command, config)
        if not self.args.quick and found["learned"] < 0.1 * found["events"]:
            raise Invalid(f"{name}: learned from {found['learned']:,.0f} decisions only")
        self.rivals.setdefault(name, []).append(found)

    def sum_up(self) -> None:
        """Turn the runs into rows and bars."""
        report, args = self.report, self.args
        for name, runs in self.rows.items():
            stale = [run.staleness for run in runs if run.staleness is not None]
            report.rows.append(
                (
                    name,
                    _median([run.rate for run in runs]),
                    _median([run.us for run in runs]),
                    _median([run.start for run in runs]),
                    _median([run.start_cpu for run in runs]),
                    _median([run.staleness_mean for run in runs]) if stale else None,
                    max(stale) if stale else None,
                    max(run.resident for run in runs) / 1e6,
                )
            )
        if self.persisted:
            us, rate = self.persisted[0]
            report.rows.append(("persist (SQLite), apart", rate, us, *[None] * 5))
        for name, found in self.rivals.items():
            rate = _median([one["events"] / one["seconds"] for one in found])
            us = _median([1e6 * one["cpu"] / one["events"] for one in found])
            report.rows.append((name, rate, us, *[None] * 5))
            if any(one["sql_cpu"] for one in found):
                less = [1e6 * (one["cpu"] - one["sql_cpu"]) / one["events"] for one in found]
                report.rows.append((f"  {name} without SQL", None, _median(less), *[None] * 5))
        self._judge(not args.quick)
        report.detail = {
            "runs": {
                name: [
                    {key: value for key, value in asdict(run).items() if key != "found"}
                    for run in runs
                ]
                for name, runs in self.rows.items()
            },
            "rivals": self.rivals,
            "persist": self.persisted,
        }

    def _judge(self, judged: bool) -> None:
        bars = self.report.bars
        for name, runs in self.rows.items():
            us = _median([run.us for run in runs])
            bars.append(
                Bar(f"{name}: events/s", "≥", 30_000, _median([r.rate for r in runs]), "", judged)
            )
            bars.append(Bar(f"{name}: CPU per event", "≤", 30.0, us, "µs", judged))
            if name == "rerun":
                stale = max(run.staleness or 1e9 for run in runs)
                bars.append(Bar("rerun: staleness p99", "≤", 1.0, stale, "s", judged))
            for rival in ("naive", "naive-contextual", "quix"):
                self._compare(name, us, rival, judged)

    def _compare(self, name: str, us: float, rival: str, judged: bool) -> None:
        """Compare CPU per event; SQL is on neither side, or on both."""
        found = self.rivals.get(rival)
        if not found:
            return
        bars = self.report.bars
        less = _median([1e6 * (o["cpu"] - o["sql_cpu"]) / o["events"] for o in found])
        strict = judged and rival == "naive"
        bars.append(Bar(f"{rival} / {name}, no SQL", "≥", 3.0, less / us, "×", strict))
        if self.persisted and rival != "quix":
            whole = _median([1e6 * o["cpu"] / o["events"] for o in found])
            ratio = whole / (us + self.persisted[0][0])
            bars.append(Bar(f"{rival} / {name}, with SQL", "≥", 3.0, ratio, "×", judged=False))


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    main()
