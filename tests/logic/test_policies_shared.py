"""The shared policy: its statistics add up in any order, its posterior is a Bayesian regression."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from operators.logic.features.rows import Rows
from operators.logic.policies.base import Deltas, PolicyError
from operators.logic.policies.joint_scores import JointScores
from operators.logic.policies.shared import Shared, SharedPosterior, moments

Floats = NDArray[np.float64]

PRIOR = {
    "prior_mean": -1.0,
    "intercept_variance": 2.0,
    "signal": 3.0,
    "action_variance": 0.4,
    "iterations": 0,
    "drift_half_life": None,
}


def rows_of(x: Floats, width: int | None = None) -> Rows:
    """Turn a dense matrix into rows without its zeros."""
    row, column = np.nonzero(x)
    indptr = np.searchsorted(row, np.arange(len(x) + 1)).astype(np.int64)
    return Rows(indptr, column.astype(np.int64), x[row, column], width or x.shape[1])


def log(seed: int, n: int, width: int = 16, actions: int = 4, used: int | None = None) -> Deltas:
    """Make deltas of n decisions: sparse rows with intercept, rewards of 0 or 1."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, width))
    used = used or width
    x[:, 1:used] = rng.normal(size=(n, used - 1)) * (rng.random((n, used - 1)) < 0.5)
    x[:, 0] = 1.0
    eta = rng.normal(size=n) - 1.0
    return Deltas(
        action_ids=[f"a{k}" for k in rng.integers(actions, size=n)],
        x=np.zeros((n, 0)),
        eta=eta,
        time=rng.uniform(0.0, 1000.0, size=n),
        count_delta=np.ones(n),
        reward_delta=(rng.random(n) < expit(x[:, 1] - 1.0)).astype(float),
        rows=rows_of(x),
    )


def learned(deltas: Deltas, **params: Any) -> Shared:
    assert deltas.rows is not None
    policy = Shared(params, deltas.rows.width)
    policy.learn(deltas)
    return policy


def numbers(policy: Shared) -> dict[str, Floats]:
    """Give all statistics, by column and by action, as of the newest time."""
    result: dict[str, Floats] = {}
    for kind, statistics in zip(("all", "drift"), policy._all(), strict=False):
        moments, actions = statistics.moments, statistics.actions
        columns, sums = moments.sums()
        by_id = np.argsort(actions.ids)
        own = {name: array[by_id] for name, array in actions.at(None).items()}
        result[f"{kind} columns"] = columns.astype(float)
        result[f"{kind} totals"] = moments.frame.scale(None) * moments.totals
        result |= {f"{kind} {name}": array for name, array in sums.items()}
        result |= {f"{kind} own {name}": array for name, array in own.items()}
    return result


def assert_same(one: Shared, other: Shared) -> None:
    left, right = numbers(one), numbers(other)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_allclose(left[name], right[name], rtol=1e-9, atol=1e-9, err_msg=name)


def prior_precision(x: Floats, w: Floats) -> Floats:
    """Share the signal among the entries of an average row, each column in its own unit."""
    weights = w @ (x != 0.0)
    squares = np.divide(w @ x**2, weights, out=np.ones(x.shape[1]), where=weights > 0.0)
    entries = max(weights[1:].sum() / weights[0], 1.0)
    precision = squares * entries / PRIOR["signal"]
    precision[0] = 1.0 / PRIOR["intercept_variance"]
    return np.asarray(precision)


