"""Runs of the flows over a log: fed at a pace, killed at random, taken to the end of the log."""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka.cimpl import NewTopic
from msgspec import Struct, field

from flows.devkit.embedded import Child, Supervisor
from flows.registry import PERSIST, PERSONALIZE, Flow
from flows.runtime.clock import system_clock
from flows.runtime.recovery import recovery_folder
from flows.runtime.snapshots import offsets_of, progress, states_of
from flows.verification.log import LogError, Logged
from flows.verification.reading import cut_of
from flows.verification.verify import Verification, verify
from operators.io.kafka import create_topics
from operators.io.kafka.client import (
    admin_client,
    ask_until_answered,
    consumer,
    partition_counts,
    producer,
    range_of,
)
from operators.io.store.open import migrate
from operators.logic.catalog_check import read_entry
from operators.logic.murmur2 import partition_of
from schemas.catalog import Slot
from schemas.clock import moment
from schemas.codec import encode
from schemas.events import Consent
from schemas.settings import Settings, child_environment
from schemas.topics import Topic

VICTIMS = {PERSONALIZE.name: 0.7, PERSIST.name: 0.3}
"""The flows that are run, and how likely each is to be the one that is killed."""

_PATIENCE = 180.0
_POLL = 0.1


class RunFailed(RuntimeError):  # noqa: N818 - it reads as what is the case
    """A flow did not come up or did not finish; the message says which and quotes its log."""


class Kill(Struct):
    """A ``kill -9``: of what, after how many records, seconds until it closed an epoch again.

    ``crash`` is the verification of what it left behind, where that was asked for.
    """

    flow: str
    after: int
    resumed: float = math.nan
    crash: Verification | None = None


class Run(Struct):
    """What a run came to."""

    settings: Settings
    kills: list[Kill] = field(default_factory=list)
    seconds: float = 0.0
    verification: Verification = field(default_factory=Verification, name="found")


class FlowProcesses:
    """The flows of a deployment as processes that can be killed and started again."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self.settings = settings
        self._supervisor = supervisor
        self._children: dict[str, Child] = {}
        self._known: dict[str, int] = {}

    def start(self, flow: str) -> None:
        """Start a flow."""
        self._known[flow] = progress(self._folder(flow))[0]
        self._children[flow] = self._supervisor.start(
            f"{self.settings.kafka.topic_prefix}{flow}",
            [sys.executable, "-m", "flows", "run", flow],
            env=child_environment(self.settings),
        )

    def await_epoch(self, flow: str) -> None:
        """Wait until a flow has closed an epoch since it was started."""

        def closed() -> bool:
            execution, epochs = progress(self._folder(flow))
            return execution > self._known[flow] and epochs > 0

        self.until(closed, f"{flow} closed no epoch")

    def kill(self, flow: str) -> None:
        """End a flow by SIGKILL."""
        child = self._children.pop(flow)
        child.kill()
        self._supervisor.stop(child)

    def stop(self) -> None:
        """End what runs."""
        for flow in list(self._children):
            self.kill(flow)

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for a condition; what ended unasked meanwhile ends the wait."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            self._supervisor.check()
            if time.monotonic() > deadline:
                logs = "\n".join(child.tail() for child in self._children.values())
                raise RunFailed(f"{otherwise} within {_PATIENCE:.0f} s\n{logs}")
            time.sleep(_POLL)

    def _folder(self, flow: str) -> Path:
        return recovery_folder(self.settings, flow)


class Feed:
    """Writes a log's records with their own times."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = producer(settings.kafka)

    def send(self, record: Logged) -> None:
        """Write one record, waiting where the producer's queue is full."""
        topic = self._settings.kafka.topic(record.topic)
        while True:
            try:
                self._producer.produce(
                    topic, record.value, record.key, record.partition, timestamp=record.time
                )
                self._producer.poll(0)
                return
            except BufferError:
                self._producer.poll(0.05)

    def flush(self) -> None:
        """Wait until the broker has everything."""
        if self._producer.flush(30):
            raise RunFailed("the broker does not take the log's records")


def prepare(settings: Settings) -> None:
    """Make the topics, which keep records however old, and the store's schema."""
    admin = admin_client(settings.kafka)
    partition_counts(settings.kafka, admin)  # once it is there
    wanted = [
        NewTopic(
            settings.kafka.topic(topic),
            settings.kafka.partitions_of(topic),
            settings.kafka.replication,
            config={"retention.ms": "-1"},
        )
        for topic in Topic
    ]
    for made in admin.create_topics(wanted, operation_timeout=10).values():
        ask_until_answered(settings.kafka, partial(made.result, timeout=20))
    create_topics(settings.kafka)
    migrate(settings.store, system_clock())


