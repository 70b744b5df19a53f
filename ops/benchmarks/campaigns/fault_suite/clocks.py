"""The clocks of visitors' devices step by an hour."""

import time
from collections.abc import Iterator

from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.visitors import Visitors
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.lab import Lab
from schemas.topics import Topic
from tests.support.stage import SEED, Record

STEP = 3600.0


def step_the_visitors_clocks(found: Finding, lab: Lab) -> None:
    """Mix in devices whose clocks stepped: all they send is an hour ahead, or an hour behind.

    A request from an hour ago is answered, but its window has closed: its decision, read back, is
    a dead letter too, because nothing can be attributed to it any more.
    """
    stage = lab.stage("clocks", dedup_horizon=2.0 * STEP)
    flow, persist = stage.run_both()
    count = max(100, lab.portion // 10)
    with stage.visitors(lab.rate) as visitors:
        stage.answered(visitors, lab.portion)
        stage.produce(_asked("ahead", count, STEP))
        stage.produce(_seen("ahead", count, STEP))
        stage.produce(_asked("behind", count, -STEP))
        stage.answered(visitors, lab.portion)
    judge(
        found,
        stage,
        flow,
        requests=stage.report.requests + count,
        shown=stage.report.impressions,
        dead_letters={"time_in_future": 2 * count, "late": count},
    )
    persist.stop()


def _asked(run: str, count: int, step: float) -> Iterator[Record]:
    visitors = Visitors(SEED)
    writer, now = RecordWriter(run, visitors), time.time() + step
    for number in range(count):
        user = number % len(writer.keys)
        yield Topic.DECISION_REQUESTS, writer.keys[user], writer.request(number, user, 0, now), -1


def _seen(run: str, count: int, step: float) -> Iterator[Record]:
    writer, now = RecordWriter(run, Visitors(SEED)), time.time() + step
    for number in range(count):
        user = number % len(writer.keys)
        yield (
            Topic.IMPRESSIONS,
            writer.keys[user],
            writer.impression(number, user, "hero-00", now),
            -1,
        )
