"""Sequences of weighted rewards against products over rewards, and their error rate."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from operators.logic.experiments.bet_mixtures import SIZES
from operators.logic.experiments.confidence_sequence import ScoreOutsideError, SequenceError
from operators.logic.experiments.weighted_sequence import CENTRES, WeightedSequence
from schemas.state import StateError


@st.composite
def weighted(draw):
    """The largest weight, and rows of weight, reward and count."""
    largest = draw(st.sampled_from([1.0, 2.0, 20.0, 200.0]))
    weight = st.one_of(st.sampled_from([0.0, largest]), st.floats(0.0, largest))
    reward = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))
    return largest, draw(st.lists(st.tuples(weight, reward, st.integers(0, 300)), max_size=10))


def sequence_of(largest, rows):
    sequence = WeightedSequence(largest)
    if rows:
        sequence.add(*(np.array(column) for column in zip(*rows, strict=True)))
    return sequence


def wealth_above(largest, rows, mean):
    """The mean over centres and bets of the product over rewards, on what is never below 0."""
    logs = []
    for centre in CENTRES.tolist():
        low = -centre * (largest - 1.0)
        for size in (SIZES / largest).tolist():
            won = math.fsum(
                times * math.log1p(size * max(0.0, weight * (reward - centre) + centre - low))
                for weight, reward, times in rows
            )
            count = sum(times for *_, times in rows)
            logs.append(won - count * math.log1p(size * (mean - low)))
    most = max(logs)
    return most + math.log(math.fsum(math.exp(value - most) for value in logs) / len(logs))


@given(weighted(), st.floats(0.0, 1.0))
def test_the_evidence_is_the_mixture_of_products_over_rewards(case, mean):
    largest, rows = case
    above, below = sequence_of(largest, rows).log_evidence(mean)
    mirrored = [(weight, 1.0 - reward, times) for weight, reward, times in rows]
    assert_allclose(above, wealth_above(largest, rows, mean), rtol=1e-8, atol=1e-7)
    assert_allclose(below, wealth_above(largest, mirrored, 1.0 - mean), rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("p", [0.5, 0.05, 0.005])
def test_no_evidence_against_the_running_mean_is_expected(p):
    """Every path of three rewards whose rate depends on the path: the mean e-value is 1 at most."""
    total = [0.0, 0.0]
    for path in product([(0.0, 0.0), (1.0 / p, 0.0), (1.0 / p, 1.0)], repeat=3):
        chance, rates, wins = 1.0, [], 0
        for weight, reward in path:
            rate = 0.2 + 0.3 * (wins % 3)
            rates.append(rate)
            chance *= (1.0 - p) if not weight else p * (rate if reward else 1.0 - rate)
            wins += reward > 0.0
        sequence = sequence_of(1.0 / p, [(*row, 1) for row in path])
        for side, log_e in enumerate(sequence.log_evidence(sum(rates) / 3)):
            total[side] += chance * math.exp(log_e)
    assert max(total) <= 1.0 + 1e-9
    assert min(total) > 0.3


@given(weighted(), st.randoms(use_true_random=False), st.integers(0, 10))
def test_order_parts_counts_and_the_written_form_do_not_matter(case, random, cut):
    largest, rows = case
    rows = [(weight, reward, times % 4) for weight, reward, times in rows]
    whole = sequence_of(largest, rows)
    single = [(weight, reward, 1) for weight, reward, times in rows for _ in range(times)]
    shuffled = random.sample(single, len(single))
    first, second = sequence_of(largest, shuffled[:cut]), sequence_of(largest, shuffled[cut:])
    first.merge(WeightedSequence.load(second.dump()))
    assert first.count == whole.count
    for ours, theirs in zip(first._totals, whole._totals, strict=True):
        assert_allclose(ours, theirs, rtol=1e-11, atol=1e-10)
    again = WeightedSequence.load(whole.dump())
    assert again.dump() == whole.dump()
    assert again.bounds() == whole.bounds()


@given(weighted())
def test_bounds_are_probabilities_and_nested_by_level(case):
    sequence = sequence_of(*case)
    wide, narrow = sequence.bounds(0.99), sequence.bounds(0.8)
    assert 0.0 <= wide.lower <= narrow.lower <= 1.0
    assert 0.0 <= narrow.upper <= wide.upper <= 1.0


@pytest.mark.parametrize("largest", [1.0, 2.0, 20.0, 200.0])
def test_nothing_all_zeros_and_all_ones(largest):
    bounds = WeightedSequence(largest).bounds()
    assert (bounds.lower, bounds.upper) == (0.0, 1.0)
    drawn = 200_000 // int(largest)
    rows = [(0.0, 0.0, 200_000 - drawn)]
    zeros = sequence_of(largest, [*rows, (largest, 0.0, drawn)]).bounds()
    ones = sequence_of(largest, [*rows, (largest, 1.0, drawn)]).bounds()
    assert zeros.lower == 0.0 < zeros.upper < 0.02
    assert 0.98 < ones.lower < 1.0 == ones.upper


def test_what_lies_outside_is_refused_as_a_whole():
    sequence = WeightedSequence(2.0)
    for weight, reward in ((2.1, 0.0), (-0.1, 0.0), (1.0, 1.1), (1.0, -0.1), (math.nan, 0.0)):
        with pytest.raises(ScoreOutsideError):
            sequence.add(np.array([1.0, weight]), np.array([1.0, reward]))
    with pytest.raises(ScoreOutsideError):
        sequence.add(np.array([1.0]), np.array([math.nan]))
    with pytest.raises(SequenceError):
        sequence.add(np.array([1.0]), np.array([1.0, 0.0]))
    assert sequence.dump() == WeightedSequence(2.0).dump()
    with pytest.raises(SequenceError):
        WeightedSequence(0.9)
    with pytest.raises(SequenceError):
        sequence.merge(WeightedSequence(3.0))
    with pytest.raises(StateError):
        WeightedSequence.load(b"confidence_sequence/1\n")


def test_a_moving_rate_under_moving_probabilities_is_held_at_all_looks():
    """100 runs of 2,000 with looks every 50: misses of at most 5 % and three deviations."""
    rng, missed, runs = np.random.default_rng(5), 0, 100
    for _ in range(runs):
        sequence, rates, earned = WeightedSequence(10.0), 0.0, 0.0
        for look in range(40):
            p = float(np.clip(0.3 + 0.05 * earned, 0.1, 0.9))
            rate = 0.2 + 0.15 * math.sin(look / 5.0)
            drawn = rng.random(50) < p
            rewards = (rng.random(50) < rate) * drawn
            earned += float(rewards.sum() - 50 * p * 0.2)
            sequence.add(drawn / p, rewards.astype(float))
            rates += rate
            if max(sequence.log_evidence(rates / (look + 1))) >= math.log(40.0):
                missed += 1
                break
    assert missed <= runs * (0.05 + 3.0 * math.sqrt(0.05 * 0.95 / runs))
