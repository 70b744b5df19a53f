"""A slot whose view of undeclared features changes while it decides, in the whole flow."""

from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from bytewax.testing import run_main

from flows.runtime.clock import system_clock
from schemas.catalog import AutoFeatures, FeatureSpec, PolicySettings, RobotRate, Slot, SubjectLimit
from schemas.events import Decision
from schemas.results import PolicySnapshot
from schemas.settings import load
from tests.operators.test_shared_slots import (
    UNIFORM,
    VISITORS,
    brings,
    check_probabilities,
    decisions_of,
    worth,
)
from tests.operators.test_shared_slots import slot_of as shared_slot
from tests.support.closed_loop import START, TURN, World, play

TURNS, CHANGED_AT = 34, 14
BEFORE = VISITORS * CHANGED_AT
"""Decisions that the old view has learned when the new one begins, or a few less."""

KNOWN = UNIFORM + 0.25
"""What is earned on average once tastes are known."""


def slot_of(**changes: Any) -> Slot:
    """A slot that always tries a little of everything and learns from every decision of a visitor.

    A new view learns from what the old one shows alone: where that is always the same, it has
    something to try once it decides.
    """
    return shared_slot(
        floor_mass=0.1,
        subject_limit=SubjectLimit(enabled=False),
        robot_rate=RobotRate(enabled=False),
        **changes,
    )


def changed(slot: Slot, turn: float, **changes: Any) -> Slot:
    """The slot with other settings from a turn on."""
    time = START + timedelta(seconds=turn * TURN)
    return msgspec.structs.replace(slot, id=f"slot-{turn}", time=time, **changes)


def features(**auto: Any) -> FeatureSpec:
    return FeatureSpec(auto=AutoFeatures(**{"bits": 12, **auto}))


class Played:
    """What a flow did with these catalog records over the turns."""

    def __init__(self, *slots: Slot, turns: int = TURNS) -> None:
        settings = load({}, secret="a secret of the tests", partitions=2)
        click = np.zeros((VISITORS, 1))
        self.world = World(click, turns, settings, seed=3, consenting=0, ask=brings, worth=worth)
        began, world = system_clock() + timedelta(hours=1), self.world
        # A clock that moves between turns alone: no publication takes long, and each turn exports.
        flow, written = play(
            world, slots, clock=lambda: began + timedelta(seconds=len(world.chance))
        )
        run_main(flow)
        self.decisions = decisions_of(written)
        self.snapshots = [
            msgspec.json.decode(message.value, type=PolicySnapshot)
            for messages in written.policies.written.values()
            for message in messages
        ]

    def earned(self, begin: int, end: int) -> float:
        """The mean chance of a click from one turn to before another."""
        return float(np.mean(self.world.chance[begin:end]))

    def of_turns(self, begin: int, end: int) -> list[Decision]:
        return [
            decision
            for decision in self.decisions
            if begin <= int(decision.decision_id.partition("-")[2]) < end
        ]


CHANGES: dict[str, dict[str, Any]] = {
    "bits": {"features": features(bits=11)},
    "crosses": {"features": features(crosses=[["", "of"]])},
    "ignore": {"features": features(ignore=["elsewhere"])},
    "most_crossed": {"features": features(most_crossed=50)},
    "scale": {"features": features(scale=False)},
    "rank": {"policy": PolicySettings(kind="shared", params={"rank": 32})},
    "buckets": {"policy": PolicySettings(kind="shared", params={"buckets": 1024})},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_slot_earns_what_it_did_while_its_new_view_learns(change: str) -> None:
    slot = slot_of()
    played = Played(slot, changed(slot, CHANGED_AT, **CHANGES[change]))
    assert len(played.decisions) == VISITORS * TURNS
    check_probabilities(played.decisions, slot)
    assert {decision.policy for decision in played.decisions} == {"shared"}
    assert played.earned(CHANGED_AT - 3, CHANGED_AT) > KNOWN
    for turn in range(CHANGED_AT, TURNS, 4):
        assert played.earned(turn, turn + 4) > KNOWN, turn
    assert {d.policy_version for d in played.of_turns(CHANGED_AT, TURNS)}.isdisjoint({0})


def test_a_change_of_what_posteriors_have_in_common_begins_with_the_prior() -> None:
    """The yardstick of the test above: what a slot earns that begins anew."""
    slot = slot_of()
    gaussian = PolicySettings(kind="shared", params={"link": "gaussian"})
    played = Played(slot, changed(slot, CHANGED_AT, policy=gaussian), turns=CHANGED_AT + 3)
    assert played.earned(CHANGED_AT, CHANGED_AT + 1) < KNOWN - 0.1
    first = played.of_turns(CHANGED_AT, CHANGED_AT + 1)
    assert 0 in {decision.policy_version for decision in first}


def test_a_slate_is_decided_by_the_positions_of_the_old_view() -> None:
    slot = slot_of(slate_size=2)
    played = Played(slot, changed(slot, CHANGED_AT, features=features(bits=10)))
    check_probabilities(played.decisions, slot)
    for decision in played.decisions:
        assert decision.slate is not None
        first, second = decision.slate
        assert first.probability * second.probability == pytest.approx(decision.propensity)
    assert played.earned(CHANGED_AT, TURNS) > KNOWN


def test_snapshots_say_whose_view_decides_and_how_far_the_next_one_is() -> None:
    slot = slot_of()
    new = changed(slot, CHANGED_AT, features=features(bits=11))
    played = Played(slot, new)
    views = []
    for snapshot in sorted(played.snapshots, key=lambda each: each.version):
        assert snapshot.features_view is not None
        views.append(snapshot.features_view)
    bits = [view.auto.bits for view in views]
    assert bits == sorted(bits, reverse=True)
    assert {12, 11} == set(bits)
    successors = [view.successor for view in views if view.successor is not None]
    assert successors
    assert {each.since for each in successors} == {new.time}
    assert {each.needed for each in successors} == {successors[0].needed}
    assert BEFORE - VISITORS <= successors[0].needed <= BEFORE
    learned = [each.decisions for each in successors]
    assert learned == sorted(learned)
    assert learned[-1] < successors[0].needed
    assert all(view.successor is None for view in views if view.auto.bits == 11)


def test_a_change_back_goes_on_as_if_nothing_had_changed() -> None:
    slot = slot_of()
    new = changed(slot, CHANGED_AT, features=features(bits=11))
    played = Played(slot, new, changed(slot, CHANGED_AT + 4))
    assert played.earned(CHANGED_AT, TURNS) > KNOWN
    last = max(played.snapshots, key=lambda snapshot: snapshot.version)
    assert last.features_view is not None
    assert last.features_view.auto.bits == 12
    assert last.features_view.successor is None
    assert last.decisions == VISITORS * TURNS
