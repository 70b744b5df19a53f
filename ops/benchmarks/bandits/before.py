"""Whether a change makes ours worse: the same seeds in this checkout and in another, by pairs.

A pair is one learner on one environment with one seed; the difference is that of the fractions of
the oracle, after less before. The bound is the lower end of the one-sided 95 % confidence interval
of their mean (Student's t). Both checkouts keep what they have run, each by its own digest.
"""

import json
import math
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from scipy.stats import t

from ops.benchmarks.bandits.runner import Row
from ops.benchmarks.reporting.judged import JudgedBar

CONFIDENCE = 0.95
LEAST = -0.01
"""The bar of the bound."""

_ROWS = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from threadpoolctl import threadpool_limits
from ops.benchmarks.bandits import cells, plan
events, jobs, *seeds = map(int, sys.argv[1:])
cells.sources(True)
with threadpool_limits(1), ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
    for row in pool.map(cells.performed, plan.plan(seeds, events, [])):
        print(json.dumps(asdict(row)))
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """The pairs of one learner on one environment."""

    environment: str
    learner: str
    events: int
    before: list[float]
    after: list[float]

    @property
    def differences(self) -> list[float]:
        """After less before, seed by seed."""
        return [after - before for before, after in zip(self.before, self.after, strict=True)]


def rows_of(folder: Path, seeds: Sequence[int], events: int, jobs: int) -> list[Row]:
    """Run ours as they are in the checkout in ``folder``, or read what it has kept of that."""
    done = subprocess.run(
        [sys.executable, "-c", _ROWS, str(events), str(jobs), *map(str, seeds)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder.resolve())},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ValueError(f"{folder}: its own learners did not run, exit status {done.returncode}")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        Row(**(row | {"fractions": {int(k): value for k, value in row["fractions"].items()}}))
        for row in found
    ]


def differences(before: Sequence[Row], after: Sequence[Row]) -> list[Difference]:
    """Pair the runs that both have, over all events of each."""
    earlier = {(row.environment, row.learner, row.seed, row.events): row for row in before}
    pairs: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for row in after:
        other = earlier.get((row.environment, row.learner, row.seed, row.events))
        if other is not None:
            found = other.fractions[row.events], row.fractions[row.events]
            pairs[row.environment, row.learner, row.events].append(found)
    return [
        Difference(*place, [one for one, _ in found], [two for _, two in found])
        for place, found in pairs.items()
    ]


def lower_bound(values: Sequence[float]) -> float:
    """Return the lower 95 % bound of the mean of at least two differences.

    >>> round(lower_bound([0.01, 0.03]), 4)
    -0.0431
    """
    error = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - float(t.ppf(CONFIDENCE, len(values) - 1)) * error


def bars(found: Sequence[Difference]) -> list[JudgedBar]:
    """Judge each learner on each environment that has two pairs or more."""
    return [
        JudgedBar(
            f"{pairs.environment}, {pairs.learner}, {pairs.events:,} events, paired difference",
            f"bound >= {LEAST:g}",
            f"{statistics.fmean(pairs.differences):+.4f}, bound {bound:+.4f}",
            bound >= LEAST,
        )
        for pairs in found
        if len(pairs.before) > 1
        for bound in [lower_bound(pairs.differences)]
    ]


def print_differences(found: Sequence[Difference]) -> None:
    """Print the means before and after, and their paired difference."""
    table = Table(title="Fractions of the oracle's, before and after, by pairs of the same seed")
    for title in ("environment", "learner", "pairs", "before", "after", "difference", "95 % bound"):
        table.add_column(title, justify="left" if title in ("environment", "learner") else "right")
    for pairs in found:
        values = pairs.differences
        table.add_row(
            pairs.environment,
            pairs.learner,
            str(len(values)),
            f"{statistics.fmean(pairs.before):.4f}",
            f"{statistics.fmean(pairs.after):.4f}",
            f"{statistics.fmean(values):+.4f}",
            f"{lower_bound(values):+.4f}" if len(values) > 1 else "",
        )
    Console(width=150).print(table)
