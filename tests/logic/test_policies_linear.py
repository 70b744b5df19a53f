import time

import numpy as np
import pytest
from scipy.special import expit

from operators.logic.deciding.propensity import choose
from operators.logic.policies import Deltas, Policy, PolicyError, make_policy
from operators.logic.policies.base import Floats
from operators.logic.policies.prior import BasePrior, fit, inverse_factor
from ops.benchmarks.bandits.delays import exposure_count


def teach(policy: Policy, ids: list[str], x: Floats, reward: Floats, eta: float = -1.0) -> None:
    n = len(ids)
    policy.learn(
        Deltas(
            action_ids=ids,
            x=x,
            eta=np.full(n, eta),
            time=np.zeros(n),
            count_delta=np.ones(n),
            reward_delta=reward,
        )
    )


def test_gaussian_posterior_is_the_textbook_one() -> None:
    rng = np.random.default_rng(0)
    x, reward = rng.normal(size=(40, 3)), rng.random(40)
    policy = make_policy(
        "gaussian", {"noise": 0.5, "prior_variance": 2.0, "prior_mean": 0.2, "iterations": 0}, 3
    )
    teach(policy, ["a"] * 40, x, reward)
    prior = np.diag([1.0, 0.5, 0.5])
    precision = x.T @ x / 0.25 + prior
    mean = np.linalg.solve(precision, x.T @ reward / 0.25 + prior @ [0.2, 0.0, 0.0])
    weights = policy.publish().weigh(x)
    assert weights.width is not None
    np.testing.assert_allclose(weights.eta[:, 0], x @ mean, rtol=1e-6)
    width = np.sqrt(np.einsum("ni,ij,nj->n", x, np.linalg.inv(precision), x))
    np.testing.assert_allclose(weights.width[:, 0], width, rtol=1e-4)


def test_logistic_recovers_the_coefficients_from_logged_predictors() -> None:
    rng = np.random.default_rng(1)
    true = np.array([-1.5, 0.8, -0.5])
    policy = make_policy("logistic", {"prior_mean": -1.0}, 3)
    policy.set_actions(["a"])
    for _ in range(40):
        x = np.hstack([np.ones((500, 1)), rng.normal(size=(500, 2))])
        eta = policy.publish().weigh(x).eta[:, 0]
        reward = (rng.random(500) < expit(x @ true)).astype(float)
        policy.learn(
            Deltas(
                action_ids=["a"] * 500,
                x=x,
                eta=eta,
                time=np.zeros(500),
                count_delta=np.ones(500),
                reward_delta=reward,
            )
        )
    learned = policy.publish().mean[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(learned, true, atol=0.15)  # 20,000 rewards: deviation about 0.03


@pytest.mark.parametrize("kind", ["logistic", "gaussian", "diagonal"])
def test_an_unknown_action_is_weighed_by_the_prior(kind: str) -> None:
    policy = make_policy(kind, None, 2)
    policy.set_actions(["a", "b"])
    posterior = policy.publish()
    weights = posterior.weigh(np.ones((1, 2)), posterior.columns(["a", "unheard-of"]))
    np.testing.assert_allclose(weights.p, [[0.5, 0.5]], atol=1e-6)


def test_a_cold_action_starts_from_its_item_features() -> None:
    rng = np.random.default_rng(2)
    ids = [f"a{i}" for i in range(12)]
    feature = np.array([1.0, -1.0] * 6)[:, None]
    policy = make_policy("logistic", {"ridge": 0.1}, 1)
    policy.set_actions([*ids, "good", "bad"], np.vstack([feature, [[1.0], [-1.0]]]))
    for i, action_id in enumerate(ids):
        reward = (rng.random(800) < (0.2 if feature[i, 0] > 0 else 0.02)).astype(float)
        teach(policy, [action_id] * 800, np.ones((800, 1)), reward, -2.5)
    posterior = policy.publish()
    eta = posterior.weigh(np.ones((1, 1)), posterior.columns(["good", "bad"])).eta[0]
    assert eta[0] > eta[1] + 1.0


def test_item_features_become_more_and_fewer_while_actions_come_and_go() -> None:
    """An action that left the slot keeps its statistics, but no columns that nobody else has."""
    policy = make_policy("logistic", None, 1)
    policy.set_actions(["a", "b"], np.eye(2))
    teach(policy, ["a", "b"], np.ones((2, 1)), np.array([1.0, 0.0]))
    for columns in (1, 3, 2):
        policy.set_actions(["a", "c"], np.eye(2, columns))
        assert policy.publish().action_ids == ("a", "c")


def base_prior(dim: int, ridge: float = 2.0, iterations: int = 3) -> BasePrior:
    return BasePrior(
        mean=np.zeros(dim),
        variance=np.ones(dim),
        spread=np.ones(dim),
        strength=20.0,
        ridge=ridge,
        iterations=iterations,
    )


def test_item_features_of_any_size_never_upset_the_regression() -> None:
    rng = np.random.default_rng(4)
    base = base_prior(2, ridge=1e-6, iterations=20)
    features = np.repeat(1e6 * rng.normal(size=(2, 4096)), 3, axis=0)
    fitted = fit(np.zeros((6, 2, 2)), rng.normal(size=(6, 2)), features, base)
    assert np.abs(fitted.mean).max() < 1000.0


def test_the_hierarchical_prior_does_not_depend_on_the_order_of_actions() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(6, 30, 4))
    information, h = np.einsum("kni,knj->kij", root, root), rng.normal(size=(6, 4))
    features = rng.normal(size=(6, 2))
    base = base_prior(4)
    order = rng.permutation(6)
    straight, shuffled = (
        fit(information, h, features, base),
        fit(information[order], h[order], features[order], base),
    )
    np.testing.assert_allclose(straight.mean[order], shuffled.mean[:6], rtol=1e-9)


