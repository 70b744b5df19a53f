"""What summaries say of actions: the belief that decides, and beside it what was observed."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from operators.logic.policies import KINDS, Deltas, Policy, make_policy
from operators.logic.policies.linear_posterior import LinearPosterior, logit_normal
from operators.logic.policies.mean_context import MeanContext
from operators.logic.policies.reward_scale import on_reward_scale
from operators.logic.slot_policy import first_policy
from schemas.catalog import PolicySettings
from schemas.results import ActionSummary
from tests.support import records as make

DIM = 3
CONTEXTUAL = ("logistic", "gaussian", "diagonal", "greedy")
ACTIONS = ["a", "b", "untried"]
OF_ONE_ACTION = tuple(kind for kind in KINDS if kind != "shared")
"""The kinds that believe something of an action's reward whatever its features."""


def decisions(rng: Any, n: int) -> Deltas:
    """Decisions of two of three actions, whose first feature is 1."""
    x = rng.normal(0.5, 1.0, size=(n, DIM))
    x[:, 0] = 1.0
    return Deltas(
        action_ids=[ACTIONS[k] for k in rng.integers(0, 2, n)],
        x=x,
        eta=np.full(n, -2.0),
        time=np.arange(float(n)),
        count_delta=np.ones(n),
        reward_delta=(rng.random(n) < 0.2).astype(float),
    )


def learned(kind: str, deltas: Deltas) -> Policy:
    policy = make_policy(kind, None, DIM)
    policy.set_actions(ACTIONS)
    policy.learn(deltas)
    return policy


def by_action(summaries: list[ActionSummary]) -> dict[str, ActionSummary]:
    return {summary.action_id: summary for summary in summaries}


def rate(eta: float, width: float) -> tuple[float, float]:
    """Integrate mean and deviation of a rate whose log-odds are normal."""
    density = norm(eta, width).pdf
    ends = (eta - 12 * width, eta + 12 * width)
    first = quad(lambda y: expit(y) * density(y), *ends)[0]
    second = quad(lambda y: expit(y) ** 2 * density(y), *ends)[0]
    return first, (second - first**2) ** 0.5


@pytest.mark.parametrize("kind", OF_ONE_ACTION)
def test_an_action_that_was_never_shown_is_believed_to_earn_what_its_prior_says(kind: str) -> None:
    """A Jeffreys rate, 0.5, was said of it while it was decided by a prior of 3 %."""
    slot = make.slot("home", policy=PolicySettings(kind=kind))
    prior = first_policy(slot, (make.action("new"),), DIM).posterior.summary()
    learned_of_others = learned(kind, decisions(np.random.default_rng(1), 400)).publish()
    for found in (prior[0], by_action(learned_of_others.summary())["untried"]):
        assert (found.count, found.reward, found.observed) == (0.0, 0.0, None)
    (found,) = prior
    if kind in ("uniform", "split"):
        assert found.mean is found.deviation is None
    elif kind == "gaussian":
        assert found.mean == pytest.approx(0.0, abs=0.1)
    else:
        assert found.mean == pytest.approx(0.03, abs=0.02)
        assert found.deviation is not None
        assert 0.01 < found.deviation < 0.1


@pytest.mark.parametrize("kind", CONTEXTUAL)
def test_what_is_believed_is_the_posterior_that_decides_at_the_mean_features(kind: str) -> None:
    deltas = decisions(np.random.default_rng(2), 300)
    posterior = learned(kind, deltas).publish()
    assert isinstance(posterior, LinearPosterior)
    context = deltas.x.mean(axis=0)
    (eta,), (width,) = posterior.score(context[None])
    found = by_action(posterior.summary(context))
    for place, action in enumerate(posterior.action_ids):
        believed = found[action]
        mean, deviation = eta[place], width[place]
        if kind != "gaussian":
            mean, deviation = rate(mean, deviation)
        assert believed.mean == pytest.approx(mean, rel=1e-5)
        assert believed.deviation == pytest.approx(deviation, rel=1e-4)


@pytest.mark.parametrize("kind", OF_ONE_ACTION)
def test_what_was_observed_is_a_mean_of_rewards_and_beliefs_come_near_it(kind: str) -> None:
    deltas = decisions(np.random.default_rng(3), 4_000)
    found = by_action(learned(kind, deltas).publish().summary(deltas.x.mean(axis=0)))
    names = np.array(deltas.action_ids)
    for action in ("a", "b"):
        rewards = deltas.reward_delta[names == action]
        assert (found[action].count, found[action].reward) == (len(rewards), rewards.sum())
        assert found[action].observed == pytest.approx(rewards.mean())
        if kind not in ("uniform", "split", "diagonal"):  # dual averaging follows its own log
            assert found[action].mean == pytest.approx(rewards.mean(), abs=0.04)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9), st.data())
def test_on_a_slots_own_scale_every_figure_is_as_if_computed_there(
    rewards: list[float], data: Any
) -> None:
    low = data.draw(st.floats(-100.0, 100.0))
    high = low + data.draw(st.floats(0.01, 100.0))
    total, n = sum(rewards), float(len(rewards))
    given = ActionSummary(
        action_id="a", count=n, reward=total, mean=0.3, deviation=0.1, observed=total / n
    )
    (found,) = on_reward_scale([given], (low, high))
    own = [low + reward * (high - low) for reward in rewards]
    near = {"rel": 1e-9, "abs": 1e-7}
    assert found.count == n
    assert found.reward == pytest.approx(sum(own), **near)
    assert found.observed == pytest.approx(np.mean(own), **near)
    assert found.mean == pytest.approx(low + 0.3 * (high - low), **near)
    assert found.deviation == pytest.approx(0.1 * (high - low), **near)
    assert on_reward_scale([given], (0.0, 1.0)) == [given]


@given(st.floats(-8.0, 4.0), st.floats(0.0, 3.0))
def test_the_mean_of_a_rate_lies_within_it(eta: float, width: float) -> None:
    (mean,), (deviation,) = logit_normal(np.array([eta]), np.array([width]))
    assert 0.0 < mean < 1.0
    assert 0.0 <= deviation <= (mean * (1.0 - mean)) ** 0.5 + 1e-9


@given(st.permutations(range(40)), st.integers(1, 39))
def test_the_mean_features_are_those_of_the_decisions_that_count_in_any_order(
    order: list[int], kept: int
) -> None:
    deltas = decisions(np.random.default_rng(4), 40)
    context = MeanContext(DIM)
    for row in order:
        context.learn(deltas.take([row]))
    context = MeanContext(DIM, context.sums())
    context.learn(-deltas.take(order[kept:]))
    assert context.mean() == pytest.approx(deltas.x[order[:kept]].mean(axis=0))
