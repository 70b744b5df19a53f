import numpy as np
import pytest

from operators.logic.policies import Deltas, PolicyError, load_policy, load_posterior, make_policy
from operators.logic.policies.base import Floats

NO_CONTEXT = np.zeros((1, 0))


def deltas(
    ids: str, count_delta: list[float], reward_delta: list[float], time: list[float] | None = None
) -> Deltas:
    n = len(ids)
    when = np.zeros(n) if time is None else np.array(time)
    return Deltas(
        action_ids=list(ids),
        x=np.zeros((n, 0)),
        eta=np.zeros(n),
        time=when,
        count_delta=np.array(count_delta),
        reward_delta=np.array(reward_delta),
    )


def p_of(policy: object) -> Floats:
    return policy.publish().weigh(NO_CONTEXT).p[0]  # type: ignore[attr-defined]


def counts(policy: object, now: float | None = None) -> dict[str, tuple[float, float]]:
    summary = policy.publish(now).summary()  # type: ignore[attr-defined]
    return {s.action_id: (s.count, s.reward) for s in summary}


def test_beta_counts_decisions_and_rewards_exactly() -> None:
    policy = make_policy("beta")
    policy.learn(deltas("abb", [1, 1, 1], [0, 1, 0]))
    policy.learn(deltas("a", [0], [1]))
    policy.learn(deltas("b", [-1], [-1]))
    assert counts(policy) == {"a": (1.0, 1.0), "b": (1.0, 0.0)}


def test_beta_probabilities_are_those_of_draws() -> None:
    policy = make_policy("beta", {"prior_failure": 2.0, "sharpen": 1.0})
    policy.learn(deltas("abc", [30, 20, 3], [4, 4, 1]))
    draws = np.random.default_rng(0).beta(
        [5, 5, 2, 1], [2 + 26, 2 + 16, 2 + 2, 2], size=(400_000, 4)
    )
    posterior = policy.publish()
    p = posterior.weigh(NO_CONTEXT, posterior.columns(["a", "b", "c", "new"])).p[0]
    # Error rate: four comparisons at 5 standard errors, 2e-6.
    share = np.bincount(draws.argmax(axis=1), minlength=4) / len(draws)
    assert np.abs(share - p).max() < 5 * 0.5 / np.sqrt(len(draws))


def test_masked_actions_have_exactly_no_probability() -> None:
    policy = make_policy("beta")
    policy.set_actions(["a", "b", "c"])
    mask = np.array([[True, True, False], [False, True, False], [False, False, False]])
    p = policy.publish().weigh(np.zeros((3, 0)), mask=mask).p
    np.testing.assert_allclose(p, [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0]], atol=1e-9)
    assert (p[~mask] == 0.0).all()


def test_forgetting_halves_by_decision_time_whatever_the_order() -> None:
    late_first = make_policy("beta", {"half_life": 10.0})
    late_first.learn(deltas("a", [1], [1], [1e6]))
    late_first.learn(deltas("a", [1], [1], [1e6 - 10]))
    in_order = make_policy("beta", {"half_life": 10.0})
    in_order.learn(deltas("aa", [1, 1], [1, 1], [1e6 - 10, 1e6]))
    assert counts(late_first)["a"] == pytest.approx((1.5, 1.5), rel=1e-12)
    assert counts(in_order)["a"] == pytest.approx((1.5, 1.5), rel=1e-12)
    assert counts(in_order, now=1e6 + 10)["a"] == pytest.approx((0.75, 0.75), rel=1e-12)


def test_forgetting_survives_a_century_of_half_lives() -> None:
    policy = make_policy("beta", {"half_life": 1.0})
    policy.learn(deltas("a", [1], [1], [0.0]))
    policy.learn(deltas("b", [1], [1], [3e9]))
    policy.learn(deltas("a", [1], [0], [5.0]))
    result = counts(policy)
    assert result["b"] == (1.0, 1.0)
    assert result["a"][0] < 1e-200


@pytest.mark.parametrize("kind", ["uniform", "split"])
def test_policies_without_learning_count_and_keep_their_shares(kind: str) -> None:
    params = {"shares": {"a": 3.0, "b": 1.0}} if kind == "split" else None
    policy = make_policy(kind, params)
    policy.set_actions(["b", "a", "c"])
    policy.learn(deltas("aab", [1, 1, 1], [1, 0, 0]))
    expected = [0.75, 0.25, 0.0] if kind == "split" else [1 / 3] * 3
    np.testing.assert_allclose(p_of(policy), expected)
    assert counts(policy) == {"a": (2.0, 1.0), "b": (1.0, 0.0), "c": (0.0, 0.0)}
    only_c = policy.publish().weigh(NO_CONTEXT, mask=np.array([[False, False, True]])).p
    np.testing.assert_array_equal(only_c, [[0.0, 0.0, 1.0]])


@pytest.mark.parametrize("kind", ["beta", "uniform", "split"])
def test_written_forms_read_back_the_same(kind: str) -> None:
    policy = make_policy(kind)
    policy.set_actions(["a", "b"])
    policy.learn(deltas("ab", [1, 1], [1, 0], [5.0, 6.0]))
    again = load_policy(policy.dump())
    assert again.dump() == policy.dump()
    posterior = policy.publish()
    np.testing.assert_array_equal(
        load_posterior(posterior.dump()).weigh(NO_CONTEXT).p, posterior.weigh(NO_CONTEXT).p
    )


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("beta", {"prior_reward": -1}, r"policy\.prior_reward must be >= 1e-06, got -1"),
        ("beta", {"sharpen": float("nan")}, r"policy\.sharpen must be finite, got nan"),
        ("beta", {"half_life": "x"}, r"policy\.half_life must be of type float \| null, got str"),
        ("beta", {"alpha": 1}, r"policy\.alpha is not a parameter of 'beta'"),
        ("bets", {}, r"policy\.kind must be one of beta, .*got 'bets'"),
    ],
)
def test_an_error_names_the_parameter(kind: str, params: dict[str, object], message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        make_policy(kind, params)


def test_a_number_that_is_not_finite_is_refused_by_field() -> None:
    with pytest.raises(PolicyError, match=r"deltas\.reward_delta is not finite"):
        make_policy("beta").learn(deltas("a", [1], [float("nan")]))


def test_a_snapshot_of_something_else_is_refused() -> None:
    with pytest.raises(PolicyError, match="the snapshot begins with"):
        load_policy(b"nonsense")
