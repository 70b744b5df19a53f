"""What the trials come to: bars, a table and a plot."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import beta

from ops.benchmarks.bandits.newcomers.blocks import POLICIES, Cell, known
from ops.benchmarks.bandits.newcomers.curves import POINTS
from ops.benchmarks.bandits.newcomers.worlds import HORIZON, World
from ops.benchmarks.reporting.judged import JudgedBar

LEAST = 0.985
"""The share of trials in which the newcomer must have won."""

LIBRARIES = ("VW", "mabwiser")

ENOUGH = 1_000
"""Trials of a cell from which on it is judged."""


def clopper_pearson(won: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided confidence interval of a share (Clopper and Pearson 1934).

    >>> [round(end, 4) for end in clopper_pearson(985, 1000)]
    [0.9754, 0.9916]
    """
    tail = (1.0 - confidence) / 2.0
    low = float(beta.ppf(tail, won, trials - won + 1)) if won else 0.0
    high = float(beta.isf(tail, won + 1, trials - won)) if won < trials else 1.0
    return low, high


def best_of(cells: Sequence[Cell], library: str) -> list[Cell]:
    """Return, for each world, the library's learner that lets the newcomer win most often.

    Chosen by the very figures that are shown, which is in the library's favour.
    """
    theirs: dict[World, list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.learner.startswith(library):
            theirs[cell.world].append(cell)
    return [
        max(group, key=lambda cell: (cell.won / cell.trials, cell.shares.mean()))
        for group in theirs.values()
    ]


def describe(world: World) -> str:
    """Name a world.

    >>> describe(World(10, 1_000_000, 0.05, (-1.0, 1.0)))
    '10 x 100,000, 5 %, [-1, 1]'
    """
    each = world.history // world.incumbents
    low, high = world.reward_range
    return f"{world.incumbents} x {each:,}, {100 * world.rate:g} %, [{low:g}, {high:g}]"


def bars(cells: Sequence[Cell]) -> list[JudgedBar]:
    """Judge each of ours by its worst cell; trials fewer than ``ENOUGH`` are not judged.

    Cells in which the incumbents' rates are less known than the yardstick assumes are left out.
    """
    result = []
    for kind in POLICIES:
        own = [cell for cell in cells if cell.learner == kind and known(cell.world)]
        if not own:
            continue
        met = sum(cell.won >= LEAST * cell.trials for cell in own)
        worst = min(own, key=lambda cell: cell.won / cell.trials)
        figure = (
            f"{met} of {len(own)} cells; least {worst.won} of {worst.trials:,} "
            f"({describe(worst.world)})"
        )
        judged = all(cell.trials >= ENOUGH for cell in own)
        name = f"newcomers, {kind}: trials won"
        result.append(
            JudgedBar(name, f">= {LEAST:g} in each", figure, met == len(own) if judged else None)
        )
    return result


def regret(cell: Cell) -> float:
    """Return the mean number of decisions that others than the newcomer got, in units of n."""
    return float(HORIZON * (1.0 - cell.shares.mean()))


def rows(cells: Sequence[Cell]) -> Iterator[dict[str, object]]:
    """Sum each cell up: what it is, how often the newcomer won, shares and regret over time."""
    for cell in cells:
        low, high = clopper_pearson(cell.won, cell.trials)
        share = cell.shares.mean(axis=0)
        yield {
            "incumbents": cell.world.incumbents,
            "history": cell.world.history,
            "rate": cell.world.rate,
            "reward_range": cell.world.reward_range,
            "sample_size": cell.world.sample,
            "batch": cell.world.batch,
            "learner": cell.learner,
            "trials": cell.trials,
            "won": cell.won,
            "interval": (low, high),
            "final": np.quantile(cell.finals, [0.015, 0.5]).tolist(),
            "share": share.round(4).tolist(),
            "regret": (np.cumsum(1.0 - share) * HORIZON / POINTS).round(4).tolist(),
        }


def table(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Return titles and lines: a world each, and how often the newcomer won under each learner.

    In brackets is the regret; of the other libraries the best setting is shown, with its name.
    """
    columns: dict[str, dict[World, Cell]] = {
        kind: {cell.world: cell for cell in cells if cell.learner == kind} for kind in POLICIES
    }
    for library in LIBRARIES:
        columns[library] = {cell.world: cell for cell in best_of(cells, library)}
    columns = {name: column for name, column in columns.items() if column}
    worlds = list(dict.fromkeys(cell.world for cell in cells))
    lines = [
        [describe(world), *(_entry(column.get(world)) for column in columns.values())]
        for world in worlds
    ]
    return ["incumbents, rate, range", *columns], lines


def _entry(cell: Cell | None) -> str:
    if cell is None:
        return ""
    won = f"{cell.won}" if cell.trials == ENOUGH else f"{cell.won} of {cell.trials}"
    setting = "" if cell.learner in POLICIES else f", {cell.learner.partition(' ')[2]}"
    return f"{won} ({regret(cell):.2f}{setting})"
