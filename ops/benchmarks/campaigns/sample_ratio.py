"""Prove the sample ratio's alarms: what a loss of activations takes to be found, and false ones.

A loss: one arm of 50/50 loses 2 % of its activations; looks every 1,000. False alarms: the split
moves by what came before, in every cell in another way, with looks all along; all is well, so that
every alarm is false. Each run counts once, by the highest e-value of its looks.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from operators.logic.experiments.sample_ratio import SampleRatio
from ops.benchmarks.reporting.judged import JudgedBar, report

Floats = NDArray[np.float64]

ALPHAS = (0.001, 0.05)
LOSS, WITHIN, SHARE_FOUND = 0.02, 600_000, 0.9
"""The loss of one arm's activations, and how many of both arms may pass until it is found."""

BLOCK = 1_000
FLOOR = 0.1
RATES = (0.05, 0.06, 0.05, 0.04)
RAMP = (0.01, 0.05, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class Cell:
    """A way in which a split moves; ``run`` gives the highest logarithm of its looks' e-values."""

    name: str
    run: Callable[[np.random.Generator], float]


def highest_of(blocks: Iterator[tuple[list[int], list[float]]], names: str) -> float:
    """Add blocks of exposures with one split each, and look after every block."""
    ratio, highest = SampleRatio(list(names)), 0.0
    for counts, split in blocks:
        ratio.add_counts(counts, split)
        highest = max(highest, ratio.log_e)
    return highest


def fixed(rng: np.random.Generator, split: Sequence[float]) -> float:
    """Take 40,000 exposures of one split, with a look every 200."""
    drawn = rng.multinomial(200, split, size=200).tolist()
    return highest_of(((counts, list(split)) for counts in drawn), "abcd"[: len(split)])


def ramp(rng: np.random.Generator) -> float:
    """Raise the challenger's share in four steps; a third of each step activates in the next."""

    def blocks() -> Iterator[tuple[list[int], list[float]]]:
        before = RAMP[0]
        for share in RAMP:
            for _ in range(50):
                for size, own in ((133, share), (67, before)):
                    challengers = int(rng.binomial(size, own))
                    yield [size - challengers, challengers], [1.0 - own, own]
            before = share

    return highest_of(blocks(), "ab")


def bandit_of_two(rng: np.random.Generator) -> float:
    """Let Thompson sampling move the split after every 100 of 20,000 exposures."""

    def blocks() -> Iterator[tuple[list[int], list[float]]]:
        won, lost = np.ones(2), np.ones(2)
        for _ in range(200):
            mean = won / (won + lost)
            variance = mean * (1.0 - mean) / (won + lost + 1.0)
            best = float(ndtr((mean[0] - mean[1]) / math.sqrt(variance.sum())))
            first = FLOOR + (1.0 - 2.0 * FLOOR) * best
            shown = int(rng.binomial(100, first))
            counts = [shown, 100 - shown]
            clicks = rng.binomial(counts, RATES[:2])
            won, lost = won + clicks, lost + counts - clicks
            yield counts, [first, 1.0 - first]

    return highest_of(blocks(), "ab")


def bandit_of_four(rng: np.random.Generator) -> float:
    """Do the same with four arms, whose split is a share of 64 draws mixed with the floor."""

    def blocks() -> Iterator[tuple[list[int], list[float]]]:
        won, lost = np.ones(4), np.ones(4)
        for _ in range(200):
            best = rng.beta(won, lost, size=(64, 4)).argmax(axis=1)
            split = FLOOR + (1.0 - 4.0 * FLOOR) * np.bincount(best, minlength=4) / 64.0
            counts = rng.multinomial(100, split)
            clicks = rng.binomial(counts, RATES)
            won, lost = won + clicks, lost + counts - clicks
            yield counts.tolist(), split.tolist()

    return highest_of(blocks(), "abcd")


def contextual(rng: np.random.Generator) -> float:
    """Give every one of 5,000 exposures its own split of two, which leans to what fell short."""
    ratio, highest = SampleRatio(["a", "b"]), 0.0
    lean = 0.0
    for _ in range(50):
        first: Floats = np.clip(1.0 / (1.0 + np.exp(-rng.normal(-lean, 1.5, 100))), 0.02, 0.98)
        drawn = (rng.random(100) >= first).astype(np.int64)
        lean += float((first - (drawn == 0)).sum()) / 20.0
        ratio.add(drawn, np.column_stack((first, 1.0 - first)))
        highest = max(highest, ratio.log_e)
    return highest


CELLS = (
    Cell("50/50", lambda rng: fixed(rng, (0.5, 0.5))),
    Cell("95/5", lambda rng: fixed(rng, (0.95, 0.05))),
    Cell("98.9/1/0.1/0", lambda rng: fixed(rng, (0.989, 0.01, 0.001, 0.0))),
    Cell("ramp 1/5/20/50 %, late activations", ramp),
    Cell("bandit of 2, floor 0.1", bandit_of_two),
    Cell("bandit of 4, floor 0.1", bandit_of_four),
    Cell("a split of its own for every exposure", contextual),
)


def found_after(rng: np.random.Generator, loss: float, within: int, alpha: float) -> int | None:
    """Give how many activations a loss of one arm of 50/50 takes to be found; None: not found."""
    ratio, left = SampleRatio(["a", "b"]), 1.0 - loss
    for number in range(within // BLOCK):
        kept = int(rng.binomial(BLOCK, left / (1.0 + left)))
        ratio.add_counts([BLOCK - kept, kept], [0.5, 0.5])
        if ratio.log_e >= -math.log(alpha):
            return (number + 1) * BLOCK
    return None


def measure(runs: int = 5_000, losses: int = 200, seed: int = 1) -> Iterator[JudgedBar]:
    """Measure both bars, a line for each cell.

    Parameters
    ----------
    runs, losses
        How many runs of each cell without a fault, and with a loss.
    seed
        Of all of them.
    """
    after = [
        found_after(np.random.default_rng([seed, 0, run]), LOSS, WITHIN, ALPHAS[0])
        for run in range(losses)
    ]
    found = sorted(count for count in after if count is not None)
    median = f", median after {found[len(after) // 2]:,}" if len(found) > len(after) // 2 else ""
    yield JudgedBar(
        f"sample ratio: a loss of {LOSS:.0%} of one arm at 50/50, alpha {ALPHAS[0]:g}",
        f">= {SHARE_FOUND:.0%} within {WITHIN:,}",
        f"{len(found)} of {losses}{median}",
        len(found) >= SHARE_FOUND * losses,
    )
    for number, cell in enumerate(CELLS, start=1):
        highest = [cell.run(np.random.default_rng([seed, number, run])) for run in range(runs)]
        for alpha in ALPHAS:
            alarms = sum(value >= -math.log(alpha) for value in highest)
            most = alpha + 3.0 * math.sqrt(alpha * (1.0 - alpha) / runs)
            yield JudgedBar(
                f"sample ratio: false alarms, {cell.name}, alpha {alpha:g}",
                f"<= {most:.2%}",
                f"{alarms / runs:.2%} ({alarms} of {runs:,})",
                alarms / runs <= most,
            )


def main() -> int:
    """Measure, print one table and write it as JSON; fail when a bar is missed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=5_000, help="of each cell (5,000)")
    arguments.add_argument("--losses", type=int, default=200, help="runs with a loss (200)")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--quick", action="store_true", help="200 runs, 20 with a loss")
    options = arguments.parse_args()
    runs, losses = (200, 20) if options.quick else (options.runs, options.losses)
    bars = measure(runs, losses, options.seed)
    return report("sample_ratio", "Alarms of the sample ratio", bars, seed=options.seed)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
