"""The largest records that the bounds allow: a catalog, and visitors who make the flow write all.

Every identifier is as long as one may be, of characters that take six bytes in JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink
from prometheus_client import CollectorRegistry

from flows.personalize import Sinks, Sources, build
from flows.runtime.clock import system_clock
from operators.decode import reader
from operators.envelope import Batch, Event, Message, Rejected
from operators.io.memory import MemoryCatalogSource, MemorySink
from operators.io.metrics.root import Metrics
from operators.io.redis import CacheWrite
from operators.logic.placement import shard_key
from schemas import bounds
from schemas.catalog import Action, CatalogEntry, FeatureSpec, PolicySettings, Slot
from schemas.clock import ALWAYS, micros
from schemas.settings import Settings
from schemas.topics import Topic

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def longest(number: int, length: int = bounds.ID_LENGTH) -> str:
    """A name of its own that is as long as an identifier may be, and longer in JSON."""
    return f"{number:05d}".ljust(length, "\x01")


def widest_slot(
    kind: str, *, slate_size: int = bounds.MOST_POSITIONS, columns: int = 4096, number: int = 0
) -> Slot:
    """A slot that logs, shows and names as much as it may."""
    features = FeatureSpec(
        vectors={"vector": columns} if columns else {},
        profile_embedding=1 if columns else 0,
    )
    return Slot(
        id="slot",
        time=START - timedelta(days=1),
        slot_id=longest(number),
        policy=PolicySettings(kind=kind, publish_rewards=1),
        features=features,
        slate_size=slate_size,
        baseline_action_id=longest(0),
        learning_mode="immediate",
        needs_impression=False,
        reward_window=30.0,
    )


def widest_actions(slot: Slot, count: int, length: int = bounds.ID_LENGTH) -> list[Action]:
    """Actions of a slot, each with a category of its own."""
    return [
        Action(
            id=f"action-{number}",
            time=START - timedelta(days=1),
            action_id=longest(number, length),
            slots=[slot.slot_id],
            features={"category": longest(number, length)},
        )
        for number in range(count)
    ]


@dataclass
class Widest(FixedPartitionedSource[tuple[str, Batch], None]):
    """Visitors who consent, ask, are shown, click and are rewarded; decisions are read back."""

    slot: Slot
    settings: Settings
    requests: int
    decisions: MemorySink
    refused: list[Rejected] = field(default_factory=list)

    def list_parts(self) -> list[str]:
        """Name the only partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Visits":
        """Begin."""
        return _Visits(self)


class _Visits(StatefulSourcePartition[tuple[str, Batch], None]):
    def __init__(self, widest: Widest) -> None:
        self.widest = widest
        self.read = reader(widest.settings)
        self.turns = self.go()

    def next_batch(self) -> list[tuple[str, Batch]]:
        return next(self.turns)

    def snapshot(self) -> None:
        return None

    def go(self) -> Any:
        widest, slot_id = self.widest, self.widest.slot.slot_id
        asked = []
        for number in range(widest.requests):
            about = {"slot_id": slot_id, "decision_id": longest(number)}
            asked.append(
                self.event(
                    Topic.DECISION_REQUESTS, 1.0 + number / 1e3, **about, context={"vector": [1e9]}
                )
            )
        consent = self.event(Topic.CONSENTS, 0.0, type="consent", purposes=[*range(1, 16)])
        yield self.batch(0.0, [consent])
        yield self.batch(2.0, asked)
        written = widest.decisions.written[0]
        while len(written) < widest.requests:
            yield []
        back = [self.note(Topic.DECISIONS, message.value, 2.0) for message in written]
        yield self.batch(3.0, [event for event in back if event is not None])
        after = []
        for number in range(widest.requests):
            about = {"slot_id": slot_id, "decision_id": longest(number)}
            after.append(self.event(Topic.IMPRESSIONS, 4.0, **about))
            after.append(self.event(Topic.CLICKS, 4.0, **about, position=0))
            after.append(self.event(Topic.REWARDS, 4.0, **about, value=bounds.GREATEST_REWARD))
        yield self.batch(5.0, [event for event in after if event is not None])
        for seconds in (60.0, 120.0, 180.0):
            yield self.batch(seconds, [])
        yield self.batch(None, [])

    def batch(self, seconds: float | None, events: Sequence[Event]) -> list[tuple[str, Batch]]:
        watermark = ALWAYS if seconds is None else micros(START + timedelta(seconds=seconds))
        return [(shard_key(0), Batch(0, watermark, sorted(events, key=lambda event: event.at)))]

    def event(self, topic: Topic, seconds: float, **fields: Any) -> Event:
        time = START + timedelta(seconds=seconds)
        record = {"id": f"{topic}-{seconds}", "time": time, "subject": longest(0), **fields}
        event = self.note(topic, msgspec.json.encode(record), seconds)
        assert event is not None
        return event

    def note(self, topic: Topic, value: bytes, seconds: float) -> Event | None:
        time = micros(START + timedelta(seconds=seconds))
        read = self.read(topic, 0, None, value, 0, time)
        if isinstance(read, Event):
            return read
        self.widest.refused.append(read)
        return None


@dataclass(frozen=True)
class Written:
    """What a run wrote, by topic, the copies for Redis, and what was refused when read back."""

    messages: dict[Topic, list[Message]]
    copies: list[CacheWrite]
    refused: list[Rejected]


def write_everything(
    run: Any, slot: Slot, entries: Sequence[CatalogEntry], settings: Settings, requests: int = 3
) -> Written:
    """Run the flow on the widest visits, by ``run``, in one partition."""
    topics = {
        "decisions": Topic.DECISIONS,
        "outcomes": Topic.OUTCOMES,
        "profiles": Topic.PROFILES,
        "policies": Topic.POLICIES,
        "checkpoints": Topic.CHECKPOINTS,
        "dead_letters": Topic.DEAD_LETTERS,
    }
    sinks: dict[str, Any] = {name: MemorySink(1) for name in topics}
    copies: list[tuple[str, list[CacheWrite]]] = []
    visits = Widest(slot, settings, requests, sinks["decisions"])
    sources = Sources(visits, MemoryCatalogSource([slot, *entries]))
    metrics = Metrics(CollectorRegistry())
    out = Sinks(**sinks, cache=TestingSink(copies))
    run(build(sources, out, settings, system_clock, metrics))
    return Written(
        {topic: sinks[name].written[0] for name, topic in topics.items()},
        [copy for _, some in copies for copy in some],
        visits.refused,
    )
