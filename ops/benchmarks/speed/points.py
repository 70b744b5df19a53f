"""The points at which the price of the whole flow is measured, on one broker and Valkey.

Live traffic at set rates, a backlog, and idleness; beside them the broker's bare echo and the naive
loop. Figures come by point and column.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.devkit.demo_catalog import demo_catalog
from flows.devkit.embedded import APACHE_KAFKA, BROKERS, Embedded
from flows.registry import PERSONALIZE
from ops.benchmarks.reporting.machine import ROOT
from ops.benchmarks.speed.live import Live, idle, live
from ops.benchmarks.speed.loop import SEED, Loop
from ops.benchmarks.speed.naive import NAIVE, NaiveLive, finished, merged, naive_config
from ops.benchmarks.speed.report import Invalid
from ops.benchmarks.speed.rig import FlowProcess, Process, Rig, Sample, until
from ops.benchmarks.speed.runs import steady, watched
from ops.benchmarks.speed.traffic import Visits
from schemas.catalog import PolicySettings
from schemas.settings import child_environment
from schemas.topics import Topic

CPU, SHARE, P50, P99 = "CPU µs/event", "CPU % of a core", "p50 ms", "p99 ms"
RATE, WORST, LATE = "events/s", "max ms", "sent late p99 ms"
COLUMNS = (RATE, CPU, SHARE, P50, P99, WORST, LATE)
IDLE, BACKLOG, NAIVE_BACKLOG = "idle", "backlog", "naive loop, backlog"

Figures = dict[tuple[str, str], float]
"""Figures by point and column."""

WINDOW = 2.0
"""Seconds after which a decision of live traffic settles, so that all is at work after warm-up."""

WARM_UP_BESIDE = 2.0
"""Seconds, of the echo and the naive loop."""

_HELLO = 200
"""Requests that a process answers before it is measured: whatever begins late has begun."""
_RATE_OF_LOG = 4000.0
_QUICK_LOG = 2000.0


def at(requests: int, of: str = "live") -> str:
    """Name the point of live traffic at so many requests per second."""
    return f"{of}, {requests:,} requests/s"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what all points depend on."""
    parser.add_argument("--broker", choices=BROKERS, default=APACHE_KAFKA.name)
    parser.add_argument("--rates", type=int, nargs="+", default=[1000, 5000], help="requests/s")
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, default=15.0, help="measured, of each rate")
    parser.add_argument(
        "--beside-seconds", type=float, default=6.0, help="of each rate, of echo and naive loop"
    )
    parser.add_argument("--idle-seconds", type=float, default=10.0)
    parser.add_argument("--requests", type=int, default=60_000, help="of the backlog")
    parser.add_argument("--pending", type=int, default=0, help="decisions that wait meanwhile")
    parser.add_argument("--epoch", type=int, default=5, help="seconds; 2 in a backlog")
    parser.add_argument("--actions", type=int, default=10)
    parser.add_argument("--policy", default="logistic")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--quick", action="store_true", help="one low rate, everything short")


def shorten(args: argparse.Namespace) -> None:
    """Make a quick run of it, where that is asked for."""
    if args.quick:
        args.rates, args.seconds, args.beside_seconds, args.idle_seconds = [300], 5.0, 2.0, 2.0
        args.requests, args.epoch = 20_000, 1


