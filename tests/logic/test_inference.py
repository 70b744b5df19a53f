"""Off-policy estimates against sums over all that could have happened, and against known truth."""

import math
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from operators.logic.experiments.estimators import InferenceError, ips, relative_value, snips

ROWS = st.lists(
    st.tuples(
        st.floats(0.0, 1.0),
        st.floats(1e-3, 1.0),
        st.floats(0.0, 1.0),
    ),
    min_size=2,
    max_size=50,
)


def columns(rows):
    return (np.array(column, dtype=float) for column in zip(*rows, strict=True))


@given(ROWS)
def test_ips_is_the_mean_of_weighted_rewards(rows):
    estimate = ips(*columns(rows))
    scores = [t / p * r for r, p, t in rows]
    mean = math.fsum(scores) / len(scores)
    variance = math.fsum((s - mean) ** 2 for s in scores) / (len(scores) - 1)
    assert_allclose(estimate.value, mean, rtol=1e-9, atol=1e-12)
    assert_allclose(estimate.deviation, math.sqrt(variance / len(scores)), rtol=1e-6, atol=1e-9)
    assert estimate.low <= min(estimate.value, 1.0)
    assert 0.0 <= estimate.low <= estimate.high <= 1.0
    assert estimate.count == len(rows)


@given(ROWS)
def test_snips_is_the_ratio_of_weighted_sums(rows):
    if not any(t > 0.0 for _, _, t in rows):
        with pytest.raises(InferenceError, match="target is zero"):
            snips(*columns(rows))
        return
    estimate = snips(*columns(rows))
    weights = [t / p for _, p, t in rows]
    if (total := math.fsum(weights)) < 1e-200:
        return
    value = math.fsum(w * r for w, (r, _, _) in zip(weights, rows, strict=True)) / total
    assert_allclose(estimate.value, value, rtol=1e-9, atol=1e-12)
    rewards = [r for r, _, _ in rows]
    assert min(rewards) - 1e-9 <= estimate.value <= max(rewards) + 1e-9


@given(ROWS)
def test_the_logging_policy_earned_its_mean(rows):
    rewards, propensities, _ = columns(rows)
    mean = rewards.mean()
    assert_allclose(ips(rewards, propensities, propensities).value, mean, atol=1e-12)
    estimate = snips(rewards, propensities, propensities)
    assert_allclose(estimate.value, mean, atol=1e-12)
    assert_allclose(estimate.effective, len(rows))


def test_ips_is_unbiased_over_every_log_that_could_have_been():
    logging, target, reward = (0.2, 0.3, 0.5), (0.7, 0.1, 0.2), (0.9, 0.4, 0.1)
    truth = sum(t * r for t, r in zip(target, reward, strict=True))
    expectation = 0.0
    for log in product(product(range(3), (0.0, 1.0)), repeat=2):
        chance = math.prod(logging[a] * (reward[a] if y else 1.0 - reward[a]) for a, y in log)
        rewards = np.array([y for _, y in log])
        p, t = (np.array([policy[a] for a, _ in log]) for policy in (logging, target))
        expectation += chance * ips(rewards, p, t).value
    assert_allclose(expectation, truth, rtol=1e-12)


@pytest.mark.parametrize("estimator", [ips, snips])
def test_intervals_cover_the_truth_as_often_as_they_say(estimator):
    # 400 logs at 95 %: fewer than 365 or more than 397 covering happens with probability 6e-4.
    rng = np.random.default_rng(20)
    logging, target = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.4, 0.3, 0.2, 0.1])
    reward = np.array([0.3, 0.1, 0.2, 0.05])
    truth = float(target @ reward)
    covered = 0
    for _ in range(400):
        actions = rng.choice(4, size=2000, p=logging)
        rewards = (rng.random(2000) < reward[actions]).astype(float)
        estimate = estimator(rewards, logging[actions], target[actions])
        covered += estimate.low <= truth <= estimate.high
    assert 365 <= covered <= 397


