"""What a shared model's coefficients have changed by of late, beside what all decisions say."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from operators.logic.policies.base import Deltas, PolicyError
from operators.logic.policies.shared import Shared
from tests.logic.test_policies_shared import Floats, log, rows_of

HALF_LIFE = 100.0


def policy_of(deltas: Deltas, **params: Any) -> Shared:
    assert deltas.rows is not None
    policy = Shared({"ids": 0, "drift_half_life": HALF_LIFE} | params, deltas.rows.width)
    policy.learn(deltas)
    return policy


def deviations_from_scratch(x: Floats, deltas: Deltas, level: Floats, prior: float) -> Floats:
    """Regress what recent decisions say beyond ``level``, each column's variance learned twice."""
    eta = np.clip(deltas.eta, -30.0, 1.0)
    p = expit(eta)
    age = 2.0 ** ((deltas.time - deltas.time.max()) / HALF_LIFE)
    slope = age * p * (1.0 - p)
    target = x.T @ (slope * eta + age * (deltas.reward_delta - p))
    information = x.T @ (slope[:, None] * x)
    weights = slope @ (x != 0.0)
    known = weights > 0.0
    squares = np.where(known, np.diagonal(information) / np.where(known, weights, 1.0), 1.0)
    variances = np.full(len(level), 0.05 * prior)
    for _ in range(3):
        precision = squares / variances
        precision[0] = 1.0 / 0.05
        covariance = np.linalg.inv(information + np.diag(precision))
        deviation = covariance @ (target - information @ level)
        square, variance = squares * deviation**2, squares * np.diagonal(covariance)
        determined = np.clip(1.0 - variance / variances, 0.0, 1.0)
        common = (20.0 * 0.05 * prior + square[1:].sum()) / (20.0 + determined[1:].sum())
        variances = (common + square) / (1.0 + determined)
    return np.asarray(deviation)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 200), st.sampled_from([16, 64]))
def test_deviations_are_those_of_the_dense_regression(seed: int, n: int, rank: int) -> None:
    """By the covariance of all columns, and where they are solved for together."""
    width = 16 if rank == 64 else 1024
    deltas = log(seed, n, width, used=16)
    assert deltas.rows is not None
    x = deltas.rows.dense()[:, :16]
    still = policy_of(deltas, rank=64, signal=3.0, drift_half_life=None).publish()
    moved = policy_of(deltas, rank=64, signal=3.0).publish()
    unit = rows_of(np.eye(16, width))
    level, mean = (each.score(unit, [""] * 16).mean for each in (still, moved))
    weights = expit(np.minimum(deltas.eta, 1.0)) * expit(-np.minimum(deltas.eta, 1.0))
    entries = max((weights @ (x[:, 1:] != 0.0)).sum() / weights.sum(), 1.0)
    expected = deviations_from_scratch(x, deltas, level, 3.0 / entries)
    seen = (x != 0.0).any(axis=0)
    np.testing.assert_allclose((mean - level)[seen], expected[seen], rtol=1e-3, atol=2e-5)


def changing(seed: int, n: int, flips: bool, width: int = 1024) -> tuple[Deltas, Floats]:
    """Give n decisions a second apart whose first feature's worth turns round half-way."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, width))
    x[:, 0], x[:, 1:9] = 1.0, rng.normal(size=(n, 8))
    worth = np.tile(np.array([1.0, 0.5, -0.5, 0.3, 0.0, 0.0, 0.4, -0.3]), (n, 1))
    if flips:
        worth[n // 2 :, 0] *= -1.0
    true = (x[:, 1:9] * worth).sum(axis=1) - 1.0
    deltas = Deltas(
        action_ids=[""] * n,
        x=np.zeros((n, 0)),
        eta=np.full(n, -1.0),
        time=np.arange(n, dtype=float),
        count_delta=np.ones(n),
        reward_delta=(rng.random(n) < expit(true)).astype(float),
        rows=rows_of(x),
    )
    return deltas, worth[-1]


def error(policy: Shared, worth: Floats) -> Floats:
    unit = rows_of(np.eye(9, 1024)[1:])
    return np.asarray(policy.publish().score(unit, [""] * 8).mean - worth)


@pytest.mark.parametrize("whole", [1024, 0])
def test_what_turned_round_is_followed_and_what_did_not_is_not_forgotten(whole: int) -> None:
    deltas, worth = changing(1, 8_000, flips=True)
    given = {"whole": whole, "drift_half_life": 500.0}
    followed = error(policy_of(deltas, **given), worth)
    still = error(policy_of(deltas, whole=whole, drift_half_life=None), worth)
    forgetful = error(policy_of(deltas, whole=whole, drift_half_life=None, half_life=500.0), worth)
    assert abs(followed[0]) < 0.3 < 0.7 < abs(still[0])
    assert np.square(followed[1:]).mean() < 0.8 * np.square(forgetful[1:]).mean()


@pytest.mark.parametrize("whole", [1024, 0])
def test_where_nothing_changes_little_is_added(whole: int) -> None:
    deltas, worth = changing(2, 8_000, flips=False)
    moved = error(policy_of(deltas, whole=whole, drift_half_life=500.0), worth)
    still = error(policy_of(deltas, whole=whole, drift_half_life=None), worth)
    assert np.abs(moved - still).max() < 0.1


def test_statistics_of_other_drift_do_not_add_up() -> None:
    deltas, _ = changing(3, 10, flips=False)
    with pytest.raises(PolicyError, match="drift_half_life"):
        policy_of(deltas).merge(policy_of(deltas, drift_half_life=None))
    with pytest.raises(PolicyError, match="half_life"):
        policy_of(deltas).merge(policy_of(deltas, drift_half_life=7.0))


def test_a_policy_that_nothing_drifts_in_reads_back_as_one() -> None:
    deltas, _ = changing(4, 10, flips=False)
    assert Shared.load(policy_of(deltas, drift_half_life=None).dump()).drift is None
    assert Shared.load(policy_of(deltas).dump()).drift is not None
