"""The personalize steps called one by one in a closed loop of event time, each on a stopwatch.

Visitors ask at a set rate, see the decision 50 ms after it was made and click by their tastes; the
decisions are read back. What is measured are the operators' own functions on real batches, without
Bytewax, Kafka or waiting; what they wrote makes a recorded log.
"""

import heapq
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from flows.devkit.demo_catalog import SLOT, action_id, demo_catalog
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.simulation.script import Script
from flows.devkit.visitors import Visitors
from flows.runtime.clock import system_clock
from operators.attach_catalog import AttachLogic
from operators.attribute import resumed
from operators.decide.admission import RequestAdmission, RequestGroup
from operators.decide.scoring import Scorer
from operators.decode import reader
from operators.envelope import Batch, CatalogUpdate, Event, Message
from operators.gathering import Gathered, Gathering
from operators.io.metrics.attribution import AttributionMetrics
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic
from operators.logic.alignment import Alignment
from operators.logic.catalog import CatalogHistory
from operators.logic.models import CanonicalOrder
from operators.logic.murmur2 import partition_of
from operators.logic.placement import shard_of
from operators.logic.policies.published import PublishedPolicy
from operators.logic.subjects.profiles import Profiles
from operators.profile import ProfileLogic
from operators.updates import PosteriorUpdate
from schemas.catalog import CatalogEntry, PolicySettings
from schemas.clock import NEVER
from schemas.results import PolicySnapshot, Profile
from schemas.settings import load
from schemas.topics import GROUP, Topic

SEED = 7
SEEN_AFTER = 0.05
CLICK_DELAY = 1.0
SECRET = "a secret of benchmarks"
START = 1_780_000_000.0
"""Event time of the first request, in seconds since 1970."""


class Logged(NamedTuple):
    """A record of the log; ``time`` in microseconds."""

    topic: Topic
    shard: int
    key: bytes | None
    value: bytes
    time: int


@dataclass
class Stopwatch:
    """CPU seconds of this thread by stage."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Charge the block to a stage."""
        start = time.thread_time()
        yield
        self.seconds[stage] += time.thread_time() - start


@dataclass
class Made:
    """What one turn of the loop wrote."""

    decisions: list[tuple[str, list[Message]]] = field(default_factory=list)
    outcomes: list[Message] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    snapshots: list[PolicySnapshot] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)


