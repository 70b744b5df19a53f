"""A learner gives the same statistics for any order, cut and restart, and publishes when due."""

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.runtime.clock import system_clock
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic, resumed
from operators.learner_state import unpack_learner
from operators.logic.models import CanonicalOrder
from operators.logic.policies import Deltas, load_policy
from operators.logic.policies.micro_batches import joined, with_features
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policy_versions import GENERATION, next_generation
from operators.logic.slot_policy import policy_family
from operators.updates import PosteriorUpdate
from schemas.catalog import FeatureSpec, PolicySettings, Slot
from schemas.clock import NEVER, Clock, micros
from schemas.results import PolicySnapshot
from tests.support import records as make
from tests.support.learning import ACTIONS, DIM, FEATURES, NAMES, deltas
from tests.support.settled import settled, settlements

LOGISTIC = PolicySettings(kind="logistic", publish_rewards=1_000, publish_interval=5.0)
SLOT = make.slot("home", policy=LOGISTIC, features=FEATURES)
SHARDS = 2
SECOND = 1_000_000


def learner(clock: Clock = system_clock) -> LearnerLogic:
    return LearnerLogic(order=CanonicalOrder(SHARDS), clock=clock, metrics=LearnerMetrics())


def update(numbers: list[int] | None = None, slot: Slot = SLOT, **more: Any) -> PosteriorUpdate:
    taught = deltas(numbers) if numbers else None
    return replace(
        PosteriorUpdate(shard=0, watermark=NEVER, slot=slot, actions=ACTIONS, deltas=taught), **more
    )


def feed(logic: LearnerLogic, *updates: PosteriorUpdate) -> list[Any]:
    out, over = logic.on_batch(list(updates))
    assert not over
    return list(out)


def versions(out: list[Any]) -> list[int]:
    return [item.version for item in out if isinstance(item, PublishedPolicy)]


