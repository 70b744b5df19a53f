"""The catalog of the recorded log: a slot for each policy kind and each learning mode."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.catalog import (
    Action,
    CatalogEntry,
    Experiment,
    FeatureSpec,
    Holdout,
    Interaction,
    Neighbour,
    PolicySettings,
    Slot,
)

START = datetime(2026, 6, 1, 8, tzinfo=UTC)
BURSTS = 3
BURST, GAP = 30.0, 400.0
"""Seconds of traffic, and from its start to that of the next."""

WINDOW, LONG = 30.0, 100_000.0
"""Seconds of a reward window, and of one that the log does not see the end of."""

GONE = "gone"
"""The slot that is deleted after the first burst."""

_CONTEXT = FeatureSpec(
    numeric=["age"],
    vectors={"taste": 2},
    categories={"device": ["phone", "desktop"]},
)
_RICH = FeatureSpec(
    numeric=["age"],
    vectors={"taste": 2},
    categories={"device": ["phone", "desktop"]},
    hashed={"page": 3},
    profile=["click_rate"],
    profile_embedding=2,
    interactions=[Interaction("device", "age")],
    time_of_day=True,
    scale=True,
)

SLOTS: dict[str, dict[str, Any]] = {
    "hero": {
        "policy": PolicySettings(kind="logistic", params={"neighbours": 0.5}),
        "features": _RICH,
        "item_features": ["style", "category"],
        "holdout": Holdout(share=0.2, unit="decision"),
        "floor": 0.05,
        "baseline_action_id": "a-0",
    },
    "strip": {
        "policy": PolicySettings(kind="diagonal"),
        "features": _CONTEXT,
        "learning_mode": "exposure",
        "slate_size": 3,
        "holdout": Holdout(share=0.2, unit="decision"),
    },
    "side": {
        "policy": PolicySettings(kind="beta", params={"neighbours": 0.5}),
        "learning_mode": "wait",
        "reward_aggregation": "sum",
        "reward_range": (0.0, 4.0),
        "holdout": Holdout(share=0.2, unit="subject"),
    },
    "foot": {
        "policy": PolicySettings(kind="gaussian", params={"half_life": 3600.0}),
        "features": _CONTEXT,
        "needs_impression": False,
        "reward_aggregation": "max",
        "default_reward": 0.125,
    },
    "rail": {
        "policy": PolicySettings(kind="greedy", params={"epsilon": 0.2}),
        "features": _CONTEXT,
        "viewable_only": True,
        "click_without_impression": "quarantine",
    },
    "fixed": {
        "policy": PolicySettings(kind="split", params={"shares": {"a-0": 2.0, "a-1": 1.0}}),
        "learning_mode": "exposure",
    },
    "any": {"policy": PolicySettings(kind="uniform"), "learning_mode": "wait"},
    "page": {
        "policy": PolicySettings(kind="logistic"),
        "features": _CONTEXT,
        "learning_mode": "exposure",
    },
    GONE: {"policy": PolicySettings(kind="beta")},
    "long": {
        "policy": PolicySettings(kind="logistic"),
        "features": _CONTEXT,
        "reward_window": LONG,
        "click_without_impression": "quarantine",
    },
    "later": {
        "policy": PolicySettings(kind="gaussian"),
        "features": _CONTEXT,
        "reward_window": LONG,
        "learning_mode": "wait",
    },
}
"""What visitors ask for."""

CROWD = "crowd"
"""The slot of many plain requests, which fill chunks and segments."""

ACTIONS = ("a-0", "a-1", "a-2", "a-3")
NEW = "a-4"
"""The action that comes with the second burst, when ``a-3`` goes."""


def begins(burst: int) -> datetime:
    """Give the time at which a burst begins."""
    return START + timedelta(seconds=GAP * burst)


def catalog() -> Iterator[CatalogEntry]:
    """Give the records of the catalog, changes during the log included."""
    for name, changes in SLOTS.items():
        yield Slot(
            id=f"slot-{name}", time=START, slot_id=name, **{"reward_window": WINDOW, **changes}
        )
    yield Slot(
        id="slot-crowd",
        time=START,
        slot_id=CROWD,
        policy=PolicySettings(kind="uniform"),
        reward_window=LONG,
    )
    yield from (_action(name, place, START) for place, name in enumerate(ACTIONS))
    yield Experiment(
        id="experiment", time=START, experiment_id="x-1", slot_id="hero", variations={"policy": 1.0}
    )
    change = begins(1) - timedelta(seconds=GAP / 4)
    yield Slot(id="slot-gone-2", time=change, slot_id=GONE, deleted=True)
    yield _action(ACTIONS[3], 3, change, enabled=False)
    yield _action(NEW, 4, change)


def _action(name: str, place: int, time: datetime, enabled: bool = True) -> Action:
    style = [round(0.3 * place - 0.5, 3), round((-1) ** place * 0.4, 3)]
    return Action(
        id=f"action-{name}-{time:%H%M%S}",
        time=time,
        action_id=name,
        slots=[*SLOTS, *([CROWD] if place < 2 else [])],
        features={"style": style, "category": f"c{place % 2}"},
        embedding=style,
        neighbours=[Neighbour("a-1", 0.8), Neighbour("a-2", 0.6)] if name == NEW else [],
        enabled=enabled,
    )
