"""The broker dies and comes back, or stands still, while visitors ask."""

import time
from collections.abc import Callable

from flows.devkit.embedded import APACHE_KAFKA, Server
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.disks import NotHere
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.lab import Lab

AWAY = 5.0
FROZEN = 20.0
BACK = 30.0
"""Seconds from the broker's return within which a flow must decide again."""


def kill_the_broker(found: Finding, lab: Lab) -> None:
    """Kill the broker twice, leave it away for a while, and start it again on its data."""
    if lab.parts.broker.part is not APACHE_KAFKA:
        raise NotHere("the embedded broker forgets what it had acknowledged when it is killed")
    _disturb(found, lab, "broker-killed", _killed, AWAY, times=2)


def freeze_the_broker(found: Finding, lab: Lab) -> None:
    """Stop the broker's process with its connections open, and let it go on."""
    _disturb(found, lab, "broker-frozen", _frozen, FROZEN)


def _killed(broker: Server, away: float) -> None:
    broker.kill()
    time.sleep(away)
    broker.restart()


def _frozen(broker: Server, away: float) -> None:
    broker.pause()
    try:
        time.sleep(away)
    finally:
        broker.resume()


def _disturb(
    found: Finding,
    lab: Lab,
    name: str,
    how: Callable[[Server, float], None],
    away: float,
    times: int = 1,
) -> None:
    stage = lab.stage(name)
    flow, persist = stage.run_both()
    back = []
    with stage.visitors(lab.rate) as visitors:
        for _ in range(times):
            stage.answered(visitors, lab.portion)
            how(lab.parts.broker, away)
            back.append(stage.resumed(visitors, 1))
        stage.answered(visitors, lab.portion)
    found.that(
        f"return to first new decision, {times} times",
        f"each < {BACK:.0f} s",
        f"{', '.join(f'{wait:.1f}' for wait in back)} s",
        max(back) < BACK,
    )
    judge(found, stage, flow)
    persist.stop()
