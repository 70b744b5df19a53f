"""Streaming estimates against those of whole logs, and against known truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from operators.logic.experiments.estimators import ips, snips
from operators.logic.experiments.score_columns import Scores
from operators.logic.experiments.score_estimates import ScoreEstimates
from operators.logic.experiments.scored_metric import ScoreError

ROWS = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.floats(0.01, 1.0), st.floats(0.0, 1.0)),
    min_size=2,
    max_size=40,
)


@given(ROWS, st.integers(0, 40))
def test_parts_give_what_the_whole_log_gives(rows, cut):
    rewards, propensities, target = np.array(rows).T
    weights = target / propensities
    first, second = ScoreEstimates(), ScoreEstimates()
    first.add(weights[:cut], rewards[:cut])
    second.add(weights[cut:], rewards[cut:])
    first.merge(second)
    estimates = ScoreEstimates.load(first.dump())
    assert estimates == first
    whole = ips(rewards, propensities, target)
    assert estimates.count == whole.count
    assert_allclose(estimates.effective, whole.effective, rtol=1e-9)
    assert_allclose(estimates.ips().value, whole.value, rtol=1e-9, atol=1e-12)
    assert_allclose(estimates.ips().deviation, whole.deviation, rtol=1e-5, atol=1e-6)
    if target.any():
        share = snips(rewards, propensities, target)
        assert_allclose(estimates.snips().value, share.value, rtol=1e-6)
        assert_allclose(estimates.snips().deviation, share.deviation, rtol=1e-4, atol=1e-6)
    # Without a model the doubly robust score is the weighted one.
    assert_allclose(estimates.doubly_robust().value, whole.value, rtol=1e-9, atol=1e-12)


def test_doubly_robust_scores_hit_the_truth_with_less_variance_whatever_the_model():
    """20,000 units at 30/70, a covariate that says most; 5 deviations are the tolerance."""
    rng = np.random.default_rng(6)
    x = rng.random(20_000)
    drawn = rng.random(20_000) < 0.3
    values = 0.6 * x + 0.1 * drawn + 0.1 * rng.random(20_000)
    weights = np.where(drawn, 1.0 / 0.3, 0.0)
    truth = float((0.6 * x + 0.1 + 0.05).mean())
    plain, good, bad = ScoreEstimates(), ScoreEstimates(), ScoreEstimates()
    plain.add(weights, values)
    good.add(weights, values, logged=0.6 * x + 0.1 * drawn, direct=0.6 * x + 0.1)
    bad.add(weights, values, logged=np.full(20_000, 0.9), direct=np.full(20_000, 0.9))
    for shown in (plain.doubly_robust(), good.doubly_robust(), bad.doubly_robust(), plain.snips()):
        assert abs(shown.value - truth) <= 5.0 * shown.deviation
    assert good.doubly_robust().deviation < 0.3 * plain.ips().deviation


def test_nothing_seen_has_no_value_and_one_score_no_error():
    estimates = ScoreEstimates()
    assert estimates.ips().value is estimates.snips().value is None
    assert estimates.doubly_robust().deviation is None
    assert estimates.effective == 0.0
    estimates.add(np.array([2.0]), np.array([1.0]))
    assert (estimates.ips().value, estimates.ips().deviation) == (2.0, None)
    other_arm_only = ScoreEstimates()
    other_arm_only.add(np.array([0.0]), np.array([1.0]))
    assert other_arm_only.snips().value is None


def test_what_is_no_score_is_refused_and_changes_nothing():
    estimates, one = ScoreEstimates(), np.ones(1)
    with pytest.raises(ScoreError, match="finite"):
        estimates.add(one, np.array([math.nan]))
    with pytest.raises(ScoreError, match="0 or more"):
        estimates.add(-one, one)
    with pytest.raises(ScoreError, match="together"):
        estimates.add(one, one, logged=one)
    assert estimates == ScoreEstimates()


def test_weights_are_those_of_the_first_exposure():
    scores = Scores(
        closing=np.array([1, 2, 3]),
        unit=np.array([1, 2, 3], dtype=np.uint64),
        first=np.zeros(3, dtype=np.int64),
        variation=np.array([0, 1, 1]),
        segment=np.array([0, 0, 1]),
        probabilities=np.array([[0.8, 0.2], [0.75, 0.25], [0.5, 0.5]]),
        value=np.ones(3),
        capped=np.zeros(3, dtype=bool),
        mixed=np.zeros(3, dtype=bool),
    )
    assert scores.weights(0).tolist() == [1.25, 0.0, 0.0]
    assert scores.weights(1).tolist() == [0.0, 4.0, 2.0]
    assert scores.of_segment(1).unit.tolist() == [3]
