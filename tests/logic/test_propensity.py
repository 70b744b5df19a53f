import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad_vec
from scipy.special import betainc, log_ndtr
from scipy.stats import beta as beta_distribution

from operators.logic.deciding.propensity import (
    NO_ACTION,
    beta_probabilities,
    choose,
    gaussian_probabilities,
    mix,
)
from operators.logic.policies.base import Floats, Mask

probabilities = st.integers(1, 6).flatmap(
    lambda k: arrays(np.float64, (3, k), elements=st.floats(0.0, 1.0))
)


def by_quadrature(mean: Floats, deviation: Floats) -> Floats:
    low, high = (mean - 9 * deviation).max(), (mean + 9 * deviation).max()

    def mass(y: float) -> Floats:
        z = (y - mean) / deviation
        log_cumulative = log_ndtr(z)
        log_mass = -0.5 * z * z - log_cumulative + log_cumulative.sum()
        return np.asarray(np.exp(log_mass) / (deviation * np.sqrt(2 * np.pi)))

    points = np.clip(np.concatenate([mean, mean - 2 * deviation, mean + 2 * deviation]), low, high)
    p, _ = quad_vec(mass, low, high, epsabs=1e-12, points=np.unique(points), limit=20_000)
    return np.asarray(p)


@pytest.mark.parametrize("ratio", [1, 6, 30, 100])
@pytest.mark.parametrize("actions", [2, 3, 20])
def test_gaussian_probabilities_agree_with_adaptive_quadrature(ratio: int, actions: int) -> None:
    rng = np.random.default_rng([ratio, actions])
    deviation = 0.05 * np.exp(rng.uniform(0, np.log(ratio), (30, actions)))
    deviation[::2, 0], deviation[::2, 1:] = 0.05 * ratio, 0.05
    mean = rng.normal(size=deviation.shape) * deviation.mean(axis=1, keepdims=True)
    p = gaussian_probabilities(mean, deviation)
    truth = np.array([by_quadrature(m, s) for m, s in zip(mean, deviation, strict=True)])
    seen = truth >= 1e-4
    assert np.quantile(np.abs(p[seen] / truth[seen] - 1), 0.99) <= 1e-4
    np.testing.assert_allclose(p, truth, rtol=0.0, atol=2e-6)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=0.0, atol=1e-14)


def test_a_thousand_actions_agree_with_adaptive_quadrature() -> None:
    rng = np.random.default_rng(7)
    mean, deviation = rng.normal(size=(1, 1000)), rng.uniform(0.2, 1.0, (1, 1000))
    p = gaussian_probabilities(mean, deviation)[0]
    np.testing.assert_allclose(p, by_quadrature(mean[0], deviation[0]), rtol=0.0, atol=2e-6)


def test_gaussian_probabilities_are_those_of_draws() -> None:
    rng = np.random.default_rng(3)
    mean, deviation = rng.normal(size=(1, 8)), rng.uniform(0.2, 2.0, (1, 8))
    draws = 400_000
    drawn = (mean + deviation * rng.standard_normal((draws, 8))).argmax(axis=1)
    p = gaussian_probabilities(mean, deviation)[0]
    z = (np.bincount(drawn, minlength=8) - draws * p) / np.sqrt(draws * p * (1 - p))
    assert np.abs(z).max() < 5.0  # error rate 8 x 6e-7


def test_a_mask_is_the_same_as_leaving_the_actions_out() -> None:
    rng = np.random.default_rng(4)
    mean, deviation = rng.normal(size=(40, 6)), rng.uniform(0.1, 3.0, (40, 6))
    mask = rng.random((40, 6)) < 0.5
    mask[0], mask[1], mask[1, 3] = False, False, True
    p = gaussian_probabilities(mean, deviation, mask)
    assert (p[~mask] == 0.0).all()
    assert p[0].sum() == 0.0
    assert p[1, 3] == 1.0
    for row in range(2, 40):
        kept = mask[row]
        if kept.any():
            alone = gaussian_probabilities(mean[row, kept][None], deviation[row, kept][None])
            np.testing.assert_array_equal(p[row, kept], alone[0])


