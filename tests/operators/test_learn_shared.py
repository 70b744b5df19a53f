"""The learner of a slot with one model for all actions: statistics, memory, restarts."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.runtime.clock import system_clock
from flows.verification.shared_columns import shared_checks
from operators.io.metrics.learner import LearnerMetrics
from operators.learner import LearnerLogic, resumed
from operators.logic.models import CanonicalOrder
from operators.logic.policies import Deltas, Policy, load_policy
from operators.logic.policies.micro_batches import with_rows
from operators.logic.policies.shared import Shared, with_known_ids
from operators.logic.request_actions import MOST_REQUEST_ACTIONS
from operators.logic.settlements import Settlements
from operators.logic.slot_policy import learned_rows, new_policy
from operators.updates import PosteriorUpdate
from schemas.catalog import AutoFeatures, FeatureSpec, PolicySettings, Slot
from schemas.clock import NEVER, moment
from tests.support import records as make

MINUTE = 60_000_000


def slot_of(**changes: Any) -> Slot:
    given_: dict[str, Any] = {
        "policy": PolicySettings(kind="shared", params={"rank": 32}),
        "features": FeatureSpec(auto=AutoFeatures(bits=10)),
        "candidates": "request",
        **changes,
    }
    return make.slot("feed", -100, **given_)


def learner() -> LearnerLogic:
    return LearnerLogic(order=CanonicalOrder(1), clock=system_clock, metrics=LearnerMetrics())


def decisions(seed: int, n: int, ids: int, size: int = 1) -> Deltas:
    """Decisions, one a second; each tenth without a context, each ninth without features."""
    rng = np.random.default_rng(seed)
    write = msgspec.json.encode
    x = np.eye(size)[rng.integers(0, size, n)]
    x[:, 0] = 1.0
    return Deltas(
        action_ids=[f"a{number}" for number in rng.integers(0, ids, n)],
        x=x,
        eta=rng.normal(size=n),
        time=1e9 + np.arange(float(n)),
        count_delta=np.ones(n),
        reward_delta=rng.integers(0, 2, n).astype(float),
        contents=[
            write({"topic": f"t{rng.integers(5)}", "n": int(rng.integers(9))}) if at % 9 else None
            for at in range(n)
        ],
        contexts=[
            write({"user": {"likes": f"t{rng.integers(5)}"}}) if at % 10 else None
            for at in range(n)
        ],
    )


def teach(logic: LearnerLogic, slot: Slot, deltas: Deltas, **more: Any) -> None:
    update = PosteriorUpdate(
        shard=0, watermark=NEVER, slot=slot, actions=(), deltas=deltas, rewards=1, **more
    )
    logic.on_batch([update])


def from_scratch(slot: Slot, deltas: Deltas) -> Shared:
    policy = new_policy(slot, (), slot.slate_size)
    for part in with_rows(deltas, learned_rows(slot)):
        policy.learn(part)
    assert isinstance(policy, Shared)
    return policy


def same(learned: Policy | None, fresh: Shared) -> bool:
    assert isinstance(learned, Shared)
    for check in shared_checks("feed", learned, fresh):
        assert check.difference < 1e-9, check
    one, two = learned.intercepts, fresh.intercepts
    assert set(one.ids) == set(two.ids)
    rows = [two.ids.index(name) for name in one.ids]
    now = max(one.newest, two.newest)
    for name, array in one.at(now if one.ids else None).items():
        assert array == pytest.approx(two.at(now if one.ids else None)[name][rows], abs=1e-9)
    return True


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1, 3]), st.sampled_from([None, 30.0]), st.randoms())
def test_statistics_do_not_depend_on_order_repeats_or_restarts(
    seed: int, size: int, half_life: float | None, rng: Any
) -> None:
    params = {"rank": 32} | ({} if half_life is None else {"half_life": half_life})
    slot = slot_of(slate_size=size, policy=PolicySettings(kind="shared", params=params))
    deltas = decisions(seed, 60, 7, size)
    order = list(range(len(deltas)))
    rng.shuffle(order)
    logic = learner()
    taken_back = deltas.take([3, 4])
    for at in range(0, 60, 15):
        teach(logic, slot, deltas.take(order[at : at + 15]))
        if rng.random() < 0.5:
            teach(logic, slot, taken_back)
            teach(logic, slot, -taken_back)
        if rng.random() < 0.5:
            logic = resumed(logic.snapshot(), system_clock, LearnerMetrics())
    assert same(logic.policy, from_scratch(slot, deltas))


def test_what_settled_is_learned_by_itself_and_starts_another_learner() -> None:
    slot, deltas, logic = slot_of(), decisions(1, 50, 9), learner()
    at = np.round(deltas.time * 1e6).astype(np.int64)
    assert deltas.contents is not None
    assert deltas.contexts is not None
    settled = Settlements(
        fingerprint="",
        end=at + MINUTE,
        key=np.arange(50, dtype=np.uint64),
        at=at,
        reward=deltas.reward_delta,
        eta=deltas.eta,
        actions=deltas.action_ids,
        x=np.zeros((50, 0), np.float32),
        contents=deltas.contents,
        contexts=deltas.contexts,
    )
    teach(logic, slot, deltas, settled=[settled.cut(0, 20)])
    logic = resumed(logic.snapshot(), system_clock, LearnerMetrics())
    teach(logic, slot, deltas.take([]), settled=[settled.cut(20, 50)])
    logic.on_batch(
        [PosteriorUpdate(shard=0, watermark=int(at[-1]) + 2 * MINUTE, slot=slot, actions=())]
    )
    assert logic.settled is not None
    assert same(logic.settled.policy, from_scratch(slot, deltas))
    assert same(logic.policy, from_scratch(slot, deltas))
    assert same(load_policy(logic.settled.policy.dump()), from_scratch(slot, deltas))


def test_every_decision_teaches_what_is_shared_and_few_ids_are_told_apart() -> None:
    slot, logic = slot_of(), learner()
    sizes = []
    every = [decisions(seed, 2_000, 10**9) for seed in range(6)]
    for number, deltas in enumerate(every):
        teach(logic, slot, Deltas(**{**_fields(deltas), "time": deltas.time + 2_000.0 * number}))
        sizes.append(len(logic.snapshot()))
    assert isinstance(logic.policy, Shared)
    assert logic.policy.moments.totals[0] == logic.decisions == 12_000
    assert len(logic.policy.intercepts.ids) == MOST_REQUEST_ACTIONS
    assert max(sizes[1:]) < 1.05 * sizes[1]


def test_a_changed_view_of_features_begins_with_nothing_and_learns_the_same_log() -> None:
    slot, deltas, logic = slot_of(), decisions(2, 40, 5), learner()
    teach(logic, slot, deltas)
    changed = slot_of(features=FeatureSpec(auto=AutoFeatures(bits=10, crosses=[])))
    changed.time, changed.id = moment(2 * 10**15), "later"
    later = Deltas(**{**_fields(deltas), "time": deltas.time + 2e9})
    teach(logic, changed, later)
    assert same(logic.policy, from_scratch(changed, later))
    teach(logic, changed, deltas)
    assert same(logic.policy, from_scratch(changed, later))


def test_an_action_that_is_not_told_apart_has_no_intercept_of_its_own() -> None:
    slot, deltas = slot_of(), decisions(3, 30, 4)
    known = np.array([name != "a1" for name in deltas.action_ids])
    ids = with_known_ids(deltas.action_ids, known)
    policy = from_scratch(slot, Deltas(**{**_fields(deltas), "action_ids": ids}))
    whole = from_scratch(slot, deltas)
    assert set(policy.intercepts.ids) == set(whole.intercepts.ids) - {"a1"}
    assert next(shared_checks("feed", policy, whole)).difference == 0.0


def _fields(deltas: Deltas) -> dict[str, Any]:
    return {name: getattr(deltas, name) for name in Deltas.__slots__}
