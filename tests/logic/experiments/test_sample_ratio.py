"""The sample ratio's e-process against a product over exposures, and its error rates."""

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from operators.logic.experiments.sample_ratio import SampleRatio, SampleRatioError
from operators.logic.experiments.share_bets import TILTS, log_refutation, share_bounds
from schemas.state import StateError

NAMES = ["a", "b", "c", "d"]


def binomial_margin(probability, runs):
    """Three standard deviations of a share of runs."""
    return 3.0 * math.sqrt(probability * (1.0 - probability) / runs)


@st.composite
def exposures(draw):
    """The number of variations, and for each exposure which was drawn and all probabilities."""
    size = draw(st.integers(2, 4))
    weights = st.lists(st.integers(1, 50), min_size=size, max_size=size)
    rows = draw(st.lists(st.tuples(st.integers(0, size - 1), weights), max_size=30))
    return size, [(drawn, [w / sum(ws) for w in ws]) for drawn, ws in rows]


def columns(rows, size):
    drawn = np.array([drawn for drawn, _ in rows], dtype=np.int64)
    return drawn, np.array([p for _, p in rows], dtype=float).reshape(len(rows), size)


def e_value(size, rows):
    """The mean over tilts of one variation's odds of the product over exposures."""
    tilted = range(1 if size == 2 else size)
    products = []
    for which, tilt in product(tilted, TILTS.tolist()):
        theta = [math.exp(tilt) if number == which else 1.0 for number in range(size)]
        value = 1.0
        for drawn, p in rows:
            value *= theta[drawn] / math.fsum(a * b for a, b in zip(p, theta, strict=True))
        products.append(value)
    return math.fsum(products) / len(products)


@given(exposures())
def test_it_is_the_mixture_of_products_over_exposures(case):
    size, rows = case
    ratio = SampleRatio(NAMES[:size])
    ratio.add(*columns(rows, size))
    assert_allclose(math.exp(ratio.log_e), e_value(size, rows), rtol=1e-9)


@given(exposures())
def test_the_mean_over_all_draws_is_one(case):
    """Two exposures at most: every outcome weighted by its probability, exactly as logged."""
    size, rows = case
    rows = rows[:2]
    total = 0.0
    for drawn in product(range(size), repeat=len(rows)):
        happened = [(j, p) for j, (_, p) in zip(drawn, rows, strict=True)]
        weight = math.prod(p[j] for j, p in happened)
        ratio = SampleRatio(NAMES[:size])
        ratio.add(*columns(happened, size))
        total += weight * math.exp(ratio.log_e)
    assert_allclose(total, 1.0, rtol=1e-9)


@given(exposures(), st.randoms(use_true_random=False), st.integers(0, 30))
def test_order_and_parts_do_not_matter(case, random, cut):
    size, rows = case
    whole = SampleRatio(NAMES[:size])
    whole.add(*columns(rows, size))
    shuffled = random.sample(rows, len(rows))
    first, second = SampleRatio(NAMES[:size]), SampleRatio(NAMES[:size])
    first.add(*columns(shuffled[:cut], size))
    second.add(*columns(shuffled[cut:], size))
    first = SampleRatio.load(first.dump())
    first.merge(second)
    assert first.count == whole.count
    assert_allclose(first.log_e, whole.log_e, rtol=1e-9, atol=1e-12)
    for one, other in zip(first.verdict().deviations, whole.verdict().deviations, strict=True):
        assert one.exposures == other.exposures
        if rows:
            assert_allclose(one.difference, other.difference, atol=1e-12)


@given(exposures())
def test_what_is_written_is_read_again_exactly(case):
    size, rows = case
    ratio = SampleRatio(NAMES[:size])
    ratio.add(*columns(rows, size))
    copy = SampleRatio.load(ratio.dump())
    assert copy.verdict() == ratio.verdict()
    assert copy.dump() == ratio.dump()


