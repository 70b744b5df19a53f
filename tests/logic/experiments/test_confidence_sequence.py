"""Confidence sequences against products over scores, exact expectations, and their error rates."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from operators.logic.experiments.bet_mixtures import SIZES, bets_above, log_evidence
from operators.logic.experiments.confidence_sequence import (
    ConfidenceSequence,
    ScoreOutsideError,
    SequenceError,
)
from operators.logic.experiments.difference_scores import difference_scores, difference_sequence
from schemas.state import StateError

RANGES = [(-2.0, 2.0), (-10.0, 10.0), (0.0, 1.0), (0.0, 200.0), (-1.0, 50.0), (-5e-3, 1e-3)]
ranges = st.sampled_from(RANGES)


@st.composite
def scored(draw):
    """A range, and scores within it with how often each comes."""
    low, high = draw(ranges)
    inside = st.one_of(st.sampled_from([low, 0.0, high]), st.floats(low, high))
    rows = draw(st.lists(st.tuples(inside, st.integers(0, 400)), max_size=12))
    return (low, high), rows


def sequence_of(ends, rows):
    sequence = ConfidenceSequence(*ends)
    if rows:
        scores, counts = zip(*rows, strict=True)
        sequence.add(np.array(scores, dtype=float), np.array(counts, dtype=np.int64))
    return sequence


def wealth_above(ends, rows, mean):
    """The mean over bets of the product over scores, straight from its definition, on x - low."""
    low, high = ends
    logs = []
    for size in (SIZES / (high - low)).tolist():
        won = math.fsum(times * math.log1p(size * (score - low)) for score, times in rows)
        count = sum(times for _, times in rows)
        logs.append(won - count * math.log1p(size * (mean - low)))
    most = max(logs)
    return most + math.log(math.fsum(math.exp(value - most) for value in logs) / len(logs))


@given(scored(), st.floats(0.0, 1.0))
def test_the_evidence_is_the_mixture_of_products_over_scores(case, place):
    (low, high), rows = case
    mean = min(high, low + place * (high - low))
    above, below = sequence_of((low, high), rows).log_evidence(mean)
    mirrored = [(-score, times) for score, times in rows]
    assert_allclose(above, wealth_above((low, high), rows, mean), rtol=1e-9, atol=1e-8)
    assert_allclose(below, wealth_above((-high, -low), mirrored, -mean), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("ends", RANGES)
def test_no_evidence_against_a_moving_mean_is_expected(ends):
    """Every path of three scores whose law depends on the path: the mean e-value is 1 at most."""
    low, high = ends
    total = [0.0, 0.0]
    for path in product((low, 0.0, high), repeat=3):
        weight, means, wins = 1.0, [], 0
        for score in path:
            p_high = 0.1 + 0.3 * (wins % 3)
            law = {low: 0.15, 0.0: 0.85 - p_high, high: p_high} if low else None
            law = law or {0.0: 1.0 - p_high, high: p_high}
            means.append(sum(value * p for value, p in law.items()))
            # With low = 0 both name the same score: each takes half of its probability.
            weight *= law[score] * (0.5 if not low and score == 0.0 else 1.0)
            wins += score == high
        sequence = ConfidenceSequence(*ends)
        sequence.add(np.array(path))
        for side, log_e in enumerate(sequence.log_evidence(math.fsum(means) / 3)):
            total[side] += weight * math.exp(log_e)
    assert max(total) <= 1.0 + 1e-9
    assert min(total) > 0.5


@given(scored(), st.randoms(use_true_random=False), st.integers(0, 12))
def test_order_parts_and_the_written_form_do_not_matter(case, random, cut):
    ends, rows = case
    whole = sequence_of(ends, rows)
    shuffled = random.sample(rows, len(rows))
    first, second = sequence_of(ends, shuffled[:cut]), sequence_of(ends, shuffled[cut:])
    first.merge(ConfidenceSequence.load(second.dump()))
    assert first.count == whole.count
    for ours, theirs in zip(first._totals, whole._totals, strict=True):
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-10)
    again = ConfidenceSequence.load(whole.dump())
    assert again.dump() == whole.dump()
    assert again.bounds() == whole.bounds()


@given(scored())
def test_counts_are_repetitions(case):
    ends, rows = case
    rows = [(score, times % 4) for score, times in rows]
    repeated = ConfidenceSequence(*ends)
    repeated.add(np.array([score for score, times in rows for _ in range(times)]))
    grouped = sequence_of(ends, rows)
    assert repeated.count == grouped.count
    for ours, theirs in zip(repeated._totals, grouped._totals, strict=True):
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@given(scored())
def test_bounds_are_numbers_within_the_range_and_nested_by_level(case):
    (low, high), rows = case
    sequence = sequence_of((low, high), rows)
    wide, narrow = sequence.bounds(0.99), sequence.bounds(0.8)
    assert low <= wide.lower <= narrow.lower <= high
    assert low <= narrow.upper <= wide.upper <= high


@given(scored())
def test_a_bound_is_where_the_evidence_reaches_its_threshold(case):
    (low, high), rows = case
    sequence, most = sequence_of((low, high), rows), math.log(2 / 0.05)
    bounds = sequence.bounds(0.95)
    step = 1e-9 * (high - low)
    if bounds.lower > low:
        assert sequence.log_evidence(max(low, bounds.lower - step))[0] >= most
    if bounds.lower < high:
        assert sequence.log_evidence(min(high, bounds.lower + step))[0] < most
    if bounds.upper < high:
        assert sequence.log_evidence(min(high, bounds.upper + step))[1] >= most
    if bounds.upper > low:
        assert sequence.log_evidence(max(low, bounds.upper - step))[1] < most


@given(scored(), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=5))
def test_the_evidence_is_monotone_in_the_mean(case, places):
    (low, high), rows = case
    sequence = sequence_of((low, high), rows)
    means = sorted(min(high, low + place * (high - low)) for place in places)
    above, below = zip(*map(sequence.log_evidence, means), strict=True)
    assert all(a >= b - 1e-7 for a, b in pairwise(above))
    assert all(a <= b + 1e-7 for a, b in pairwise(below))


@pytest.mark.parametrize("ends", RANGES)
def test_nothing_little_and_one_sided_scores(ends):
    low, high = ends
    empty = ConfidenceSequence(*ends)
    assert (empty.mean, empty.count) == (None, 0)
    assert (empty.bounds().lower, empty.bounds().upper) == ends
    one = sequence_of(ends, [(high, 1)])
    assert one.bounds().upper == high
    for score in ends:
        bounds = sequence_of(ends, [(score, 1_000_000)]).bounds()
        assert bounds.lower <= score <= bounds.upper
        assert bounds.upper - bounds.lower <= 1e-4 * (high - low)


def test_huge_counts_stay_exact_enough():
    """10^9 scores: the width is that of theory, a few standard errors."""
    sequence = difference_sequence(0.5)
    sequence.add(np.array([2.0, -2.0, 0.0]), np.array([26, 25, 949]) * 1_000_000)
    bounds, error = sequence.bounds(), math.sqrt(4 * 0.051 / 1e9)
    assert bounds.lower < sequence.mean < bounds.upper
    assert 2.0 * 1.96 * error < bounds.upper - bounds.lower < 2.0 * 6.0 * error


def test_what_lies_outside_is_refused_as_a_whole():
    sequence = ConfidenceSequence(-2.0, 2.0)
    for bad in (2.1, -2.1, math.nan, math.inf):
        with pytest.raises(ScoreOutsideError):
            sequence.add(np.array([1.0, bad]))
    with pytest.raises(SequenceError):
        sequence.add(np.array([1.0]), np.array([-1]))
    with pytest.raises(SequenceError):
        sequence.add(np.array([1.0]), np.array([1, 1]))
    assert sequence.dump() == ConfidenceSequence(-2.0, 2.0).dump()
    sequence.add(np.array([2.0 + 1e-14]))  # 1/p with rounding
    assert sequence.count == 1


@pytest.mark.parametrize("ends", [(1.0, 2.0), (0.0, 0.0), (-1.0, 0.0), (math.nan, 1.0)])
def test_a_range_is_one(ends):
    with pytest.raises(SequenceError):
        ConfidenceSequence(*ends)


def test_parts_and_states_of_another_kind_are_refused():
    sequence = ConfidenceSequence(-2.0, 2.0)
    with pytest.raises(SequenceError):
        sequence.merge(ConfidenceSequence(-2.0, 3.0))
    with pytest.raises(StateError):
        ConfidenceSequence.load(b"score_estimates/1\n")
    with pytest.raises(SequenceError):
        sequence.bounds(1.0)
    with pytest.raises(SequenceError):
        sequence.log_evidence(2.5)


@given(st.data())
def test_difference_scores_stay_in_the_declared_range_and_have_the_mean_of_the_difference(data):
    cap = data.draw(st.sampled_from([1.0, 7.0]))
    floor = data.draw(st.floats(0.05, 0.5))
    p = data.draw(st.floats(floor, 1.0 - floor))
    value = st.floats(0.0, cap)
    rewards, predicted = data.draw(st.tuples(value, value)), data.draw(st.tuples(value, value))
    weights = np.array([[1.0 / p, 0.0], [0.0, 1.0 / (1.0 - p)]])
    scores = difference_scores(weights[:, 0], weights[:, 1], np.array(rewards), *predicted)
    assert_allclose(p * scores[0] + (1.0 - p) * scores[1], rewards[1] - rewards[0], atol=1e-9)
    difference_sequence(floor, cap).add(scores)


def crossed_ever(scores, mean, ends, every):
    """Which runs' running evidence against their running mean ever reaches 2/α, on either side."""
    counts = np.arange(every, scores.shape[1] + 1, every, dtype=float)
    running = mean.cumsum(axis=1)[:, every - 1 :: every] / counts
    crossed = np.zeros(len(scores), dtype=bool)
    for sign, (low, high) in ((1.0, ends), (-1.0, (-ends[1], -ends[0]))):
        bets = bets_above(low, high)
        totals = np.stack(
            [np.log1p(sign * scores * bet).cumsum(axis=1)[:, every - 1 :: every] for bet in bets],
            axis=-1,
        )
        log_e = log_evidence(
            totals, np.broadcast_to(counts, totals.shape[:2]), bets, sign * running
        )
        crossed |= (log_e >= math.log(2 / 0.05)).any(axis=1)
    return crossed


