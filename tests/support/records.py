"""Records of every topic that the store keeps, plain and extreme."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from operators.envelope import Event
from operators.io.reading import read_undecoded
from operators.io.store.protocol import Writes
from operators.io.store.rows import RecordPlace, row_of
from operators.persist import rows_of
from schemas.catalog import Action, Experiment, PolicySettings, Slot
from schemas.clock import micros
from schemas.events import Decision, Ranked
from schemas.results import (
    ActionSummary,
    DeadLetter,
    Delivery,
    ErasureReceipt,
    OptimizedContent,
    Outcome,
    PolicyCheckpoint,
    PolicySnapshot,
    Profile,
    TestReport,
)
from schemas.topics import Topic

START = datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)


def context_vector(seed: int, length: int = 4) -> str:
    numbers = np.random.default_rng(seed).normal(size=length).astype("<f4")
    return msgspec.json.decode(msgspec.json.encode(numbers.tobytes()))


def decision(number: int, **changes: Any) -> Decision:
    time = START + timedelta(milliseconds=37 * number, microseconds=number)
    fields: dict[str, Any] = {
        "id": f"e{number}",
        "time": time,
        "subject": f"{number % 97:032x}",
        "decision_id": f"d{number}",
        "key": f"{number:016x}",
        "slot_id": "home",
        "action_id": f"a{number % 3}",
        "ranking": [
            Ranked(f"a{at}", probability) for at, probability in enumerate((0.5, 0.3, 0.2))
        ],
        "propensity": (0.5, 0.3, 0.2)[number % 3],
        "policy": "beta",
        "policy_version": number // 10,
        "expires_at": time + timedelta(seconds=600),
        "features": context_vector(number),
        "eta": -0.1 * number,
        "draw": (number % 1000) / 1000.0,
        "decided_at": time + timedelta(milliseconds=3),
        "experiment_id": "exp" if number % 2 else None,
        "variation_id": "treated" if number % 2 else None,
    }
    return Decision(**(fields | changes))


def outcome(number: int, revision: int = 1, **changes: Any) -> Outcome:
    made = decision(number)
    fields: dict[str, Any] = {
        "time": made.time,
        "subject": made.subject,
        "decision_id": made.decision_id,
        "key": made.key,
        "slot_id": made.slot_id,
        "action_id": made.action_id,
        "propensity": made.propensity,
        "reward": float(number % 5 == 0),
        "status": "pending",
        "revision": revision,
        "activated": True,
        "policy_version": made.policy_version,
        "policy": made.policy,
        "experiment_id": made.experiment_id,
        "variation_id": made.variation_id,
        "features": made.features,
        "eta": made.eta,
    }
    return Outcome(**(fields | changes))


def profile(subject: str, version: int, **changes: Any) -> Profile:
    fields: dict[str, Any] = {
        "subject": subject,
        "version": version,
        "time": START + timedelta(seconds=version),
        "features": {"visits": float(version), "rate": 0.1},
        "embedding": [1.0, float(version), 0.25],
        "purposes": [1, 5, 6],
    }
    return Profile(**(fields | changes))


def policy(slot_id: str, version: int, **changes: Any) -> PolicySnapshot:
    fields: dict[str, Any] = {
        "slot_id": slot_id,
        "policy": "beta",
        "version": version,
        "time": START + timedelta(seconds=version),
        "decisions": 10.0 * version,
        "rewards": 2.0 * version,
        "actions": [
            ActionSummary(action_id="a0", count=10.0, reward=2.0, mean=0.2, deviation=0.05)
        ],
        "posterior": "AAECAw==" * 40,
        "published_at": START + timedelta(seconds=version, microseconds=1),
        "models": {"log_loss": 0.25},
    }
    return PolicySnapshot(**(fields | changes))


def slot(slot_id: str, seconds: int = 0, **changes: Any) -> Slot:
    fields: dict[str, Any] = {
        "id": f"slot-{slot_id}-{seconds}",
        "time": START + timedelta(seconds=seconds),
        "slot_id": slot_id,
        "policy": PolicySettings(kind="logistic"),
    }
    return Slot(**(fields | changes))


def action(action_id: str, seconds: int = 0, **changes: Any) -> Action:
    fields: dict[str, Any] = {
        "id": f"action-{action_id}-{seconds}",
        "time": START + timedelta(seconds=seconds),
        "action_id": action_id,
        "slots": ["home"],
        "features": {"price": 9.5, "kind": "video"},
        "embedding": [0.5, 0.5],
        "content": {"title": "Hello"},
    }
    return Action(**(fields | changes))


def experiment(experiment_id: str, seconds: int = 0, **changes: Any) -> Experiment:
    fields: dict[str, Any] = {
        "id": f"experiment-{experiment_id}-{seconds}",
        "time": START + timedelta(seconds=seconds),
        "experiment_id": experiment_id,
        "slot_id": "home",
        "variations": {"control": 0.5, "treated": 0.5},
    }
    return Experiment(**(fields | changes))


def report(experiment_id: str, seconds: int = 0, **changes: Any) -> TestReport:
    fields: dict[str, Any] = {
        "experiment_id": experiment_id,
        "slot_id": "home",
        "time": START + timedelta(seconds=seconds),
        "summary": {"lower": -0.01, "upper": 0.04, "winner": None},
    }
    return TestReport(**(fields | changes))


def dead_letter(offset: int, **changes: Any) -> DeadLetter:
    fields: dict[str, Any] = {
        "reason": "missing_field",
        "topic": "clicks",
        "partition": 1,
        "offset": offset,
        "size": 12,
        "hash": "0" * 64,
        "time": START,
        "field": "time",
    }
    return DeadLetter(**(fields | changes))


def winner(slot_id: str, seconds: int = 0, **changes: Any) -> OptimizedContent:
    fields: dict[str, Any] = {
        "slot_id": slot_id,
        "time": START + timedelta(seconds=seconds),
        "action_id": "a0",
        "segment": "evening",
        "experiment_id": "exp",
        "policy_version": 7,
        "probability": 0.97,
        "content": {"title": "Grüße", "empty": ""},
        "reason": "won",
    }
    return OptimizedContent(**(fields | changes))


def delivery(delivery_id: str, revision: int = 1, **changes: Any) -> Delivery:
    fields: dict[str, Any] = {
        "delivery_id": delivery_id,
        "time": START,
        "channel": "push",
        "subject": "s1",
        "slot_id": "home",
        "action_id": "a0",
        "status": "pending",
        "revision": revision,
        "attempts": revision - 1,
        "decision_id": "d1",
        "updated_at": START + timedelta(microseconds=revision),
        "reason": "waiting",
    }
    return Delivery(**(fields | changes))


def receipt(receipt_id: str, **changes: Any) -> ErasureReceipt:
    fields: dict[str, Any] = {
        "receipt_id": receipt_id,
        "event_id": "erase-1",
        "subject": "s1",
        "time": START,
        "completed_at": START + timedelta(seconds=2, microseconds=1),
        "removed": {"profiles": 1, "decisions": 12},
    }
    return ErasureReceipt(**(fields | changes))


def checkpoint(slot_id: str, part: int = 0, parts: int = 1, **changes: Any) -> PolicyCheckpoint:
    fields: dict[str, Any] = {
        "slot_id": slot_id,
        "time": START,
        "version": 9,
        "generation": 0,
        "part": part,
        "parts": parts,
        "decisions": 100.0,
        "rewards": 7.5,
        "state": f"part {part}",
    }
    return PolicyCheckpoint(**(fields | changes))


_TOPICS = {
    Decision: Topic.DECISIONS,
    Outcome: Topic.OUTCOMES,
    Profile: Topic.PROFILES,
    PolicySnapshot: Topic.POLICIES,
    PolicyCheckpoint: Topic.CHECKPOINTS,
    Slot: Topic.CATALOG,
    Action: Topic.CATALOG,
    Experiment: Topic.CATALOG,
    TestReport: Topic.TEST_REPORTS,
    DeadLetter: Topic.DEAD_LETTERS,
}


def event(record: msgspec.Struct, offset: int, shard: int = 0) -> Event:
    """A record as it lies on its topic."""
    topic = _TOPICS[type(record)]
    payload = msgspec.json.encode(record)
    return read_undecoded(topic, shard, None, payload, offset, micros(START))


def events(*records: msgspec.Struct, offset: int = 0, shard: int = 0) -> list[Event]:
    return [event(record, offset + at, shard) for at, record in enumerate(records)]


def writes(*records: msgspec.Struct, offset: int = 0) -> Writes:
    """Rows of records as the persist flow makes them; of those without a topic, directly."""
    on_topics = [record for record in records if type(record) in _TOPICS]
    made = rows_of(0, events(*on_topics, offset=offset))
    for record in records:
        if type(record) not in _TOPICS:
            made.add(*row_of(record), RecordPlace("none", 0, offset, 0, b""))
    return made
