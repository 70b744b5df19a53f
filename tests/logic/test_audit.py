"""The audit of propensities: what is expected, and how far chance goes, is exact for any vector."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from operators.logic.deciding.audit import CLIP, audit
from operators.logic.policies.base import Floats

weights = st.sampled_from([0.0, 1e-300, 1e-12, 1e-6, 1e-3]) | st.floats(0.0, 1.0)


@st.composite
def vectors(draw: Any) -> Floats:
    """Probability vectors [n, K] with zeros, and with actions that are hardly ever drawn."""
    k = draw(st.integers(1, 7))
    rows = draw(st.lists(st.lists(weights, min_size=k, max_size=k), min_size=1, max_size=5))
    p = np.array(rows)
    p[p.sum(axis=1) < 1e-3, 0] = 1.0
    return np.asarray(p / p.sum(axis=1, keepdims=True))


@given(vectors())
def test_expectation_and_variance_are_those_over_all_that_could_have_been_drawn(p: Floats) -> None:
    for row in p:
        one = row[None]
        scores = np.array([audit(one, np.array([column])).observed for column in range(len(row))])
        found = audit(one, np.array([0]))
        assert (scores <= CLIP).all()
        assert_allclose(found.expected, row @ scores, rtol=1e-9)
        variance = row @ np.square(scores - row @ scores)
        assert_allclose(found.variance, variance, rtol=1e-6, atol=1e-9)
    first = p.argmax(axis=1)
    rows = [audit(row[None], first[i : i + 1]) for i, row in enumerate(p)]
    assert_allclose(audit(p, first), np.sum(rows, axis=0), rtol=1e-9, atol=1e-12)


@given(vectors())
def test_what_cannot_be_drawn_changes_nothing(p: Floats) -> None:
    chosen = p.argmax(axis=1)
    wider = np.hstack([p, np.zeros((len(p), 2))])
    assert_allclose(audit(wider, chosen), audit(p, chosen), rtol=1e-12)


@pytest.mark.parametrize("rare", [0.2, 1e-2, 1e-4, 1e-9])
def test_the_bound_of_false_alarms_holds_however_rare_some_actions_are(rare: float) -> None:
    """Of 4,000 windows no more than Freedman's bound allows reach z, with five deviations to spare.

    Uncut, 1/p has a variance of 1 / rare, and is never met.
    """
    rng = np.random.default_rng(3)
    p = np.array([1.0 - 2 * rare - 0.05, 0.05, rare, rare])
    single = [audit(p[None], np.array([column])) for column in range(4)]
    scores = np.array([found.observed for found in single])
    expected, variance = single[0].expected, single[0].variance
    decisions, windows = 500, 4_000
    counts = rng.multinomial(decisions, p, size=windows)
    z = (counts @ scores - decisions * expected) / math.sqrt(decisions * variance)
    for bound in (1.0, 2.0, 3.0):
        spread = 1.0 + CLIP * bound / (3.0 * math.sqrt(decisions * variance))
        most = min(1.0, 2.0 * math.exp(-(bound**2) / 2.0 / spread))
        share = float((np.abs(z) >= bound).mean())
        assert share <= most + 5.0 * math.sqrt(most * (1.0 - most) / windows)
