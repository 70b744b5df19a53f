"""A slot whose features change goes on deciding: the old posterior is not asked."""

from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from flows.runtime.clock import system_clock
from operators.attribute import resumed
from operators.decide.admission import RequestGroup
from operators.decide.scoring import Scorer
from operators.envelope import Event, Origin
from operators.io.metrics.attribution import AttributionMetrics
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic
from operators.learner import resumed as learner_resumed
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.logic.catalog_check import flaw_of
from operators.logic.features import FeatureMap, pack
from operators.logic.models import CanonicalOrder
from operators.logic.policies import Deltas, load_policy, make_policy
from operators.logic.policies.published import PublishedPolicy
from operators.logic.slot_policy import policy_family, policy_shape
from operators.updates import PosteriorUpdate
from schemas.catalog import FeatureSpec, PolicySettings, Slot
from schemas.clock import NEVER, micros
from schemas.events import Decision, DecisionBack, DecisionRequest
from schemas.settings import EventTimeSettings, StateSettings
from tests.support import records as make

LOGISTIC = PolicySettings(kind="logistic")
ONE = make.slot("home", policy=LOGISTIC, features=FeatureSpec(numeric=["a"]))
TWO = make.slot("home", 1, policy=LOGISTIC, features=FeatureSpec(numeric=["a", "b"]))
OTHER = make.slot("home", 1, policy=LOGISTIC, features=FeatureSpec(numeric=["b"]))


def learned(slot: Slot) -> PublishedPolicy:
    policy = make_policy("logistic", None, 2)
    policy.set_actions(["x", "y"], None)
    zeros = np.zeros(2)
    policy.learn(
        Deltas(
            action_ids=["x", "y"],
            x=np.ones((2, 2)),
            eta=zeros,
            time=zeros,
            count_delta=zeros + 1,
            reward_delta=zeros + 1,
        )
    )
    return PublishedPolicy(
        slot_id="home",
        kind="logistic",
        version=7,
        newest=1,
        posterior=policy.publish(),
        family=policy_family(slot),
    )


def decide(slot: Slot, published: PublishedPolicy) -> Decision:
    at = make.decision(1).time
    body = DecisionRequest(
        id="r", time=at, subject="s", slot_id="home", decision_id="d", context={"a": 1, "b": 2}
    )
    event = Event(micros(at), body, "s", 1, Origin("decision-requests", 0, 0, micros(at)))
    actions = tuple(make.action(name) for name in ("x", "y"))
    ready = RequestGroup(
        slot=slot,
        actions=actions,
        revision=1,
        policy=published,
        events=[event],
        eligible=[None],
        request_hashes=[0],
    )
    ((_, (message,)),) = Scorer(b"secret", system_clock, DecisionMetrics()).decide([("0", ready)])
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


def updates_of(slot: Slot, *fingerprints: str) -> list[PosteriorUpdate]:
    """Let attribution read back a decision per fingerprint, as made by slots of the same width."""
    rules = msgspec.structs.replace(slot, needs_impression=False)
    catalog = Catalog({"home": rules}, {"home": (make.action("x"),)}, revision=1)
    events = []
    for number, fingerprint in enumerate(fingerprints, 1):
        made = make.decision(number, action_id="x", features=pack(np.ones(2)), mapping=fingerprint)
        body = msgspec.convert(msgspec.to_builtins(made), DecisionBack, strict=False)
        origin = Origin("decisions", 0, number, 0)
        events.append(Event(micros(body.time), body, "s", number, origin))
    logic = resumed(EventTimeSettings(), StateSettings(), None, None, AttributionMetrics())
    given, _ = logic.on_batch([CatalogedBatch(0, micros(made.time), events, catalog=catalog)])
    return [item for item in given if isinstance(item, PosteriorUpdate) and item.deltas is not None]


def test_a_decision_teaches_only_the_meaning_that_it_was_made_under() -> None:
    """Decisions of a, of b and of a release that logged no mapping, while the slot looks at b."""
    one, other = (FeatureMap(slot.features).logged_fingerprint for slot in (ONE, OTHER))
    updates = updates_of(OTHER, one, other, "", other)
    assert sorted((update.fingerprint, len(update.deltas or ())) for update in updates) == sorted(
        [(one, 1), (other, 2), ("", 1)]
    )
    registry = CollectorRegistry()
    logic = LearnerLogic(
        order=CanonicalOrder(1), clock=system_clock, metrics=LearnerMetrics(registry)
    )
    logic.on_batch(updates)
    assert logic.decisions == 3.0
    labels = {"slot": "home", "reason": "other_features"}
    assert registry.get_sample_value("banditflow_lessons_ignored_total", labels) == 1
    assert logic.policy is not None
    assert load_policy(logic.policy.dump()).publish().summary()[0].count == 3.0