def test_actions_come_and_go_while_learning() -> None:
    policy = make_policy("logistic", None, 1)
    policy.set_actions(["a", "b"])
    teach(policy, ["a", "b", "c"], np.ones((3, 1)), np.array([1.0, 0.0, 1.0]))
    assert policy.publish().action_ids == ("a", "b")
    policy.set_actions(["b", "c"])
    assert policy.publish().action_ids == ("b", "c")
    assert policy.publish().summary()[1].reward == 1.0


def test_an_indefinite_matrix_still_gives_a_finite_posterior() -> None:
    spoiled = np.array([np.diag([1.0, -1e-3]), np.full((2, 2), 1e12), np.zeros((2, 2))])
    factor = inverse_factor(spoiled)
    assert np.isfinite(factor).all()


def test_collinear_features_and_huge_counts_stay_finite() -> None:
    policy = make_policy("logistic", None, 3)
    x = np.ones((1000, 3)) * [1.0, 1e3, 1e3]
    for _ in range(20):
        teach(policy, ["a"] * 1000, x, np.ones(1000), 50.0)
    weights = policy.publish().weigh(x[:2])
    assert weights.width is not None
    assert np.isfinite(weights.eta).all()
    assert np.isfinite(weights.width).all()


@pytest.mark.parametrize("kind", ["logistic", "gaussian", "diagonal", "greedy"])
def test_numbers_that_are_not_finite_are_refused(kind: str) -> None:
    policy = make_policy(kind, None, 2)
    with pytest.raises(PolicyError, match=r"deltas\.x is not finite"):
        teach(policy, ["a"], np.array([[1.0, np.nan]]), np.ones(1))
    policy.set_actions(["a"])
    with pytest.raises(PolicyError, match="x is not finite"):
        policy.publish().weigh(np.array([[1.0, np.inf]]))
    with pytest.raises(PolicyError, match="x has shape"):
        policy.publish().weigh(np.ones((1, 3)))


def test_thompson_sampling_finds_the_better_action_by_context() -> None:
    rng = np.random.default_rng(4)
    for kind in ("logistic", "diagonal"):
        policy = make_policy(kind, {"prior_mean": -1.5}, 2)
        policy.set_actions(["minus", "plus"])
        won = 0.0
        for step in range(40):
            x = np.hstack([np.ones((100, 1)), rng.choice([-1.0, 1.0], (100, 1))])
            weights = policy.publish().weigh(x)
            chosen = choose(weights.p, rng.random(100))
            good = (chosen == 1) == (x[:, 1] > 0)
            reward = (rng.random(100) < np.where(good, 0.4, 0.05)).astype(float)
            eta = weights.eta[np.arange(100), chosen]
            ids = [("minus", "plus")[c] for c in chosen]
            policy.learn(
                Deltas(
                    action_ids=ids,
                    x=x,
                    eta=eta,
                    time=np.zeros(100),
                    count_delta=np.ones(100),
                    reward_delta=reward,
                )
            )
            won += good.mean() * (step >= 20) / 20
        assert won > 0.85, kind


def test_publishing_twenty_actions_of_32_features_takes_milliseconds() -> None:
    rng = np.random.default_rng(5)
    policy = make_policy("logistic", None, 32)
    ids = [f"a{i}" for i in range(20)] * 100
    teach(policy, ids, rng.normal(size=(2000, 32)), rng.random(2000))
    times = []
    for _ in range(20):
        began = time.perf_counter()
        policy.publish()
        times.append(time.perf_counter() - began)
    assert min(times) < 0.02  # about 1.5 ms on an idle core


def test_learning_modes_agree_once_the_window_has_closed() -> None:
    age, answered = np.array([60.0, 61.0, 1e9]), np.array([False, True, True])
    for mode in ("immediate", "wait", "exposure"):
        np.testing.assert_array_equal(exposure_count(mode, age, answered, 60.0, 20.0), 1.0)
    with pytest.raises(PolicyError, match="learning_mode"):
        exposure_count("never", age, answered, 60.0, 20.0)
