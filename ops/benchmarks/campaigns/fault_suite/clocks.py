"""Clocks step by an hour: those of visitors' devices, and that of the flow's machine."""

import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from flows.simulation.pen import Pen
from flows.visitors import Visitors
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.disks import NotHere
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.stage import SEED, Lab, Record
from schemas.topics import Topic

STEP = 3600.0
BACK = 30.0
"""Seconds from a step of the clock within which the flow must decide again."""


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
        dead_letters={"time_in_future": 2 * count, "late": count},
    )
    persist.stop()


def _asked(run: str, count: int, step: float) -> Iterator[Record]:
    visitors = Visitors(SEED)
    pen, now = Pen(run, visitors), time.time() + step
    for number in range(count):
        user = number % len(pen.keys)
        yield Topic.DECISION_REQUESTS, pen.keys[user], pen.request(number, user, 0, now), -1


def _seen(run: str, count: int, step: float) -> Iterator[Record]:
    pen, now = Pen(run, Visitors(SEED)), time.time() + step
    for number in range(count):
        user = number % len(pen.keys)
        yield Topic.IMPRESSIONS, pen.keys[user], pen.impression(number, user, "hero-00", now), -1


def step_the_flows_clock(found: Finding, lab: Lab) -> None:
    """Step the clock that the flow's process sees, forth and back, by way of libfaketime."""
    stage = lab.stage("flow-clock")
    offset = stage.folder / "offset"
    offset.write_text("+0")
    flow = stage.run("personalize", environment=_faketime(offset))
    persist = stage.run("persist")
    back = []
    with stage.visitors(lab.rate) as visitors:
        for step in ("+3600", "+0"):
            stage.answered(visitors, lab.portion)
            offset.write_text(step)
            time.sleep(1.0)
            back.append(stage.resumed(visitors, int(2 * lab.rate)))
        stage.answered(visitors, lab.portion)
    found.that(
        "2 s of decisions after the step forth, and the step back",
        f"each < {BACK:.0f} s",
        f"{', '.join(f'{wait:.1f}' for wait in back)} s",
        max(back) < BACK,
    )
    judge(found, stage, flow)
    persist.stop()


def _faketime(offset: Path) -> dict[str, str]:
    spec = find_spec("libfaketime")
    folder = Path(spec.origin or "").parent if spec else Path()
    library = folder / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    if not library.is_file():
        raise NotHere("the clock of a process is stepped by libfaketime: pip install libfaketime")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