@st.composite
def posteriors(draw: st.DrawFn) -> tuple[Floats, Floats, Mask]:
    """Means and deviations of any size, and a mask."""
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    mean = draw(arrays(np.float64, shape, elements=st.floats(-1e3, 1e3)))
    size = draw(arrays(np.float64, shape, elements=st.floats(-12.0, 3.0)))
    return mean, 10.0**size, draw(arrays(np.bool_, shape))


@given(posteriors(), st.randoms(use_true_random=False))
def test_a_row_is_the_same_to_the_bit_in_any_company(
    drawn: tuple[Floats, Floats, Mask], random: random.Random
) -> None:
    mean, deviation, mask = drawn
    p = gaussian_probabilities(mean, deviation, mask)
    np.testing.assert_allclose(p.sum(axis=1), mask.any(axis=1), rtol=0.0, atol=1e-12)
    assert (p >= 0.0).all()
    rows = [random.randrange(len(mean)) for _ in range(20)]
    together = gaussian_probabilities(mean[rows], deviation[rows], mask[rows])
    np.testing.assert_array_equal(together, p[rows])
    for row in range(len(mean)):
        only = slice(row, row + 1)
        alone = gaussian_probabilities(mean[only], deviation[only], mask[only])
        np.testing.assert_array_equal(alone[0], p[row])


def test_no_mask_is_a_mask_of_all() -> None:
    rng = np.random.default_rng(5)
    mean, deviation = rng.normal(size=(1000, 10)), rng.uniform(0.1, 3.0, (1000, 10))
    p = gaussian_probabilities(mean, deviation)
    everything = np.ones(mean.shape, dtype=bool)
    np.testing.assert_array_equal(gaussian_probabilities(mean, deviation, everything), p)
    np.testing.assert_array_equal(gaussian_probabilities(mean[7:8], deviation[7:8])[0], p[7])


def test_arrays_may_be_views_that_cannot_be_written() -> None:
    rng = np.random.default_rng(6)
    mean, deviation = rng.normal(size=(8, 5)), rng.uniform(0.1, 1.0, 5)
    wide = np.broadcast_to(deviation, (8, 5))
    expected = gaussian_probabilities(mean[::2].copy(), wide[::2].copy())
    np.testing.assert_array_equal(gaussian_probabilities(mean[::2], wide[::2]), expected)


@pytest.mark.parametrize("width", [0.0, 1e-12, 1e-3])
def test_very_narrow_posteriors_choose_the_best(width: float) -> None:
    p = gaussian_probabilities(np.array([[0.0, 1.0, -1.0]]), np.full((1, 3), width))
    np.testing.assert_allclose(p, [[0.0, 1.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_posterior_that_is_not_finite_is_refused(bad: float) -> None:
    others, odd = np.ones((2, 2)), np.array([[0.0, 1.0], [0.0, bad]])
    for mean, deviation in [(odd, others), (others, odd)]:
        for mask in (None, np.array([[True, True], [True, False]])):
            with pytest.raises(ValueError, match="not finite"):
                gaussian_probabilities(mean, deviation, mask)


def test_shapes_that_differ_are_refused() -> None:
    for mean, deviation, mask in [((2, 3), (2, 2), (2, 3)), ((2, 3), (2, 3), (1, 3))]:
        with pytest.raises(ValueError, match="shape"):
            gaussian_probabilities(np.ones(mean), np.ones(deviation), np.ones(mask, dtype=bool))


@pytest.mark.parametrize("size", [1e100, 1e300, 1e308])
def test_huge_posteriors_are_computed_or_refused(size: float) -> None:
    """So do they end: neither NaN nor a loop without end."""
    for mean, deviation in [((size, -size), (1.0, 1.0)), ((0.0, 1.0), (size, 1e-9))]:
        try:
            p = gaussian_probabilities(np.array([mean]), np.array([deviation]))
        except ValueError:
            continue
        assert p.sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 1.0, 1.0], [20.0, 20.0, 20.0]),
        ([5.0, 300.0, 2.0], [95.0, 9000.0, 19.0]),
        ([1.0, 40_000.0], [20.0, 960_000.0]),
        ([90.0, 9.0, 1.0], [10.0, 1.0, 1.0]),
    ],
)
def test_beta_probabilities_agree_with_adaptive_quadrature(a: list[float], b: list[float]) -> None:
    shape_a, shape_b = np.array(a), np.array(b)

    def mass(theta: float) -> Floats:
        cumulative = betainc(shape_a, shape_b, theta)
        others = np.array([np.delete(cumulative, i).prod() for i in range(len(a))])
        return np.asarray(beta_distribution.pdf(theta, shape_a, shape_b) * others)

    centre = shape_a / (shape_a + shape_b)
    truth, _ = quad_vec(mass, 0.0, 1.0, epsabs=1e-11, points=centre, limit=20_000)
    np.testing.assert_allclose(beta_probabilities(shape_a, shape_b), truth, atol=1e-7)


