"""What a running flow reports: every step has its metrics on the registry that is handed in."""

from datetime import timedelta

import numpy as np
from bytewax.testing import run_main
from prometheus_client import CollectorRegistry

from operators.io.metrics.root import Metrics
from schemas.catalog import Action, FeatureSpec, PolicySettings, Slot
from schemas.settings import load
from tests.support.closed_loop import START, TURN, World, play

SETTINGS = load({}, secret="a secret of the tests", partitions=2, allowed_lateness=1.0, gather=0.0)
REPORTED = {
    "banditflow_events_in_total": 400,
    "banditflow_decisions_total": 100,
    "banditflow_decision_latency_seconds_count": 100,
    "banditflow_policy_staleness_seconds_count": 1,
    "banditflow_policy_version": 1,
    "banditflow_slot_action_share": 0.01,
    "banditflow_propensity_audit_ratio": 0.1,
    "banditflow_slot_action_reward": 0.01,
    "banditflow_outcomes_settled_total": 100,
    "banditflow_profiles": 20,
    "banditflow_factor_subjects": 20,
    "banditflow_model": 1,
}
"""The least sum of each metric's samples."""


def test_every_step_reports_on_the_registry_that_it_is_given() -> None:
    registry = CollectorRegistry()
    features = FeatureSpec(profile_embedding=2)
    policy = PolicySettings(kind="logistic")
    slot = Slot(
        id="slot", time=START, slot_id="home", policy=policy, features=features, reward_window=TURN
    )
    actions = [Action(id=a, time=START, action_id=a, slots=["home"]) for a in ("a0", "a1")]
    world = World(np.full((20, 2), 0.5), 10, SETTINGS, seed=1, consenting=20)
    flow, _ = play(world, [slot, *actions], Metrics(registry))
    run_main(flow, epoch_interval=timedelta(seconds=10))
    totals: dict[str, float] = dict.fromkeys(REPORTED, 0.0)
    for family in registry.collect():
        for sample in family.samples:
            if sample.name in totals:
                totals[sample.name] += sample.value
    missing = {name: total for name, total in totals.items() if total < REPORTED[name]}
    assert not missing
