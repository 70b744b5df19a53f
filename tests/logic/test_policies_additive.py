"""Any split, any order and any add-then-remove of the same contributions give the same policy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.features import Scaled
from operators.logic.policies import Deltas, Policy, load_policy, load_posterior, make_policy
from operators.logic.policies.base import Floats

DIM = 3
CASES: list[tuple[str, dict[str, Any], int]] = [
    ("beta", {}, 0),
    ("beta", {"half_life": 50.0}, 0),
    ("logistic", {}, DIM),
    ("logistic", {"half_life": 50.0, "iterations": 4}, DIM),
    ("gaussian", {"iterations": 1}, DIM),
    ("logistic", {"scaled": True, "half_life": 50.0}, DIM),
    ("gaussian", {"scaled": True}, DIM),
    ("diagonal", {"scaled": True}, DIM),
    ("diagonal", {}, DIM),
    ("diagonal", {"half_life": 50.0}, DIM),
    ("greedy", {"epsilon": 0.1}, DIM),
    ("greedy", {}, 0),
    ("uniform", {}, 0),
    ("split", {"shares": {"a": 1.0}}, 0),
]
every_policy = pytest.mark.parametrize(("kind", "params", "dim"), CASES)


@st.composite
def contributions(draw: st.DrawFn, dim: int) -> Deltas:
    n = draw(st.integers(1, 24))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ids = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    x = rng.normal(size=(n, dim))
    x[:, :1] = 1.0
    time = 1.7e9 + draw(st.sampled_from([1.0, 100.0, 1e5])) * rng.random(n)
    reward = (rng.random(n) < 0.3).astype(float)
    return Deltas(
        action_ids=ids,
        x=x,
        eta=rng.normal(-2, 2, n),
        time=time,
        count_delta=np.ones(n),
        reward_delta=reward,
    )


def learned(kind: str, params: dict[str, Any], dim: int, *batches: Deltas) -> Policy:
    params = dict(params)
    scaled = Scaled((1, 2)) if params.pop("scaled", False) else None
    policy = make_policy(kind, params, dim, scaled)
    for batch in batches:
        policy.learn(batch)
    return policy


def scores(policy: Policy, dim: int, now: float) -> tuple[Floats, Floats]:
    x = np.random.default_rng(0).normal(size=(5, dim))
    x[:, :1] = 1.0
    posterior = policy.publish(now)
    weights = posterior.weigh(x, posterior.columns(["a", "b", "c", "d"]))
    width = np.zeros_like(weights.eta) if weights.width is None else weights.width
    return weights.eta, width


def statistics(policy: Policy, ids: str = "abcd") -> dict[str, Floats]:
    held = getattr(policy, "_model", policy)._statistics
    arrays = held.at(held.newest)
    rows = [held.ids.index(a) for a in ids if a in held.ids]
    return {name: array[rows] for name, array in arrays.items()}


def assert_same(left: Policy, right: Policy, exact_counts: bool) -> None:
    ours, theirs = statistics(left), statistics(right)
    for name, array in ours.items():
        if exact_counts and name in ("counts", "rewards"):
            np.testing.assert_array_equal(array, theirs[name])
        else:
            np.testing.assert_allclose(array, theirs[name], rtol=1e-9, atol=1e-9)


@every_policy
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_order_and_split_over_replicas_do_not_matter(
    kind: str, params: dict[str, Any], dim: int, data: st.DataObject
) -> None:
    deltas = data.draw(contributions(dim))
    shuffled = data.draw(st.permutations(range(len(deltas))))
    cut = data.draw(st.integers(0, len(deltas)))
    whole = learned(kind, params, dim, deltas)
    left = learned(kind, params, dim, deltas.take(np.array(shuffled[:cut], dtype=np.intp)))
    right = learned(kind, params, dim, deltas.take(np.array(shuffled[cut:], dtype=np.intp)))
    left.merge(right)
    assert_same(left, whole, exact_counts="half_life" not in params)
    now = float(deltas.time.max()) + 1.0
    for a, b in zip(scores(left, dim, now), scores(whole, dim, now), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@every_policy
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_was_added_can_be_removed(
    kind: str, params: dict[str, Any], dim: int, data: st.DataObject
) -> None:
    kept, removed = data.draw(contributions(dim)), data.draw(contributions(dim))
    by_deltas = learned(kind, params, dim, kept, removed)
    by_deltas.subtract(removed)
    by_replica = learned(kind, params, dim, removed, kept)
    by_replica.subtract(learned(kind, params, dim, removed))
    never = learned(kind, params, dim, kept)
    now = float(max(kept.time.max(), removed.time.max()))
    for policy in (by_deltas, by_replica):
        for name, array in lined_up(policy, now).items():
            np.testing.assert_allclose(array, lined_up(never, now)[name], rtol=1e-9, atol=1e-9)
        if "half_life" not in params:
            np.testing.assert_array_equal(
                lined_up(policy, now)["counts"], lined_up(never, now)["counts"]
            )


def lined_up(policy: Policy, now: float) -> dict[str, Floats]:
    held = getattr(policy, "_model", policy)._statistics
    arrays = held.at(now)
    result = {}
    for name, array in arrays.items():
        whole = np.zeros((4, *array.shape[1:]))
        for row, action_id in enumerate(held.ids):
            whole["abcd".index(action_id)] = array[row]
        result[name] = whole
    return result


@every_policy
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_correction_equals_having_known(
    kind: str, params: dict[str, Any], dim: int, data: st.DataObject
) -> None:
    known = data.draw(contributions(dim))
    zero = np.zeros(len(known))
    failures = Deltas(
        action_ids=known.action_ids,
        x=known.x,
        eta=known.eta,
        time=known.time,
        count_delta=known.count_delta,
        reward_delta=zero,
    )
    clicks = Deltas(
        action_ids=known.action_ids,
        x=known.x,
        eta=known.eta,
        time=known.time,
        count_delta=zero,
        reward_delta=known.reward_delta,
    )
    corrected = learned(kind, params, dim, failures, clicks)
    assert_same(corrected, learned(kind, params, dim, known), "half_life" not in params)


@every_policy
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_written_forms_go_on_as_if_never_written(
    kind: str, params: dict[str, Any], dim: int, data: st.DataObject
) -> None:
    first, second = data.draw(contributions(dim)), data.draw(contributions(dim))
    whole = learned(kind, params, dim, first, second)
    resumed = load_policy(learned(kind, params, dim, first).dump())
    resumed.learn(second)
    assert resumed.dump() == whole.dump()
    posterior = whole.publish()
    again = load_posterior(posterior.dump())
    assert again.dump() == posterior.dump()
    x = np.ones((2, dim))
    np.testing.assert_array_equal(again.weigh(x).p, posterior.weigh(x).p)


@every_policy
def test_a_slot_without_actions_has_a_posterior(
    kind: str, params: dict[str, Any], dim: int
) -> None:
    """Its last one was disabled: there is nothing to describe, and the prior for what comes."""
    policy = learned(kind, params, dim)
    policy.set_actions([], np.zeros((0, 0)))
    posterior = policy.publish()
    assert posterior.summary() == []
    p = posterior.weigh(np.ones((2, dim)), posterior.columns(["x", "y"])).p
    np.testing.assert_allclose(p, 0.5)
