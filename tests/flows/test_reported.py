"""What a running flow reports: every step its own, and what a recomputation from its log gives."""

from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import pytest
from bytewax.testing import run_main
from prometheus_client import CollectorRegistry

from operators.io.memory import MemorySink
from operators.io.metrics.root import Metrics
from operators.logic.deciding.audit import CLIP
from operators.logic.features import FeatureMap, unpack_rows
from operators.logic.policies import Deltas
from operators.logic.slot_policy import new_policy
from schemas.catalog import Action, FeatureSpec, Holdout, PolicySettings, Slot
from schemas.clock import micros
from schemas.events import Decision
from schemas.results import Outcome, PolicySnapshot
from schemas.settings import load
from schemas.topics import Topic
from tests.support.closed_loop import START, TURN, World, Written, play

T = TypeVar("T")

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
    "banditflow_outcomes_total": 100,
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


LOW, HIGH = -1.0, 1.0
ACTIONS = ["a0", "a1", "a2"]


class Run(NamedTuple):
    """A run over a log, and what it reported at its end."""

    world: World
    written: Written
    slot: Slot
    registry: CollectorRegistry

    def value(self, name: str, **labels: str) -> float | None:
        """Give a sample of the only slot, or of none."""
        slot = {} if labels.keys() & {"topic", "shard", "reason"} else {"slot": "home"}
        return self.registry.get_sample_value(f"banditflow_{name}", slot | labels)

    def by(self, name: str, label: str) -> dict[str, float]:
        """Give a metric's samples by one label, without those that count nothing."""
        return {
            sample.labels[label]: sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == f"banditflow_{name}" and sample.value
        }


@pytest.fixture(scope="module", params=["beta", "logistic", "uniform"])
def run(request: pytest.FixtureRequest) -> Run:
    """Play 10 turns of 20 visitors in a slot whose rewards lie in [-1, 1] and have a hold-out."""
    slot = Slot(
        id="slot",
        time=START,
        slot_id="home",
        policy=PolicySettings(kind=request.param),
        features=FeatureSpec(numeric=["age"]),
        holdout=Holdout(share=0.2),
        reward_range=(LOW, HIGH),
        reward_window=TURN,
    )
    actions = [Action(id=a, time=START, action_id=a, slots=["home"]) for a in ACTIONS]
    world = World(np.tile([0.5, 0.2, 0.4], (20, 1)), 10, SETTINGS, seed=2, consenting=15)
    world.context = lambda visitor: {"age": visitor / 10.0}
    registry = CollectorRegistry()
    flow, written = play(world, [slot, *actions], Metrics(registry))
    run_main(flow, epoch_interval=timedelta(seconds=10))
    return Run(world, written, slot, registry)


def read(sink: MemorySink, kind: type[T]) -> list[T]:
    messages = (message for written in sink.written.values() for message in written)
    return [msgspec.json.decode(message.value, type=kind) for message in messages]


def settled(run: Run) -> list[Outcome]:
    return [
        outcome for outcome in read(run.written.outcomes, Outcome) if outcome.status == "settled"
    ]


def own_scale(rewards: Iterable[float]) -> list[float]:
    return [LOW + reward * (HIGH - LOW) for reward in rewards]


def test_counts_are_those_of_the_topics(run: Run) -> None:
    decisions = read(run.written.decisions, Decision)
    assert len(decisions) == 200
    assert run.by("events_in_total", "topic") == {
        topic.value: sum(map(len, by_shard.values())) for topic, by_shard in run.world.log.items()
    }
    assert run.by("decisions_total", "action") == Counter(each.action_id for each in decisions)
    statuses = Counter(outcome.status for outcome in read(run.written.outcomes, Outcome))
    assert run.by("outcomes_total", "status") == statuses
    clicks = sum(map(len, run.world.log[Topic.CLICKS].values()))
    assert statuses == {"settled": 200, "pending": clicks}
    assert run.by("dead_letters_total", "reason") == {}
    assert run.by("duplicates_total", "kind") == {}
    assert run.by("pending_decisions", "shard") == {}
    assert run.by("waiting_events", "shard") == {}
    assert sum(run.by("profiles", "shard").values()) == 15


def test_shares_are_those_of_the_latest_decisions(run: Run) -> None:
    shares, counts = run.by("slot_action_share", "action"), run.by("decisions_total", "action")
    assert sum(shares.values()) == pytest.approx(1.0)
    for action, share in shares.items():  # 200 decisions weigh from 0.82 to 1
        assert share == pytest.approx(counts[action] / 200, rel=0.25)


