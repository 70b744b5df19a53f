"""Explanations against the numbers they explain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from operators.logic.deciding.explain import explain

NAMES = ["1", "age", "device=phone"]
IDS = ["a", "b", "c", "d"]


@given(st.integers(0, 2**32), st.integers(0, 3))
def test_contributions_sum_to_the_difference_of_scores(seed, picked):
    rng = np.random.default_rng(seed)
    x, means = rng.normal(size=3), rng.normal(size=(4, 3))
    p, widths = rng.dirichlet(np.ones(4)), rng.random(4)
    why = explain(NAMES, x, IDS, means, p, IDS[picked], widths)
    scores = dict(zip(IDS, means @ x, strict=True))
    others = {name: score for name, score in scores.items() if name != IDS[picked]}
    second = max(others, key=others.get)
    assert why.runner_up.action_id == second
    assert why.difference == pytest.approx(scores[IDS[picked]] - scores[second], abs=1e-12)
    assert sum(c.moved for c in why.contributions) == why.difference
    assert all(c.moved == pytest.approx(c.value * c.weight) for c in why.contributions)
    assert why.greedy == max(scores, key=scores.get)
    assert why.explored == (why.greedy != IDS[picked]) == (why.difference < 0)
    assert why.propensity == p[picked]
    spread = np.hypot(widths[picked], widths[IDS.index(second)])
    assert why.better == pytest.approx(norm.cdf(why.difference / spread))
    moved = [abs(c.moved) for c in why.contributions]
    assert moved == sorted(moved, reverse=True)


def test_an_explored_action_is_compared_with_the_greedy_one():
    means = np.array([[1.0, 0.0, 0.0], [0.5, 0.0, 0.2]])
    why = explain(NAMES, np.array([1.0, 3.0, 1.0]), ["a", "b"], means, np.array([0.9, 0.1]), "b")
    assert (why.explored, why.greedy, why.runner_up.action_id) == (True, "a", "a")
    assert [(c.feature, c.moved) for c in why.contributions] == [
        ("1", -0.5),
        ("device=phone", 0.2),
    ]
    assert why.better is None


def test_ineligible_actions_are_no_runners_up():
    means = np.array([[1.0], [9.0], [0.5]])
    eligible = np.array([True, False, True])
    why = explain(["1"], np.ones(1), IDS[:3], means, np.array([0.6, 0, 0.4]), "a", None, eligible)
    assert (why.runner_up.action_id, why.greedy) == ("c", "a")
    with pytest.raises(ValueError, match="chosen: 'b' is not an eligible action"):
        explain(["1"], np.ones(1), IDS[:3], means, np.ones(3), "b", None, eligible)


def test_the_only_action_has_no_runner_up():
    why = explain(["1"], np.ones(1), ["a"], np.array([[2.0]]), np.ones(1), "a", np.ones(1))
    assert (why.runner_up, why.better, why.explored, why.difference) == (None, None, False, 2.0)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit the names"):
        explain(["1", "age"], np.ones(2), ["a"], np.ones((1, 3)), np.ones(1), "a")
