"""A slot whose view of undeclared features changes: the old one decides until the new one can."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic, resumed
from operators.learner_state import lower_learner, unpack_learner
from operators.logic.models import CanonicalOrder
from operators.logic.policies import Deltas
from operators.logic.policies.published import PublishedPolicy
from operators.logic.policies.shared import Shared
from operators.logic.settlements import Settlements
from operators.logic.slot_policy import policy_family
from operators.logic.slot_views import MOST_AWAITED
from operators.updates import PosteriorUpdate, SlotDeparture
from schemas.catalog import AutoFeatures, FeatureSpec, PolicySettings, Slot
from schemas.clock import NEVER, moment
from tests.operators.test_learn_shared import decisions, from_scratch, same, slot_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
START, SECOND = 1e9, 1_000_000
"""When the decisions of these tests begin, one a second."""


def at_time(slot: Slot, second: float) -> Slot:
    """The slot as a record that holds from so many seconds after the start on."""
    slot.time = moment(round((START + second) * SECOND))
    slot.id = f"{slot.id}-{second}"
    return slot


def seen_by(second: float = -100.0, params: Any = None, **auto: Any) -> Slot:
    changes: dict[str, Any] = {
        "features": FeatureSpec(auto=AutoFeatures(**{"bits": 10, **auto})),
        "policy": PolicySettings(kind="shared", params={"rank": 32, **(params or {})}),
    }
    return at_time(slot_of(**changes), second)


def made(seed: int, begin: float, end: float) -> Deltas:
    """The decisions of some seconds after the start."""
    return _every(seed).take(range(round(begin), round(end)))


@lru_cache(maxsize=4)
def _every(seed: int) -> Deltas:
    return decisions(seed, 2_500, 7)


def teach(
    logic: LearnerLogic, slot: Slot, deltas: Deltas | None, **more: Any
) -> list[PublishedPolicy]:
    update = PosteriorUpdate(
        shard=0,
        watermark=more.pop("watermark", NEVER),
        slot=slot,
        actions=(),
        deltas=deltas,
        rewards=50,
        **more,
    )
    out, _ = logic.on_batch([update])
    return [each for each in out if isinstance(each, PublishedPolicy)]


def deciding(logic: LearnerLogic) -> Shared:
    assert logic.views is not None
    policy = logic.views.deciding.policy
    assert isinstance(policy, Shared)
    return policy


def learner(metrics: LearnerMetrics | None = None) -> LearnerLogic:
    """A learner on a clock that stands still, so that no publication takes long."""
    return LearnerLogic(order=CanonicalOrder(1), clock=still, metrics=metrics or LearnerMetrics())


def still() -> datetime:
    return NOW


def restarted(logic: LearnerLogic) -> LearnerLogic:
    return resumed(logic.snapshot(), still, LearnerMetrics())


OLD = seen_by()
CHANGES: dict[str, dict[str, Any]] = {
    "bits": {"bits": 11},
    "crosses": {"crosses": []},
    "ignore": {"ignore": ["user"]},
    "context_alone": {"context_alone": False},
    "most_features": {"most_features": 3},
    "most_crossed": {"most_crossed": 2},
    "context_products": {"context_products": 0},
    "scale": {"scale": False},
    "rank": {"params": {"rank": 64}},
    "buckets": {"params": {"buckets": 256}},
    "half_life": {"params": {"half_life": 60.0}},
    "alpha": {"params": {"alpha": 1.0}},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_restarted", [False, True])
def test_both_views_learn_and_the_old_one_decides_until_the_new_one_learned_as_much(
    change: str, *, is_restarted: bool
) -> None:
    new, logic = seen_by(40, **CHANGES[change]), learner()
    teach(logic, OLD, made(1, 0, 40))
    for begin, end in ((40, 60), (60, 79)):
        (published,) = teach(logic, new, made(1, begin, end))
        if is_restarted:
            logic = restarted(logic)
        assert published.view == OLD.features.auto
        assert published.family == policy_family(new)
        assert same(deciding(logic), from_scratch(OLD, made(1, 0, end)))
        assert same(logic.policy, from_scratch(new, made(1, 40, end)))
        assert logic.decisions == end - 40
    # A reward of a decision that only the old view counted is learned by it alone.
    reward = correction(made(1, 5, 6))
    teach(logic, new, reward)
    assert same(logic.policy, from_scratch(new, made(1, 40, 79)))
    assert deciding(logic).moments.totals[1] == pytest.approx(
        from_scratch(OLD, made(1, 0, 79)).moments.totals[1] + 1.0
    )
    (published,) = teach(logic, new, made(1, 79, 80))
    assert published.view == new.features.auto
    assert same(deciding(logic), from_scratch(new, made(1, 40, 80)))
    assert unpack_learner(logic.snapshot()).older is None


def correction(deltas: Deltas) -> Deltas:
    """A reward of 1 that comes later."""
    more = {name: getattr(deltas, name) for name in Deltas.__slots__}
    n = len(deltas)
    return Deltas(**{**more, "count_delta": np.zeros(n), "reward_delta": np.ones(n)})


def views_published(logic: LearnerLogic, slot: Slot, *parts: Deltas) -> list[AutoFeatures | None]:
    return [each.view for part in parts for each in teach(logic, slot, part)]


def test_a_thousand_decisions_are_enough_whatever_the_old_view_knows() -> None:
    new, logic = seen_by(1_500, bits=11), learner()
    teach(logic, OLD, made(2, 0, 1_500))
    many = int(MOST_AWAITED)
    parts = made(2, 1_500, 1_499 + many), made(2, 1_499 + many, 1_500 + many)
    assert views_published(logic, new, *parts) == [OLD.features.auto, new.features.auto]


def test_what_the_old_view_has_forgotten_is_not_waited_for() -> None:
    """With a half-life of 10 seconds it knows some 15 decisions."""
    old, logic = seen_by(params={"half_life": 10.0}), learner()
    new = seen_by(200, params={"half_life": 10.0}, bits=11)
    teach(logic, old, made(3, 0, 200))
    assert 14 < deciding(logic).remembered < 15.5
    parts = made(3, 200, 213), made(3, 213, 216)
    assert views_published(logic, new, *parts) == [old.features.auto, new.features.auto]


def test_a_new_view_that_forgets_fast_comes_to_decide() -> None:
    old, logic = seen_by(), learner()
    new = seen_by(200, params={"half_life": 5.0})
    teach(logic, old, made(3, 0, 200))
    teach(logic, new, made(3, 200, 400))
    assert deciding(logic).remembered < 10
    assert same(deciding(logic), from_scratch(new, made(3, 200, 400)))


def test_a_view_that_has_learned_nothing_is_not_waited_for() -> None:
    new, logic = seen_by(0, bits=11), learner()
    teach(logic, OLD, made(4, 0, 1).take([]))
    (published,) = teach(logic, new, made(4, 0, 1))
    assert published.view == new.features.auto


def test_a_further_change_starts_the_newest_and_keeps_what_decides() -> None:
    second, third, logic = seen_by(40, bits=11), seen_by(70, crosses=[]), learner()
    teach(logic, OLD, made(5, 0, 40))
    teach(logic, second, made(5, 40, 70))
    (published,) = teach(logic, third, made(5, 70, 100))
    assert published.view == OLD.features.auto
    assert same(deciding(logic), from_scratch(OLD, made(5, 0, 100)))
    assert same(logic.policy, from_scratch(third, made(5, 70, 100)))
    (published,) = teach(logic, third, made(5, 100, 140))
    assert published.view == third.features.auto
    assert same(deciding(logic), from_scratch(third, made(5, 70, 140)))


@pytest.mark.parametrize("is_restarted", [False, True])
def test_after_a_change_back_the_old_view_just_goes_on(*, is_restarted: bool) -> None:
    new, back, logic = seen_by(40, bits=11), seen_by(60), learner()
    teach(logic, OLD, made(6, 0, 40))
    teach(logic, new, made(6, 40, 60))
    if is_restarted:
        logic = restarted(logic)
    (published,) = teach(logic, back, made(6, 60, 80))
    assert published.view == OLD.features.auto
    assert unpack_learner(logic.snapshot()).older is None
    assert logic.decisions == 80
    assert same(logic.policy, from_scratch(OLD, made(6, 0, 80)))


def test_a_later_record_with_the_same_view_changes_nothing() -> None:
    new, logic = seen_by(40, bits=11), learner()
    again = seen_by(60, bits=11)
    again.floor_mass = 0.1
    teach(logic, OLD, made(7, 0, 40))
    teach(logic, new, made(7, 40, 60))
    (published,) = teach(logic, again, made(7, 60, 70))
    assert published.view == OLD.features.auto
    assert same(logic.policy, from_scratch(new, made(7, 40, 70)))


OTHERS: dict[str, dict[str, Any]] = {
    "kind": {"policy": PolicySettings(kind="uniform")},
    "link": {"policy": PolicySettings(kind="shared", params={"link": "gaussian"})},
    "reward range": {"reward_range": (0.0, 2.0)},
    "slate": {"slate_size": 3},
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_is_no_other_view_begins_anew_at_once(other: str) -> None:
    """In another family the numbers that were learned mean something else."""
    logic, changed = learner(), at_time(slot_of(**OTHERS[other]), 50)
    teach(logic, OLD, made(8, 0, 40))
    teach(logic, seen_by(40, bits=11), made(8, 40, 50))
    (published,) = teach(logic, changed, None)
    assert published.family == policy_family(changed) != policy_family(OLD)
    assert unpack_learner(logic.snapshot()).older is None
    assert logic.decisions == 0.0


def test_where_the_slot_goes_nothing_of_either_view_stays() -> None:
    logic = learner()
    teach(logic, OLD, made(9, 0, 40))
    teach(logic, seen_by(40, bits=11), made(9, 40, 50))
    out, discard = logic.on_batch([SlotDeparture(shard=0, departed="feed")])
    logic.order.add(0, 0, [])
    out, discard = logic.on_batch([SlotDeparture(shard=0, departed="feed")])
    (published,) = out
    assert isinstance(published, PublishedPolicy)
    assert published.withdrawn
    assert discard


def settled_of(deltas: Deltas) -> Settlements:
    at = np.round(deltas.time * 1e6).astype(np.int64)
    return Settlements(
        fingerprint="",
        end=at + 60 * SECOND,
        key=np.arange(len(at), dtype=np.uint64),
        at=at,
        reward=deltas.reward_delta,
        eta=deltas.eta,
        actions=deltas.action_ids,
        x=np.zeros((len(at), 0), np.float32),
        contents=deltas.contents or (),
        contexts=deltas.contexts or (),
    )


def test_a_checkpoint_starts_a_learner_with_both_views_of_what_has_settled() -> None:
    new, logic, deltas = seen_by(40, bits=11), learner(), made(10, 0, 60)
    settled = settled_of(deltas)
    teach(logic, OLD, made(10, 0, 40), settled=[settled])
    teach(logic, new, made(10, 40, 60))
    until = round((START + 50) * SECOND) + 60 * SECOND
    out, _ = logic.on_batch([PosteriorUpdate(shard=0, watermark=until, slot=new, actions=())])
    text = "".join(each.state for each in out if hasattr(each, "state"))
    assert text
    begun = resumed(base64.b64decode(text), still, LearnerMetrics())
    assert begun.decisions == 10
    assert same(begun.policy, from_scratch(new, made(10, 40, 50)))
    assert same(deciding(begun), from_scratch(OLD, made(10, 0, 50)))
    teach(begun, new, made(10, 50, 79))
    assert same(deciding(begun), from_scratch(OLD, made(10, 0, 79)))
    teach(begun, new, made(10, 79, 80))
    assert same(deciding(begun), from_scratch(new, made(10, 40, 80)))


def test_a_snapshot_written_before_there_were_views_is_read() -> None:
    logic = learner()
    teach(logic, OLD, made(13, 0, 40))
    teach(logic, at_time(slot_of(reward_range=(0.0, 2.0)), 40), made(13, 40, 50))
    head, _, body = logic.snapshot().partition(b"\n")
    state = msgspec.msgpack.decode(body)
    assert state.pop("older") is None
    assert state.pop("model_from") == round((START + 40) * SECOND)
    again = resumed(head + b"\n" + msgspec.msgpack.encode(state), still, LearnerMetrics())
    read, kept = (unpack_learner(each.snapshot()) for each in (again, logic))
    for name in ("policy", "settled", "decisions", "learns_from", "model_from", "older"):
        assert getattr(read, name) == getattr(kept, name)


def test_a_lowered_watermark_keeps_both_views() -> None:
    new, logic = seen_by(40, bits=11), learner()
    teach(logic, OLD, made(11, 0, 40))
    teach(logic, new, made(11, 40, 60))
    lowered, _ = lower_learner(logic.snapshot(), round(START * SECOND), SECOND)
    logic = resumed(lowered, still, LearnerMetrics())
    assert same(deciding(logic), from_scratch(OLD, made(11, 0, 60)))
    assert same(logic.policy, from_scratch(new, made(11, 40, 60)))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 59), st.randoms())
def test_statistics_of_both_views_do_not_depend_on_order_or_restarts(
    seed: int, change: int, rng: Any
) -> None:
    """The order is any, but for decisions made after the change coming after its record."""
    new, logic = seen_by(change, bits=11), learner()
    before = list(range(change))
    late = [place for place in before if rng.random() < 0.3]
    after = [*range(change, 60), *late]
    first = [place for place in before if place not in late]
    rng.shuffle(first)
    rng.shuffle(after)
    deltas = made(seed, 0, 60)
    if first:
        teach(logic, OLD, deltas.take(first))
    teach(logic, OLD, deltas.take([]))
    for places in _cut(after, rng):
        teach(logic, new, deltas.take(places))
        if rng.random() < 0.5:
            logic = restarted(logic)
    assert same(logic.policy, from_scratch(new, made(seed, change, 60)))
    if unpack_learner(logic.snapshot()).older is not None:
        assert same(deciding(logic), from_scratch(OLD, deltas))


def _cut(places: Sequence[int], rng: Any) -> list[Sequence[int]]:
    at = rng.randint(0, len(places))
    return [part for part in (places[:at], places[at:]) if part]


def test_decisions_that_teach_the_old_view_are_not_counted_as_ignored() -> None:
    registry = CollectorRegistry()
    logic = learner(LearnerMetrics(registry))
    labels = {"slot": "feed", "reason": "other_policy"}
    new = seen_by(40, bits=11)
    teach(logic, OLD, made(12, 0, 40))
    teach(logic, new, correction(made(12, 0, 10)))
    assert registry.get_sample_value("banditflow_lessons_ignored_total", labels) is None
    teach(logic, new, made(12, 40, 80))
    teach(logic, new, correction(made(12, 0, 10)))
    assert registry.get_sample_value("banditflow_lessons_ignored_total", labels) == 10
