"""Slates against exact enumeration of every order."""

from itertools import permutations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from operators.envelope import Event, Origin
from operators.logic.attribution import Attribution
from operators.logic.catalog import Catalog
from operators.logic.deciding.draws import uniforms
from operators.logic.deciding.positions import by_position
from operators.logic.deciding.propensity import NO_ACTION
from operators.logic.deciding.slates import (
    at_positions,
    draw_slates,
    mixed_slates,
    order_probabilities,
    slate_uniforms,
)
from schemas.events import DecisionBack, Placed
from schemas.topics import Topic
from tests.support import records as make

VECTORS = st.lists(st.one_of(st.just(0.0), st.floats(0.01, 1.0)), min_size=2, max_size=5).filter(
    any
)


def enumerate_orders(p, k):
    """Every order of k actions and its probability, by the definition."""
    orders = {}
    for order in permutations(range(len(p)), k):
        left, probability = list(p), 1.0
        for action in order:
            total = sum(left)
            probability *= left[action] / total if total else 0.0
            left[action] = 0.0
        orders[order] = probability
    return orders


@given(VECTORS, st.integers(1, 5))
def test_order_probabilities_agree_with_enumeration(weights, k):
    p = np.array(weights) / sum(weights)
    k = min(k, int((p > 0).sum()))
    orders = enumerate_orders(p, k)
    assert sum(orders.values()) == pytest.approx(1.0)
    chosen = np.array(list(orders))
    found = order_probabilities(np.tile(p, (len(orders), 1)), chosen)[:, -1]
    assert found == pytest.approx(np.array(list(orders.values())), abs=1e-12)


@given(VECTORS, st.integers(1, 6), st.integers(0, 2**32))
def test_slates_repeat_nothing_and_log_what_they_drew_with(weights, k, seed):
    p = np.tile(np.array(weights) / sum(weights), (8, 1))
    slates = draw_slates(p, np.random.default_rng(seed).random((8, k)))
    positive = sum(weight > 0 for weight in weights)
    for row in range(8):
        shown = [a for a in slates.chosen[row].tolist() if a != NO_ACTION]
        assert len(shown) == len(set(shown)) == min(k, positive)
        assert all(weights[action] > 0 for action in shown)
        probability = enumerate_orders(p[row], len(shown))[tuple(shown)]
        assert slates.propensity[row] == pytest.approx(probability, rel=1e-12)
        assert slates.conditional[row].prod() == pytest.approx(probability, rel=1e-12)
        assert (slates.conditional[row, len(shown) :] == 1.0).all()


def test_slates_come_with_the_logged_frequencies():
    """Chi-square over all 24 orders of 3 of 4; fails by chance once in 1e6 secrets."""
    n, p = 20_000, np.array([0.4, 0.3, 0.2, 0.1])
    numbers = slate_uniforms(b"secret", "home", ["s"] * n, [f"d{i}" for i in range(n)], 3)
    slates = draw_slates(np.tile(p, (n, 1)), numbers)
    orders = enumerate_orders(p, 3)
    drawn = [tuple(row) for row in slates.chosen.tolist()]
    statistic = sum(
        (drawn.count(order) - n * probability) ** 2 / (n * probability)
        for order, probability in orders.items()
    )
    assert statistic < chi2.isf(1e-6, len(orders) - 1)


def test_a_slate_of_one_is_an_ordinary_decision():
    names = ["ann", "bob"], ["d-1", "d-2"]
    assert (slate_uniforms(b"k", "home", *names, 1)[:, 0] == uniforms(b"k", "home", *names)).all()
    slates = draw_slates(np.array([[0.25, 0.75]]), np.array([[0.5]]))
    assert (slates.chosen.item(), slates.propensity.item()) == (1, 0.75)


def test_a_mixture_logs_the_sum_over_its_parts():
    policy, even = np.array([[0.7, 0.2, 0.1]]), np.full((1, 3), 1 / 3)
    totals = []
    for order in permutations(range(3), 2):
        slates = mixed_slates(np.array([order]), [(0.9, policy), (0.1, even)])
        expected = (
            0.9 * enumerate_orders(policy[0], 2)[order] + 0.1 * enumerate_orders(even[0], 2)[order]
        )
        assert slates.propensity.item() == pytest.approx(expected)
        assert slates.conditional.prod() == pytest.approx(expected)
        totals.append(expected)
    assert sum(totals) == pytest.approx(1.0)


def test_nothing_eligible_shows_nothing():
    slates = draw_slates(np.zeros((1, 3)), np.array([[0.3, 0.3]]))
    assert slates.chosen.tolist() == [[NO_ACTION, NO_ACTION]]
    assert slates.propensity.tolist() == [1.0]


def test_positions_outside_the_slate_are_held_to_it():
    x = at_positions(np.ones((3, 1)), np.array([-1, 1, 9]), 3)
    assert x.tolist() == [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]


@given(st.sampled_from([None, "", "AACAPw==", "AACAPwAAAAA=", "AAA=", "no base64"]))
def test_a_foreign_slate_whatever_its_features_is_taken_apart_or_left_to_attribution(features):
    slate = [Placed(name, 0.5, 0.0) for name in "ab"]
    decision = make.decision(1, slot_id="strip", features=features, slate=slate)
    body = msgspec.convert(msgspec.to_builtins(decision), DecisionBack)
    event = Event(
        at=0, body=body, subject="", key=7, origin=Origin(Topic.DECISIONS, 0, 0, 0), payload=b""
    )
    catalog = Catalog({"strip": make.slot("strip", slate_size=2)})
    singles = by_position([event], catalog.slots)
    step = Attribution(lateness=0, max_pending=100, max_orphans=100).step([event], 0, catalog.slots)
    if features in (None, "", "AACAPw==", "AACAPwAAAAA="):
        assert [single.body.action_id for single in singles] == ["a", "b"]
        assert step.rejected == []
    else:
        assert [each.reason for each in step.rejected] == ["invalid_decision"]
