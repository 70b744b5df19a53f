"""A log of simulated visitors: what they ask, see and click does not depend on the answers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np

from flows.devkit.demo_catalog import SLOT, demo_catalog
from flows.devkit.simulation.malformed import malformed
from flows.devkit.visitors import HOURS, Visitors
from flows.verification.log import Logged, sort_log
from operators.logic.murmur2 import partition_of
from schemas.catalog import (
    Action,
    CatalogEntry,
    PolicySettings,
    RobotRate,
    Slot,
    SubjectLimit,
)
from schemas.codec import encode
from schemas.consent import Purpose
from schemas.events import Click, Consent, DecisionRequest, Erasure, Impression, Reward
from schemas.topics import Topic

START = datetime(2026, 6, 1, tzinfo=UTC)

WINDOW = 30.0
"""Seconds from a decision to the end of its reward window."""

SLOTS: dict[str, dict[str, Any]] = {
    SLOT: {
        "policy": PolicySettings(kind="logistic"),
        "subject_limit": SubjectLimit(decisions=2, window=60.0),
    },
    "strip": {
        "policy": PolicySettings(kind="diagonal"),
        "learning_mode": "exposure",
        "subject_limit": SubjectLimit(decisions=1, window=5.0),
    },
    "side": {"policy": PolicySettings(kind="beta"), "learning_mode": "wait"},
    "foot": {"policy": PolicySettings(kind="gaussian"), "needs_impression": False},
    "wall": {
        "policy": PolicySettings(kind="beta"),
        "slate_size": 3,
        "reward_aggregation": "sum",
        "reward_range": (0.0, 2.0),
        "robot_rate": RobotRate(decisions=1, window=10.0),
    },
}
"""One slot for each learning mode, one that needs no impression, and one that shows slates.

