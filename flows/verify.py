"""``banditflow verify``: what a stopped flow learned, against a recomputation from its topics."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, TopicPartition
from msgspec import Struct, field

from flows.state import States, read_states
from operators.batches import Event
from operators.decode import reader
from operators.io.kafka_client import consumer, range_of
from operators.io.kafka_group import restore, written
from operators.learn import LearnerState, unpack_learner
from operators.logic.catalog import Catalog, CatalogHistory
from operators.logic.features import FeatureMap
from operators.logic.policies import load_policy
from operators.logic.positions import by_position
from operators.logic.recount import Verdict, contributions, recount
from operators.slot_policy import new_policy, policy_dim
from schemas.codec import Flaw, decode
from schemas.events import DecisionBack, DecisionRequest
from schemas.settings import Settings
from schemas.topics import GROUP, Topic

TOLERANCE = 1e-9


class ActionCheck(Struct):
    """An action's counted decisions and rewards, as learned and as recomputed."""

    slot_id: str
    action_id: str
    learned: tuple[float, float]
    recomputed: tuple[float, float]

    @property
    def agrees(self) -> bool:
        """Say whether both are equal, within rounding where decisions are forgotten by age."""
        return bool(np.allclose(self.learned, self.recomputed, rtol=TOLERANCE, atol=TOLERANCE))


class Verification(Struct):
    """What was compared; ``skipped`` slots do not learn at once, so only a settled log compares."""

    requests: int = 0
    decisions: int = 0
    unanswered: int = 0
    contradicted: int = 0
    repeated: int = 0
    actions: list[ActionCheck] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Say whether every promise was kept."""
        agree = all(check.agrees for check in self.actions)
        return agree and not self.unanswered and not self.contradicted


def verify(settings: Settings) -> Verification:
    """Recompute what the personalize flow had learned when its last epoch closed, and compare.

    Reads the topics up to the offsets in the recovery store's snapshots; the flow may be stopped
    or running. No request may have two different answers, in the whole of ``decisions``, and none
    that was read may be without one.
    """
    states = read_states(Path(settings.recovery) / "personalize")
    catalog = _catalog(settings)
    read = set(_offsets(states).items())
    found = Verification()
    events: list[Event] = []
    asked: set[int] = set()
    for shard in range(settings.partitions):
        for topic in GROUP:
            limit = dict(read).get((shard, topic), 0)
            answers: dict[int, str] = {}
            for event in _events(settings, topic, shard):
                body = event.body
                if isinstance(body, DecisionBack):
                    _answer(found, answers, event)
                if event.origin.offset < limit:
                    events.append(event)
                    if isinstance(body, DecisionRequest) and body.slot_id in catalog.slots:
                        asked.add(event.key)
            if topic is Topic.DECISIONS:
                found.decisions += len(answers)
                asked -= answers.keys()
    found.unanswered = len(asked)
    found.requests = sum(isinstance(event.body, DecisionRequest) for event in events)
    _compare(found, states, catalog, recount(by_position(events, catalog), catalog.slots))
    return found


def _answer(found: Verification, answers: dict[int, str], event: Event) -> None:
    """Count answers that say another thing than the first, and those that say the same."""
    body: DecisionBack = event.body
    said = f"{body.action_id}/{body.propensity!r}/{body.policy_version}"
    first = answers.setdefault(event.key, said)
    if first is not said:
        if first == said:
            found.repeated += 1
        else:
            found.contradicted += 1


def _compare(
    found: Verification, states: States, catalog: Catalog, verdicts: dict[int, Verdict]
) -> None:
    by_slot: dict[str, list[Verdict]] = {}
    for verdict in verdicts.values():
        by_slot.setdefault(verdict.decision.body.slot_id, []).append(verdict)
    learners = states.get("personalize.learn.slot", {})
    for slot_id, slot in sorted(catalog.slots.items()):
        if slot.learning_mode != "immediate":
            found.skipped.append(slot_id)
            continue
        dim = policy_dim(slot, FeatureMap(slot.features))
        fresh = new_policy(slot, catalog.actions[slot_id], dim)
        fresh.learn(contributions(by_slot.get(slot_id, []), dim))
        state: LearnerState | None = None
        if slot_id in learners:
            state = unpack_learner(learners[slot_id])
        learned = _totals(load_policy(state.policy)) if state else {}
        recomputed = _totals(fresh)
        found.actions += [
            ActionCheck(
                slot_id, name, learned.get(name, (0.0, 0.0)), recomputed.get(name, (0.0, 0.0))
            )
            for name in sorted(learned.keys() | recomputed.keys())
        ]


def _totals(policy: Any) -> dict[str, tuple[float, float]]:
    return {a.action_id: (a.count, a.reward) for a in policy.publish().summary()}


def _offsets(states: States) -> dict[tuple[int, Topic], int]:
    return {
        (int(shard), Topic(name)): offset
        for shard, snapshot in states.get("personalize.records", {}).items()
        for name, offset in restore(snapshot).offsets.items()
    }


def _catalog(settings: Settings) -> Catalog:
    history = CatalogHistory()
    newest = 0
    for payload, _, _, _ in _records(settings, Topic.CATALOG, 0):
        entry = decode(Topic.CATALOG, payload, settings.max_record_bytes)
        if not isinstance(entry, Flaw):
            history.add(entry)
    while (change := history.next_change(newest)) is not None:
        newest = change
    return history.as_of(newest)


def _events(settings: Settings, topic: Topic, shard: int) -> Iterator[Event]:
    read = reader(settings)
    for payload, key, offset, time in _records(settings, topic, shard):
        event = read(topic, shard, key, payload, offset, time)
        if isinstance(event, Event):
            yield event


def _records(
    settings: Settings, topic: Topic, partition: int
) -> Iterator[tuple[bytes, bytes | None, int, int]]:
    """Read a partition from its start to the end that it has now."""
    client = consumer(settings)
    try:
        name = settings.topic(topic)
        low, high = range_of(settings, client, name, partition)
        position = low
        if low < high:
            client.assign([TopicPartition(name, partition, low)])
        while position < high:
            for message in client.consume(settings.batch_size, 0.1):
                error = message.error()
                offset = int(message.offset() or 0)
                if error is None:
                    position = offset + 1
                    yield message.value() or b"", message.key(), offset, written(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    position = max(position, offset)
    finally:
        client.close()
