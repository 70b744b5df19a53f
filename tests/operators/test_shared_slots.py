"""Slots with one model for all actions, over features that nobody declared, in the whole flow."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from bytewax.testing import run_main
from prometheus_client import CollectorRegistry

from flows.runtime.clock import system_clock
from operators.io.metrics.root import Metrics
from schemas.catalog import AutoFeatures, FeatureSpec, Holdout, PolicySettings, Slot
from schemas.events import Decision
from schemas.settings import load
from tests.support import records as make
from tests.support.closed_loop import START, World, Written, play

VISITORS, TURNS = 40, 25
TOPICS = ("sport", "news", "film", "food")
LIKED, OTHERS = 0.8, 0.05
"""Click probabilities of what a visitor likes, and of all else."""

UNIFORM = LIKED / 4 + OTHERS * 3 / 4


def liked_by(visitor: int) -> str:
    return TOPICS[visitor % 4]


def brings(visitor: int, turn: int) -> dict[str, Any]:
    """A request that brings an action of each topic, which no other request has."""
    actions = [
        {"id": f"a{visitor}-{turn}-{topic}", "features": {"of": {"topic": topic}, "price": 3}}
        for topic in TOPICS
    ]
    return {"context": {"likes": liked_by(visitor), "hour": turn % 24}, "actions": actions}


def worth(visitor: int, decision: Decision) -> float:
    return LIKED if decision.action_id.endswith(liked_by(visitor)) else OTHERS


def slot_of(**changes: Any) -> Slot:
    given: dict[str, Any] = {
        "policy": PolicySettings(kind="shared", publish_rewards=1, publish_interval=1.0),
        "features": FeatureSpec(auto=AutoFeatures(bits=12)),
        "candidates": "request",
        **changes,
    }
    return make.slot("home", -100, **given)


def decisions_of(written: Written) -> list[Decision]:
    made = [
        msgspec.json.decode(message.value, type=Decision)
        for messages in written.decisions.written.values()
        for message in messages
    ]
    return sorted(made, key=lambda decision: decision.time)


Played = tuple[World, list[Decision], CollectorRegistry]


def played(slot: Slot, *entries: Any, ask: Any = brings) -> Played:
    settings = load({}, secret="a secret of the tests", partitions=2)
    click, registry = np.zeros((VISITORS, 1)), CollectorRegistry()
    world = World(click, TURNS, settings, seed=3, consenting=0, ask=ask, worth=worth)
    # On a clock that stands still no publication takes long, so none is rested after.
    now = system_clock() + timedelta(hours=1)
    flow, written = play(world, [slot, *entries], Metrics(registry), lambda: now)
    run_main(flow)
    return world, decisions_of(written), registry


def check_probabilities(decisions: list[Decision], slot: Slot) -> None:
    for decision in decisions:
        probabilities = {each.action_id: each.probability for each in decision.ranking}
        assert len(probabilities) == len(decision.ranking)
        assert sum(probabilities.values()) == pytest.approx(1.0, abs=1e-9)
        assert min(probabilities.values()) >= slot.floor_mass / len(probabilities) - 1e-12
        if decision.slate is None:
            assert decision.propensity == probabilities[decision.action_id]


def test_new_actions_are_scored_by_their_features_at_once() -> None:
    slot = slot_of(floor_mass=0.04)
    world, decisions, _ = played(slot)
    assert len(decisions) == VISITORS * TURNS
    assert len({decision.action_id for decision in decisions}) == VISITORS * TURNS
    check_probabilities(decisions, slot)
    assert {decision.policy for decision in decisions} == {"shared"}
    assert np.mean(world.chance[-5:]) > UNIFORM + 0.3
    for decision in decisions:
        (logged,) = decision.contents or ()
        topic = decision.action_id.rpartition("-")[2]
        assert msgspec.json.decode(logged.features) == {"of": {"topic": topic}, "price": 3}
        assert decision.context is not None
        visitor = int(decision.decision_id[1:].partition("-")[0])
        assert msgspec.json.decode(decision.context["likes"]) == liked_by(visitor)
        assert decision.features is None
        assert decision.mapping == ""


def test_a_slate_shows_what_remains_and_its_positions_are_learned() -> None:
    slot = slot_of(slate_size=2)
    world, decisions, _ = played(slot)
    check_probabilities(decisions, slot)
    for decision in decisions:
        assert decision.slate is not None
        first, second = decision.slate
        assert first.action_id == decision.action_id != second.action_id
        assert first.probability * second.probability == pytest.approx(decision.propensity)
        assert [each.action_id for each in decision.contents or ()] == [
            first.action_id,
            second.action_id,
        ]
    assert np.mean(world.chance[-5:]) > UNIFORM + 0.3


@pytest.mark.parametrize("unit", ["decision", "subject"])
def test_the_held_out_are_decided_uniformly(unit: Any) -> None:
    slot = slot_of(holdout=Holdout(share=0.5, unit=unit))
    _, decisions, _ = played(slot)
    check_probabilities(decisions, slot)
    late = [d for d in decisions if (d.time - START).total_seconds() > 5.0 * (TURNS - 6)]
    held = [d for d in late if d.variation_id == "holdout"]
    others = [d for d in late if d.variation_id == "policy"]
    assert 0.2 < len(held) / len(late) < 0.8
    if unit == "subject":
        assert {each.probability for d in held for each in d.ranking} == {0.25}
    else:
        assert min(each.probability for d in late for each in d.ranking) >= 0.125 - 1e-12
    right = [
        np.mean([worth(int(d.decision_id[1:].partition("-")[0]), d) for d in each])
        for each in (held, others)
    ]
    assert right[1] > right[0] + 0.2


def without_actions(visitor: int, turn: int) -> dict[str, Any]:
    return {key: value for key, value in brings(visitor, turn).items() if key != "actions"}


@pytest.mark.parametrize("candidates", ["catalog", "request"])
def test_actions_of_the_catalog_are_what_it_says_of_them(candidates: Any) -> None:
    slot = slot_of(candidates=candidates)
    actions = [
        make.action(f"x-{topic}", -100, features={"topic": topic}, embedding=None)
        for topic in TOPICS
    ]
    names = [each.action_id for each in actions]

    def ask(visitor: int, turn: int) -> dict[str, Any]:
        asked = without_actions(visitor, turn)
        return asked | ({"actions": names} if candidates == "request" else {})

    world, decisions, _ = played(slot, *actions, ask=ask)
    check_probabilities(decisions, slot)
    assert np.mean(world.chance[-5:]) > UNIFORM + 0.3
    for decision in decisions:
        (logged,) = decision.contents or ()
        assert msgspec.json.decode(logged.features) == {"topic": decision.action_id[2:]}


def test_another_policy_decides_such_a_slot_and_logs_as_much() -> None:
    slot = slot_of(policy=PolicySettings(kind="uniform"))
    _, decisions, _ = played(slot)
    check_probabilities(decisions, slot)
    for decision in decisions:
        assert decision.context is not None
        assert [each.action_id for each in decision.contents or ()] == [decision.action_id]


def test_what_is_left_out_is_counted() -> None:
    def ask(visitor: int, turn: int) -> dict[str, Any]:
        asked = brings(visitor, turn)
        if visitor == 0:
            asked["context"] = {"long": "x" * 300, "nan": 1e12}
        if visitor == 1:
            asked["context"] = {"text": "x" * 40_000}
        return asked

    slot = slot_of(features=FeatureSpec(auto=AutoFeatures(bits=12, most_crossed=2)))
    _, decisions, metrics = played(slot, ask=ask)
    found = dict(problems(metrics))
    assert found["context", "too_long"] == 2 * TURNS
    assert found["context", "too_large"] == TURNS
    assert found["crosses", "too_many"] > 0
    by_visitor = defaultdict(list)
    for decision in decisions:
        by_visitor[int(decision.decision_id[1:].partition("-")[0])].append(decision)
    assert {decision.context is None for decision in by_visitor[1]} == {True}
    assert {decision.context is None for decision in by_visitor[0]} == {False}


def problems(metrics: CollectorRegistry) -> Iterator[tuple[tuple[str, str], float]]:
    for metric in metrics.collect():
        for sample in metric.samples:
            if sample.name == "banditflow_feature_problems_total":
                labels = sample.labels
                yield (labels["field"], labels["reason"]), sample.value