def test_a_moving_difference_under_a_moving_split_is_held_at_all_looks():
    """400 runs, 2,000 decisions, looks every 20; the split leans to what has earned, by runs.

    A share of misses of more than 5 % and three standard deviations would fail; the seed is fixed.
    """
    rng, runs, steps, floor = np.random.default_rng(1), 400, 2_000, 0.1
    scores, means = np.empty((runs, steps)), np.empty((runs, steps))
    earned = np.zeros((2, runs))
    for step in range(steps):
        p_b = np.clip(0.5 + 0.05 * (earned[1] - earned[0]), floor, 1.0 - floor)
        rate_a = 0.2 + 0.15 * math.sin(step / 200.0)
        rate_b = rate_a + 0.1 * math.cos(step / 300.0) * (earned[1] > earned[0])
        drawn_b = rng.random(runs) < p_b
        reward = (rng.random(runs) < np.where(drawn_b, rate_b, rate_a)).astype(float)
        earned += np.stack((reward * ~drawn_b, reward * drawn_b))
        scores[:, step] = difference_scores(~drawn_b / (1.0 - p_b), drawn_b / p_b, reward)
        means[:, step] = rate_b - rate_a
    ends = (-1.0 / floor, 1.0 / floor)
    missed = int(crossed_ever(scores, means, ends, 20).sum())
    assert missed <= runs * (0.05 + 3.0 * math.sqrt(0.05 * 0.95 / runs))


def test_a_planted_effect_is_found():
    """+10 % at a rate of 20 %, 50/50: within 4 fixed-horizon samples in nearly every of 60 runs."""
    rng, found, looks, size = np.random.default_rng(2), 0, 40, 1_740
    for _ in range(60):
        sequence = difference_sequence(0.5)
        for _ in range(looks):
            wins = rng.binomial(size // 2, (0.20, 0.22))
            counts = np.array([wins[1], wins[0], size - wins.sum()])
            sequence.add(np.array([2.0, -2.0, 0.0]), counts)
            if sequence.bounds().positive:
                found += 1
                break
    assert found >= 54