@given(st.integers(2, 4), st.lists(st.integers(0, 40), min_size=4, max_size=4))
def test_counts_of_one_split_are_its_exposures(size, counts):
    counts, weights = counts[:size], list(range(1, size + 1))
    split = [weight / sum(weights) for weight in weights]
    by_counts, by_rows = SampleRatio(NAMES[:size]), SampleRatio(NAMES[:size])
    by_counts.add_counts(counts, split)
    rows = [(number, split) for number, count in enumerate(counts) for _ in range(count)]
    by_rows.add(*columns(rows, size))
    assert_allclose(by_counts.log_e, by_rows.log_e, rtol=1e-9, atol=1e-12)


def test_nothing_seen_is_no_evidence_and_no_number():
    verdict = SampleRatio(["a", "b"]).verdict()
    assert (verdict.count, verdict.log_e, verdict.alarm) == (0, 0.0, False)
    for deviation in verdict.deviations:
        assert deviation.difference is None
        assert (deviation.low, deviation.high) == (-1.0, 1.0)


def test_two_against_none_is_no_alarm():
    ratio = SampleRatio(["a", "b"])
    ratio.add_counts([2, 0], [0.5, 0.5])
    assert not ratio.verdict(alpha=0.05).alarm


def test_an_uneven_split_is_tested_against_itself_and_not_against_equal_shares():
    ratio = SampleRatio(["a", "b"])
    ratio.add_counts([950_000, 50_000], [0.95, 0.05])
    assert ratio.log_e < 0.0
    even = SampleRatio(["a", "b"])
    even.add_counts([950_000, 50_000], [0.5, 0.5])
    assert even.verdict().alarm


def test_thirds_are_exact_and_never_ring_for_what_is_displayed():
    ratio = SampleRatio(["a", "b", "c"])
    ratio.add_counts([1_000_000] * 3, [float(Fraction(1, 3))] * 3)
    assert ratio.log_e < 0.0


def test_a_small_deviation_among_millions_is_seen_for_what_it_is():
    ratio = SampleRatio(["a", "b"])
    ratio.add_counts([10_020_000, 9_980_000], [0.5, 0.5])
    verdict = ratio.verdict()
    first = verdict.deviations[0]
    assert verdict.alarm
    assert first.difference == pytest.approx(0.001)
    assert 0.0 < first.low < 0.001 < first.high < 0.0015


@pytest.mark.parametrize(
    ("drawn", "probabilities", "match"),
    [
        ([0], [[0.0, 1.0]], "whose probability is 0"),
        ([0], [[0.5, 0.4]], "must sum to 1"),
        ([0], [[1.5, -0.5]], "must not be negative"),
        ([0], [[math.nan, 0.5]], "must not be negative"),
        ([2], [[0.5, 0.5]], "that there is not"),
        ([0, 1], [[0.5, 0.5]], "has shape"),
    ],
)
def test_a_broken_record_is_refused_and_changes_nothing(drawn, probabilities, match):
    ratio = SampleRatio(["a", "b"])
    with pytest.raises(SampleRatioError, match=match):
        ratio.add(np.array(drawn), np.array(probabilities))
    assert ratio.dump() == SampleRatio(["a", "b"]).dump()


def test_counts_of_what_cannot_be_are_refused():
    ratio = SampleRatio(["a", "b"])
    for counts, split in (([1, 1], [1.0, 0.0]), ([-1, 1], [0.5, 0.5]), ([1], [0.5, 0.5])):
        with pytest.raises(SampleRatioError):
            ratio.add_counts(counts, split)
    with pytest.raises(SampleRatioError, match="two or more"):
        SampleRatio(["a"])
    with pytest.raises(SampleRatioError, match="other variations"):
        ratio.merge(SampleRatio(["a", "c"]))
    with pytest.raises(SampleRatioError, match="alpha"):
        ratio.verdict(alpha=0.0)
    with pytest.raises(StateError):
        SampleRatio.load(b"sample_ratio/0\n")