@settings(deadline=None)
@given(p=probabilities, data=st.data())
def test_mixing_keeps_floors_masks_and_sums(p: Floats, data: st.DataObject) -> None:
    eligible: Mask = data.draw(arrays(np.bool_, p.shape))
    floor = data.draw(st.floats(0.0, 0.9))
    holdout = data.draw(arrays(np.float64, 3, elements=st.floats(0.0, 1.0)))
    mixed = mix(p, eligible, floor, holdout)
    some = eligible.any(axis=1)
    np.testing.assert_allclose(mixed.sum(axis=1), some, atol=1e-12)
    assert (mixed[~eligible] == 0.0).all()
    count = eligible.sum(axis=1, keepdims=True)
    least = np.broadcast_to(np.minimum(floor, 1 / np.maximum(count, 1)), p.shape)
    assert (mixed[eligible] >= least[eligible] - 1e-12).all()
    single = (count == 1)[:, 0]
    assert (mixed[single].max(axis=1, initial=1.0) == 1.0).all()


def test_a_hold_out_of_everyone_is_uniform_over_the_eligible() -> None:
    eligible = np.array([[True, True, False, True]])
    mixed = mix(np.array([[0.9, 0.1, 0.0, 0.0]]), eligible, 0.05, np.array([1.0]))
    np.testing.assert_allclose(mixed, [[1 / 3, 1 / 3, 0.0, 1 / 3]])


@settings(deadline=None)
@given(p=probabilities, u=arrays(np.float64, 3, elements=st.floats(0.0, 1.0, exclude_max=True)))
def test_what_has_no_probability_is_never_drawn(p: Floats, u: Floats) -> None:
    chosen = choose(p, u)
    for row, column in enumerate(chosen):
        if p[row].sum() > 0.0:
            assert p[row, column] > 0.0
        else:
            assert column == NO_ACTION


def test_draws_follow_the_vector() -> None:
    p = np.array([0.1, 0.0, 0.6, 0.3])
    u = (np.arange(10_000) + 0.5) / 10_000
    chosen = choose(np.broadcast_to(p, (10_000, 4)), u)
    np.testing.assert_array_equal(np.bincount(chosen, minlength=4), [1000, 0, 6000, 3000])


EXTREMES = [1e-9, 1e-6, 1e-3, 0.1, 1.0, 20.0, 1e3, 1e6, 1e9, 1e12]
"""From the least prior, sharpened least, to the counts of years, sharpened most."""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EXTREMES), st.sampled_from(EXTREMES)), min_size=2))
def test_beta_distributions_of_any_size_give_probabilities(
    pairs: list[tuple[float, float]],
) -> None:
    p = beta_probabilities(*np.array(pairs).T)
    assert np.isfinite(p).all()
    assert (p >= 0.0).all()
    assert p.sum() == pytest.approx(1.0)


def test_rates_of_a_billion_trials_are_compared_by_their_normals() -> None:
    p = beta_probabilities(np.array([1e3, 1e3, 1.1e3]), np.array([1e9, 1e9, 1e9]))
    assert p[2] > 0.9
    assert p[0] == pytest.approx(p[1])
