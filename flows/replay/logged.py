"""A log of another system's decisions as Banditflow's own records: nothing is asked or decided."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from flows.replay.open_bandit import POSITIONS, Item, OpenBanditLog, OpenBanditRow
from operators.decode import join_key, pseudonym_of
from operators.io.memory import Record, Records
from operators.logic.features import FeatureMap, pack_rows
from operators.logic.murmur2 import partition_of
from schemas.catalog import Action, CatalogEntry, FeatureSpec, PolicySettings, Slot
from schemas.clock import micros
from schemas.events import Click, Decision, Impression
from schemas.settings import Settings
from schemas.topics import Topic

SLOT = "fashion"
POLICY = "logged"
SOURCE = "open-bandit"
WINDOW = 600.0
"""Seconds of the slot's reward window."""

CLICK_DELAY = timedelta(seconds=1)
"""The log holds no times of clicks: each comes this long after its impression."""

USER_FEATURES = tuple(f"user_feature_{k}" for k in range(4))


def catalog_of(log: OpenBanditLog, policy: PolicySettings) -> list[CatalogEntry]:
    """Give one slot that learns from the log by ``policy``, and an action for each item."""
    time = log.rows[0].time
    slot = Slot(
        id=f"slot-{SLOT}",
        time=time,
        slot_id=SLOT,
        policy=policy,
        features=_features(log.rows),
        item_features=["number", "a", "b", "c"],
        reward_window=WINDOW,
    )
    return [slot, *(_action(item, time) for item in log.items)]


def action_id(item: int) -> str:
    """Name an item.

    >>> action_id(7)
    'item-07'
    """
    return f"item-{item:02d}"


def records_of(log: OpenBanditLog, spec: FeatureSpec, settings: Settings, eta: float) -> Records:
    """Write each row as a decision, its impression and, where it was clicked, its click.

    Decisions have the log's own times and propensities; each row has a synthetic subject of its
    own, without consent, so that nothing is kept of anybody. Each shows one action: the row's
    position is part of its context. ``eta`` is the linear predictor at which a contextual policy
    linearises, since the log holds none.
    """
    records: dict[Topic, dict[int, list[Record]]] = {
        topic: {k: [] for k in range(settings.kafka.partitions)}
        for topic in (Topic.DECISIONS, Topic.IMPRESSIONS, Topic.CLICKS)
    }
    vectors = pack_rows(FeatureMap(spec).encode([context(row) for row in log.rows]))
    encode = msgspec.json.Encoder().encode
    secret = settings.secret.encode()

    def keep(topic: Topic, partition: int, time: datetime, value: bytes, key: bytes | None) -> None:
        records[topic][partition].append(Record(value, micros(time), key))

    for number, (row, vector) in enumerate(zip(log.rows, vectors, strict=True)):
        subject = f"{log.policy}-{number}"
        raw, shard = subject.encode(), partition_of(subject, settings.kafka.partitions)
        key = join_key(pseudonym_of(secret, subject), subject)
        decided = _decision(row, subject, key, vector, eta)
        keep(Topic.DECISIONS, shard, row.time, encode(decided), None)
        shown = Impression(
            id=f"{subject}-impression",
            time=row.time,
            subject=subject,
            source=SOURCE,
            decision_id=subject,
            slot_id=SLOT,
            action_id=decided.action_id,
        )
        keep(Topic.IMPRESSIONS, shard, row.time, encode(shown), raw)
        if row.click:
            clicked = Click(
                id=f"{subject}-click",
                time=row.time + CLICK_DELAY,
                subject=subject,
                source=SOURCE,
                decision_id=subject,
                slot_id=SLOT,
            )
            keep(Topic.CLICKS, shard, clicked.time, encode(clicked), raw)
    return records


def context(row: OpenBanditRow) -> dict[str, str]:
    """Give the context that the logging policy could have looked at."""
    return {"position": str(row.position)} | dict(zip(USER_FEATURES, row.user, strict=True))


def _decision(row: OpenBanditRow, decision_id: str, key: int, vector: str, eta: float) -> Decision:
    return Decision(
        id=f"decision-{key:016x}",
        time=row.time,
        subject=None,
        decision_id=decision_id,
        key=f"{key:016x}",
        slot_id=SLOT,
        action_id=action_id(row.item),
        ranking=[],
        propensity=row.propensity,
        policy=POLICY,
        policy_version=0,
        expires_at=row.time + timedelta(seconds=WINDOW),
        source=SOURCE,
        features=vector,
        eta=eta,
    )


def _features(rows: Sequence[OpenBanditRow]) -> FeatureSpec:
    values = [sorted({row.user[k] for row in rows}) for k in range(len(USER_FEATURES))]
    positions = [str(place + 1) for place in range(POSITIONS)]
    return FeatureSpec(
        categories={"position": positions} | dict(zip(USER_FEATURES, values, strict=True))
    )


def _action(item: Item, time: datetime) -> Action:
    return Action(
        id=f"action-{action_id(item.item)}",
        time=time,
        action_id=action_id(item.item),
        slots=[SLOT],
        features={"number": item.number} | dict(zip("abc", item.categories, strict=True)),
    )
