"""What neighbours lend: bounded, the same in any order, and nothing where there are none."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.policies import Deltas, Policy, PolicyError, load_policy, make_policy
from operators.logic.policies.base import Floats
from operators.logic.policies.neighbours import neighbour_shift, similarities
from operators.logic.policies.prior import BasePrior, fit

IDS = [f"a{i}" for i in range(8)]
KINDS: list[tuple[str, dict[str, Any], int]] = [
    ("beta", {}, 0),
    ("logistic", {}, 3),
    ("gaussian", {"iterations": 2}, 3),
]
every_policy = pytest.mark.parametrize(("kind", "params", "dim"), KINDS)
near = st.dictionaries(
    st.sampled_from(IDS),
    st.dictionaries(st.sampled_from([*IDS, "elsewhere"]), st.floats(1e-6, 1.0), max_size=4),
)


def contributions(seed: int, dim: int, n: int = 60) -> Deltas:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, dim))
    x[:, :1] = 1.0
    ids = [IDS[i] for i in rng.integers(len(IDS), size=n)]
    reward = (rng.random(n) < 0.3).astype(float)
    return Deltas(
        action_ids=ids,
        x=x,
        eta=rng.normal(-2, 1, n),
        time=np.arange(n, dtype=float),
        count_delta=np.ones(n),
        reward_delta=reward,
    )


def taught(kind: str, params: dict[str, Any], dim: int, *parts: Deltas, **given: Any) -> Policy:
    policy = make_policy(kind, params, dim)
    policy.set_actions(IDS, None, **given)
    for part in parts:
        policy.learn(part)
    return policy


def expected(policy: Policy, dim: int) -> Floats:
    x = np.random.default_rng(0).normal(size=(4, dim))
    posterior = policy.publish(100.0)
    return posterior.weigh(x, posterior.columns(IDS)).eta


@every_policy
def test_without_neighbours_every_number_stays(kind: str, params: Any, dim: int) -> None:
    made = contributions(1, dim)
    plain = taught(kind, params, dim, made)
    none_given = taught(kind, params | {"neighbours": 1.0}, dim, made)
    turned_off = taught(kind, params, dim, made, neighbours={"a0": {"a1": 0.9}})
    for other in (none_given, turned_off):
        np.testing.assert_array_equal(expected(other, dim), expected(plain, dim))


@every_policy
@settings(max_examples=25, deadline=None)
@given(neighbours=near, data=st.data())
def test_any_order_and_any_split_give_the_same(
    kind: str, params: Any, dim: int, neighbours: Any, data: st.DataObject
) -> None:
    made, params = contributions(2, dim), params | {"neighbours": 0.8}
    order = data.draw(st.permutations(range(len(made))))
    cut = data.draw(st.integers(0, len(made)))
    whole = taught(kind, params, dim, made, neighbours=neighbours)
    left = taught(kind, params, dim, made.take(order[:cut]), neighbours=neighbours)
    left.merge(taught(kind, params, dim, made.take(order[cut:]), neighbours=neighbours))
    np.testing.assert_allclose(expected(left, dim), expected(whole, dim), rtol=1e-6, atol=1e-8)
    again = load_policy(whole.dump())
    np.testing.assert_array_equal(expected(again, dim), expected(whole, dim))


@settings(max_examples=50, deadline=None)
@given(neighbours=near, seed=st.integers(0, 2**32 - 1))
def test_what_is_lent_is_a_shrunken_average_of_the_neighbours(
    neighbours: dict[str, dict[str, float]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    residual, evidence = rng.normal(size=(len(IDS), 2)), rng.random(len(IDS))
    evidence[0] = 0.0
    matrix = similarities(IDS, neighbours)
    found = (
        np.zeros_like(residual) if matrix is None else neighbour_shift(matrix, residual, evidence)
    )
    for i, action_id in enumerate(IDS):
        top, total = np.zeros(2), 0.3
        for other, similarity in neighbours.get(action_id, {}).items():
            if other in IDS and other != action_id:
                weight = similarity**2 * evidence[IDS.index(other)]
                top, total = top + weight * residual[IDS.index(other)], total + weight
        np.testing.assert_allclose(found[i], top / total, rtol=1e-9, atol=1e-12)
    assert (np.abs(found) <= np.abs(residual).max(axis=0)).all()


@settings(max_examples=25, deadline=None)
@given(neighbours=near, seed=st.integers(0, 2**32 - 1))
def test_the_order_of_actions_does_not_matter(neighbours: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    k = len(IDS)
    root = rng.normal(size=(k, 30, 3))
    information, h = np.einsum("kni,knj->kij", root, root), rng.normal(size=(k, 3))
    features = rng.normal(size=(k, 2))
    base = BasePrior(
        mean=np.zeros(3),
        variance=np.ones(3),
        spread=np.ones(3),
        strength=20.0,
        ridge=2.0,
        iterations=3,
        neighbours=1.0,
    )
    order = rng.permutation(k)
    straight = fit(information, h, features, base, similarities(IDS, neighbours))
    names = [IDS[i] for i in order]
    shuffled = fit(information[order], h[order], features[order], base,
                   similarities(names, neighbours))  # fmt: skip
    np.testing.assert_allclose(straight.mean[order], shuffled.mean[:k], rtol=1e-8, atol=1e-10)


def bimodal(kind: str, neighbours: dict[str, dict[str, float]]) -> Floats:
    """Teach that even actions are clicked and odd ones are not; give what is expected of two new.

    Clicks are set in their exact shares, so nothing here is random.
    """
    dim = 0 if kind == "beta" else 1
    policy = make_policy(kind, {"neighbours": 1.0}, dim)
    policy.set_actions([*IDS, "new-even", "new-odd"], None, neighbours)
    for i, action_id in enumerate(IDS):
        reward = np.zeros(800)
        reward[: 160 if i % 2 == 0 else 16] = 1.0
        policy.learn(
            Deltas(
                action_ids=[action_id] * 800,
                x=np.ones((800, dim)),
                eta=np.full(800, -2.5),
                time=np.zeros(800),
                count_delta=np.ones(800),
                reward_delta=reward,
            )
        )
    posterior = policy.publish()
    return posterior.weigh(np.ones((1, dim)), posterior.columns(["new-even", "new-odd"])).eta[0]


@pytest.mark.parametrize("kind", ["beta", "logistic"])
def test_a_new_action_starts_where_its_neighbours_are(kind: str) -> None:
    even, odd = bimodal(kind, {"new-even": {"a0": 0.9, "a2": 0.8}, "new-odd": {"a1": 0.9}})
    assert even > odd + 1.0
    far_even, far_odd = bimodal(kind, {"new-even": {"a0": 0.1}, "new-odd": {"a1": 0.1}})
    assert 0.0 < far_even - far_odd < 0.2
    # Of a neighbour that nobody has seen there is nothing to borrow.
    assert bimodal(kind, {"new-even": {"new-odd": 1.0}}) == pytest.approx(bimodal(kind, {}))


def test_neighbours_need_the_iterations_that_learn_a_prior() -> None:
    with pytest.raises(PolicyError, match=r"policy\.iterations of 1 or more"):
        make_policy("gaussian", {"neighbours": 0.5, "iterations": 0}, 2)
