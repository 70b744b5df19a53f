"""The audit of propensities is 1 whatever is drawn: slates, hold-outs, narrowed requests."""

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from flows.runtime.clock import system_clock
from operators.decide.admission import RequestGroup
from operators.decide.scoring import Scorer
from operators.envelope import Event, Origin
from operators.io.metrics.decisions import DecisionMetrics
from operators.logic.policies import Deltas, make_policy
from operators.logic.policies.published import PublishedPolicy
from operators.logic.slot_policy import policy_family
from schemas.catalog import Holdout, PolicySettings, Slot
from schemas.clock import micros
from schemas.events import Decision, DecisionRequest
from tests.support import records as make

ACTIONS = ["a", "b", "c", "d", "e"]
REQUESTS = 3000


def learned(slot: Slot) -> PublishedPolicy:
    """A policy that prefers later actions, without being sure."""
    policy = make_policy("beta", None, 0)
    policy.set_actions(ACTIONS, None)
    rewards = np.arange(5.0) + 2.0
    ones, zeros = np.ones(5), np.zeros(5)
    policy.learn(
        Deltas(
            action_ids=ACTIONS,
            x=np.ones((5, 1)),
            eta=zeros,
            time=zeros,
            count_delta=12.0 * ones,
            reward_delta=rewards,
        )
    )
    return PublishedPolicy(
        slot_id=slot.slot_id,
        kind="beta",
        version=1,
        newest=1,
        posterior=policy.publish(),
        family=policy_family(slot),
    )


@pytest.mark.parametrize("slate_size", [1, 3])
@pytest.mark.parametrize("unit", [None, "decision", "subject"])
def test_the_audit_is_one(slate_size: int, unit: Any) -> None:
    """A right log fails the bound of 5 deviations with probability below 1e-6."""
    name = f"audited-{slate_size}-{unit}"
    holdout = Holdout(share=0.3, unit=unit) if unit else Holdout()
    beta = PolicySettings(kind="beta")
    slot = make.slot(name, policy=beta, slate_size=slate_size, floor=0.02, holdout=holdout)
    requests = [
        DecisionRequest(
            id=f"r{i}",
            time=make.decision(1).time,
            subject=f"s{i}",
            slot_id=name,
            decision_id=f"d{i}",
        )
        for i in range(REQUESTS)
    ]
    at = micros(requests[0].time)
    events = [
        Event(at, body, body.subject, i + 1, Origin("decision-requests", 0, i, at))
        for i, body in enumerate(requests)
    ]
    eligible = [ACTIONS[i % 3 :] if i % 2 else None for i in range(REQUESTS)]
    ready = RequestGroup(
        slot=slot,
        actions=tuple(make.action(action, slots=[name]) for action in ACTIONS),
        revision=1,
        policy=learned(slot),
        events=events,
        eligible=eligible,
        request_hashes=[0] * REQUESTS,
    )
    registry = CollectorRegistry()
    scorer = Scorer(b"secret", system_clock, DecisionMetrics(registry))
    messages = [m for _, given in scorer.decide([("0", ready)]) for m in given]
    decided = [msgspec.json.decode(message.value, type=Decision) for message in messages]
    rows = [np.array([ranked.probability for ranked in row.ranking]) for row in decided]
    variance = sum(float((1.0 / p[p > 0]).sum()) - np.count_nonzero(p) ** 2 for p in rows)
    eligible = sum(np.count_nonzero(p) for p in rows)
    ratio = registry.get_sample_value("banditflow_propensity_audit_ratio", {"slot": name})
    assert ratio is not None
    assert abs(ratio - 1.0) < 5 * math.sqrt(variance) / eligible < 0.15
