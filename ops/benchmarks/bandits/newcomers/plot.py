"""The newcomer's share of the decisions over time, a panel for each world."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ops.benchmarks.bandits.newcomers.blocks import POLICIES, Cell
from ops.benchmarks.bandits.newcomers.curves import POINTS
from ops.benchmarks.bandits.newcomers.report import LEAST, LIBRARIES, best_of
from ops.benchmarks.bandits.newcomers.worlds import HORIZON, World

COLOURS = {
    "beta": "tab:blue",
    "diagonal": "tab:green",
    "logistic": "tab:orange",
    "gaussian": "tab:red",
    "VW": "black",
    "mabwiser": "grey",
}
LINES = (
    (1, 100_000, (0.0, 1.0)),
    (10, 1_000_000, (0.0, 1.0)),
    (1, 100_000, (-1.0, 1.0)),
    (10, 1_000_000, (-1.0, 1.0)),
)
"""Incumbents, their decisions and the reward range of each line of panels."""


def plot(path: Path, cells: Sequence[Cell]) -> None:
    """Draw the median share (thick) and the one that 98.5 % of the trials exceed (thin).

    Of the others the mean share is drawn, dashed: mabwiser tells choices, no probabilities.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    rates = sorted({cell.world.rate for cell in cells})
    shape = len(LINES), len(rates)
    size = (3.0 * len(rates), 2.4 * len(LINES))
    figure, axes = pyplot.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    best = [cell for library in LIBRARIES for cell in best_of(cells, library)]
    for line, (incumbents, history, reward_range) in enumerate(LINES):
        for column, rate in enumerate(rates):
            world = World(incumbents, history, rate, reward_range)
            axis = axes[line, column]
            for cell in (*cells, *best):
                if cell.world == world and (
                    cell.learner in POLICIES or any(cell is one for one in best)
                ):
                    _draw(axis, cell)
            low, high = reward_range
            who = "1 incumbent" if incumbents == 1 else f"{incumbents} incumbents"
            axis.axhline(0.5, color="lightgrey", lw=0.8, zorder=0)
            axis.set_title(f"{who}, {100 * rate:g} %, [{low:g}, {high:g}]", fontsize=9)
            axis.set_ylim(-0.03, 1.03)
    for axis in axes[-1]:
        axis.set_xlabel("decisions, in n", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("newcomer's share", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=9)
    figure.tight_layout(rect=(0.0, 0.04, 1.0, 1.0))
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _draw(axis: Any, cell: Cell) -> None:
    at = (np.arange(POINTS) + 0.5) * HORIZON / POINTS
    if cell.learner in POLICIES:
        low, middle = np.quantile(cell.shares, [1.0 - LEAST, 0.5], axis=0)
        axis.plot(at, middle, color=COLOURS[cell.learner], lw=2, label=cell.learner)
        axis.plot(at, low, color=COLOURS[cell.learner], lw=0.8)
        return
    library = cell.learner.partition(" ")[0]
    label = f"{library}'s best"
    axis.plot(at, cell.shares.mean(axis=0), "--", color=COLOURS[library], lw=1, label=label)