@pytest.mark.parametrize(
    ("actions", "rows", "rate"),
    [(4, 2000, 0.001), (20, 2000, 0.003), (20, 2000, 0.02), (80, 2000, 0.004), (4, 400, 0.3)],
)
def test_intervals_cover_the_truth_where_clicks_are_few_and_weights_uneven(actions, rows, rate):
    # 300 logs at 95 %: 30 that miss would be one in 2,000; normal intervals missed 15 to 150.
    rng = np.random.default_rng(1)
    logging = 0.9 * rng.dirichlet(np.full(actions, 0.7)) + 0.1 / actions
    target = rng.dirichlet(np.full(actions, 0.5))
    reward = np.minimum(rng.uniform(0.2, 2.0, actions) * rate, 0.99)
    truth, logged = float(target @ reward), float(logging @ reward)
    missed = Counter()
    for _ in range(300):
        chosen = rng.choice(actions, size=rows, p=logging)
        columns_ = (
            (rng.random(rows) < reward[chosen]).astype(float),
            logging[chosen],
            target[chosen],
        )
        for name, estimator in (("ips", ips), ("snips", snips)):
            estimate = estimator(*columns_)
            missed[name] += not estimate.low <= truth <= estimate.high
        relative = relative_value(*columns_)
        missed["relative"] += relative is not None and not (
            relative[1] <= truth / logged <= relative[2]
        )
    assert max(missed.values()) < 30, missed


def test_the_interval_holds_for_the_mean_of_a_policy_that_learns_along_the_log():
    # 150 logs at 95 %: 18 that miss would be one in 2,000.
    rng = np.random.default_rng(2)
    reward = np.array([0.02, 0.03, 0.06, 0.01])
    rows, missed = 400, 0
    for _ in range(150):
        chosen = rng.integers(0, 4, rows)
        clicked = (rng.random(rows) < reward[chosen]).astype(float)
        shown, won = np.ones(4), np.zeros(4)
        target, value = np.zeros(rows), 0.0
        for row, action in enumerate(chosen.tolist()):
            policy = np.full(4, 0.05)
            policy[int(np.argmax(won / shown))] += 0.8
            target[row], value = policy[action], value + float(policy @ reward)
            shown[action] += 1.0
            won[action] += clicked[row]
        estimate = ips(clicked, np.full(rows, 0.25), target)
        missed += not estimate.low <= value / rows <= estimate.high
    assert missed < 18


@pytest.mark.parametrize("estimator", [ips, snips])
def test_no_reward_at_all_is_no_certainty(estimator):
    rows = 100
    estimate = estimator(np.zeros(rows), np.full(rows, 0.5), np.full(rows, 0.25))
    assert estimate.value == estimate.low == 0.0
    assert 0.01 < estimate.high < 0.05
    assert relative_value(np.zeros(rows), np.full(rows, 0.5), np.full(rows, 0.25)) is None


def test_a_policy_is_worth_as_much_as_itself():
    rewards, propensities = np.array([1.0, 0.0, 0.3]), np.array([0.1, 0.7, 0.2])
    assert relative_value(rewards, propensities, propensities) == (1.0, 1.0, 1.0)


def test_a_higher_level_gives_a_wider_interval():
    rewards, p, t = np.array([1.0, 0.0, 1.0, 0.0]), np.full(4, 0.5), np.full(4, 0.25)
    narrow, wide = ips(rewards, p, t, 0.5), ips(rewards, p, t, 0.9)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.array([])}, "rewards is empty"),
        ({"rewards": np.array([2.0, 0.0])}, r"rewards must lie in \[0, 1\]"),
        ({"propensities": np.array([0.0, 0.5])}, r"propensities must lie in \(0, 1\]"),
        ({"propensities": np.array([0.5])}, "propensities has shape"),
        ({"target": np.array([np.nan, 0.5])}, "target must lie"),
        ({"target": np.array([-0.1, 0.5])}, "target must lie"),
        ({"level": 1.0}, "level must lie"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(change, message):
    good = {
        "rewards": np.array([1.0, 0.0]),
        "propensities": np.array([0.5, 0.5]),
        "target": np.array([0.5, 0.5]),
    }
    for estimator in (ips, snips):
        with pytest.raises(InferenceError, match=message):
            estimator(**(good | change))
