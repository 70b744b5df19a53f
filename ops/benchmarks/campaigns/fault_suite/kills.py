"""``kill -9`` of a flow, again and again, in one stream of requests."""

import random
import statistics
import time

from flows.devkit.simulation import Simulator
from flows.registry import PERSIST, PERSONALIZE
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.lab import Lab
from schemas.topics import Topic
from tests.support.stage import Stage, StagedFlow, until

WINDOW = 300.0
RESUME = 10.0
"""Seconds from a kill to the first new decision on the topic."""


def kill_the_flow(found: Finding, lab: Lab) -> None:
    """Kill personalize at random points of the stream, without a supervisor; start it again."""
    stage, chance = lab.stage("kills", window=WINDOW), random.Random(lab.seed)
    requests, kills, rate = lab.requests, lab.kills, lab.stream_rate
    points = sorted(chance.uniform(0.02, 0.95) * requests for _ in range(kills))
    persist = stage.run(PERSIST.name)
    flow = stage.run(PERSONALIZE.name, supervised=False)
    resumed = []
    with stage.visitors(rate, seconds=requests / rate) as visitors:
        until("the first decision", lambda: visitors.progress().decisions > 0)
        for point in points:
            _await_request(visitors, point)
            time.sleep(chance.uniform(0.0, stage.settings.state.epoch))  # anywhere within an epoch
            resumed.append(_kill(stage, flow))
        _await_request(visitors, requests * 0.999)
    found.that(
        f"kill to first new decision, {kills} times: min / median / max",
        f"each < {RESUME:.0f} s",
        f"{min(resumed):.1f} / {statistics.median(resumed):.1f} / {max(resumed):.1f} s",
        max(resumed) < RESUME,
    )
    judge(found, stage, flow, seconds=300.0)
    persist.stop()


def _kill(stage: Stage, flow: StagedFlow) -> float:
    """Kill and restart a flow; give the seconds from the kill to its first new decision."""
    started = time.monotonic()
    flow.kill()
    said = sum(stage.ends(Topic.DECISIONS).values())
    flow.restart()
    until("a new decision", lambda: sum(stage.ends(Topic.DECISIONS).values()) > said)
    return time.monotonic() - started


def _await_request(visitors: Simulator, number: float) -> None:
    until(f"request {number:.0f}", lambda: visitors.progress().requests >= number, 900.0)