class Points:
    """Measures one point after another; every run has topics of its own."""

    def __init__(self, args: argparse.Namespace, parts: Embedded) -> None:
        self.args, self.parts = args, parts
        window = 3600.0 if args.pending else WINDOW
        policy = PolicySettings(kind=args.policy)
        self._catalog = demo_catalog(args.seed, policy, actions=args.actions, reward_window=window)
        self._runs = 0
        self._loop: Loop | None = None

    def echo(self) -> Figures:
        """Measure the bare broker at every rate."""
        rig = self._rig("echo")
        env = child_environment(rig.settings) | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "ops.benchmarks.speed.echo"]
        with self._serving(rig, Process(self.parts, rig.name, command, env)) as process:
            return self._at_rates(rig, process, "echo", WARM_UP_BESIDE, self.args.beside_seconds)

    def naive(self) -> Figures:
        """Measure the naive loop in live traffic at every rate."""
        rig = self._rig("naive")
        naive = NaiveLive(rig, self.args.actions, WINDOW)
        with self._serving(rig, naive) as process:
            return self._at_rates(
                rig, process, "naive loop", WARM_UP_BESIDE, self.args.beside_seconds
            )

    def naive_backlog(self) -> Figures:
        """Measure the naive loop over the backlog."""
        args, log = self.args, self._logged()
        name = self._name("naive-backlog")
        config = merged(self.parts, log.log or [], name, 4, args.requests)
        config = naive_config(self.parts, config, args.actions)
        found = finished(self.parts, f"{name}-run", [sys.executable, str(NAIVE)], config)
        return {
            (NAIVE_BACKLOG, RATE): found["events"] / found["seconds"],
            (NAIVE_BACKLOG, CPU): 1e6 * found["cpu"] / found["events"],
        }

    def live_and_idle(
        self,
        start: Callable[[Rig], FlowProcess],
        note: Callable[[str], None] = lambda _: None,
    ) -> Figures:
        """Measure a flow in live traffic at every rate, then idle.

        ``note`` is told the point's name at the beginning and the end of what counts.
        """
        args = self.args
        rig = self._rig("live")
        with self._serving(rig, start(rig)) as process:
            figures = self._at_rates(rig, process, "live", args.warm_up, args.seconds, note)
            share = idle(process, args.idle_seconds, lambda: note(IDLE))
        return figures | {(IDLE, SHARE): share}

    def backlog(
        self,
        start: Callable[[Rig], FlowProcess],
        note: Callable[[Sample], None] = lambda _: None,
    ) -> tuple[Figures, tuple[int, int]]:
        """Measure a flow over a recorded log with its decisions, read again from nothing.

        Gives beside the figures the places of the two samples that they lie between.
        """
        log = self._logged()
        rig = Rig(self.parts, self._name("backlog"), log.catalog, epoch=2)
        rig.write(log.log or [])
        process = start(rig)
        try:
            run, _ = watched(process, BACKLOG, log.events, note)
            places = steady(run, 0)
            until("every decision", lambda: self._decided(rig) == log.requests, seconds=60.0)
        finally:
            process.end()
        return {(BACKLOG, RATE): run.rate, (BACKLOG, CPU): run.us}, places

    def _at_rates(
        self,
        rig: Rig,
        process: Process,
        of: str,
        warm_up: float,
        seconds: float,
        note: Callable[[str], None] = lambda _: None,
    ) -> Figures:
        figures: Figures = {}
        for rate in self.args.rates:
            point = at(rate, of)
            visits = self._visits(rig, f"v{rate}")
            try:
                found = live(process, visits, rate, warm_up, seconds, lambda p=point: note(p))
            finally:
                visits.close()
            figures |= {(point, column): value for column, value in _columns(found)}
        return figures

    @contextmanager
    def _serving(self, rig: Rig, process: Process) -> Iterator[Process]:
        try:
            visits = self._visits(rig, "hello")
            visits.consent()
            visits.burst(self.args.pending or _HELLO)
            visits.close()
            yield process
        finally:
            process.end()

    def _visits(self, rig: Rig, run: str) -> Visits:
        return Visits(rig.settings, run, self.args.actions, self.args.seed)

    def _rig(self, name: str) -> Rig:
        return Rig(
            self.parts, self._name(name), self._catalog, epoch=self.args.epoch, allowed_lateness=2.0
        )

    def _name(self, name: str) -> str:
        self._runs += 1
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        return f"{name}{self._runs}"

    def _logged(self) -> Loop:
        """Record the backlog, once."""
        if self._loop is None:
            args = self.args
            rate = _QUICK_LOG if args.quick else _RATE_OF_LOG
            self._loop = loop = Loop(rate, args.policy, args.actions, seed=args.seed, keep=True)
            for _ in range(args.requests // round(rate / 20)):
                loop.turn(round(rate / 20))
        return self._loop

    def _decided(self, rig: Rig) -> int:
        return sum(rig.ends(Topic.DECISIONS).values())


def flow_of(folder: Path = ROOT) -> Callable[[Rig], FlowProcess]:
    """Give what starts personalize of the checkout in a folder."""
    return lambda rig: FlowProcess(rig, PERSONALIZE.name, folder=folder)


def one(name: str, measure: Callable[[], Figures], invalid: list[str]) -> Figures:
    """Measure, or say why there is no figure."""
    try:
        return measure()
    except Invalid as reason:
        invalid.append(f"{name}: {reason}")
        return {}


def _columns(found: Live) -> Iterator[tuple[str, float]]:
    yield from zip(
        COLUMNS,
        (found.rate, found.us, found.share, found.p50, found.p99, found.worst, found.late),
        strict=True,
    )
