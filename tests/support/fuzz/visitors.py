"""Visitors who do everything right, in turns: ask, see, click, buy, consent, and again."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from operators.decode import join_key, pseudonym_of
from operators.envelope import Message
from operators.logic.murmur2 import partition_of
from schemas.catalog import (
    Action,
    CatalogEntry,
    FeatureSpec,
    PolicySettings,
    RobotRate,
    Slot,
    SubjectLimit,
)
from schemas.clock import micros
from schemas.codec import encode
from schemas.events import Click, Consent, Decision, DecisionRequest, Impression, Reward
from schemas.topics import Topic
from tests.support.fuzz.records import Decided, FuzzRecord
from tests.support.fuzz.shapes import START

WINDOW = 20.0
SLOTS: dict[str, dict[str, Any]] = {
    "hero": {
        "policy": PolicySettings(kind="logistic", publish_rewards=5),
        "features": FeatureSpec(
            numeric=["age"], categories={"device": ["phone", "desktop"]}, vectors={"taste": 2}
        ),
        "subject_limit": SubjectLimit(decisions=2, window=60.0),
    },
    "side": {"policy": PolicySettings(kind="beta", publish_rewards=5), "learning_mode": "wait"},
    "strip": {
        "policy": PolicySettings(kind="diagonal", publish_rewards=5),
        "features": FeatureSpec(hashed={"page": 8}, profile=["clicks"]),
        "learning_mode": "exposure",
        "reward_aggregation": "sum",
        "reward_range": (0.0, 3.0),
    },
    "open": {
        "policy": PolicySettings(kind="gaussian"),
        "needs_impression": False,
        "robot_rate": RobotRate(decisions=1, window=20.0),
    },
}
"""A slot for each mode of learning; wild actions may come to ``hero``, the first of them."""

_DECODER = msgspec.json.Decoder(Decision)


class Visitors(Struct):
    """Each of ``names`` asks about every third turn; what came of it follows a turn later."""

    seed: int
    partitions: int
    secret: bytes
    names: Sequence[str]
    asked: dict[int, str] = {}
    """The visitors who asked, by the keys of their decisions."""

    def catalog(self) -> Iterator[FuzzRecord]:
        """Make the catalog, and the visitors' consents."""
        entries: list[CatalogEntry] = [
            Slot(id=f"slot-{name}", time=START, slot_id=name, reward_window=WINDOW, **fields)
            for name, fields in SLOTS.items()
        ]
        entries += [
            Action(id=f"action-{k}", time=START, action_id=f"a{k}", slots=list(SLOTS))
            for k in range(5)
        ]
        for entry in entries:
            yield FuzzRecord(
                Topic.CATALOG, 0, entry.id.encode(), encode(entry), micros(START), False, False
            )
        for number, name in enumerate(self.names):
            if number % 5:
                yield self._sent(
                    Topic.CONSENTS,
                    Consent(id=f"consent-{name}", time=START, subject=name, purposes=[1, 5, 6]),
                )

    def ask(self, turn: int, now: datetime) -> Iterator[FuzzRecord]:
        """Make the requests of a turn."""
        rng = Random(f"{self.seed}/ask/{turn}")
        for number, name in enumerate(self.names):
            if (turn + number) % 3:
                continue
            decision_id = f"good-{turn}-{number}"
            pseudonym = pseudonym_of(self.secret, name)
            self.asked[join_key(pseudonym, decision_id)] = name
            yield self._sent(
                Topic.DECISION_REQUESTS,
                DecisionRequest(
                    id=decision_id,
                    time=now + timedelta(milliseconds=10 * number),
                    subject=name,
                    slot_id=rng.choice(list(SLOTS)),
                    decision_id=decision_id,
                    context={
                        "age": rng.randrange(80),
                        "device": rng.choice(("phone", "desktop", "watch")),
                        "taste": [rng.random(), rng.random()],
                        "page": f"p{rng.randrange(9)}",
                    },
                    excluded=["a1"] if rng.random() < 0.1 else [],
                    robot=rng.random() < 0.05,
                ),
            )

    def react(self, decided: Sequence[tuple[int, Message]]) -> Iterator[FuzzRecord]:
        """Read decisions back, and do what follows from them."""
        for partition, message in decided:
            decision = _DECODER.decode(message.value)
            at = micros(decision.time)
            name = self.asked.get(int(decision.key, 16))
            spoiled = name is None
            yield FuzzRecord(Topic.DECISIONS, partition, None, message.value, at, False, spoiled)
            if name is not None:
                yield from self._reaction(name, decision)

    def _reaction(self, name: str, decision: Decision) -> Iterator[FuzzRecord]:
        rng = Random(f"{self.seed}/{decision.decision_id}")
        about: dict[str, Any] = {
            "subject": name,
            "slot_id": decision.slot_id,
            "decision_id": decision.decision_id,
        }
        seen = decision.time + timedelta(seconds=1)
        what = rng.random()
        if what < 0.9:
            yield self._sent(
                Topic.IMPRESSIONS, Impression(id=f"i-{decision.id}", time=seen, **about)
            )
        later = seen + timedelta(seconds=rng.random() * 5)
        if what < 0.4:
            yield self._sent(Topic.CLICKS, Click(id=f"c-{decision.id}", time=later, **about))
        if what < 0.1:
            yield self._sent(
                Topic.REWARDS, Reward(id=f"w-{decision.id}", time=later, value=0.75, **about)
            )
        if what < 0.02:
            yield self._sent(
                Topic.CONSENTS,
                Consent(id=f"n-{decision.id}", time=later, subject=name, purposes=[1]),
            )

    def _sent(self, topic: Topic, record: Any) -> FuzzRecord:
        key = record.subject.encode()
        partition = partition_of(key, self.partitions)
        return FuzzRecord(topic, partition, key, encode(record), micros(record.time), False, False)


def decided_of(names: dict[int, str], partition: int, messages: Sequence[Message]) -> list[Decided]:
    """Say of some decisions what other records may be about; ``names`` by key."""
    decided = []
    for message in messages:
        decision = _DECODER.decode(message.value)
        decided.append(
            Decided(
                subject=names.get(int(decision.key, 16), ""),
                decision_id=decision.decision_id,
                slot_id=decision.slot_id,
                action_id=decision.action_id,
                key=decision.key,
                partition=partition,
                time=decision.time,
            )
        )
    return decided
