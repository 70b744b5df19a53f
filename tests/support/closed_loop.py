"""Visitors with tastes in a closed loop with the personalize flow, in memory and event time.

Each turn every visitor asks once; what the flow answers is read back, seen and perhaps clicked.
The next turn comes when all have been answered.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink
from prometheus_client import CollectorRegistry

from flows.personalize import Sinks, Sources, build
from flows.runtime.clock import system_clock
from operators.decode import reader
from operators.envelope import Batch, Event
from operators.io.memory import MemoryCatalogSource, MemorySink, Record
from operators.io.metrics.root import Metrics
from operators.logic.murmur2 import partition_of
from operators.logic.placement import shard_key
from schemas.catalog import CatalogEntry
from schemas.clock import ALWAYS, Clock, micros
from schemas.events import Decision
from schemas.results import Profile
from schemas.settings import Settings
from schemas.topics import Topic

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TURN = 5.0
"""Seconds of event time from one turn to the next."""

Log = dict[Topic, dict[int, list[Record]]]


class Written(NamedTuple):
    """Where a flow's decisions, profiles, outcomes and policies go."""

    decisions: MemorySink
    profiles: MemorySink
    outcomes: MemorySink
    policies: MemorySink

    def last_profiles(self) -> dict[str, Profile]:
        """Give each subject's newest record."""
        found: dict[str, Profile] = {}
        for messages in self.profiles.written.values():
            for message in messages:
                profile = msgspec.json.decode(message.value, type=Profile)
                if profile.subject not in found or found[profile.subject].version < profile.version:
                    found[profile.subject] = profile
        return found


def wire(
    records: Any,
    catalog: Sequence[CatalogEntry],
    settings: Settings,
    metrics: Metrics | None = None,
    clock: Clock = system_clock,
) -> tuple[Dataflow, Written]:
    """Build the flow on sources and sinks in memory."""
    shards = settings.kafka.partitions
    written = Written(*(MemorySink(n) for n in (shards, shards, shards, 1)))
    sinks = {name: TestingSink([]) for name in Sinks.__annotations__} | written._asdict()
    sources = Sources(records, MemoryCatalogSource(catalog))
    return build(
        sources, Sinks(**sinks), settings, clock, metrics or Metrics(CollectorRegistry())
    ), written


