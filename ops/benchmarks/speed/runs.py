"""A backlog through the flow: start-up and steady state apart, and whether the run is valid."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flows.registry import PERSIST, PERSONALIZE
from flows.runtime.flow_metrics import FlowMetrics
from flows.verification.findings import Verification, describe
from flows.verification.verify import verify
from ops.benchmarks.speed.report import Invalid
from ops.benchmarks.speed.rig import FlowProcess, Rig, Sample, histogram, quantile, until
from schemas.topics import Topic

EVERY = 0.4
"""Seconds between samples; a scrape costs the flow a few milliseconds."""

_STALE = "banditflow_policy_staleness_seconds"


@dataclass
class Run:
    """Figures of one run; per event means per request, impression or click.

    ``start`` is from the process's start to its first event, in seconds of wall and CPU. ``rate``
    and ``us`` are of the steady state; ``whole_us`` is all the CPU until the end, start included.
    ``staleness`` is the 99th percentile, in seconds of event time (its histogram bucket's upper
    bound), ``stale`` the histogram, ``learned`` the share of decisions that it is known of.
    """

    name: str
    events: int
    start: float = 0.0
    start_cpu: float = 0.0
    seconds: float = 0.0
    rate: float = 0.0
    us: float = 0.0
    whole_us: float = 0.0
    resident: int = 0
    staleness: float | None = None
    staleness_mean: float = 0.0
    stale: dict[str, float] = field(default_factory=dict)
    learned: float = 0.0
    found: Verification | None = None
    samples: list[Sample] = field(default_factory=list)


def backlog(
    rig: Rig, name: str, events: int, steady_from: int, requests: int, processes: int = 1
) -> Run:
    """Run personalize from nothing to the log's end, then verify everything that it made.

    ``events`` is the log's count, of which the steady state begins after ``steady_from`` and a
    tenth of the others. Raises :class:`Invalid`.
    """
    flow = FlowProcess(rig, PERSONALIZE.name, processes=processes)
    try:
        run, last = watched(flow, name, events)
        steady(run, steady_from)
        rig.settle(flow)
    finally:
        flow.end()
    run.stale = histogram(last, _STALE)
    run.staleness = quantile(run.stale, 0.99)
    known = sum(each.total(f"{_STALE}_count") for each in last)
    run.staleness_mean = sum(each.total(f"{_STALE}_sum") for each in last) / max(known, 1.0)
    run.learned = known / requests
    answers = sum(rig.ends(Topic.DECISIONS).values())
    if answers != requests:
        raise Invalid(f"{name}: {answers:,} decisions for {requests:,} requests")
    run.found = found = verify(rig.settings)
    if not found.holds or found.repeated or found.refused or found.waiting:
        raise Invalid(f"{name}: {'; '.join(describe(found))}")
    return run


def watched(
    flow: FlowProcess, name: str, events: int, note: Callable[[Sample], None] = lambda _: None
) -> tuple[Run, list[FlowMetrics]]:
    """Follow a flow to the log's end; ``note`` is told of each sample, as soon as it is taken."""
    run = Run(name, events)
    deadline = time.monotonic() + 600.0
    while True:
        sample, _ = flow.sample()
        if sample.events and not run.samples:
            run.start, run.start_cpu = sample.at - flow.started, sample.cpu
        if sample.events:
            run.samples.append(sample)
            note(sample)
        if sample.events >= events:
            break
        if sample.at > deadline:
            raise Invalid(f"{name}: {sample.events:,} of {events:,} events after 600 s")
        time.sleep(EVERY if run.samples else 0.1)
    last = run.samples[-1]
    run.resident = max(one.resident for one in run.samples)
    run.whole_us = 1e6 * last.cpu / events
    run.seconds = last.at - flow.started
    time.sleep(EVERY)  # the last batches' decisions
    return run, flow.all_metrics()


def steady(run: Run, steady_from: int) -> tuple[int, int]:
    """Work out the figures of the steady state; give the places of its two samples.

    Raises :class:`Invalid` where it is too short.
    """
    first = steady_from + (run.events - steady_from) // 10
    inside = [one for one in run.samples if first <= one.events < run.events]
    if len(inside) < 4:
        raise Invalid(f"{run.name}: too short for a steady state ({len(inside)} samples)")
    a, b = inside[0], inside[-1]
    run.rate = (b.events - a.events) / (b.at - a.at)
    run.us = 1e6 * (b.cpu - a.cpu) / (b.events - a.events)
    return run.samples.index(a), run.samples.index(b)


def persist(rig: Rig, events: int) -> tuple[float, float]:
    """Write a finished run to the store; give µs of CPU per event without its start, and events/s.

    Raises :class:`Invalid` when a row is not what the topics say.
    """
    flow = FlowProcess(rig, PERSIST.name)
    try:
        until("persist serves its metrics", lambda: flow.metrics().total("python_info") > 0)
        started, before = time.monotonic(), flow.cpu
        rig.settle(flow, PERSIST.name)
        spent, took = flow.cpu - before, time.monotonic() - started
    finally:
        flow.end()
    found = verify(rig.settings)
    if not found.holds:
        raise Invalid(f"persist: {'; '.join(describe(found))}")
    return 1e6 * spent / events, events / took