def test_a_decision_logs_the_meaning_of_its_features() -> None:
    assert decide(ONE, learned(ONE)).mapping == FeatureMap(ONE.features).logged_fingerprint
    plain = make.slot("home", policy=PolicySettings(kind="beta"))
    posterior = make_policy("beta").publish()
    published = PublishedPolicy(
        slot_id="home",
        kind="beta",
        version=1,
        newest=1,
        posterior=posterior,
        family=policy_family(plain),
    )
    assert decide(plain, published).mapping == "", "without features there is nothing to say"


def test_features_in_another_order_begin_anew() -> None:
    """The columns follow the order of the declaration: what was learned is of others."""
    listed = {"device": ["phone"], "page": ["home", "shop"]}
    slots = [
        make.slot("home", policy=LOGISTIC, features=FeatureSpec(categories=dict(order)))
        for order in (listed.items(), reversed(listed.items()))
    ]
    one, two = (FeatureMap(slot.features).names for slot in slots)
    assert one != two
    assert sorted(one) == sorted(two)
    assert policy_shape(slots[0]) != policy_shape(slots[1])


BEFORE = make.slot("home", policy=PolicySettings(kind="beta"))
AFTER = make.slot("home", 60, policy=PolicySettings(kind="beta", params={"half_life": 1e9}))
WIDER = make.slot("home", 60, policy=PolicySettings(kind="beta"), reward_range=(0.0, 2.0))


def update(slot: Slot, seconds: float, count: float, reward: float, shard: int = 0) -> Any:
    """What a decision of action x, made so many seconds after the start, changes."""
    time = make.START.timestamp() + seconds
    deltas = Deltas(
        action_ids=["x"],
        x=np.zeros((1, 0)),
        eta=np.zeros(1),
        time=np.array([round(time * 1e6) / 1e6]),
        count_delta=np.array([count]),
        reward_delta=np.array([reward]),
    )
    return PosteriorUpdate(
        shard=shard,
        watermark=NEVER,
        slot=slot,
        actions=(make.action("x"),),
        deltas=deltas,
    )


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("after", [AFTER, WIDER], ids=["parameters", "reward range"])
def test_rewards_of_decisions_that_an_earlier_policy_counted_are_not_credited_to_the_new_one(
    after: Slot, *, restarted: bool
) -> None:
    registry = CollectorRegistry()
    metrics = LearnerMetrics(registry)
    logic = LearnerLogic(order=CanonicalOrder(2), clock=system_clock, metrics=metrics)
    logic.on_batch([update(BEFORE, second, 1.0, 0.0) for second in range(50)])
    assert logic.decisions == 50.0
    logic.on_batch([update(after, 61.0, 1.0, 0.0)])
    if restarted:
        logic = learner_resumed(logic.snapshot(), system_clock, metrics)
    logic.on_batch([update(after, second, 0.0, 1.0) for second in range(50)])
    logic.on_batch([update(after, 61.0, 0.0, 1.0)])
    assert (logic.decisions, logic.rewards) == (1.0, 1.0)
    labels = {"slot": "home", "reason": "other_policy"}
    assert registry.get_sample_value("banditflow_lessons_ignored_total", labels) == 50


def test_a_shard_that_still_has_the_slot_as_it_was_does_not_start_the_policy_anew() -> None:
    logic = LearnerLogic(order=CanonicalOrder(2), clock=system_clock, metrics=LearnerMetrics())
    logic.on_batch([update(BEFORE, 1.0, 1.0, 0.0)])
    logic.on_batch([update(AFTER, 61.0, 1.0, 0.0)])
    logic.on_batch([update(BEFORE, 2.0, 1.0, 0.0, shard=1)])
    logic.on_batch([update(AFTER, 62.0, 1.0, 0.0)])
    assert logic.slot == AFTER
    assert logic.decisions == 2.0
