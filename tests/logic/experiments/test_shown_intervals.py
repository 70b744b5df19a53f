"""Shown figures against published values, closed forms and draws."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from operators.logic.experiments.bounds import Bounds
from operators.logic.experiments.score_estimates import Shown
from operators.logic.experiments.shown_intervals import (
    asymptotic,
    fixed_horizon,
    mixture_boundary,
    posterior,
)


def test_the_boundary_is_that_of_confseqs_own_unit_tests():
    """confseq, test/uniform_boundaries_unittest.cpp, TestTwoSidedNormalMixture: tuned to 100.

    The mixture's logarithm at the sum 10 and the variance 100 is -0.6510052 there, from ρ =
    12.60056, and the bound at 0.05 is 30.35209. The package needs Boost's headers to be built.
    """
    bound, rho = mixture_boundary(100.0, 100.0, 0.05), 12.60056
    assert_allclose(bound, 30.35209, atol=1e-5)
    assert_allclose(0.5 * math.log(rho / (100 + rho)) + 50 / (100 + rho), -0.6510052, atol=1e-6)
    log_e = 0.5 * math.log(rho / (100 + rho)) + bound**2 / (2 * (100 + rho))
    assert_allclose(log_e, math.log(20.0), atol=1e-5)


def test_the_asymptotic_sequence_is_the_papers_form():
    """Theorem 2.2: the deviation times sqrt(2 (t ρ² + 1) / (t ρ²) log(sqrt(t ρ² + 1) / α))."""
    alpha, tuned, t = 0.05, 1_000, 400
    rho2 = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / tuned
    times = math.sqrt(2 * (t * rho2 + 1) / (t * rho2) * math.log(math.sqrt(t * rho2 + 1) / alpha))
    interval = asymptotic(Shown(0.3, 0.02), t, tuned)
    assert_allclose((interval.low, interval.high), (0.3 - times * 0.02, 0.3 + times * 0.02))


def test_the_fixed_horizon_interval_is_the_normal_one():
    interval = fixed_horizon(Shown(0.3, 0.02), 0.9)
    assert_allclose((interval.low, interval.high), norm.interval(0.9, 0.3, 0.02))


def test_nothing_shown_can_be_read_as_bounds():
    for interval in (fixed_horizon(Shown(0.3, 0.02)), asymptotic(Shown(0.3, 0.02), 10, 10)):
        assert not isinstance(interval, Bounds)
        assert not {"lower", "upper", "positive", "negative"} & set(dir(interval))


def test_without_a_value_there_is_none():
    for interval in (
        fixed_horizon(Shown(0.3, None)),
        asymptotic(Shown(None, None), 10, 10),
        asymptotic(Shown(None, None), 0, 10),
    ):
        assert (interval.low, interval.high) == (None, None)
    with pytest.raises(ValueError, match="level"):
        fixed_horizon(Shown(0.3, 0.1), 1.0)
    with pytest.raises(ValueError, match="deviation"):
        posterior(np.array([0.1]), np.array([0.0]))


def test_the_posterior_of_two_is_the_closed_form():
    shown = posterior(np.array([0.05, 0.06]), np.array([0.01, 0.02]))
    spread = math.hypot(0.01, 0.02)
    z = 0.01 / spread
    assert_allclose(shown.best, (norm.cdf(-z), norm.cdf(z)), atol=1e-9)
    kept = spread * norm.pdf(z) - 0.01 * norm.cdf(-z)
    assert_allclose(shown.loss, (0.01 + kept, kept), atol=1e-9)


def test_the_posterior_of_four_is_that_of_draws():
    means, deviations = np.array([0.0, 0.3, 0.1, -1.0]), np.array([1.0, 0.2, 0.5, 0.01])
    drawn = np.random.default_rng(4).normal(means, deviations, size=(400_000, 4))
    shown = posterior(means, deviations)
    assert_allclose(shown.best, np.bincount(drawn.argmax(axis=1), minlength=4) / 4e5, atol=4e-3)
    assert_allclose(shown.loss, (drawn.max(axis=1)[:, None] - drawn).mean(axis=0), atol=8e-3)
    assert_allclose(sum(shown.best), 1.0, atol=1e-9)