def statistics(logic: LearnerLogic) -> dict[str, tuple[float, ...]]:
    policy = load_policy(unpack_learner(logic.snapshot()).policy)
    return {
        found.action_id: (found.count, found.reward, found.mean, found.deviation)
        for found in policy.publish().summary()
    }


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**16))
def test_statistics_do_not_depend_on_order_cuts_and_restarts(count: int, seed: int) -> None:
    chance = random.Random(seed)
    numbers = list(range(count))
    whole = learner()
    feed(whole, update(numbers))
    chance.shuffle(numbers)
    pieces = learner()
    while numbers:
        size = chance.randint(1, 10)
        cut, numbers = numbers[:size], numbers[size:]
        half = chance.randint(0, len(cut))
        feed(pieces, update(cut[:half]), update(cut[half:], shard=1))
        if chance.random() < 0.3:
            pieces = resumed(pieces.snapshot(), system_clock, LearnerMetrics())
    expected, found = statistics(whole), statistics(pieces)
    assert expected.keys() == found.keys() == set(NAMES)
    for name, (n, reward, *fitted) in found.items():
        assert (n, reward) == expected[name][:2]
        assert fitted == pytest.approx(expected[name][2:], rel=1e-9, abs=1e-9)
    assert (pieces.decisions, pieces.rewards) == (count, count // 2)


def test_what_is_taught_and_withdrawn_again_leaves_nothing() -> None:
    logic = learner()
    feed(logic, update([1, 2, 3]))
    wrong = deltas([4, 5])
    feed(logic, update(deltas=wrong))
    feed(
        logic,
        update(
            deltas=replace(wrong, count_delta=-wrong.count_delta, reward_delta=-wrong.reward_delta)
        ),
    )
    only = learner()
    feed(only, update([1, 2, 3]))
    for name, row in statistics(logic).items():
        assert row == pytest.approx(statistics(only)[name], rel=1e-9, abs=1e-9)
    assert (logic.decisions, logic.rewards) == (only.decisions, only.rewards)


def test_it_publishes_after_enough_rewards_or_enough_event_time() -> None:
    start = micros(make.START)
    slot = make.slot(
        "home",
        policy=PolicySettings(kind="logistic", publish_rewards=3, publish_interval=5.0),
        features=FEATURES,
    )
    now = make.START
    logic = learner(lambda: now)
    first = feed(logic, update([1], slot, rewards=1, newest=start))
    assert versions(first) == [1]
    assert [item.version for item in first if isinstance(item, PolicySnapshot)] == [1]
    assert feed(logic, update([2], slot, newest=start + SECOND)) == []
    assert versions(feed(logic, update([3], slot, rewards=2, newest=start + SECOND))) == []
    assert versions(feed(logic, update([4], slot, rewards=1, newest=start + SECOND))) == [2]
    assert feed(logic, update([5], slot, rewards=1, newest=start + 5 * SECOND)) == []
    now += timedelta(seconds=1)
    (published, snapshot) = feed(logic, update([6], slot, rewards=1, newest=start + 6 * SECOND))
    assert (published.version, published.newest, published.family) == (
        3,
        start + 6 * SECOND,
        policy_family(slot),
    )
    assert (snapshot.version, snapshot.decisions, snapshot.rewards) == (3, 6.0, 3.0)


def test_what_nothing_came_to_publish_is_published_by_the_clock() -> None:
    now = make.START
    logic = learner(lambda: now)
    feed(logic, update([1], rewards=1, newest=micros(make.START)))
    assert logic.notify_at() is None
    feed(logic, update([2], rewards=1, newest=micros(make.START) + 1))
    wake = logic.notify_at()
    assert wake == now + timedelta(seconds=5)
    assert logic.notify_at() == wake
    assert list(logic.on_notify()[0]) == []  # a call that was asked for before
    now = wake
    out, over = logic.on_notify()
    assert not over
    assert versions(list(out)) == [2]
    assert logic.notify_at() is None


def test_after_a_restart_it_publishes_at_once_what_it_knew() -> None:
    logic = learner()
    feed(logic, update([1, 2, 3], rewards=2, newest=micros(make.START)))
    logic = resumed(logic.snapshot(), system_clock, LearnerMetrics())
    wake = logic.notify_at()
    assert wake is not None
    assert wake <= datetime.now(UTC)
    (published, snapshot) = list(logic.on_notify()[0])
    assert isinstance(published, PublishedPolicy)
    assert isinstance(snapshot, PolicySnapshot)
    assert (published.newest, snapshot.decisions) == (micros(make.START), 3.0)
    assert published.version == snapshot.version == GENERATION + 1


def test_versions_rise_over_those_that_the_log_shows() -> None:
    logic = learner()
    start = micros(make.START)
    seen = versions(feed(logic, update([1], rewards=1, newest=start, versions=[9])))
    later = versions(feed(logic, update([2], rewards=1, newest=start + 9 * SECOND, versions=[9])))
    assert 9 < seen[0] < later[0]


FOREIGN = st.lists(st.integers(-(2**63), 2**64) | st.just(4_294_967_295), max_size=3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(FOREIGN, st.booleans()), min_size=1, max_size=12))
def test_versions_rise_below_31_bits_whatever_decisions_others_write(
    turns: list[tuple[list[int], bool]],
) -> None:
    logic, start, given_out = learner(), micros(make.START), [0]
    for number, (foreign, restart) in enumerate(turns, 1):
        newest = start + 9 * number * SECOND
        taught = [*foreign, given_out[-1]]
        given_out += versions(
            feed(logic, update([number], rewards=1, newest=newest, versions=taught))
        )
        if restart:
            logic = resumed(logic.snapshot(), system_clock, LearnerMetrics())
            given_out += versions(list(logic.on_notify()[0]))
    assert len(given_out) > len(turns)
    assert all(below < above for below, above in itertools.pairwise(given_out))
    assert given_out[-1] < 2**31


def test_a_learner_that_begins_anew_goes_on_above_what_was_published() -> None:
    logic = LearnerLogic(
        order=CanonicalOrder(SHARDS),
        clock=system_clock,
        metrics=LearnerMetrics(),
        published={"home": 5_000_000}.__getitem__,
    )
    seen = versions(feed(logic, update([1], rewards=1, newest=micros(make.START))))
    assert seen == [next_generation(5_000_000) + 1]