def test_what_was_observed_of_actions_is_the_mean_of_their_outcomes(run: Run) -> None:
    outcomes = settled(run)
    for action in ACTIONS:
        rewards = own_scale(o.reward for o in outcomes if o.action_id == action)
        assert run.value("slot_action_observations", action=action) == len(rewards)
        observed = run.value("slot_action_observed_reward", action=action)
        assert observed == pytest.approx(np.mean(rewards))
    policy = max(read(run.written.policies, PolicySnapshot), key=lambda each: each.version)
    total = sum(own_scale(outcome.reward for outcome in outcomes))
    assert (policy.decisions, policy.rewards) == (200, pytest.approx(total))
    assert sum(each.reward for each in policy.actions) == pytest.approx(total)


def test_what_is_believed_is_what_a_policy_learns_from_the_outcomes(run: Run) -> None:
    outcomes = settled(run)
    dim = FeatureMap(run.slot.features).dim
    actions = tuple(Action(id=a, time=START, action_id=a, slots=["home"]) for a in ACTIONS)
    policy = new_policy(run.slot, actions, dim)
    x = unpack_rows([outcome.features for outcome in outcomes], dim)
    policy.learn(
        Deltas(
            action_ids=[outcome.action_id for outcome in outcomes],
            x=x,
            eta=np.array([outcome.eta for outcome in outcomes]),
            time=np.array([micros(outcome.time) * 1e-6 for outcome in outcomes]),
            count_delta=np.ones(len(outcomes)),
            reward_delta=np.array([outcome.reward for outcome in outcomes]),
            square_delta=np.array([outcome.reward**2 for outcome in outcomes]),
        )
    )
    for wanted in policy.publish().summary(x.mean(axis=0)):
        mean = run.value("slot_action_reward", action=wanted.action_id)
        deviation = run.value("slot_action_reward_deviation", action=wanted.action_id)
        if wanted.mean is None or wanted.deviation is None:
            assert mean is deviation is None
            continue
        assert mean == pytest.approx(LOW + wanted.mean * (HIGH - LOW), rel=1e-6)
        assert deviation == pytest.approx(wanted.deviation * (HIGH - LOW), rel=1e-6)


def test_a_click_is_more_than_no_answer_is_worth(run: Run) -> None:
    """No answer is worth 0, in the middle of the range: it was taken for a click."""
    outcomes = settled(run)
    clicks = sum(outcome.reward > 0.5 for outcome in outcomes)
    assert 0 < clicks < len(outcomes) == run.value("model", measure="click_outcomes")
    auc, loss = (run.value("model", measure=f"click_{name}") for name in ("auc", "log_loss"))
    assert auc is not None, "there were clicks, and other outcomes"
    assert loss is not None
    assert 0.3 < loss < 1.5  # that of knowing nothing is 0.69; of 33 % clicks it is 0.63


def test_the_audit_is_that_of_the_logged_probabilities(run: Run) -> None:
    observed = expected = variance = 0.0
    for decision in read(run.written.decisions, Decision):
        p = {ranked.action_id: ranked.probability for ranked in decision.ranking}
        scores = {action: min(1.0 / (p[action] * len(p)), CLIP) for action in p}
        mean = sum(p[action] * scores[action] for action in p)
        observed += scores[decision.action_id]
        expected += mean
        variance += sum(p[action] * (scores[action] - mean) ** 2 for action in p)
    names = ("observed", "expected", "variance")
    found = [run.value(f"propensity_audit_{name}_total") for name in names]
    assert found == pytest.approx([observed, expected, variance], rel=1e-6)
    assert run.value("propensity_audit_ratio") == pytest.approx(observed / expected, rel=1e-6)


def test_latency_and_staleness_count_the_decisions_that_they_are_of(run: Run) -> None:
    decisions = read(run.written.decisions, Decision)
    assert run.value("decision_latency_seconds_count") == len(decisions)
    assert run.value("policy_version") in {decision.policy_version for decision in decisions}
    newest: Any = {
        policy.version: policy.time for policy in read(run.written.policies, PolicySnapshot)
    }
    count = run.value("policy_staleness_seconds_count") or 0.0
    assert 0 < count <= 180  # none of the first turn: nothing had been rewarded
    exported = [
        (decision.time - newest[decision.policy_version]).total_seconds()
        for decision in decisions
        if decision.policy_version in newest
    ]
    assert all(age >= 0.0 for age in exported)
    mean = (run.value("policy_staleness_seconds_sum") or 0.0) / count
    assert 0.0 < mean < 2 * TURN
