"""Visitors, editors and their changes for the soak: everything that has a name gets new names.

A turn is a minute of event time. What a visitor meets is read back in the next turn; the world
remembers some minutes of it, whatever the number of turns.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import numpy as np

from operators.decode import RecordReader
from operators.envelope import Batch, Event
from operators.logic.murmur2 import partition_of
from operators.logic.placement import shard_key
from schemas.catalog import (
    Action,
    CatalogEntry,
    Experiment,
    FeatureSpec,
    Interaction,
    PolicySettings,
    Slot,
)
from schemas.clock import micros
from schemas.events import Decision, LearningMode
from schemas.topics import Topic

START = datetime(2026, 3, 1, tzinfo=UTC)
TURN = timedelta(minutes=1)
AHEAD = timedelta(minutes=2)
"""How long before it holds an edit is published."""

ACTION_LIFE = 15
SLOT_EVERY, SLOT_LIFE = 15, 60
"""Turns that an action or a slot lives, and from one new slot to the next."""

WINDOW = 600.0
LATE = 8
"""Turns after which some rewards come."""

PAGES = 2_000
"""What is remembered of hashed texts is bounded, by a large number."""

MODES: tuple[LearningMode, ...] = ("immediate", "wait", "exposure")


def edits(turn: int, actions: int) -> Iterator[CatalogEntry]:
    """Make what the editors publish in a turn; it holds two turns later."""
    time = START + turn * TURN + AHEAD
    names = count()

    def fields() -> dict[str, Any]:
        return {"id": f"edit-{turn}-{next(names)}", "time": time}

    policy = PolicySettings(kind="logistic", publish_rewards=20)
    spec = FeatureSpec(
        numeric=["age"],
        categories={"device": ["phone", "desk"]},
        hashed={"page": 8},
        interactions=[Interaction("device", "age")],
        profile_embedding=4,
    )
    # New rules with every turn: a new decision class for every action of the slot.
    yield Slot(
        **fields(),
        slot_id="home",
        policy=policy,
        features=spec,
        floor=0.05,
        default_reward=turn % 997 / 10_000,
        reward_window=WINDOW - turn % 7,
    )
    # Its features are others every three hours: it begins to learn anew.
    yield Slot(
        **fields(),
        slot_id="specs",
        policy=policy,
        features=FeatureSpec(numeric=["age"], hashed={"page": 4 + turn // 180 % 3}),
        needs_impression=False,
        reward_window=WINDOW,
    )
    yield Slot(
        **fields(),
        slot_id="strict",
        click_without_impression="quarantine",
        learning_mode=MODES[turn // 60 % 3],
        reward_window=WINDOW / 2,
    )
    for number in range(actions):
        slots = ["home", "specs", "strict", *slots_alive(turn)]
        yield Action(**fields(), action_id=f"a{turn}-{number}", slots=slots, content={"turn": turn})
        if turn >= ACTION_LIFE:
            gone = f"a{turn - ACTION_LIFE}-{number}"
            yield Action(**fields(), action_id=gone, slots=slots, deleted=True)
    if turn % SLOT_EVERY == 0:
        yield Slot(**fields(), slot_id=f"s{turn}", reward_window=WINDOW)
    if turn >= SLOT_LIFE and turn % SLOT_EVERY == 0:
        yield Slot(**fields(), slot_id=f"s{turn - SLOT_LIFE}", deleted=True)
    yield Experiment(**fields(), experiment_id=f"e{turn}", slot_id="home")
    if turn:
        yield Experiment(**fields(), experiment_id=f"e{turn - 1}", slot_id="home", deleted=True)


def slots_alive(turn: int) -> list[str]:
    """Name the slots of a while that are in the catalog in a turn, and in the next ones."""
    oldest = max(0, turn - SLOT_LIFE + 5)
    return [f"s{made}" for made in range(turn - turn % SLOT_EVERY, oldest - 1, -SLOT_EVERY)]


@dataclass(kw_only=True)
class World:
    """What the flow reads, turn by turn; ``until`` is the turn before which it rests.

    ``observe`` is called between turns. The records of a turn come once all requests of the turn
    before are answered.
    """

    reads: Callable[[], RecordReader]
    shards: int
    visitors: int
    actions: int
    seed: int
    observe: Callable[[int], None]
    until: int = 0
    turn: int = 0
    asked: int = 0
    asked_ever: int = 0
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    published: int = 0
    updates: deque[list[CatalogEntry]] = field(default_factory=deque)
    recent: deque[list[Decision]] = field(default_factory=lambda: deque(maxlen=LATE + 1))
    offsets: dict[tuple[Topic, int], int] = field(default_factory=lambda: defaultdict(int))
    read: RecordReader = field(init=False)

    def ready(self) -> bool:
        """Say whether the next turn may begin."""
        return len(self.answers) >= self.asked and not self.updates

    def next_turn(self) -> list[tuple[str, Batch]]:
        """Make the records of a turn."""
        if self.turn % 60 == 0:  # what it remembers of subjects is bounded, by a large number
            self.read = self.reads()
        self.observe(self.turn)
        rng = np.random.default_rng((self.seed, self.turn))
        at = START + self.turn * TURN
        events: dict[int, list[Event]] = defaultdict(list)
        self._react(events, rng)
        entries = list(edits(self.turn, self.actions))
        self.published += len(entries)
        self.updates.append(entries)
        self._visit(events, at, rng)
        self.turn += 1
        return [
            (shard_key(shard), Batch(shard, micros(at), sorted(events[shard], key=lambda e: e.at)))
            for shard in range(self.shards)
        ]

    def _react(self, events: dict[int, list[Event]], rng: np.random.Generator) -> None:
        """Read the decisions back; some are seen, clicked and rewarded, at once or much later."""
        decisions = []
        for shard, value in self.answers:
            decision = msgspec.json.decode(value, type=Decision)
            self._put(events, Topic.DECISIONS, shard, None, value, decision.time)
            decisions.append(decision)
        self.answers, self.asked = [], 0
        self.recent.append(decisions)
        for decision in decisions:
            chance, seconds = rng.random(), timedelta(seconds=float(rng.uniform(1.0, 30.0)))
            if chance < 0.8:
                self._say(events, Topic.IMPRESSIONS, decision, decision.time + seconds / 2)
            if chance < 0.3:
                self._say(events, Topic.CLICKS, decision, decision.time + seconds)
        if len(self.recent) > LATE:
            for decision in self.recent[0]:
                if rng.random() < 0.2:
                    later = decision.time + LATE * TURN * 0.5
                    self._say(events, Topic.REWARDS, decision, later, value=1.0)

    def _visit(
        self, events: dict[int, list[Event]], at: datetime, rng: np.random.Generator
    ) -> None:
        """Let new visitors consent and ask, and some of the last turn's withdraw."""
        slots = ["home", "specs", "strict", *slots_alive(self.turn - 3)]
        slots = slots if self.turn > 3 else []
        for number in range(self.visitors):
            name, time = f"v{self.turn}-{number}", at + timedelta(seconds=number % 50)
            if number % 2:
                purposes = [5, 6]
                self._of(events, Topic.CONSENTS, name, time, type="consent", purposes=purposes)
            before = f"v{self.turn - 1}-{number}"
            if number % 10 == 1:
                self._of(events, Topic.CONSENTS, before, time, type="consent", purposes=[])
            elif number % 10 == 3:
                self._of(events, Topic.CONSENTS, before, time, type="erasure")
            if slots:
                about = {
                    "slot_id": slots[(number + self.turn) % len(slots)],
                    "decision_id": f"d{self.turn}-{number}",
                    "context": {
                        "age": float(rng.normal()),
                        "device": "phone" if number % 3 else "desk",
                        "page": f"page-{(self.turn * self.visitors + number) % PAGES}",
                        f"field-{self.turn}": number,
                    },
                }
                self._of(events, Topic.DECISION_REQUESTS, name, time, **about)
                self.asked += 1
                self.asked_ever += 1
            if number % 7 == 0:  # of a decision that nobody made
                stray = {"slot_id": "home", "decision_id": f"stray-{self.turn}-{number}"}
                self._of(events, Topic.CLICKS, name, time, **stray)

    def _say(
        self, events: dict[int, list[Event]], topic: Topic, about: Decision, at: datetime,
        **fields: Any,
    ) -> None:  # fmt: skip
        name = "v" + about.decision_id[1:]
        fields |= {"decision_id": about.decision_id, "slot_id": about.slot_id}
        self._of(events, topic, name, at, **fields)

    def _of(
        self, events: dict[int, list[Event]], topic: Topic, name: str, at: datetime, **fields: Any
    ) -> None:
        shard = partition_of(name.encode(), self.shards)
        record = {"id": f"{topic}-{name}-{at.timestamp()}", "time": at, "subject": name, **fields}
        self._put(events, topic, shard, name.encode(), msgspec.json.encode(record), at)

    def _put(
        self, events: dict[int, list[Event]], topic: Topic, shard: int, key: bytes | None,
        value: bytes, at: datetime,
    ) -> None:  # fmt: skip
        offset = self.offsets[topic, shard]
        self.offsets[topic, shard] += 1
        event = self.read(topic, shard, key, value, offset, micros(at))
        if not isinstance(event, Event):
            raise TypeError(f"{topic}: {event.reason}: {event.field}")
        events[shard].append(event)
