"""Levels by numbers are what the matrices give where there is but one feature."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from operators.logic.policies.level_prior import fit_levels
from operators.logic.policies.prior import JITTER, VAGUE, BasePrior, fit


@given(
    seed=st.integers(0, 10**6),
    actions=st.integers(0, 12),
    iterations=st.integers(0, 4),
    neighbours=st.sampled_from([0.0, 0.7]),
    items=st.integers(0, 3),
    optimism=st.floats(0.0, 3.0),
)
def test_a_level_is_a_coefficient(
    seed: int, actions: int, iterations: int, neighbours: float, items: int, optimism: float
) -> None:
    """Of any statistics, with and without item features and neighbours.

    The matrices' diagonals are raised by 1e-10. Of a common mean of which next to nothing is known
    that counts by the ratio of its variance, 100 times the base's, to the spread of the actions.
    """
    rng = np.random.default_rng(seed)
    information = rng.exponential(1.0, actions) * rng.choice([0.0, 1.0, 1e4], actions)
    h = information * rng.normal(-1.0, 2.0, actions)
    features = rng.normal(size=(actions, items)) if items and actions else None
    similarity = rng.random((actions, actions)) * (1.0 - np.eye(actions)) if neighbours else None
    base = BasePrior(
        mean=rng.normal(size=1),
        variance=rng.exponential(1.0, 1),
        spread=rng.exponential(0.1, 1) + 1e-6,
        strength=20.0,
        ridge=2.0,
        iterations=iterations,
        neighbours=neighbours,
        optimism=optimism,
    )
    mean, variance = fit_levels(information, h, features, base, similarity)
    whole = fit(information[:, None, None], h[:, None], features, base, similarity)
    raised = 4 * actions * JITTER * VAGUE * float(base.variance[0] / base.spread[0])
    size = max(1.0, float(np.abs(mean).max()))
    assert_allclose(mean, whole.mean[:, 0], rtol=1e-4, atol=1e-4 + raised * size)
    assert_allclose(variance, whole.factor[:, 0, 0] ** 2, rtol=1e-4 + raised)
