"""The newcomer's share of the decisions over time, a panel for each world."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ops.benchmarks.bandits.newcomers.blocks import POLICIES, Cell
from ops.benchmarks.bandits.newcomers.curves import POINTS
from ops.benchmarks.bandits.newcomers.report import LEAST, LIBRARIES, best_of
from ops.benchmarks.bandits.newcomers.worlds import HORIZON, RATES

COLOURS = dict(zip(POLICIES, ("tab:blue", "tab:green", "tab:orange", "tab:red"), strict=True))
OTHERS = dict(zip(LIBRARIES, ("black", "grey"), strict=True))
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

    of = {(cell.world, cell.learner): cell for cell in cells if cell.learner in POLICIES}
    rivals = {library: {c.world: c for c in best_of(cells, library)} for library in OTHERS}
    worlds = list(dict.fromkeys(cell.world for cell in cells))
    shape = len(LINES), len(RATES)
    figure, axes = pyplot.subplots(*shape, figsize=(15, 10), sharex=True, sharey=True)
    at = (np.arange(POINTS) + 0.5) * HORIZON / POINTS
    for line, (incumbents, history, reward_range) in enumerate(LINES):
        for column, rate in enumerate(RATES):
            axis = axes[line, column]
            place = (incumbents, history, rate, reward_range)
            for world in worlds:
                if (world.incumbents, world.history, world.rate, world.reward_range) != place:
                    continue
                for kind in POLICIES:
                    if (world, kind) in of:
                        low, middle = np.quantile(
                            of[world, kind].shares, [1.0 - LEAST, 0.5], axis=0
                        )
                        axis.plot(at, middle, color=COLOURS[kind], lw=2, label=kind)
                        axis.plot(at, low, color=COLOURS[kind], lw=0.8)
                for library, found in rivals.items():
                    if world in found:
                        share = found[world].shares.mean(axis=0)
                        axis.plot(at, share, "--", color=OTHERS[library], lw=1, label=library)
            axis.axhline(0.5, color="lightgrey", lw=0.8, zorder=0)
            low_end, high_end = reward_range
            who = "1 incumbent" if incumbents == 1 else f"{incumbents} incumbents"
            axis.set_title(f"{who}, {100 * rate:g} %, [{low_end:g}, {high_end:g}]", fontsize=9)
            axis.set_ylim(-0.03, 1.03)
    for axis in axes[-1]:
        axis.set_xlabel("decisions, in n", fontsize=9)
    for axis in axes[:, 0]:
        axis.set_ylabel("newcomer's share", fontsize=9)
    axes[0, 0].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
