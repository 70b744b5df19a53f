"""Histories of a catalog: random edits, and requests between them."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from random import Random
from typing import Any

from schemas.catalog import CatalogEntry, Holdout, PolicySettings
from schemas.events import DecisionRequest
from tests.support import records as make
from tests.support.showing import SUBJECTS

SLOTS = ("home", "side")
ACTIONS = ("a", "b", "c", "d")
NAMES = (*ACTIONS, "x", "y")
"""Those that requests may name: two that no catalog knows are among them."""

Choices = Mapping[str, Sequence[Any]]

SLOT: Choices = {
    "candidates": ["catalog", "request"],
    "policy": [
        PolicySettings(kind="beta"),
        PolicySettings(kind="logistic"),
        PolicySettings(kind="greedy", params={"epsilon": 0.0}),
        PolicySettings(kind="uniform"),
        PolicySettings(kind="split", params={"shares": {"a": 1.0, "x": 1.0}}),
    ],
    "slate_size": [1, 1, 2, 5],
    "floor": [0.0, 0.1],
    "holdout": [
        Holdout(),
        Holdout(share=0.5, unit="decision"),
        Holdout(share=0.5, unit="subject"),
    ],
    "baseline_action_id": [None, "a", "x"],
    "deleted": [*7 * [False], True],
}
ACTION: Choices = {
    "enabled": [True, True, False],
    "deleted": [False, False, False, True],
    "slots": [["home", "side"], ["home", "side"], ["home"], ["side"], []],
}


def request(name: str, seconds: float, shard: int, **fields: Any) -> DecisionRequest:
    time = make.START + timedelta(seconds=seconds)
    return DecisionRequest(id=name, decision_id=name, time=time, subject=SUBJECTS[shard], **fields)


APART = 8
"""Seconds between edits: ten thousand are within a day, in which no deleted id is forgotten."""


def one_of(choices: Choices, rng: Random) -> dict[str, Any]:
    return {name: rng.choice(some) for name, some in choices.items()}


def edit(rng: Random, number: int) -> CatalogEntry:
    """A change that holds from now, from before, or from a while later on."""
    at = APART * number + rng.choice([-60, 0, 0, 0, 0, 60])
    id_ = f"{number:06d}"
    if rng.random() < 0.1:
        return make.slot(rng.choice(SLOTS), at, id=id_, **one_of(SLOT, rng))
    return make.action(rng.choice(ACTIONS), at, id=id_, **one_of(ACTION, rng))


def some_requests(rng: Random, number: int, shard: int) -> list[DecisionRequest]:
    def some_names() -> list[str]:
        return rng.sample(NAMES, rng.randrange(5))

    return [
        request(
            f"r{number}-{place}",
            APART * number + rng.uniform(-90, 0),
            shard,
            slot_id=rng.choice(SLOTS),
            actions=rng.choice([None, some_names()]),
            excluded=rng.choice([[], [], some_names()]),
        )
        for place in range(rng.randrange(1, 4))
    ]
