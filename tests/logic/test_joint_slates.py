"""Slates of correlated candidates: every order's probability, position by position."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.deciding.joint_propensity import joint_probabilities
from operators.logic.deciding.joint_slates import draw_joint_slates
from operators.logic.deciding.propensity import NO_ACTION
from operators.logic.policies.base import Floats
from operators.logic.policies.joint_scores import JointScores


def scores_of(seed: int, count: int) -> JointScores:
    rng = np.random.default_rng(seed)
    return JointScores(
        rng.normal(size=count), rng.normal(size=(count, 3)), rng.exponential(size=count)
    )


def vector(scores: JointScores, shown: tuple[int, ...], floor: float) -> Floats:
    """Probabilities over what remains after some have been shown, by the definition."""
    left = np.ones(len(scores.mean), bool)
    left[list(shown)] = False
    p = joint_probabilities(scores, left)
    return (1.0 - floor) * p + floor * left / max(left.sum(), 1)


def order_probability(scores: JointScores, order: tuple[int, ...], floor: float) -> float:
    steps = [vector(scores, order[:place], floor)[each] for place, each in enumerate(order)]
    return float(np.prod(steps))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([0.0, 0.2]), st.integers(0, 2**32))
def test_conditionals_sum_to_one_and_their_product_is_the_order(count, size, floor, seed):
    scores, n = scores_of(seed, count), 300
    uniforms = np.random.default_rng(seed).random((n, size))
    many = JointScores(
        np.tile(scores.mean, n),
        np.tile(scores.factor, (n, 1)),
        np.tile(scores.own, n),
        np.arange(n + 1) * count,
    )
    slates = draw_joint_slates(many, uniforms, floor=floor)
    known = draw_joint_slates(many, uniforms, floor=floor, first=joint_probabilities(many))
    for name in ("chosen", "conditional", "propensity"):
        assert np.array_equal(getattr(slates, name), getattr(known, name))
    places = min(size, count)
    orders = {
        order: order_probability(scores, order, floor)
        for order in permutations(range(count), places)
    }
    assert sum(orders.values()) == pytest.approx(1.0, abs=1e-12)
    for row in range(n):
        order = tuple(slates.chosen[row, :places].tolist())
        assert (slates.chosen[row, places:] == NO_ACTION).all()
        assert (slates.conditional[row, places:] == 1.0).all()
        assert slates.propensity[row] == pytest.approx(orders[order], rel=1e-9)
        assert slates.conditional[row].prod() == pytest.approx(orders[order], rel=1e-9)
        for place in range(places):
            p = vector(scores, order[:place], floor)
            assert p.sum() == pytest.approx(1.0, abs=1e-12)
            assert slates.conditional[row, place] == pytest.approx(p[order[place]], rel=1e-9)


def test_what_a_shown_candidate_took_goes_back_to_the_one_like_it():
    """Two that are one and the same score, and a third: whoever of the two is first, the same."""
    factor = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    scores = JointScores(np.zeros(3), factor, np.zeros(3))
    slates = draw_joint_slates(scores, np.array([[0.1, 0.1]]))
    assert slates.chosen.tolist() == [[0, 1]]
    np.testing.assert_allclose(slates.conditional, [[0.25, 0.5]], atol=1e-5)


def test_groups_and_mixtures_log_what_they_were_drawn_with():
    scores = scores_of(1, 3)
    two = JointScores(
        np.tile(scores.mean, 2), np.tile(scores.factor, (2, 1)), np.tile(scores.own, 2),
        np.array([0, 3, 6]),
    )  # fmt: skip
    uniforms, held = np.full((2, 2), 0.4), np.array([True, False])
    sticky = draw_joint_slates(two, uniforms, held_out=held, floor=0.1)
    assert sticky.propensity[0] == pytest.approx(1.0 / 6.0)
    order = tuple(sticky.chosen[1].tolist())
    assert sticky.propensity[1] == pytest.approx(order_probability(scores, order, 0.1))
    mixed = draw_joint_slates(two, uniforms, held_out=held, floor=0.1, share=0.25)
    assert (mixed.chosen == sticky.chosen).all()
    for row in range(2):
        order = tuple(mixed.chosen[row].tolist())
        expected = 0.75 * order_probability(scores, order, 0.1) + 0.25 / 6.0
        assert mixed.propensity[row] == pytest.approx(expected)
        assert mixed.conditional[row].prod() == pytest.approx(expected)


def test_no_candidates_show_nothing():
    nothing = JointScores(np.empty(0), np.empty((0, 2)), np.empty(0))
    slates = draw_joint_slates(nothing, np.array([[0.3, 0.3]]))
    assert slates.chosen.tolist() == [[NO_ACTION, NO_ACTION]]
    assert slates.propensity.tolist() == [1.0]
