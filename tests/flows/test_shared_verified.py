"""One model for actions that every request brings anew, beside ordinary slots, through kills.

What comes late, twice and again after a kill ends in the statistics of a recomputation.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.devkit.embedded import Server
from flows.devkit.verify_replay.simulated_log import simulated_log
from flows.personalize import Steps
from flows.registry import PERSONALIZE
from flows.runtime.snapshots import states_of
from flows.verification.log import Logged, copied
from flows.verification.shared_columns import EVERY_ACTION
from operators.io.store.open import open_store
from operators.learner_state import unpack_learner
from operators.logic.policies import load_policy
from operators.logic.policies.shared import Shared
from operators.logic.request_actions import MOST_REQUEST_ACTIONS
from schemas.catalog import AutoFeatures, FeatureSpec, Holdout, PolicySettings, Slot
from schemas.codec import decode, encode
from schemas.events import Decision, DecisionRequest
from schemas.topics import Topic
from tests.support.verified_run import play

REQUESTS, RATE = 2_000, 500.0
AUTO = FeatureSpec(auto=AutoFeatures(bits=12))
CHANGES: dict[str, dict[str, Any]] = {
    "side": {
        "policy": PolicySettings(kind="shared", params={"half_life": 60.0}),
        "features": AUTO,
        "candidates": "request",
        "floor_mass": 0.05,
    },
    "wall": {
        "policy": PolicySettings(kind="shared", params={"rank": 32}),
        "features": AUTO,
        "candidates": "request",
        "holdout": Holdout(share=0.1),
        "log_candidates": True,
    },
    "foot": {
        "policy": PolicySettings(kind="shared", params={"link": "gaussian"}),
        "features": FeatureSpec(auto=AutoFeatures(bits=8)),
    },
}
"""One slot whose requests bring new actions each time, one of slates, one of the catalog's."""


BRING = ("side", "wall")


def candidates(request: DecisionRequest) -> list[Any]:
    number = int(request.id.removeprefix("r"))
    if request.slot_id == "wall":
        names = [f"old-{(number + step) % 9}" for step in range(5)]
    else:
        names = [f"new-{number}-{step}" for step in range(5)]
    brought = [
        {"id": name, "features": {"topic": f"t{place}", "n": [number % 7, 0.5]}}
        for place, name in enumerate(names)
    ]
    return brought if number % 4 else [*brought, "bare"]


def with_shared_slots(log: list[Logged]) -> list[Logged]:
    """The log with these slots, where one more slot's visitors go to the first of them."""
    changed = []
    for each in log:
        value = each.value
        if each.topic is not Topic.CATALOG:
            value = value.replace(b'"slot_id":"strip"', b'"slot_id":"side"')
        body = decode(each.topic, value)
        if isinstance(body, Slot) and body.slot_id in CHANGES:
            value = encode(msgspec.structs.replace(body, **CHANGES[body.slot_id]))
        elif isinstance(body, DecisionRequest) and body.slot_id in BRING and body.id[0] == "r":
            record = msgspec.json.decode(value) | {"actions": candidates(body)}
            value = msgspec.json.encode(record)
        changed.append(msgspec.structs.replace(each, value=value))
    return changed


def test_a_shared_model_ends_in_the_statistics_of_a_recomputation(
    broker: Server, valkey: Server, tmp_path: Path
) -> None:
    log = with_shared_slots(simulated_log(REQUESTS, RATE, partitions=2, seed=8))
    settings, run = play("shared", log, broker, valkey, tmp_path, kills=3, seed=1, speed=1.0)
    found = run.verification
    wrong = [check for check in found.actions if not check.agrees]
    assert found.holds, (wrong[:9], found)
    checks = {check.slot_id: check for check in found.actions if check.action_id == EVERY_ACTION}
    assert checks.keys() == CHANGES.keys()
    for check in checks.values():
        assert check.recomputed[0] > 50, check
        assert check.difference < 1e-9
    learners = states_of(settings, PERSONALIZE)[Steps.LEARNERS]
    side = unpack_learner(learners["side"])
    policy = load_policy(side.policy)
    assert isinstance(policy, Shared)
    assert len(policy.intercepts.ids) <= MOST_REQUEST_ACTIONS
    decisions = [
        body
        for each in copied(settings)
        if each.topic is Topic.DECISIONS
        and isinstance(body := msgspec.json.decode(each.value, type=Decision), Decision)
        and body.slot_id in CHANGES
    ]
    assert {body.policy for body in decisions} == {"shared"}
    assert len({(body.slot_id, body.policy_version) for body in decisions}) > 9
    for body in decisions:
        total = sum(each.probability for each in body.ranking)
        assert total == pytest.approx(1.0, abs=1e-9)
        assert body.context is not None
    store = open_store(settings.store)
    (row,) = store.decision(decisions[0].decision_id)
    context = msgspec.json.decode(msgspec.json.encode(decisions[0].context))
    assert row["context"] == context
    store.close()
