"""All trials of all newcomers: the benchmark's part about actions that are added late."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.benchmarks.bandits.newcomers import report, rivals
from ops.benchmarks.bandits.newcomers.blocks import (
    BLOCKS,
    HISTORY,
    Block,
    Cell,
    blocks_of,
    performed,
)
from ops.benchmarks.bandits.newcomers.plot import plot
from ops.benchmarks.bandits.newcomers.worlds import World, worlds
from ops.benchmarks.bandits.report import markdown_table
from ops.benchmarks.reporting.judged import print_bars, write_result
from ops.benchmarks.reporting.machine import RESULTS, commit, machine_line

QUICK_RATES = (0.05, 0.5)


def rival_blocks(tried: Sequence[World], installed: Sequence[str]) -> list[Block]:
    """Return the others' trials: twenty after one history, or five at 0.1 %, where each is long.

    Rewards are 0 and 1. Vowpal Wabbit, which learns a history event by event, gets none of a
    million decisions.
    """
    return [
        Block(world, learner, 0, 20 if world.rate > 0.001 else 5)
        for learner in installed
        for world in tried
        if world.reward_range == (0.0, 1.0)
        if world.history <= HISTORY or not learner.startswith("VW")
    ]


def run(trials: int, jobs: int, quick: bool) -> int:
    """Run ``trials`` of each newcomer and some of the others'; give the number of bars missed."""
    tried = worlds(QUICK_RATES) if quick else worlds()
    blocks = blocks_of(tried, trials)
    if not quick:
        blocks += rival_blocks(tried, rivals.installed())
    with tempfile.TemporaryDirectory() as scratch:
        cells = performed(blocks, jobs, Path(scratch) if quick else BLOCKS, progress=not quick)
    return _reported("newcomers-quick" if quick else "newcomers", trials, cells)


def _reported(name: str, trials: int, cells: list[Cell]) -> int:
    bars = report.bars(cells)
    titles, lines = report.table(cells)
    table = Table(title=f"Newcomers that win, of {trials:,} (others got so many times n decisions)")
    for title in titles:
        table.add_column(title)
    for line in lines:
        table.add_row(*line)
    Console(width=150, highlight=False).print(table)
    print_bars("Newcomers", bars)
    write_result(
        name,
        trials=trials,
        bars=[asdict(bar) for bar in bars],
        rows=list(report.rows(cells)),
    )
    text = [f"Commit {commit()}, {machine_line()}.", "", *markdown_table(titles, lines)]
    (RESULTS / f"{name}.md").write_text("\n".join(text) + "\n")
    plot(RESULTS / f"{name}.svg", cells)
    plot(RESULTS / f"{name}.png", cells)
    return sum(bar.passed is False for bar in bars)