def dense_regression(deltas: Deltas, candidates: Floats, names: list[str]) -> JointScores:
    """Regress on columns and actions' indicators, densely, in one system, by the prior of PRIOR.

    The candidates' covariance comes in parts: what the action's indicator has given the columns is
    left out of it, and given as ``own``.
    """
    assert deltas.rows is not None
    x = deltas.rows.dense()
    ids = sorted(set(deltas.action_ids))
    design = np.hstack([x, np.array([[a == b for b in ids] for a in deltas.action_ids], float)])
    eta = np.minimum(deltas.eta, 1.0)  # beyond which nothing is linearised
    p = expit(eta)
    w = p * (1.0 - p)
    information = (design * w[:, None]).T @ design
    h = design.T @ (w * eta - p + deltas.reward_delta)
    precision = np.concatenate([prior_precision(x, w), np.full(len(ids), 1.0 / 0.4)])
    pull = np.zeros(len(h))
    pull[0] = PRIOR["prior_mean"] * precision[0]
    covariance = np.linalg.inv(information + np.diag(precision))
    known = np.array([[a == b for b in ids] for a in names], float).reshape(len(names), len(ids))
    z = np.hstack([candidates, known])
    new = 1.0 - known.sum(axis=1)
    joint = z @ covariance @ z.T + 0.4 * np.diag(new)
    return JointScores(z @ covariance @ (h + pull), joint, np.zeros(len(names)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.booleans())
def test_is_the_dense_regression_where_the_width_allows(seed: int, n: int, ids: bool) -> None:
    deltas = log(seed, n)
    policy = learned(deltas, rank=32, **PRIOR, **({} if ids else {"ids": 0}))
    candidates = np.random.default_rng(seed + 1).normal(size=(4, 16))
    names = ["a0", "a1", "a2", "never seen"]
    scores = policy.publish().score(rows_of(candidates), names)
    got = scores.factor @ scores.factor.T + np.diag(scores.own)
    if not ids:
        anonymous = Deltas(**{f: getattr(deltas, f) for f in Deltas.__slots__} | {
            "action_ids": ["x"] * n})  # fmt: skip
        dense = without_actions(anonymous, candidates)
    else:
        dense = dense_regression(deltas, candidates, names)
    np.testing.assert_allclose(scores.mean, dense.mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got, dense.factor, rtol=1e-5, atol=1e-6)


def without_actions(deltas: Deltas, candidates: Floats) -> JointScores:
    """Regress on the columns alone."""
    assert deltas.rows is not None
    x = deltas.rows.dense()
    eta = np.minimum(deltas.eta, 1.0)  # beyond which nothing is linearised
    p = expit(eta)
    w = p * (1.0 - p)
    information = (x * w[:, None]).T @ x
    precision = prior_precision(x, w)
    h = x.T @ (w * eta - p + deltas.reward_delta)
    h[0] += PRIOR["prior_mean"] * precision[0]
    covariance = np.linalg.inv(information + np.diag(precision))
    joint = candidates @ covariance @ candidates.T
    return JointScores(candidates @ (covariance @ h), joint, np.zeros(len(candidates)))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_scores_do_not_depend_on_the_units_of_features(seed: int, iterations: int) -> None:
    deltas = log(seed, 60)
    assert deltas.rows is not None
    rng = np.random.default_rng(seed + 1)
    unit = np.concatenate([[1.0], 10.0 ** rng.uniform(-3, 3, size=15)])
    candidates = rng.normal(size=(4, 16))
    scores = []
    for factor in (np.ones(16), unit):
        changed = replace(deltas, rows=rows_of(deltas.rows.dense() * factor))
        policy = learned(changed, rank=32, iterations=iterations, signal=3.0)
        scores.append(policy.publish().score(rows_of(candidates * factor), ["a0", "a1", "a2", "b"]))
    np.testing.assert_allclose(scores[0].mean, scores[1].mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scores[0].width, scores[1].width, rtol=1e-5)


def test_independent_columns_vary_as_much_as_the_joint_posterior() -> None:
    """Of ten columns that are all the same number and the intercept two coefficients are known."""
    deltas = log(4, 400, width=256, used=2)
    assert deltas.rows is not None
    x = deltas.rows.dense()
    x[:, 1:11] = x[:, 1:2]
    params = {**PRIOR, "prior_mean": None, "intercept_variance": None, "ids": 0, "rank": 32}
    policy = learned(replace(deltas, rows=rows_of(x)), **params)
    known, new = np.zeros((2, 1, 256))
    known[0, 1:11] = new[0, 20] = 1.0
    posterior = policy.publish()
    shown = x[:, 1] != 0.0
    eta = np.minimum(deltas.eta[shown], 1.0)
    information = float((expit(eta) * expit(-eta) * x[shown, 1] ** 2).sum())
    width = posterior.score(rows_of(known), [""]).width[0]
    assert width == pytest.approx((10.0 * 2.0 / 11.0 / information) ** 0.5, rel=0.05)
    assert posterior.score(rows_of(new), [""]).width[0] == pytest.approx(
        (3.0 / (10.0 * shown.mean())) ** 0.5, rel=0.1
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_a_sketch_as_wide_as_the_features_seen_gives_the_same_means(seed: int) -> None:
    deltas = log(seed, 80, width=256, used=12)
    policy = learned(deltas, rank=128, whole=0, ids=0, **PRIOR)
    candidates = np.zeros((3, 256))
    candidates[:, :12] = np.random.default_rng(seed + 1).normal(size=(3, 12))
    scores = policy.publish().score(rows_of(candidates), ["a", "b", "c"])
    dense = without_actions(deltas, candidates)
    np.testing.assert_allclose(scores.mean, dense.mean, rtol=1e-3, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_few_columns_are_solved_for_together_whatever_the_sketch(seed: int, ids: bool) -> None:
    deltas = log(seed, 80, width=1024, used=90)
    policy = learned(deltas, rank=128 if ids else 32, ids=20 * ids, **PRIOR)
    candidates = np.zeros((3, 1024))
    candidates[:, :90] = np.random.default_rng(seed + 1).normal(size=(3, 90))
    names = ["a0", "a1", "new"]
    scores = policy.publish().score(rows_of(candidates), names)
    if ids:  # what actions and columns share passes through the sketch, wide enough here
        dense = dense_regression(deltas, candidates, names)
        np.testing.assert_allclose(scores.mean, dense.mean, rtol=0.05, atol=0.1)
    else:
        dense = without_actions(deltas, candidates)
        np.testing.assert_allclose(scores.mean, dense.mean, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("whole", [0, 1024])
def test_no_column_is_folded_onto_the_intercepts(whole: int) -> None:
    row = Rows(np.array([0, 3]), np.array([0, 64, 1]), np.array([1.0, 5.0, 2.0]), 128)
    start = Shared({"buckets": 64, "rank": 32, "prior_mean": -2.0, "whole": whole}, 128)
    np.testing.assert_allclose(start.publish().score(row, ["a"]).mean, -2.0)
    deltas = log(1, 1, width=128)
    start.learn(Deltas(**{f: getattr(deltas, f) for f in Deltas.__slots__} | {"rows": row}))
    assert start.moments.columns.tolist() == [0, 1]
    slope = start.moments.slopes / expit(deltas.eta) / expit(-deltas.eta)
    np.testing.assert_allclose(slope, [1.0, 5.0**2 + 2.0**2])


@pytest.mark.parametrize("params", [{"rank": 32}, {"rank": 512}, {"rank": 32, "whole": 0}])
def test_first_scores_have_the_priors_mean(params: dict[str, Any]) -> None:
    x = np.zeros((2, 512))
    x[:, 0], x[0, 5] = 1.0, 1.0
    scores = Shared(params, 512).publish().score(rows_of(x), ["a", "b"])
    np.testing.assert_allclose(scores.mean, -3.5)


def test_columns_that_do_not_meet_are_fitted_each_on_its_own_beyond_the_sketch() -> None:
    width, n = 2048, 4000
    rng = np.random.default_rng(5)
    truth = rng.normal(size=width)
    column = rng.integers(1, width, size=n)
    x = np.zeros((n, width))
    x[:, 0], x[np.arange(n), column] = 1.0, 1.0
    deltas = Deltas(
        action_ids=["a"] * n, x=np.zeros((n, 0)), eta=np.zeros(n), time=np.zeros(n),
        count_delta=np.ones(n), reward_delta=np.clip(0.5 + 0.1 * truth[column], 0.0, 1.0),
        rows=rows_of(x),
    )  # fmt: skip
    policy = learned(deltas, link="gaussian", rank=32, ids=0, noise=0.03, signal=0.01)
    seen = np.unique(column)
    candidates = np.zeros((len(seen), width))
    candidates[:, 0], candidates[np.arange(len(seen)), seen] = 1.0, 1.0
    scores = policy.publish().score(rows_of(candidates), ["a"] * len(seen))
    assert np.corrcoef(scores.mean, truth[seen])[0, 1] > 0.95


@pytest.mark.parametrize("half_life", [None, 50.0])
@pytest.mark.parametrize(("width", "whole"), [(16, 0), (1024, 0), (1024, 800), (1024, 1024)])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_merging_and_subtraction(
    half_life: float | None, width: int, whole: int, seed: int
) -> None:
    params = {"rank": 32, "half_life": half_life, "whole": whole}
    deltas = log(seed, 60, width)
    rng = np.random.default_rng(seed)
    everything = learned(deltas, **params)
    order = rng.permutation(60)
    shuffled = Shared(params, width)
    for part in np.array_split(order, 7):
        shuffled.learn(deltas.take(part))
    assert_same(shuffled, everything)
    left, right = (
        learned(deltas.take(order[:25]), **params),
        learned(deltas.take(order[25:]), **params),
    )
    left.merge(right)
    assert_same(left, everything)
    newest = int(np.argmax(deltas.time))
    gone = np.array([i for i in order[:25] if i != newest])
    kept = np.array([i for i in range(60) if i not in set(gone.tolist())])
    everything.subtract(deltas.take(gone))
    rest = numbers(learned(deltas.take(kept), **params))
    found = numbers(everything)
    for kind in ("all", "drift"):
        at = np.isin(found[f"{kind} columns"], rest[f"{kind} columns"])
        totals = f"{kind} totals"
        np.testing.assert_allclose(found[totals], rest[totals], rtol=1e-9, atol=1e-9)
        for name in (f"{kind} slopes", f"{kind} targets", f"{kind} cross"):
            np.testing.assert_allclose(found[name][at], rest[name], rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(found[name][~at], 0.0, atol=1e-9)


def test_a_late_reward_is_one_more_term() -> None:
    deltas = log(1, 30)
    shown = Deltas(**{f: getattr(deltas, f) for f in Deltas.__slots__} | {
        "reward_delta": np.zeros(30)})  # fmt: skip
    answered = Deltas(**{f: getattr(deltas, f) for f in Deltas.__slots__} | {
        "count_delta": np.zeros(30)})  # fmt: skip
    policy = learned(shown)
    policy.learn(answered)
    assert_same(policy, learned(deltas))


def test_a_decision_a_half_life_ago_counts_half() -> None:
    deltas = log(2, 1)
    later = Deltas(**{f: getattr(deltas, f) for f in Deltas.__slots__} | {
        "time": deltas.time + 10.0})  # fmt: skip
    policy = learned(deltas, half_life=10.0)
    once = numbers(policy)["all cross"]
    policy.learn(later)
    np.testing.assert_allclose(numbers(policy)["all cross"], 1.5 * once, rtol=1e-12)


@pytest.mark.parametrize(("width", "whole"), [(16, 0), (1024, 0), (1024, 800), (1024, 1024)])
def test_dumps_read_back(width: int, whole: int) -> None:
    policy = learned(log(3, 50, width), rank=32, half_life=1e6, whole=whole)
    again = Shared.load(policy.dump())
    assert_same(again, policy)
    candidates = log(4, 5, width)
    assert candidates.rows is not None
    posterior = policy.publish()
    scores = posterior.score(candidates.rows, candidates.action_ids)
    for other in (again.publish(), SharedPosterior.load(posterior.dump())):
        found = other.score(candidates.rows, candidates.action_ids)
        for name in ("mean", "factor", "own"):
            np.testing.assert_array_equal(getattr(found, name), getattr(scores, name))


@pytest.mark.parametrize("width", [16, 1024])
def test_a_row_scores_the_same_in_any_company(width: int) -> None:
    posterior = learned(log(5, 80, width), rank=32).publish()
    candidates = log(6, 9, width)
    assert candidates.rows is not None
    together = posterior.score(candidates.rows, candidates.action_ids)
    for k in range(9):
        alone = posterior.score(candidates.rows.take([k]), candidates.action_ids[k : k + 1])
        np.testing.assert_allclose(alone.mean[0], together.mean[k], rtol=1e-12)
        np.testing.assert_allclose(alone.factor[0], together.factor[k], rtol=1e-9, atol=1e-12)
        assert alone.own[0] == together.own[k]


def test_wide_scores_vary_as_their_columns_do() -> None:
    posterior = learned(log(7, 200, 4096), rank=32, ids=0).publish()
    table = posterior._table.astype(np.float64)
    rng = np.random.default_rng(8)
    x = np.zeros((40, 4096))
    x[:, :400] = rng.normal(size=(40, 400))
    x[1] = x[0]
    scores = posterior.score(rows_of(x), ["a"] * 40)
    want = (x * table[:, 1] ** 2) @ x.T
    got = scores.factor @ scores.factor.T
    deviation = np.sqrt(np.diag(want))
    np.testing.assert_allclose(scores.mean, x @ table[:, 0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(np.diag(got)), deviation, rtol=1e-9)
    np.testing.assert_array_equal(scores.factor[0], scores.factor[1])
    error = (got - want) / np.outer(deviation, deviation)
    assert np.sqrt(np.mean(np.square(error))) < 0.2


def test_an_action_that_earns_more_gets_an_intercept_and_a_new_one_the_prior_of_all() -> None:
    rng = np.random.default_rng(9)
    n = 4000
    names = [f"a{k}" for k in rng.integers(20, size=n)]
    rate = np.array([0.3 if name == "a7" else 0.1 for name in names])
    x = np.zeros((n, 1024))
    x[:, 0], x[np.arange(n), rng.integers(1, 6, size=n)] = 1.0, 1.0
    deltas = Deltas(
        action_ids=names, x=np.zeros((n, 0)), eta=np.full(n, -2.0), time=np.zeros(n),
        count_delta=np.ones(n), reward_delta=(rng.random(n) < rate).astype(float),
        rows=rows_of(x),
    )  # fmt: skip
    posterior = learned(deltas, rank=32).publish()
    candidates = rows_of(x[:1].repeat(3, axis=0))
    scores = posterior.score(candidates, ["a7", "a3", "new"])
    assert scores.mean[0] > scores.mean[1] + 0.4
    assert scores.own[2] > 2.0 * scores.own[1]
    assert abs(scores.mean[2] - scores.mean[1]) < 0.3


def test_the_actions_with_the_least_information_are_surplus() -> None:
    deltas = log(10, 200, actions=30)
    policy = learned(deltas, ids=10)
    surplus = policy.surplus()
    assert len(surplus) == len(set(deltas.action_ids)) - 10
    assert len(policy.publish().action_ids) == 10
    sizes = dict(zip(policy.intercepts.ids, policy.intercepts["slope"].tolist(), strict=True))
    kept = set(sizes) - set(surplus)
    assert max(sizes[a] for a in surplus) <= min(sizes[a] for a in kept)
    slopes = numbers(policy)["all slopes"]
    policy.forget(surplus)
    assert policy.surplus() == []
    assert set(policy.intercepts.ids) == kept
    np.testing.assert_array_equal(numbers(policy)["all slopes"], slopes)


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e6])
def test_numbers_of_any_size_leave_everything_finite(size: float) -> None:
    rng = np.random.default_rng(11)
    x = size * rng.normal(size=(100, 512))
    x[:, 0] = 1.0
    deltas = Deltas(
        action_ids=["a"] * 100, x=np.zeros((100, 0)), eta=rng.normal(size=100) * 1e3,
        time=np.zeros(100), count_delta=np.ones(100), reward_delta=np.ones(100),
        rows=rows_of(x),
    )  # fmt: skip
    scores = learned(deltas, rank=32).publish().score(rows_of(x[:5]), ["a"] * 5)
    assert np.isfinite(scores.mean).all()
    assert np.isfinite(scores.factor).all()
    assert (scores.own >= 0.0).all()


def test_nothing_learned_is_the_prior() -> None:
    x = np.zeros((2, 512))
    x[:, 0], x[0, 5], x[1, 6] = 1.0, 1.0, 1.0
    for params in ({}, {"rank": 512}):
        scores = Shared(params, 512).publish().score(rows_of(x), ["a", "b"])
        np.testing.assert_allclose(scores.width[0], scores.width[1])
        assert (scores.width > 0.0).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"alpha": -1}, "policy.alpha must be > 0, got -1"),
        ({"rank": 100}, "policy"),
        ({"buckets": 1000}, "policy.buckets must be a power of two, got 1000"),
        ({"beta": 1}, "policy.beta is not a parameter of 'shared'"),
    ],
)
def test_parameters_are_refused_by_name(params: dict[str, object], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Shared(params, 512)


def test_deltas_without_fitting_rows_are_refused() -> None:
    deltas = log(12, 3)
    with pytest.raises(PolicyError, match="16 wide, expected 32"):
        Shared({}, 32).learn(deltas)
    bare = Deltas(**{f: getattr(deltas, f) for f in Deltas.__slots__} | {"rows": None})
    with pytest.raises(PolicyError, match="a row for each delta"):
        Shared({}, 16).learn(bare)


def test_whole_moments_are_the_same_as_products_and_as_a_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deltas = log(9, 70, width=1024, used=90)
    policies = []
    for ratio in (0, 10**9):
        monkeypatch.setattr(moments, "_DENSE", ratio)
        policies.append(learned(deltas, rank=32))
    assert_same(*policies)
    wholes = [policy.moments.whole for policy in policies]
    assert wholes[0] is not None
    assert wholes[1] is not None
    np.testing.assert_allclose(wholes[0], wholes[1], rtol=1e-9, atol=1e-12)