In some, visitors are soon too loud, or taken for robots.
"""

_CLICKS, _REWARDS, _SHOWN, _GONE, _BROKEN = 0.15, 0.03, 0.9, 0.002, 0.02
"""Shares of requests that are clicked, rewarded, shown; whose visitor withdraws; spoiled ones."""

_ROBOTS = 0.02
"""The share of requests that say that no person asks."""

_TWICE, _LATER = 0.02, 0.05
"""Shares of records that come twice, and up to a second late."""

_REUSED, _NAMED = 0.1, 0.8
"""Shares of clicks and rewards whose id comes again with other content; of those on slates that
name a position, one too many included."""

_SPOILED = ("truncated", "no_subject", "unknown_slot", "noise", "utf16")


def simulated_log(requests: int, rate: float, partitions: int, seed: int) -> list[Logged]:
    """Make a log of ``requests`` requests, ``rate`` a second, the same for the same seed."""
    rng = np.random.default_rng(seed)
    visitors = Visitors(seed, users=500)
    log = [Logged(_ms(START), Topic.CATALOG, 0, None, encode(each)) for each in _catalog(seed)]
    log += [_consent(user, START, partitions) for user in range(500) if user % 20]
    for number in range(requests):
        at = START + timedelta(seconds=1.0 + number / rate)
        for topic, record, time in _visit(rng, visitors, number, at):
            log += _sent(rng, topic, record, time, partitions)
        if rng.random() < _BROKEN:
            log.append(_spoiled(rng, number, at, partitions))
    return sort_log(log)


def _catalog(seed: int) -> Iterator[CatalogEntry]:
    for entry in demo_catalog(seed, reward_window=WINDOW):
        if isinstance(entry, Slot):
            for name, settings in SLOTS.items():
                changed = {"id": f"slot-{name}", "slot_id": name, **settings}
                yield msgspec.structs.replace(entry, **changed)
            refused = PolicySettings(kind="no such policy")
            yield msgspec.structs.replace(entry, id="slot-refused", slot_id="bin", policy=refused)
        elif isinstance(entry, Action):
            yield msgspec.structs.replace(entry, slots=list(SLOTS))


def _visit(
    rng: np.random.Generator, visitors: Visitors, number: int, at: datetime
) -> Iterator[tuple[Topic, Any, datetime]]:
    user, hour = int(rng.integers(500)), int(rng.integers(HOURS))
    slot_id = list(SLOTS)[int(rng.integers(len(SLOTS)))]
    chances = rng.random(4)
    common: dict[str, Any] = {"subject": f"visitor-{user}", "slot_id": slot_id}
    about: dict[str, Any] = {**common, "decision_id": f"r{number}"}
    context = visitors.context(user, hour)
    robot = number % round(1.0 / _ROBOTS) == 0
    request = DecisionRequest(id=f"r{number}", time=at, context=context, robot=robot, **common)
    yield Topic.DECISION_REQUESTS, request, at
    seen = at + timedelta(milliseconds=20)
    if chances[0] < _SHOWN:
        place = _position(rng, slot_id) if chances[0] < _SHOWN / 2 else None
        shown = Impression(id=f"i{number}", time=seen, position=place, **about)
        yield Topic.IMPRESSIONS, shown, seen
    later = seen + timedelta(seconds=float(rng.exponential(0.5)))
    if chances[1] < _CLICKS:
        for time in _times(rng, later):
            place = _position(rng, slot_id)
            yield Topic.CLICKS, Click(id=f"c{number}", time=time, position=place, **about), time
    if chances[2] < _REWARDS:
        for time in _times(rng, later):
            place, value = _position(rng, slot_id), round(float(rng.random()), 3)
            reward = Reward(id=f"w{number}", time=time, position=place, value=value, **about)
            yield Topic.REWARDS, reward, time
    who: dict[str, Any] = {"subject": common["subject"], "time": later}
    if chances[3] < _GONE:
        yield Topic.CONSENTS, Consent(id=f"n{number}", purposes=[], **who), later
    elif chances[3] > 1.0 - _GONE:
        yield Topic.CONSENTS, Erasure(id=f"e{number}", **who), later


def _times(rng: np.random.Generator, at: datetime) -> Iterator[datetime]:
    """Give the time of a record, sometimes that of another with its id."""
    yield at
    if rng.random() < _REUSED:
        yield at + timedelta(milliseconds=int(rng.integers(-10, 10)))


def _position(rng: np.random.Generator, slot_id: str) -> int | None:
    """Draw a position on the slate that a slot shows, or beyond it; none elsewhere."""
    size = SLOTS[slot_id].get("slate_size")
    return int(rng.integers(size + 1)) if size and rng.random() < _NAMED else None


def _sent(
    rng: np.random.Generator, topic: Topic, record: Any, time: datetime, partitions: int
) -> Iterator[Logged]:
    key = record.subject.encode()
    late, twice, delay = rng.random(3).tolist()
    arrives = _ms(time) + (round(1000 * delay) if late < _LATER else 0)
    sent = Logged(arrives, topic, partition_of(key, partitions), key, encode(record))
    yield sent
    if twice < _TWICE:
        yield msgspec.structs.replace(sent, time=arrives + round(1000 * delay))


def _spoiled(rng: np.random.Generator, number: int, at: datetime, partitions: int) -> Logged:
    key = f"visitor-{int(rng.integers(500))}".encode()
    good = {
        "id": f"m{number}",
        "time": at.isoformat(),
        "subject": key.decode(),
        "slot_id": SLOT,
        "decision_id": f"m{number}",
    }
    value = malformed(_SPOILED[number % len(_SPOILED)], rng, good)
    return Logged(_ms(at), Topic.DECISION_REQUESTS, partition_of(key, partitions), key, value)


def _consent(user: int, at: datetime, partitions: int) -> Logged:
    key = f"visitor-{user}".encode()
    consent = Consent(id=f"consent-{user}", time=at, subject=key.decode(), purposes=list(Purpose))
    return Logged(_ms(at), Topic.CONSENTS, partition_of(key, partitions), key, encode(consent))


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
