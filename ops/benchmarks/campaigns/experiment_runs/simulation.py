"""Runs of one cell, all at once: blocks of decisions, a look at the evidence after each.

The bets, the scores, the ranges and the evidence are the product's; only the sums are kept for many
runs together (a test compares them with :class:`ConfidenceSequence`).
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from operators.logic.experiments.bet_mixtures import bets_above, log_evidence
from operators.logic.experiments.difference_scores import difference_scores
from ops.benchmarks.campaigns.experiment_runs.cells import Cell, Floats

HORIZON: Final = 100_000


class ManySequences:
    """The sums of one confidence sequence for each run."""

    def __init__(self, low: float, high: float, runs: int) -> None:
        self._bets = bets_above(low, high), -bets_above(-high, -low)
        self.totals = tuple(np.zeros((runs, len(bets))) for bets in self._bets)
        self._count = 0

    def add(self, scores: Floats, times: Floats, count: int) -> None:
        """Add ``count`` scores to each run: ``times`` [runs, n] of each score, else 0."""
        for bets, totals in zip(self._bets, self.totals, strict=True):
            totals += np.einsum("rn,rnb->rb", times, np.log1p(scores[:, :, None] * bets))
        self._count += count

    def log_evidence(self, mean: float) -> Floats:
        """Give the evidence that the mean lies above it, and below it: array [2, runs]."""
        runs = len(self.totals[0])
        counts, means = np.full(runs, float(self._count)), np.full(runs, mean)
        sides = zip(self._bets, self.totals, strict=True)
        return np.stack([log_evidence(totals, counts, bets, means) for bets, totals in sides])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened in each run of a cell.

    Attributes
    ----------
    highest : array [2, runs]
        The most evidence at any look that the challenger is better, and that it is worse.
    missed : array [2, runs]
        The same against the true running mean of the difference, either way.
    missed_single : array [2, runs]
        The same against the true running mean of the challenger alone.
    found : array [runs]
        The decisions until the challenger is found better, two-sided at ``alpha``; inf: not found.
    """

    highest: Floats
    missed: Floats
    missed_single: Floats
    found: Floats


class _Bandit:
    """Thompson sampling of two arms by totals, the split in closed form by normal posteriors."""

    def __init__(self, runs: int, cell: Cell) -> None:
        self._cell = cell
        self._sums = np.zeros((2, runs))
        self._squares = np.zeros((2, runs))
        self._counts = np.zeros((2, runs))

    def split(self) -> Floats:
        """Give the challenger's probability in each run."""
        counts = self._counts + 2.0
        mean = (self._sums + 1.0) / counts
        spread = np.maximum((self._squares + 1.0) / counts - mean**2, 1e-9) / counts
        best = ndtr((mean[1] - mean[0]) / np.sqrt(spread.sum(axis=0)))
        split: Floats = self._cell.floor + (1.0 - 2.0 * self._cell.floor) * best
        return split

    def learn(self, arm: int, units: Floats, times: Floats) -> None:
        """Add the closed units of an arm, ``times`` [runs, values] of each value."""
        self._counts[arm] += units
        self._sums[arm] += times @ self._cell.values
        self._squares[arm] += times @ self._cell.values**2


def simulate(
    cell: Cell,
    runs: int,
    rng: np.random.Generator,
    *,
    horizon: int = HORIZON,
    block: int = 100,
    alpha: float = 0.05,
) -> Outcome:
    """Run a cell for ``horizon`` decisions with a look after every ``block`` of them."""
    reach = cell.cap / cell.floor
    difference = ManySequences(-reach, reach, runs)
    single = ManySequences(0.0, reach, runs)
    bandit, values = _Bandit(runs, cell), cell.values
    units, means, seen = max(1, round(block * cell.units_per_decision)), np.zeros(2), 0
    highest, missed, missed_single = (np.zeros((2, runs)) for _ in range(3))
    found = np.full(runs, np.inf)
    open_: list[tuple[Floats, list[Floats], list[NDArray[np.int64]], Floats]] = []
    for look in range(horizon // block):
        share = bandit.split() if cell.bandit and look else np.full(runs, cell.challenger)
        second = rng.binomial(units, share)
        progress = look * block / HORIZON
        laws = [cell.law(progress, challenger) for challenger in (False, True)]
        sizes = [units - second, second]
        times = [
            rng.multinomial(size, [*law, 1.0 - law.sum()])[:, :-1].astype(float)
            for size, law in zip(sizes, laws, strict=True)
        ]
        open_.append((share, times, sizes, np.stack(laws) @ values))
        if len(open_) <= cell.delay:
            continue
        share, times, sizes, own = open_.pop(0)
        for arm in range(2):
            bandit.learn(arm, sizes[arm].astype(float), times[arm])
        seen += units
        means += (own - means) * units / seen
        nothing = np.zeros((runs, 1))
        weights = 1.0 / (1.0 - share[:, None]), 1.0 / share[:, None]
        scores = np.hstack(
            (
                difference_scores(weights[0], nothing, values),
                difference_scores(nothing, weights[1], values),
            )
        )
        difference.add(scores, np.hstack(times), units)
        single.add(weights[1] * values, times[1], units)
        evidence = difference.log_evidence(0.0)
        highest = np.maximum(highest, evidence)
        missed = np.maximum(missed, difference.log_evidence(float(means[1] - means[0])))
        missed_single = np.maximum(missed_single, single.log_evidence(float(means[1])))
        first = (evidence[0] >= math.log(2.0 / alpha)) & np.isinf(found)
        found[first] = (look + 1) * block
    return Outcome(highest=highest, missed=missed, missed_single=missed_single, found=found)
