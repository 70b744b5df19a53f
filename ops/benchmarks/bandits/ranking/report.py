"""The tables of the rankings: fractions of the oracle, speeds, differences to VW's best."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from ops.benchmarks.bandits.bars import mean_and_error
from ops.benchmarks.bandits.ranking.paired import Pairs
from ops.benchmarks.bandits.ranking.tasks import Row

MARKS = (10_000, 50_000, 200_000)
TITLES = ("environment", "learner", "seeds", "10k", "50k", "200k", "all", "events", "events/s")
PAIR_TITLES = ("environment", "learner", "less", "events", "seeds", "mean ± error", "95 % interval")


def lines(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Give a line for each environment and learner: means ± standard errors over the seeds."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.environment, row.learner].append(row)
    for (environment, learner), group in groups.items():
        last = max(row.last for row in group)
        figures = [
            _figure([row.fractions[mark] for row in group if mark in row.fractions])
            for mark in (*MARKS, last)
        ]
        speed = float(np.median([row.speed for row in group]))
        yield [environment, learner, str(len(group)), *figures, f"{last:,}", f"{speed:,.0f}"]


def pair_lines(pairs: Sequence[Pairs]) -> Iterator[list[str]]:
    """Give a line for each comparison."""
    for found in pairs:
        interval = f"{found.low:+.3f} to {found.mean + found.half_width:+.3f}"
        yield [
            found.environment,
            found.learner,
            found.rival,
            f"{found.events:,}",
            str(len(found.differences)),
            f"{found.mean:+.3f} ± {found.error:.3f}",
            interval,
        ]


def print_table(title: str, titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title)
    for name in titles:
        table.add_column(name)
    for line in cells:
        table.add_row(*line)
    Console(width=170, highlight=False).print(table)


def _figure(values: list[float]) -> str:
    return "{:.3f} ± {:.3f}".format(*mean_and_error(values)) if values else ""