@pytest.mark.parametrize(
    "changed",
    [
        make.slot("home", 1, policy=PolicySettings(kind="beta"), features=FEATURES),
        make.slot("home", 1, policy=LOGISTIC, features=FeatureSpec(numeric=["u", "w"])),
        make.slot("home", 1, policy=LOGISTIC, features=FEATURES, reward_range=(0.0, 2.0)),
    ],
    ids=["another policy", "other features", "another reward range"],
)
def test_another_policy_other_features_or_another_reward_range_start_anew(changed: Slot) -> None:
    logic = learner()
    feed(logic, update([1, 2, 3]))
    feed(logic, update(slot=changed))
    assert (logic.decisions, logic.rewards) == (0.0, 0.0)
    assert all(row[:2] == (0.0, 0.0) for row in statistics(logic).values())


def test_another_window_or_another_action_keeps_what_was_learned() -> None:
    logic = learner()
    feed(logic, update([1, 2, 3]))
    more = (*ACTIONS, make.action("d"))
    feed(logic, update(slot=make.slot("home", 1, policy=LOGISTIC, features=FEATURES), actions=more))
    found = statistics(logic)
    assert {name: row[0] for name, row in found.items()} == {"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0}
    assert logic.decisions == 3.0


def test_what_counts_as_a_click_follows_the_reward_of_no_answer() -> None:
    """Where no answer earns 0.25, it is no click: the model would see nothing else."""
    logic = learner()
    feed(logic, update([1]))
    earns = make.slot("home", 1, policy=LOGISTIC, features=FEATURES, default_reward=0.25)
    feed(logic, update(slot=earns))
    for each in (logic, resumed(logic.snapshot(), system_clock, LearnerMetrics())):
        assert each.decisions == 1.0
        assert each.model is not None
        assert each.model.settings.threshold == 0.25


def test_models_see_settled_outcomes_in_one_order_whichever_shard_is_first() -> None:
    outcomes = [settled(number, NAMES[number % 3], float(number % 2)) for number in range(40)]
    shards = [outcomes[0::2], outcomes[1::2]]
    ends = [micros(part[-1].settled_at) + 1 for part in shards if part[-1].settled_at is not None]
    one, other = learner(), learner()
    for shard in (0, 1):
        feed(one, update(shard=shard, settled=[settlements(shards[shard])], watermark=ends[shard]))
    for shard in (1, 0):
        for outcome in shards[shard]:
            feed(other, update(shard=shard, settled=[settlements([outcome])]))
        feed(other, update(shard=shard, watermark=ends[shard]))
        other = resumed(other.snapshot(), system_clock, LearnerMetrics())
    kept = [unpack_learner(logic.snapshot()) for logic in (one, other)]
    assert kept[0].model == kept[1].model
    assert kept[0].settled_decisions == kept[1].settled_decisions > 30


def test_a_decision_of_other_features_is_not_learned_and_one_of_none_is_by_its_intercept() -> None:
    logic = learner()
    bare = Deltas(
        action_ids=["a"],
        x=np.zeros((1, 0)),
        eta=np.zeros(1),
        time=np.ones(1),
        count_delta=np.ones(1),
        reward_delta=np.ones(1),
    )
    feed(logic, update(deltas=deltas([1, 2], dim=5)), update(deltas=bare))
    assert statistics(logic)["a"][:2] == (1.0, 1.0)
    assert logic.decisions == 1.0
    fitted = with_features(bare, DIM)
    assert fitted is not None
    assert fitted.x.tolist() == [[1.0, 0.0, 0.0]]


def test_joining_batches_loses_none() -> None:
    parts = [deltas([1, 2]), deltas([3]), deltas([4, 5, 6])]
    whole = deltas([1, 2, 3, 4, 5, 6])
    both = joined(parts)
    assert both.action_ids == whole.action_ids
    for name in ("x", "eta", "time", "count_delta", "reward_delta"):
        np.testing.assert_array_equal(getattr(both, name), getattr(whole, name))
