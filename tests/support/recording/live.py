"""The live run that the log is recorded from: bursts of visitors, and ``kill -9``."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from flows.devkit.embedded import Supervisor
from flows.devkit.verify_replay.runs import Feed, FlowProcesses, prepare
from flows.verification.log import RECORDED, Logged
from schemas.clock import micros
from schemas.events import DecisionBack
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.recording import traffic
from tests.support.recording.catalog import BURST, BURSTS, begins
from tests.support.recording.lines import on_topics
from tests.support.recording.runs import BOTH, await_the_end, behind
from tests.support.recording.sending import ms

SEED = 7
SPEED = 2.0
"""Seconds of the log in one."""

KILLS: dict[int, list[tuple[float, str]]] = {
    0: [(0.3, "personalize"), (0.7, "personalize")],
    1: [(0.2, "persist"), (0.5, "personalize"), (0.9, "personalize")],
    2: [(0.55, "personalize"), (0.8, "persist")],
}
"""Per burst: after which share of its records, and which flow."""

KEPT_KILL = (2, 0.55, "personalize")
"""The kill whose recovery store is kept."""

_FOLDERS = ("personalize", "pending", "seen", "profiles")
_MADE = (Topic.OUTCOMES, Topic.DEAD_LETTERS)
_SETTLES = 1.0
"""Seconds in which decisions are read back."""


class Live(Struct):
    """What the live run left: the log, what it had made by the kept kill, and all topics."""

    log: list[Logged]
    made: list[Logged]
    everything: list[Logged]


def run_live(
    settings: Settings, supervisor: Supervisor, recovery: Path, tell: Callable[[str], None]
) -> Live:
    """Run the flows under traffic and kills; ``recovery`` gets the store of the kept kill."""
    prepare(settings)
    flows, topics = FlowProcesses(settings, supervisor), Feed(settings)
    made: list[Logged] = []

    def kill(burst: int, share: float, flow: str) -> None:
        tell(f"burst {burst}: kill -9 {flow}")
        topics.flush()
        flows.kill(flow)
        if (burst, share, flow) == KEPT_KILL:
            for name in _FOLDERS:
                shutil.copytree(Path(settings.state.recovery) / name, recovery / name)
            made.extend(on_topics(settings, _MADE))
        flows.start(flow)
        flows.await_epoch(flow)

    try:
        for each in traffic.opening():
            topics.send(each)
        topics.flush()
        for flow in BOTH:
            flows.start(flow)
        for flow in BOTH:
            flows.await_epoch(flow)
        for burst in range(BURSTS):
            log = traffic.burst(burst, SEED)
            _send(topics, log, burst, kill)
            _read(flows, topics)
            decided = _decided(settings, burst)
            tell(f"burst {burst}: {len(log)} records, {len(decided)} decisions")
            for each in traffic.hindsight(burst, log, decided):
                topics.send(each)
            _read(flows, topics)
        for each in traffic.ending():
            topics.send(each)
        topics.flush()
        await_the_end(flows)
    finally:
        flows.stop()
    return Live(on_topics(settings, RECORDED), made, on_topics(settings, Topic))


def _send(
    topics: Feed, log: Sequence[Logged], burst: int, kill: Callable[[int, float, str], None]
) -> None:
    """Send a burst at its pace; kill at the places that were chosen."""
    planned = [(int(share * len(log)), share, flow) for share, flow in KILLS[burst]]
    first = ms(begins(burst))
    began = time.monotonic()
    for place, each in enumerate(log):
        wait = (each.time - first) / 1000 / SPEED - (time.monotonic() - began)
        time.sleep(max(0.0, wait))
        while planned and planned[0][0] <= place:
            _, share, flow = planned.pop(0)
            kill(burst, share, flow)
        topics.send(each)


def _read(flows: FlowProcesses, topics: Feed) -> None:
    """Wait until all is read, and the decisions that it led to, too."""
    topics.flush()
    for _ in range(2):
        flows.until(lambda: not behind(flows.settings, "personalize"), "not all was read")
        time.sleep(_SETTLES)


def _decided(settings: Settings, burst: int) -> list[Logged]:
    start = micros(begins(burst))
    end = start + round(1e6 * (BURST + 10.0))
    decoder = msgspec.json.Decoder(DecisionBack)
    return [
        each
        for each in on_topics(settings, [Topic.DECISIONS])
        if start <= micros(decoder.decode(each.value).time) < end
    ]
