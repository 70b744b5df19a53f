"""A slot whose features change goes on deciding: the old posterior is not asked."""

import msgspec
import numpy as np
import pytest

from operators.batches import Event, Origin, PolicyNews, micros
from operators.catalog_check import flaw_of
from operators.decide import Scorer
from operators.logic.policies import Deltas, make_policy
from operators.queue import Ready
from operators.slot_policy import policy_shape
from schemas.catalog import FeatureSpec, PolicySettings, Slot
from schemas.events import Decision, DecisionRequest
from tests.support import records as make

LOGISTIC = PolicySettings(kind="logistic")
ONE = make.slot("home", policy=LOGISTIC, features=FeatureSpec(numeric=["a"]))
TWO = make.slot("home", 1, policy=LOGISTIC, features=FeatureSpec(numeric=["a", "b"]))
OTHER = make.slot("home", 1, policy=LOGISTIC, features=FeatureSpec(numeric=["b"]))


def learned(slot: Slot) -> PolicyNews:
    policy = make_policy("logistic", None, 2)
    policy.set_actions(["x", "y"], None)
    zeros = np.zeros(2)
    policy.learn(Deltas(["x", "y"], np.ones((2, 2)), zeros, zeros, zeros + 1, zeros + 1))
    return PolicyNews("home", "logistic", 7, 1, policy.publish(), policy_shape(slot))


def decide(slot: Slot, news: PolicyNews) -> Decision:
    at = make.decision(1).time
    body = DecisionRequest(
        id="r", time=at, subject="s", slot_id="home", decision_id="d", context={"a": 1, "b": 2}
    )
    event = Event(micros(at), body, "s", 1, Origin("decision-requests", 0, 0, micros(at)))
    actions = tuple(make.action(name) for name in ("x", "y"))
    ready = Ready(slot, actions, 1, news, [event], [None], [0])
    ((_, (message,)),) = Scorer(b"secret").decide([("0", ready)])
    return msgspec.json.decode(message.value, type=Decision)


def test_a_posterior_decides_under_the_settings_that_it_was_learned_under() -> None:
    assert decide(ONE, learned(ONE)).policy_version == 7


@pytest.mark.parametrize("now", [TWO, OTHER], ids=["wider", "of the same width"])
def test_under_other_features_the_prior_decides(now: Slot) -> None:
    decision = decide(now, learned(ONE))
    assert decision.policy_version == 0
    assert sum(ranked.probability for ranked in decision.ranking) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (FeatureSpec(numeric=["a", "a"]), "features"),
    ],
)
def test_a_spec_that_cannot_be_served_is_refused_by_name(spec: FeatureSpec, field: str) -> None:
    flaw = flaw_of(make.slot("home", features=spec))
    assert flaw is not None
    assert flaw.field == field
