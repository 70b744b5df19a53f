"""The campaign's many sequences are the product's, and its cells are what they say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from operators.logic.experiments.confidence_sequence import ConfidenceSequence
from ops.benchmarks.campaigns.experiment_runs.cells import A_A, Cell
from ops.benchmarks.campaigns.experiment_runs.simulation import ManySequences, simulate


def test_many_sequences_have_the_evidence_of_one_each():
    rng = np.random.default_rng(1)
    many, ones = ManySequences(-10.0, 10.0, 3), [ConfidenceSequence(-10.0, 10.0) for _ in range(3)]
    for _ in range(5):
        scores = rng.uniform(-10.0, 10.0, size=(3, 2))
        times = rng.integers(0, 30, size=(3, 2))
        many.add(scores, times.astype(float), 80)
        for one, own, counts in zip(ones, scores, times, strict=True):
            one.add(np.append(own, 0.0), np.append(counts, 80 - counts.sum()))
        for mean in (-9.0, 0.0, 0.3):
            expected = np.array([one.log_evidence(mean) for one in ones]).T
            assert_allclose(many.log_evidence(mean), expected, rtol=1e-9, atol=1e-9)


def test_cells_are_named_apart_and_at_most_24():
    assert len({cell.name for cell in A_A}) == len(A_A) <= 24


def test_a_subjects_law_is_that_of_its_capped_clicks():
    cell = Cell(rate=0.2, unit="subject")
    rng = np.random.default_rng(2)
    visits = np.arange(1, 1_001)
    drawn = rng.choice(visits, p=visits**-2.2 / (visits**-2.2).sum(), size=200_000)
    totals = np.minimum(rng.binomial(drawn, 0.2), 5)
    shares = np.bincount(totals, minlength=6)[1:] / len(totals)
    assert_allclose(shares, cell.law(0.0, challenger=False), atol=0.003)
    assert_allclose(drawn.mean() * cell.units_per_decision, 1.0, rtol=0.05)


@pytest.mark.parametrize("bandit", [False, True])
def test_the_sequences_of_a_large_effect_find_it_and_hold_its_size(bandit):
    cell = Cell(rate=0.2, effect=0.5, bandit=bandit, delay=2)
    outcome = simulate(cell, 40, np.random.default_rng(3), horizon=20_000)
    assert np.isfinite(outcome.found).all()
    assert (outcome.missed.max(axis=0) >= np.log(40.0)).sum() <= 6
    assert (outcome.missed_single.max(axis=0) >= np.log(40.0)).sum() <= 6