def run_killed(
    settings: Settings,
    supervisor: Supervisor,
    log: Sequence[Logged],
    *,
    kills: int,
    seed: int,
    speed: float,
    verify_kills: bool,
    on_progress: Callable[[int, str], Any],
) -> Run:
    """Feed a log to the flows while killing one of them ``kills`` times, then take it to its end.

    A flow is killed after random shares of the log, once it has closed an epoch since its last
    start; ``speed`` is how many seconds of the log go by in one. With ``verify_kills``, what a
    killed personalize flow left behind is verified before it goes on. ``on_progress`` is given how
    many records were fed, and what is going on.
    """
    _check_past(settings, log)
    rng = np.random.default_rng(seed)
    places = sorted(rng.integers(len(log) // 20, len(log), size=kills).tolist())
    victims = rng.choice(list(VICTIMS), size=kills, p=list(VICTIMS.values())).tolist()
    planned = list(zip(places, victims, strict=True))
    run, started = Run(settings), time.monotonic()
    flows, feed = FlowProcesses(settings, supervisor), Feed(settings)
    try:
        for flow in VICTIMS:
            flows.start(flow)
        for flow in VICTIMS:
            flows.await_epoch(flow)
        for number in _paced(log, speed):
            while planned and planned[0][0] <= number:
                _, victim = planned.pop(0)
                on_progress(number, f"kill -9 {victim}")
                run.kills.append(_killed(flows, victim, number, verify_kills=verify_kills))
            feed.send(log[number])
            on_progress(number + 1, "")
        feed.flush()
        on_progress(len(log), "to the end of the log")
        _finish(flows, feed, log)
    finally:
        flows.stop()
    run.seconds = time.monotonic() - started
    run.verification = verify(settings)
    return run


def run_once(settings: Settings, supervisor: Supervisor, log: Sequence[Logged]) -> Run:
    """Run the flows without kills over a log that is on the topics from the start."""
    feed = Feed(settings)
    for record in log:
        feed.send(record)
    feed.flush()
    run, started = Run(settings), time.monotonic()
    flows = FlowProcesses(settings, supervisor)
    try:
        for flow in VICTIMS:
            flows.start(flow)
        for flow in VICTIMS:
            flows.await_epoch(flow)
        _read_all(flows)
    finally:
        flows.stop()
    run.seconds = time.monotonic() - started
    run.verification = verify(settings)
    return run


def _killed(flows: FlowProcesses, victim: str, number: int, *, verify_kills: bool) -> Kill:
    flows.kill(victim)
    kill = Kill(victim, number)
    if verify_kills and victim == PERSONALIZE.name:
        kill.crash = verify(flows.settings)
    started = time.monotonic()
    flows.start(victim)
    flows.await_epoch(victim)
    kill.resumed = time.monotonic() - started
    return kill


def _paced(log: Sequence[Logged], speed: float) -> Iterator[int]:
    """Give the places in the log as their time comes; a delay of ours is not made up for."""
    due = time.monotonic()
    for number, (before, record) in enumerate(zip([log[0], *log], log, strict=False)):
        due = max(due + (record.time - before.time) / 1000 / speed, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))
        yield number


def _finish(flows: FlowProcesses, feed: Feed, log: Sequence[Logged]) -> None:
    """Wait until all is read back, then let time pass so that every decision settles."""
    flows.until(lambda: _all_read(flows.settings, PERSONALIZE), "the log was not read to its end")
    for marker in _markers(flows.settings, log):
        feed.send(marker)
    feed.flush()
    _read_all(flows)


def _read_all(flows: FlowProcesses) -> None:
    settings = flows.settings
    flows.until(
        lambda: _all_read(settings, PERSONALIZE) and _settled(settings), "not all decisions settled"
    )
    flows.kill(PERSONALIZE.name)  # it would go on to publish what the store is not given any more
    flows.until(lambda: _all_read(settings, PERSIST), "the store was not given everything")


def _check_past(settings: Settings, log: Sequence[Logged]) -> None:
    """Raise :class:`LogError` while decisions of the log cannot all be settled yet."""
    at = moment(_settled_at(settings, log) * 1000)
    if at > system_clock():
        raise LogError(
            f"the log's last reward windows close at {at:%Y-%m-%d %H:%M:%S} UTC, and no record "
            "moves a flow's time beyond the present: verify it after that"
        )


def _settled_at(settings: Settings, log: Sequence[Logged]) -> int:
    """Say at which time, in milliseconds, every decision of the log can be settled."""
    entries = [
        read_entry(record.value, settings.kafka.max_record_bytes)
        for record in log
        if record.topic is Topic.CATALOG
    ]
    window = max((each.reward_window for each in entries if isinstance(each, Slot)), default=0.0)
    wait = window + settings.time.allowed_lateness + settings.time.max_skew + 2.0
    return max(record.time for record in log) + round(1000 * wait)


def _markers(settings: Settings, log: Sequence[Logged]) -> Iterator[Logged]:
    """Give each partition a record so late that every window has closed before it."""
    at = _settled_at(settings, log)
    for shard in range(settings.kafka.partitions):
        names = (f"end-of-log-{number}" for number in range(10**6))
        name = next(
            n for n in names if partition_of(n.encode(), settings.kafka.partitions) == shard
        )
        end = Consent(id=name, time=moment(at * 1000), subject=name, purposes=[])
        yield Logged(at, Topic.CONSENTS, shard, name.encode(), encode(end))


def _settled(settings: Settings) -> bool:
    states = states_of(settings, PERSONALIZE)
    return not any(
        len(cut_of(settings, states, shard).ledger.pending)
        for shard in range(settings.kafka.partitions)
    )


def _all_read(settings: Settings, flow: Flow) -> bool:
    offsets = offsets_of(flow, states_of(settings, flow))
    return all(
        offsets.get(partition, 0) == end for partition, end in _ends(settings, flow.resumes).items()
    )


def _ends(settings: Settings, topics: Sequence[Topic]) -> dict[tuple[Topic, int], int]:
    client = consumer(settings.kafka)
    try:
        return {
            (topic, shard): range_of(settings.kafka, client, settings.kafka.topic(topic), shard)[1]
            for topic in topics
            for shard in range(settings.kafka.partitions_of(topic))
        }
    finally:
        client.close()


__all__ = ["Kill", "Run", "RunFailed", "prepare", "run_killed", "run_once"]
