"""The benchmark's table, JSON and plot."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from ops.benchmarks.bandits.bars import mean_and_error
from ops.benchmarks.bandits.runner import CHECKPOINTS, Row
from ops.benchmarks.bandits.speeds import Speed
from ops.benchmarks.reporting.judged import JudgedBar
from ops.benchmarks.reporting.machine import commit, machine_line

Groups = dict[tuple[str, str], list[Row]]

OTHERS = ("VW", "River", "mabwiser", "bayesianbandits")
"""Libraries whose learners are drawn dashed."""


def grouped(rows: list[Row]) -> Groups:
    """Group the rows of all seeds by environment and learner."""
    groups: Groups = defaultdict(list)
    for row in rows:
        groups[row.environment, row.learner].append(row)
    return groups


def print_rows(rows: list[Row]) -> None:
    """Print click rates as fractions of the oracle's: mean ± standard error over seeds."""
    table = Table(title=f"Click rate as a fraction of the oracle's, {_seeds(rows)} seeds")
    for title in ("environment", "learner", *(f"{k // 1000}k" for k in CHECKPOINTS), "all"):
        table.add_column(title)
    table.add_column("events", justify="right")
    for cells in _row_cells(rows):
        table.add_row(*cells)
    Console(width=150).print(table)


def _seeds(rows: list[Row]) -> int:
    return len({row.seed for row in rows})


def print_speeds(speeds: list[Speed]) -> None:
    """Print events per second and core."""
    table = Table(title="Decide and learn: events per second and core")
    for title in ("learner", "median", "quartiles"):
        table.add_column(title, justify="left" if title == "learner" else "right")
    for speed in speeds:
        table.add_row(*speed_cells(speed))
    Console(width=150).print(table)


def write_markdown(
    path: Path, seeds: list[int], rows: list[Row], speeds: list[Speed], bars: list[JudgedBar]
) -> None:
    """Write the tables as Markdown, for the documents."""
    marks = [f"{k // 1000}k" for k in CHECKPOINTS]
    lines = [
        f"Commit {commit()}, {machine_line()}, seeds {', '.join(map(str, seeds))}.",
        "",
        *markdown_table(["bar", "limit", "figure", ""], [_bar_cells(bar) for bar in bars]),
        "",
        *markdown_table(["environment", "learner", *marks, "all", "events"], [*_row_cells(rows)]),
        "",
        *markdown_table(["learner", "events/s", "quartiles"], [speed_cells(one) for one in speeds]),
    ]
    path.write_text("\n".join(lines) + "\n")


def markdown_table(titles: list[str], cells: list[list[str]]) -> list[str]:
    """Give a table's lines in Markdown."""
    safe = [[cell.replace("|", "\\|") for cell in line] for line in cells]
    return [f"| {' | '.join(line)} |" for line in (titles, ["---"] * len(titles), *safe)]


def _bar_cells(bar: JudgedBar) -> list[str]:
    return [bar.name, bar.limit, bar.figure, {True: "met", False: "missed", None: "-"}[bar.passed]]


def speed_cells(speed: Speed) -> list[str]:
    """Give the cells of a speed's line: learner, median, quartiles."""
    low, high = speed.quartiles
    return [speed.learner, f"{speed.median:,.0f}", f"{low:,.0f} to {high:,.0f}"]


def _row_cells(rows: list[Row]) -> Iterator[list[str]]:
    for (environment, learner), group in grouped(rows).items():
        events = group[0].events
        cells = []
        for mark in (*CHECKPOINTS, events):
            values = [row.fractions[mark] for row in group if mark in row.fractions]
            cells.append("{:.3f} ± {:.3f}".format(*mean_and_error(values)) if values else "")
        yield [environment, learner, *cells, f"{events:,}"]


def plot(path: Path, rows: list[Row], shown: Sequence[str] = ()) -> None:
    """Draw the fraction of the oracle over events, one panel per environment.

    Bands are standard errors. Settings of VW that saw only the start are left out.
    ``shown`` names the environments; all when empty.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot

    groups = grouped(rows)
    environments = list(shown or dict.fromkeys(environment for environment, _ in groups))
    columns = 2 if shown else 3
    lines = -(-len(environments) // columns)
    figure, axes = pyplot.subplots(lines, columns, figsize=(5 * columns, 4 * lines), squeeze=False)
    for axis, environment in zip(axes.flat, environments, strict=False):
        here = {who: group for (where, who), group in groups.items() if where == environment}
        longest = max(group[0].events for group in here.values())
        for learner, group in sorted(here.items(), key=lambda item: item[0]):
            if group[0].events == longest or not learner.startswith("VW"):
                _draw(axis, learner, group)
        axis.set_title(environment)
        axis.locator_params(axis="x", nbins=5)
        axis.xaxis.set_major_formatter(lambda events, _: f"{events / 1000:g}k")
        axis.set_xlabel("events")
        axis.set_ylabel("fraction of the oracle's click rate")
        axis.legend(fontsize=7, loc="lower right")
    for axis in list(axes.flat)[len(environments) :]:
        axis.set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _draw(axis: Any, learner: str, group: list[Row]) -> None:
    events = [k for k, _ in group[0].curve]
    curves = np.array([[value for _, value in row.curve] for row in group])
    mean = curves.mean(axis=0)
    error = curves.std(axis=0, ddof=1) / np.sqrt(len(group)) if len(group) > 1 else 0.0 * mean
    style = "--" if learner.split(" ")[0] in OTHERS else "-"
    axis.plot(events, mean, style, label=learner)
    axis.fill_between(events, mean - error, mean + error, alpha=0.2)
