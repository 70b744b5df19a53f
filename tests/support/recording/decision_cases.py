"""The cases of the recorded decisions: slots of every kind of policy, and what is asked of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from schemas.catalog import (
    Action,
    FeatureSpec,
    Holdout,
    Interaction,
    Neighbour,
    PolicySettings,
    Slot,
)
from schemas.events import DecisionRequest

TIME = datetime(2026, 6, 1, 9, 30, tzinfo=UTC)
NOW = TIME + timedelta(seconds=1, microseconds=234567)
"""When the decisions were made."""

NEWEST = TIME - timedelta(seconds=5)
"""The newest outcome that the policies learned from."""

ACTIONS = ("a", "b", "c", 'd "100 %"', "é")
PROFILE = {"click_rate": 0.125, "requests": 3.0}
EMBEDDING = [0.25, -0.5]

_PLAIN = FeatureSpec(numeric=["age"], categories={"device": ["phone", "desktop"]})
_RICH = FeatureSpec(
    numeric=["age"],
    vectors={"taste": 2},
    categories={"device": ["phone", "desktop"]},
    hashed={"page": 3},
    profile=["click_rate"],
    profile_embedding=2,
    interactions=[Interaction("device", "age"), Interaction("page", "profile.click_rate")],
    interaction_buckets=4,
    time_of_day=True,
    scale=True,
)

KINDS: dict[str, dict[str, Any]] = {
    "beta": {"policy": PolicySettings(kind="beta")},
    "beta-borrows": {
        "policy": PolicySettings(
            kind="beta", params={"half_life": 3600.0, "sharpen": 2.0, "neighbours": 0.5}
        )
    },
    "logistic": {"policy": PolicySettings(kind="logistic"), "features": _PLAIN},
    "logistic-rich": {
        "policy": PolicySettings(kind="logistic", params={"neighbours": 0.5, "half_life": 9000.0}),
        "features": _RICH,
        "item_features": ["style", "category"],
    },
    "gaussian": {"policy": PolicySettings(kind="gaussian"), "features": _PLAIN},
    "diagonal": {"policy": PolicySettings(kind="diagonal"), "features": _PLAIN},
    "greedy": {
        "policy": PolicySettings(kind="greedy", params={"epsilon": 0.1}),
        "features": _PLAIN,
    },
    "uniform": {"policy": PolicySettings(kind="uniform"), "features": _PLAIN},
    "split": {"policy": PolicySettings(kind="split", params={"shares": {"a": 3.0, "b": 1.0}})},
}
"""What a slot learns with."""

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "floor": {"floor": 0.1, "baseline_action_id": "a", "learning_mode": "exposure"},
    "holdout": {"holdout": Holdout(share=0.3, unit="decision"), "floor": 0.05},
    "sticky": {"holdout": Holdout(share=0.3, unit="subject"), "learning_mode": "wait"},
    "slate": {"slate_size": 3},
    "slate-holdout": {
        "slate_size": 3,
        "holdout": Holdout(share=0.3, unit="decision"),
        "floor": 0.05,
    },
    "slate-sticky": {"slate_size": 9, "holdout": Holdout(share=0.3, unit="subject")},
}
"""How it decides."""


def slots() -> Iterator[Slot]:
    """Give every slot."""
    for kind, learns in KINDS.items():
        for variant, decides in VARIANTS.items():
            name = f"{kind}.{variant} 50 %"
            yield Slot(id=name, time=TIME, slot_id=name, **learns, **decides)


def actions(slot: Slot) -> tuple[Action, ...]:
    """Give the content of a slot: the last action is one that nobody has learned of."""
    return tuple(
        Action(
            id=name,
            time=TIME,
            action_id=name,
            slots=[slot.slot_id],
            features={"style": [0.5 * place, -0.25], "category": f"c{place % 2}"},
            neighbours=[Neighbour("a", 0.75)] if place in (2, 5) else [],
        )
        for place, name in enumerate((*ACTIONS, "new"))
    )


def requests(slot: Slot) -> list[DecisionRequest]:
    """Give what is asked: plainly, narrowly, oddly."""
    changes: list[dict[str, Any]] = [
        {},
        {},
        {},
        {"actions": ["a", "c", "new", "nowhere"]},
        {"excluded": ["a", "b"], "deferred": True},
        {"actions": ["b"], "decision_id": 'd "%s" é'},
        {"context": {"age": "old", "device": "watch", "taste": [1.0], "page": None}},
    ]
    return [
        DecisionRequest(
            **{
                "id": f"r-{place}",
                "time": TIME + timedelta(microseconds=137 * place),
                "subject": f"{place % 5:032x}",
                "slot_id": slot.slot_id,
                "decision_id": f"d-{place}",
                "context": context(place),
                **change,
            }
        )
        for place, change in enumerate(changes)
    ]


def context(place: int) -> dict[str, Any]:
    """Give the context of a request."""
    rng = np.random.default_rng(place)
    return {
        "age": 20 + 7 * place,
        "taste": [round(float(x), 2) for x in rng.normal(size=2)],
        "device": ("phone", "desktop", "watch")[place % 3],
        "page": f"p{place}",
    }
