"""Prove what experiments conclude: false winners under continuous peeking, and power.

Every cell looks after every 100 decisions. A winner without any effect is false, and so is every
sequence that ever misses the truth; each run counts once. The evidence, the bets and the scores
are those of ``operators/logic/experiments``.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from ops.benchmarks.campaigns import sample_ratio
from ops.benchmarks.campaigns.experiment_runs.cells import A_A, Cell, Floats
from ops.benchmarks.campaigns.experiment_runs.simulation import HORIZON, simulate
from ops.benchmarks.reporting.judged import JudgedBar, report

ALPHA, MOST_FALSE = 0.05, 0.065
GUARDRAIL_ALPHA: Final = 0.01
RUNS: Final = 2_000

FIXED: Final = ((0.005, 878_000, 2_000, None), (0.05, 83_600, 100, 0.9), (0.2, 17_400, 100, 0.9))
"""Click rate, both arms' fixed-horizon sample for +10 %, decisions from look to look, least share
found within 4 times the sample. The first sample is that of the same formula, 2 (1.96 + 1.28)²
(p (1 - p) + q (1 - q)) / (q - p)²."""

BANDIT: Final = ((0.005, None), (0.05, 0.8), (0.2, 0.8))
"""Click rate and least share of runs in which +30 % is found within the horizon."""


def share(runs: Floats, alpha: float) -> float:
    """Give the share of runs whose evidence on one of two sides ever reached 2/``alpha``."""
    return float((runs.max(axis=0) >= math.log(2.0 / alpha)).mean())


def margin(probability: float, runs: int, deviations: float) -> float:
    """Give so many standard deviations of a share of runs."""
    return deviations * math.sqrt(probability * (1.0 - probability) / runs)


def false_winners(runs: int, cells: tuple[Cell, ...], seed: int) -> Iterator[JudgedBar]:
    """Measure every cell without an effect: three bars for each."""
    about = f" (± {margin(ALPHA, runs, 1.96):.1%})"
    judged = runs >= RUNS
    for number, cell in enumerate(cells):
        outcome = simulate(cell, runs, np.random.default_rng([seed, 1, number]))
        for what, evidence in (
            ("false winners or losers", outcome.highest),
            ("the mean of one arm missed", outcome.missed_single),
        ):
            rate = share(evidence, ALPHA)
            yield JudgedBar(
                f"{what}: {cell.name}",
                f"<= {MOST_FALSE:.1%}",
                f"{rate:.2%}{about}",
                rate <= MOST_FALSE if judged else None,
            )
        rate = share(outcome.highest[1:], GUARDRAIL_ALPHA)
        most = GUARDRAIL_ALPHA + margin(GUARDRAIL_ALPHA, runs, 3.0)
        yield JudgedBar(
            f"false guardrail, alpha {GUARDRAIL_ALPHA:.0%}: {cell.name}",
            f"<= {most:.1%}",
            f"{rate:.2%}",
            rate <= most if judged else None,
        )


def power(runs: int, seed: int) -> Iterator[JudgedBar]:
    """Measure in how many runs a planted effect is found, and how often its size is missed."""
    for number, (rate, sample, block, least) in enumerate(FIXED):
        cell = Cell(rate=rate, floor=0.5, effect=0.1)
        rng = np.random.default_rng([seed, 2, number])
        yield from _found(cell, runs, rng, 4 * sample, block, least)
    for number, (rate, least) in enumerate(BANDIT):
        cell = Cell(rate=rate, bandit=True, effect=0.3)
        rng = np.random.default_rng([seed, 3, number])
        yield from _found(cell, runs, rng, HORIZON, 100, least)


def _found(
    cell: Cell, runs: int, rng: np.random.Generator, within: int, block: int, least: float | None
) -> Iterator[JudgedBar]:
    outcome = simulate(cell, runs, rng, horizon=within, block=block, alpha=ALPHA)
    found = float(np.isfinite(outcome.found).mean())
    middle = float(np.median(outcome.found))
    figure = f"{found:.1%}" + (f", median after {middle:,.0f}" if middle < math.inf else "")
    yield JudgedBar(
        f"+{cell.effect:.0%} found: {cell.name}",
        f">= {least:.0%} within {within:,}" if least else f"within {within:,}",
        figure,
        found >= least if least else None,
    )
    # Futile is what cannot reach the effect that matters: false if the truth is just that.
    rate = share(outcome.missed, ALPHA)
    yield JudgedBar(
        f"+{cell.effect:.0%} missed, or called futile: {cell.name}",
        f"<= {MOST_FALSE:.1%}",
        f"{rate:.2%}",
        rate <= MOST_FALSE if runs >= RUNS else None,
    )


def parts(quick: bool, seed: int) -> dict[str, Callable[[], Iterator[JudgedBar]]]:
    """Give the parts of the campaign by name; quick ones are too small to judge."""
    runs = 50 if quick else RUNS
    alarms = (50, 5) if quick else (5_000, 200)
    return {
        "a_a": lambda: false_winners(runs, A_A[::3] if quick else A_A, seed),
        "power": lambda: power(50 if quick else RUNS, seed),
        "sample_ratio": lambda: sample_ratio.measure(*alarms, seed),
    }


def main() -> int:
    """Measure, print one table and write it as JSON; fail when a bar is missed."""
    names = list(parts(True, 1))
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--parts", nargs="+", choices=names, default=names)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--quick", action="store_true", help="50 runs of a third of the cells")
    options = arguments.parse_args()
    chosen = parts(options.quick, options.seed)
    bars = (bar for name in options.parts for bar in chosen[name]())
    return report("experiments", "What experiments conclude", bars, seed=options.seed)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
