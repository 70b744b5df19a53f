"""Scaled coordinates: against numbers that were scaled beforehand, and in a small environment."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from operators.logic.deciding.explain import explain
from operators.logic.features import FeatureMap, Moments, coordinates, scaled_columns
from operators.logic.policies import Deltas, PolicyError, load_posterior, make_policy
from operators.logic.policies.base import Floats
from operators.logic.policies.linear_posterior import LinearPosterior
from schemas.catalog import FeatureSpec, Interaction

SPEC = FeatureSpec(
    numeric=["price", "age"],
    profile=["clicks"],
    vectors={"taste": 4},
    categories={"device": ["phone", "desktop"]},
    scale=True,
    interactions=[
        Interaction(left="price", right="device"),
        Interaction(left="price", right="age"),
        Interaction(left="profile.clicks", right="profile.clicks"),
        Interaction(left="taste", right="age"),
        Interaction(left="device", right="taste"),
    ],
    interaction_buckets=3,
)


def contexts(rng: np.random.Generator, n: int, sizes: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "price": sizes[0] * (2.0 + rng.normal()),
            "age": sizes[1] * (rng.normal() - 1.0),
            "clicks": sizes[2] * rng.random(),
            "taste": rng.normal(size=4).tolist(),
            "device": ["phone", "desktop", "watch"][rng.integers(3)],
        }
        for _ in range(n)
    ]


def encode(rows: list[dict[str, Any]]) -> Floats:
    return FeatureMap(SPEC).encode(rows, [{"clicks": row["clicks"]} for row in rows])


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.floats(1e-3, 1e5), min_size=3, max_size=3),
    st.integers(20, 60),
)
def test_coordinates_are_the_encoding_of_numbers_scaled_beforehand(seed, sizes, n):
    rng = np.random.default_rng(seed)
    raw = contexts(rng, n, sizes)
    x = encode(raw)
    weight = rng.random(n)
    moments = Moments(weight.sum(), weight @ x, weight @ (x * x), float(n))
    scaled = scaled_columns(SPEC)
    assert scaled is not None
    z = coordinates(scaled, moments).transform(x)
    numbers = x[:, 1:4]
    mean = weight @ numbers / weight.sum()
    deviation = np.sqrt(weight @ (numbers - mean) ** 2 / weight.sum())
    beforehand = (numbers - mean) / deviation
    ready = [
        row | dict(zip(("price", "age", "clicks"), values, strict=True))
        for row, values in zip(raw, beforehand.tolist(), strict=True)
    ]
    np.testing.assert_allclose(z, encode(ready), rtol=2e-4, atol=2e-4)
    forms = coordinates(scaled, moments).transform_forms((weight[:, None] * x).T @ x[None])
    np.testing.assert_allclose(forms[0], (weight[:, None] * z).T @ z, rtol=1e-6, atol=1e-6)


def test_a_constant_and_what_few_decisions_say_are_left_out():
    scaled = scaled_columns(FeatureSpec(numeric=["a", "b"], scale=True))
    assert scaled is not None
    x = np.array([[1.0, 1e5, 3.0], [1.0, 1e5, 5.0]] * 10)
    known = Moments(20.0, x.sum(axis=0), (x * x).sum(axis=0), 20.0)
    assert coordinates(scaled, known).transform(x)[:2].tolist() == [
        [1.0, 0.0, -1.0],
        [1.0, 0.0, 1.0],
    ]
    few = Moments(19.0, 0.95 * x.sum(axis=0), 0.95 * (x * x).sum(axis=0), 19.0)
    assert coordinates(scaled, few).transform(x)[:2].tolist() == [[1.0, 0.0, 0.0]] * 2


def test_without_numbers_there_is_nothing_to_scale():
    assert scaled_columns(FeatureSpec(vectors={"v": 2}, scale=True)) is None
    assert scaled_columns(FeatureSpec(numeric=["a"])) is None
    scaled = scaled_columns(SPEC)
    with pytest.raises(PolicyError, match="cannot scale interactions"):
        make_policy("diagonal", None, FeatureMap(SPEC).dim, scaled)


def learned(kind: str, x: Floats, spec: FeatureSpec) -> LinearPosterior:
    rng = np.random.default_rng(3)
    n = len(x)
    policy = make_policy(kind, None, x.shape[1], scaled_columns(spec))
    names = [("a", "b", "c")[k] for k in rng.integers(3, size=n)]
    eta, reward = rng.normal(-2.0, 1.0, n), (rng.random(n) < 0.2).astype(float)
    policy.learn(
        Deltas(
            action_ids=names,
            x=x,
            eta=eta,
            time=np.full(n, 1e9),
            count_delta=np.ones(n),
            reward_delta=reward,
        )
    )
    posterior = policy.publish()
    assert isinstance(posterior, LinearPosterior)
    return posterior


@pytest.mark.parametrize("kind", ["logistic", "gaussian", "greedy", "diagonal"])
def test_a_scaled_policy_is_that_of_numbers_scaled_beforehand(kind):
    """The units of a number do not matter, whatever its origin: posterior and explanation agree."""
    spec = FeatureSpec(numeric=["price", "age"], categories={"d": ["x", "y"]}, scale=True)
    rng = np.random.default_rng(1)
    n = 400
    lit = rng.integers(3, size=n)
    x = np.hstack([np.ones((n, 1)), rng.normal(size=(n, 2)), np.eye(3)[lit]])
    x = x.astype(np.float32).astype(float)
    far = x.copy()
    far[:, 1], far[:, 2] = 50_000.0 + 4096.0 * x[:, 1], 2.0**-10 * x[:, 2]
    far = far.astype(np.float32).astype(float)
    ours, theirs = learned(kind, far, spec), learned(kind, x, spec)
    mask = np.ones((n, 3), dtype=bool)
    a, b = ours.weigh(far, None, mask), theirs.weigh(x, None, mask)
    np.testing.assert_allclose(a.eta, b.eta, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(a.p, b.p, rtol=1e-3, atol=1e-3)
    again = load_posterior(ours.dump())
    assert isinstance(again, LinearPosterior)
    np.testing.assert_array_equal(again.scaled(far), ours.scaled(far))
    names = ["1", "price", "age", "d=x", "d=y", "d=other"]
    why = explain(
        names, again.scaled(far[0]), again.action_ids, again.mean[:3], a.p[0], ours.action_ids[0]
    )
    assert why.difference == pytest.approx(a.eta[0, 0] - max(a.eta[0, 1:]), abs=1e-9)


def reward_of(spec: FeatureSpec, factor: float, offset: float, seed: int) -> float:
    """Play 6,000 rounds; give the mean click probability of what the last half chose."""
    rng = np.random.default_rng(seed)
    actions, total, n = 5, 0.0, 400
    weights, start = rng.normal(0.0, 1.2, (actions, 2)), rng.normal(-2.0, 0.3, actions)
    feature_map = FeatureMap(spec)
    policy = make_policy("logistic", None, feature_map.dim, scaled_columns(spec))
    ids = [f"a{k}" for k in range(actions)]
    policy.set_actions(ids)
    for round_ in range(15):
        state = rng.normal(size=(n, 2))
        given = state * [factor, 1.0] + [offset, 0.0]
        x = feature_map.encode([{"price": price, "age": age} for price, age in given.tolist()])
        p = expit(state @ weights.T + start)
        posterior = policy.publish()
        assert isinstance(posterior, LinearPosterior)
        eta, width = posterior.score(x)
        drawn = (eta + 0.5 * width * rng.normal(size=eta.shape)).argmax(axis=1)
        rows = np.arange(n)
        reward = (rng.random(n) < p[rows, drawn]).astype(float)
        total += p[rows, drawn].mean() if round_ >= 7 else 0.0
        chosen = [ids[k] for k in drawn]
        policy.learn(
            Deltas(
                action_ids=chosen,
                x=x,
                eta=eta[rows, drawn],
                time=np.full(n, 1e9),
                count_delta=np.ones(n),
                reward_delta=reward,
            )
        )
    return total / 8.0


def test_a_badly_scaled_number_is_learned_as_well_as_a_standardised_one():
    """Fails on a fresh set of sixteen seeds with probability 0.002; these seeds are fixed.

    Over ten other sets, scaled minus standardised was 0.005 with a deviation of 0.009, and scaled
    minus unscaled 0.056 with one of 0.019.
    """
    plain = FeatureSpec(numeric=["price", "age"])
    scaled = FeatureSpec(numeric=["price", "age"], scale=True)
    seeds = range(16)
    ours = np.array([reward_of(scaled, 2e4, 1e5, seed) for seed in seeds])
    standardised = np.array([reward_of(plain, 1.0, 0.0, seed) for seed in seeds])
    unscaled = np.array([reward_of(plain, 2e4, 1e5, seed) for seed in seeds])
    assert ours.mean() > standardised.mean() - 0.03
    assert ours.mean() > unscaled.mean()
