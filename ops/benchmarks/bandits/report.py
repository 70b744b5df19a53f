"""The benchmark's table, JSON and plot."""

import json
import os
import platform
import subprocess
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ops.benchmarks.bandits.bars import Bar, mean_and_error
from ops.benchmarks.bandits.runner import CHECKPOINTS, Row
from ops.benchmarks.bandits.speeds import Speed

Groups = dict[tuple[str, str], list[Row]]

_WORDS = {True: "[green]pass[/]", False: "[red]MISSED[/]", None: "-"}


def grouped(rows: list[Row]) -> Groups:
    """Group the rows of all seeds by environment and learner."""
    groups: Groups = defaultdict(list)
    for row in rows:
        groups[row.environment, row.learner].append(row)
    return groups


def print_rows(rows: list[Row]) -> None:
    """Print click rates as fractions of the oracle's: mean ± standard error over seeds."""
    table = Table(title="Click rate as a fraction of the oracle's")
    for title in ("environment", "learner", "seeds", *(f"{k // 1000}k" for k in CHECKPOINTS)):
        table.add_column(title)
    table.add_column("all")
    for (environment, learner), group in grouped(rows).items():
        cells = []
        for events in (*CHECKPOINTS, group[0].events):
            values = [row.fractions[events] for row in group if events in row.fractions]
            cells.append("{:.3f} ± {:.3f}".format(*mean_and_error(values)) if values else "")
        table.add_row(environment, learner, str(len(group)), *cells)
    Console(width=150).print(table)


def print_speeds(speeds: list[Speed]) -> None:
    """Print events per second and core."""
    table = Table(title="Decide and learn: events per second and core")
    for title in ("learner", "median", "quartiles"):
        table.add_column(title, justify="left" if title == "learner" else "right")
    for speed in speeds:
        low, high = speed.quartiles
        table.add_row(speed.learner, f"{speed.median:,.0f}", f"{low:,.0f} to {high:,.0f}")
    Console(width=150).print(table)


def print_bars(bars: list[Bar]) -> None:
    """Print each bar with its figure."""
    table = Table(title="Bars")
    for title in ("bar", "limit", "figure", ""):
        table.add_column(title)
    for bar in bars:
        table.add_row(bar.name, bar.limit, bar.figure, _WORDS[bar.passed])
    Console(width=150).print(table)


def write(
    path: Path, seeds: list[int], rows: list[Row], speeds: list[Speed], bars: list[Bar]
) -> None:
    """Write everything as JSON, with the commit and the machine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "commit": _commit(),
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "seeds": seeds,
        "bars": [asdict(bar) for bar in bars],
        "speeds": [asdict(speed) for speed in speeds],
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(document, indent=1))


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def plot(path: Path, rows: list[Row]) -> None:
    """Draw the fraction of the oracle over events, one panel per environment."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    groups = grouped(rows)
    environments = list(dict.fromkeys(environment for environment, _ in groups))
    columns = 3
    lines = -(-len(environments) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(15, 4 * lines), squeeze=False)
    for axis, environment in zip(axes.flat, environments, strict=False):
        for (where, learner), group in groups.items():
            if where != environment:
                continue
            events = [k for k, _ in group[0].curve]
            curves = np.array([[value for _, value in row.curve] for row in group])
            mean = curves.mean(axis=0)
            error = curves.std(axis=0, ddof=1) / np.sqrt(len(group)) if len(group) > 1 else 0.0
            axis.plot(events, mean, label=learner)
            axis.fill_between(events, mean - error, mean + error, alpha=0.2)
        axis.set_title(environment)
        axis.set_xlabel("events")
        axis.set_ylabel("fraction of the oracle")
        axis.legend(fontsize=7)
    for axis in list(axes.flat)[len(environments) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