class Loop:
    """One worker's shards, stepped by hand.

    Parameters
    ----------
    rate
        Requests per second of event time.
    policy, actions, partitions, seed
        As in the demo; the same seed gives the same visitors and requests.
    keep
        Whether to keep the log.
    """

    def __init__(
        self,
        rate: float,
        policy: str = "logistic",
        actions: int = 10,
        partitions: int = 4,
        seed: int = SEED,
        *,
        keep: bool = False,
    ) -> None:
        self.settings = load({}, secret=SECRET, partitions=partitions, allowed_lateness=5.0)
        self.rate = rate
        self.watch = Stopwatch()
        self.events = self.requests = 0
        self.log: list[Logged] | None = [] if keep else None
        self.catalog: list[CatalogEntry] = demo_catalog(
            seed, PolicySettings(kind=policy), actions=actions, reward_window=10.0
        )
        self._visitors = Visitors(seed, actions)
        self._script = Script(self._visitors, seed)
        self._writer = RecordWriter("bench", self._visitors)
        self._places = {action_id(place): place for place in range(actions)}
        self._shards = [partition_of(key.decode(), partitions) for key in self._writer.keys]
        self._due: list[tuple[int, int, Logged]] = []
        self._offsets: dict[tuple[Topic, int], int] = defaultdict(int)
        self._read = reader(self.settings)
        horizon = round(self.settings.time.dedup_horizon * 1e6)
        shards = range(partitions)
        self._aligned = [Alignment[Event](len(GROUP), 1_000_000) for _ in shards]
        self._admit = [
            AttachLogic(self._read, CatalogHistory(), Gathering(3600.0, system_clock))
            for _ in shards
        ]
        self._profile = [
            ProfileLogic(
                Profiles(self.settings.state.profile_ttl),
                round(self.settings.state.profile_interval * 1e6),
            )
            for _ in shards
        ]
        self._attribute = [
            resumed(self.settings.time, self.settings.state, None, None, AttributionMetrics())
            for _ in shards
        ]
        self._admission = [RequestAdmission(horizon=horizon) for _ in shards]
        self._learn = LearnerLogic(
            order=CanonicalOrder(partitions), clock=system_clock, metrics=LearnerMetrics()
        )
        self._scorer = Scorer(SECRET.encode(), system_clock, DecisionMetrics())
        self._now = START
        self._since: dict[int, float] = {}
        for admit in self._admit:
            admit.on_batch([CatalogUpdate(self.catalog, complete=True)])
        for user in range(round(0.95 * len(self._writer.keys))):
            self._put(Topic.CONSENTS, user, self._writer.consent(user, START), START)

    def turn(self, requests: int) -> Made:
        """Let ``requests`` visitors come, and everything else that is due by then happen."""
        until = self._now + requests / self.rate
        self._ask(requests, until)
        self._now = until
        made = Made()
        updates: list[PosteriorUpdate] = []
        ready: list[tuple[str, RequestGroup]] = []
        for batch in self._batches(round(until * 1e6)):
            self._step(batch, updates, ready, made)
        with self.watch.on("decide"):
            made.decisions = list(self._scorer.decide(ready))
        if updates:
            with self.watch.on("learn"):
                given, _ = self._learn.on_batch(updates)
                published = list(given)
            made.snapshots += [item for item in published if isinstance(item, PolicySnapshot)]
            for policy in published:
                if isinstance(policy, PublishedPolicy):
                    for admission in self._admission:
                        admission.on_batch([policy])
        self._see(made)
        return made

    def _step(
        self,
        batch: Batch,
        updates: list[PosteriorUpdate],
        ready: list[tuple[str, RequestGroup]],
        made: Made,
    ) -> None:
        watch, shard = self.watch, batch.shard
        with watch.on("admit"):
            found, _ = self._admit[shard].on_batch([batch])
            items = [*found, *self._gathered(shard)]
            admitted = [item for item in items if isinstance(item, Batch)]
        with watch.on("profile"):
            found, _ = self._profile[shard].on_batch(admitted)
            profiled = list(found)
        batches = [item for item in profiled if isinstance(item, Batch)]
        made.profiles += [x for item in profiled if isinstance(item, list) for x in item]
        with watch.on("attribute"):
            gathered = [item.batch for item in items if isinstance(item, Gathered)]
            joined: list[Any] = []
            if gathered:
                steps, _ = self._attribute[shard].on_batch(gathered)
                joined += steps
        updates += [item for item in joined if isinstance(item, PosteriorUpdate)]
        for item in joined:
            made.outcomes += getattr(item, "messages", ())
        with watch.on("queue"):
            admitted, _ = self._admission[shard].on_batch(list(batches))
            ready += [(str(shard), item) for item in admitted if isinstance(item, RequestGroup)]
        made.batches += batches

    def _gathered(self, shard: int) -> list[Gathered]:
        """Give what the way in has gathered for as long as it may, by the loop's own time."""
        since = self._since.setdefault(shard, self._now)
        if self._now - since < self.settings.time.gather:
            return []
        del self._since[shard]
        return self._admit[shard].gathering.release()

    def _batches(self, until: int) -> list[Batch]:
        """Decode and align all that is due, a batch per shard."""
        raw: dict[int, dict[Topic, list[Logged]]] = defaultdict(lambda: defaultdict(list))
        while self._due and self._due[0][0] <= until:
            record = heapq.heappop(self._due)[2]
            raw[record.shard][record.topic].append(record)
            if self.log is not None:
                self.log.append(record)
        batches = []
        for shard, topics in raw.items():
            decoded: dict[Topic, list[Event]] = {}
            with self.watch.on("decode"):
                for topic, records in topics.items():
                    offset = self._offsets[topic, shard]
                    self._offsets[topic, shard] += len(records)
                    decoded[topic], _ = self._read.many(
                        topic,
                        shard,
                        [record.key for record in records],
                        [record.value for record in records],
                        range(offset, offset + len(records)),
                        [record.time for record in records],
                    )
            alignment = self._aligned[shard]
            with self.watch.on("align"):
                for topic, lane in zip(GROUP, alignment.lanes, strict=True):
                    events = decoded.get(topic, [])
                    if events:
                        times = [event.at for event in events]
                        lane.extend(events, times, [event.origin.time for event in events])
                    lane.at_end = True
                events = alignment.release(1_000_000, until)
            self.events += sum(len(r) for t, r in topics.items() if t is not Topic.DECISIONS)
            batches.append(Batch(shard, alignment.watermark, events))
        return batches

    def _ask(self, count: int, until: float) -> None:
        fate = self._script.rows(np.arange(self.requests, self.requests + count))
        times = np.linspace(self._now, until, count, endpoint=False).tolist()
        rows = zip(fate.users.tolist(), fate.hours.tolist(), times, strict=True)
        for number, (user, hour, at) in enumerate(rows, self.requests):
            self._put(
                Topic.DECISION_REQUESTS, user, self._writer.request(number, user, hour, at), at
            )
        self.requests += count

    def _see(self, made: Made) -> None:
        """Read the decisions back, see them and click."""
        for shard, messages in made.decisions:
            for message in messages:
                at = round(self._now * 1e6)
                self._push(Logged(Topic.DECISIONS, shard_of(shard), None, message.value, at))
                body: Any = self._read(Topic.DECISIONS, shard_of(shard), None, message.value, 0, at)
                number = self._writer.number(body.body.decision_id)
                assert number is not None
                self._react(number, body.body.action_id, body.at * 1e-6)

    def _react(self, number: int, action: str, asked: float) -> None:
        fate = self._script.rows(np.array([number]))
        user, hour = int(fate.users[0]), int(fate.hours[0])
        seen = max(asked + SEEN_AFTER, self._now)
        self._put(
            Topic.IMPRESSIONS, user, self._writer.impression(number, user, action, seen), seen
        )
        if fate.click[0] < self._visitors.click[user, hour, self._places[action]]:
            at = seen + CLICK_DELAY * float(fate.delay[0])
            self._put(Topic.CLICKS, user, self._writer.click(number, user, at), at)

    def _put(self, topic: Topic, user: int, value: bytes, at: float) -> None:
        self._push(
            Logged(topic, self._shards[user], self._writer.keys[user], value, round(at * 1e6))
        )

    def _push(self, record: Logged) -> None:
        self._pushed = getattr(self, "_pushed", 0) + 1
        heapq.heappush(self._due, (record.time, self._pushed, record))


__all__ = ["NEVER", "SLOT", "Logged", "Loop", "Made", "Stopwatch"]