@dataclass
class World(FixedPartitionedSource[tuple[str, Batch], None]):
    """Visitors whose click probabilities are ``click`` [visitors, actions].

    The first ``consenting`` of them consent to a profile. ``chance`` [turns] collects the mean
    click probability of what was shown, ``log`` every record. ``foreign`` gives, for a turn and its
    time, decisions that somebody else writes on the first shard.
    """

    click: np.ndarray[Any, np.dtype[np.float64]]
    turns: int
    settings: Settings
    seed: int
    consenting: int
    decisions: MemorySink | None = None
    context: Any = None
    chance: list[float] = field(default_factory=list)
    log: Log = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    foreign: Callable[[int, datetime], Iterable[Decision]] = lambda turn, time: ()
    lists: Sequence[str] | None = None
    """The actions that every request lists."""
    ask: Callable[[int, int], dict[str, Any]] | None = None
    """What the request of a visitor in a turn says beside."""
    worth: Callable[[int, Decision], float] | None = None
    """The click probability of what a visitor is shown, in place of ``click``."""

    def list_parts(self) -> list[str]:
        """Give the only partition: it speaks for every shard."""
        return ["all"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Turns":
        """Begin the first turn."""
        return _Turns(self)


class _Turns(StatefulSourcePartition[tuple[str, Batch], None]):
    def __init__(self, world: World) -> None:
        self.world = world
        self.turn = 0
        self.seen = dict.fromkeys(range(world.settings.kafka.partitions), 0)
        self.rng = np.random.default_rng(world.seed)
        self.answers: list[tuple[int, Any]] = []
        self.read = reader(world.settings)
        self.over = False

    def next_batch(self) -> list[tuple[str, Batch]]:
        if self.over:
            raise StopIteration
        world, visitors = self.world, len(self.world.click)
        self._listen()
        if self.turn and len(self.answers) < visitors:
            return []
        events: dict[int, list[Event]] = defaultdict(list)
        if self.turn:
            self._react(events)
        else:
            for visitor in range(world.consenting):
                self._put(events, Topic.CONSENTS, visitor, 0.0, type="consent", purposes=[5, 6])
        at = self.turn * TURN
        self.over = self.turn == world.turns
        if not self.over:
            for visitor in range(visitors):
                context = {} if world.context is None else world.context(visitor)
                asked = {} if world.ask is None else world.ask(visitor, self.turn)
                self._put(
                    events,
                    Topic.DECISION_REQUESTS,
                    visitor,
                    at + 0.001 * (visitor + 1) / visitors,
                    slot_id="home",
                    decision_id=f"d{visitor}-{self.turn}",
                    **{"context": context}
                    | ({} if world.lists is None else {"actions": world.lists})
                    | asked,
                )
        self.turn += 1
        watermark = ALWAYS if self.over else micros(START + timedelta(seconds=at))
        return [
            (shard_key(k), Batch(k, watermark, sorted(events[k], key=lambda event: event.at)))
            for k in range(world.settings.kafka.partitions)
        ]

    def snapshot(self) -> None:
        return None

    def _listen(self) -> None:
        assert self.world.decisions is not None
        for shard, messages in self.world.decisions.written.items():
            self.answers += [(shard, message.value) for message in messages[self.seen[shard] :]]
            self.seen[shard] = len(messages)

    def _react(self, events: dict[int, list[Event]]) -> None:
        world, chances = self.world, []
        found = [
            (shard, value, msgspec.json.decode(value, type=Decision))
            for shard, value in self.answers
        ]
        self.answers = []
        for shard, value, decision in sorted(found, key=lambda each: each[2].time):
            visitor = int(decision.decision_id[1:].partition("-")[0])
            if world.worth is not None:
                p = world.worth(visitor, decision)
            else:
                p = float(world.click[visitor, int(decision.action_id[1:])])
            chances.append(p)
            at = (decision.time - START).total_seconds()
            self._log(events, Topic.DECISIONS, shard, None, value, at)
            about = {"decision_id": decision.decision_id, "slot_id": "home"}
            self._put(events, Topic.IMPRESSIONS, visitor, at + 0.5, **about)
            if self.rng.random() < p:
                self._put(events, Topic.CLICKS, visitor, at + 1.0, **about)
        world.chance.append(float(np.mean(chances)))
        at = self.turn * TURN
        for foreign in world.foreign(self.turn, START + timedelta(seconds=at)):
            self._log(events, Topic.DECISIONS, 0, None, msgspec.json.encode(foreign), at)

    def _put(
        self, events: dict[int, list[Event]], topic: Topic, visitor: int, at: float, **fields: Any
    ) -> None:
        name = f"visitor-{visitor}"
        time = START + timedelta(seconds=at)
        record = {"id": f"{topic}-{visitor}-{at}", "time": time, "subject": name, **fields}
        shard = partition_of(name, self.world.settings.kafka.partitions)
        self._log(events, topic, shard, name.encode(), msgspec.json.encode(record), at)

    def _log(
        self,
        events: dict[int, list[Event]],
        topic: Topic,
        shard: int,
        key: bytes | None,
        value: bytes,
        at: float,
    ) -> None:
        log = self.world.log[topic][shard]
        time = micros(START + timedelta(seconds=at))
        event = self.read(topic, shard, key, value, len(log), time)
        assert isinstance(event, Event), event
        log.append(Record(value, time, key))
        events[shard].append(event)


def play(
    world: World,
    catalog: Sequence[CatalogEntry],
    metrics: Metrics | None = None,
    clock: Clock = system_clock,
) -> tuple[Dataflow, Written]:
    """Build the flow in a closed loop with the world."""
    flow, written = wire(world, catalog, world.settings, metrics, clock)
    world.decisions = written.decisions
    return flow, written
