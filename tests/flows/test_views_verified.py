"""Slots whose view of undeclared features changes end, through kills, as a recomputation does."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from flows.devkit.embedded import Server
from flows.devkit.verify_replay.simulated_log import START, simulated_log
from flows.personalize import Steps
from flows.registry import PERSONALIZE
from flows.runtime.snapshots import states_of
from flows.verification.log import Logged, sort_log
from flows.verification.shared_columns import EVERY_ACTION
from flows.verification.state_dump import dump
from operators.learner_state import unpack_learner
from schemas.catalog import AutoFeatures, FeatureSpec, PolicySettings, Slot
from schemas.clock import NEVER, micros
from schemas.codec import decode, encode
from schemas.topics import Topic
from tests.flows.test_shared_verified import RATE, REQUESTS, with_shared_slots
from tests.support.verified_run import play

CHANGES: dict[str, tuple[float, dict[str, Any]]] = {
    "side": (1.8, {"features": FeatureSpec(auto=AutoFeatures(bits=11))}),
    "wall": (1.6, {"policy": PolicySettings(kind="shared", params={"rank": 64})}),
    "foot": (4.4, {"features": FeatureSpec(auto=AutoFeatures(bits=8, crosses=[]))}),
}
"""From how many seconds after the start on a slot is another; the last request is of second 5."""


def with_changes(log: list[Logged]) -> list[Logged]:
    """The log with one more record of these slots, and all of them counting decisions at once."""
    changed = []
    for each in log:
        body = decode(each.topic, each.value) if each.topic is Topic.CATALOG else None
        if not isinstance(body, Slot) or body.slot_id not in CHANGES:
            changed.append(each)
            continue
        slot = msgspec.structs.replace(body, learning_mode="immediate")
        changed.append(msgspec.structs.replace(each, value=encode(slot)))
        seconds, settings = CHANGES[body.slot_id]
        time = START + timedelta(seconds=seconds)
        later = msgspec.structs.replace(slot, id=f"{slot.id}-later", time=time, **settings)
        at = each.time + round(seconds * 1e3)
        changed.append(msgspec.structs.replace(each, time=at, value=encode(later)))
    return sort_log(changed)


def test_every_view_ends_in_the_statistics_of_a_recomputation(
    broker: Server, valkey: Server, tmp_path: Path
) -> None:
    log = with_changes(with_shared_slots(simulated_log(REQUESTS, RATE, partitions=2, seed=8)))
    settings, run = play("views", log, broker, valkey, tmp_path, kills=3, seed=1, speed=1.0)
    found = run.verification
    wrong = [check for check in found.actions if not check.agrees]
    assert found.holds, (wrong[:9], found)
    assert not found.skipped
    checks = {check.slot_id: check for check in found.actions if check.action_id == EVERY_ACTION}
    assert checks.keys() == CHANGES.keys() | {"foot (older view)"}
    for check in checks.values():
        assert check.recomputed[0] > 5, check
        assert check.difference < 1e-9
    states = states_of(settings, PERSONALIZE)
    learners = {name: unpack_learner(states[Steps.LEARNERS][name]) for name in CHANGES}
    for name, state in learners.items():
        assert state.learns_from >= micros(START + timedelta(seconds=CHANGES[name][0]))
    assert learners["side"].older is learners["wall"].older is None
    older = learners["foot"].older
    assert older is not None
    assert older.learns_from == NEVER
    assert older.decisions > older.needed > learners["foot"].decisions
    lines = [json.loads(line) for line in dump(settings, states, "learners")]
    (says,) = [line for line in lines if "decides_until" in line]
    assert (says["slot_id"], says["view"]) == ("foot", "older")
    assert says["present_decisions"] == learners["foot"].decisions
    assert any("column" in line and line.get("view") == "older" for line in lines)
