"""A process under live traffic and at rest: its CPU per event, and how long answers take."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ops.benchmarks.speed.naive import NaiveLive
from ops.benchmarks.speed.report import Invalid
from ops.benchmarks.speed.rig import FlowProcess, Process, Sample
from ops.benchmarks.speed.traffic import Visits

CALM = 6.0
"""Seconds after the last answer until a process counts as idle: decisions have settled by then."""


def nothing() -> None:
    """Note nothing."""


@dataclass(frozen=True, slots=True)
class Live:
    """Figures of a process under requests at a set rate, of the time after its warm-up.

    ``rate`` is of events that it took in per second, ``us`` CPU per event, ``share`` that of a
    core. Latency is in milliseconds, ``late`` the 99th percentile of how late requests were sent.
    """

    rate: float
    us: float
    share: float
    p50: float
    p99: float
    worst: float
    late: float


def live(
    process: Process,
    visits: Visits,
    requests: float,
    warm_up: float,
    seconds: float,
    note: Callable[[], None] = nothing,
) -> Live:
    """Let visitors ask ``requests`` times a second, for a warm-up and then for ``seconds``.

    ``note`` is called at the beginning and at the end of the time that counts. Raises
    :class:`Invalid` where a request got no answer, or two, or the flow had learned nothing.
    """
    samples: list[Sample] = []

    def look() -> None:
        note()
        samples.append(_sample(process, visits))

    timers = [threading.Timer(after, look) for after in (warm_up, warm_up + seconds)]
    for timer in timers:
        timer.daemon = True
        timer.start()
    heard = visits.open_loop(requests, warm_up + seconds)
    for timer in timers:
        timer.join()
    process.check()
    label = f"{process.label} at {requests:,.0f} requests/s"
    if heard.unanswered or heard.twice:
        raise Invalid(f"{label}: {heard.unanswered:,} unanswered, {heard.twice:,} answered twice")
    if isinstance(process, FlowProcess) and not heard.version:
        raise Invalid(f"{label}: the policy had learned nothing")
    if len(samples) < 2:
        raise Invalid(f"{label}: its metrics did not answer")
    first, last = samples
    elapsed, cpu, events = last.at - first.at, last.cpu - first.cpu, last.events - first.events
    p50, p99, worst = heard.quantiles(warm_up, 0.5, 0.99, 1.0)
    late = 1e3 * float(sorted(heard.sent_late)[int(0.99 * len(heard.sent_late))])
    return Live(events / elapsed, 1e6 * cpu / events, 100 * cpu / elapsed, p50, p99, worst, late)


def idle(process: Process, seconds: float, note: Callable[[], None] = nothing) -> float:
    """Give the percent of a core that a process takes while nothing comes in."""
    time.sleep(CALM)
    note()
    before, started = process.cpu, time.monotonic()
    time.sleep(seconds)
    spent, took = process.cpu - before, time.monotonic() - started
    note()
    process.check()
    return 100 * spent / took


def _sample(process: Process, visits: Visits) -> Sample:
    """Count what a flow or the naive loop took in; of another process, what was sent to it."""
    if isinstance(process, FlowProcess):
        return process.sample()[0]
    events = process.events if isinstance(process, NaiveLive) else visits.events
    return Sample(time.monotonic(), process.cpu, process.resident, events)