def test_false_alarms_of_a_split_that_moves_by_what_it_sees():
    """α = 0.05, 600 runs of 2,000 exposures, a look every 50: at most α and 3 deviations."""
    runs, alarms, rng = 600, 0, np.random.default_rng(1)
    for _ in range(runs):
        ratio, highest, ahead = SampleRatio(["a", "b"]), 0.0, 0
        for _ in range(40):
            share = 0.9 if ahead > 0 else 0.2  # follows the past
            first = int(rng.binomial(50, share))
            ahead += 2 * first - 50
            ratio.add_counts([first, 50 - first], [share, 1.0 - share])
            highest = max(highest, ratio.log_e)
        alarms += highest >= math.log(20.0)
    assert alarms / runs <= 0.05 + binomial_margin(0.05, runs)


def test_a_loss_is_found():
    """A loss of 2 % at 50/50 within 600,000 activations at α = 0.001: 18 of 20 runs."""
    found, rng = 0, np.random.default_rng(2)
    for _ in range(20):
        ratio = SampleRatio(["a", "b"])
        for _ in range(60):
            first = int(rng.binomial(10_000, 1.0 / 1.98))
            ratio.add_counts([first, 10_000 - first], [0.5, 0.5])
            if ratio.verdict().alarm:
                found += 1
                break
    assert found >= 18


def test_a_loss_of_two_of_five_is_found_by_the_one_test():
    ratio = SampleRatio(list("abcde"))
    shares = np.array([1.0, 1.0, 1.0, 0.9, 0.9])
    counts = (shares / shares.sum() * 100_000).astype(int).tolist()
    ratio.add_counts(counts, [0.2] * 5)
    assert ratio.verdict().alarm


def test_the_size_of_a_deviation_is_bounded_along_a_ramp():
    """The challenger loses 5 % while its share rises: 80 runs, level 0.95, all looks at once."""
    runs, missed, rng = 80, 0, np.random.default_rng(8)
    for _ in range(runs):
        ratio, seen, truth, wrong = SampleRatio(["a", "b"]), 0, 0.0, False
        for share in (0.05, 0.2, 0.5):
            left = 0.95 * share / (1.0 - share + 0.95 * share)
            for _ in range(4):
                size = 5_000
                second = int(rng.binomial(size, left))
                ratio.add_counts([size - second, second], [1.0 - share, share])
                seen, truth = seen + size, truth + size * (left - share)
                deviation = ratio.verdict().deviations[1]
                wrong |= not deviation.low <= truth / seen <= deviation.high
        missed += wrong
    assert missed / runs <= 0.05 + binomial_margin(0.05, runs)


@given(st.integers(0, 5_000), st.integers(0, 5_000), st.floats(0.5, 0.9999))
def test_bounds_of_a_share_hold_it_and_are_numbers(events, others, level):
    count = events + others
    low, high = share_bounds(events, count, level)
    assert 0.0 <= low <= high <= 1.0
    if count:
        assert low <= events / count <= high
        wider = share_bounds(events, count, 1.0 - (1.0 - level) / 2.0)
        assert wider[0] <= low
        assert high <= wider[1]


@given(st.integers(0, 500), st.integers(1, 500), st.floats(0.5, 0.999))
def test_bounds_of_a_share_are_where_the_evidence_reaches_the_level(events, others, level):
    count, most = events + others, -math.log1p(-level)
    for end, outward in zip(share_bounds(events, count, level), (-1.0, 1.0), strict=True):
        if 0.0 < end < 1.0:
            assert log_refutation(events, count, end) >= most - 1e-6
            assert log_refutation(events, count, end - outward * 1e-6) < most + 1e-6


def test_bounds_of_a_share_hold_at_every_look():
    """Level 0.95, 400 runs of 4,000 steps whose probability drifts, a look every 40."""
    runs, missed, rng = 400, 0, np.random.default_rng(3)
    p = np.where(np.arange(4_000) < 1_500, 0.04, 0.1)
    truth = np.cumsum(p) / np.arange(1, 4_001)
    for _ in range(runs):
        events = np.cumsum(rng.random(4_000) < p)
        looks = range(39, 4_000, 40)
        missed += any(
            log_refutation(int(events[look]), look + 1, truth[look]) >= math.log(20.0)
            for look in looks
        )
    assert missed / runs <= 0.05 + binomial_margin(0.05, runs)
