"""The benchmark's part about requests that bring their candidates."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from ops.benchmarks.bandits.ranking import cells, report, speeds, tuning
from ops.benchmarks.bandits.ranking.environments import SETS, STREAMS
from ops.benchmarks.bandits.ranking.paired import Pairs, bars, paired
from ops.benchmarks.bandits.ranking.settings import SETTINGS
from ops.benchmarks.bandits.ranking.tasks import Row, Task
from ops.benchmarks.bandits.report import markdown_table, print_speeds, speed_cells
from ops.benchmarks.bandits.speeds import Speed
from ops.benchmarks.reporting.judged import print_bars, write_result
from ops.benchmarks.reporting.machine import RESULTS, commit, machine_line

SEEDS = (1000, 1001, 1002, 1003, 1004)
"""Seeds that no setting was chosen by."""

ENVIRONMENTS = (*STREAMS, *SETS)
JUDGED = (10_000, 200_000)


def tasks_of(
    environments: Sequence[str], seeds: Sequence[int], events: int, ours: Sequence[str]
) -> list[Task]:
    """List what is to run: VW's tuned settings, the uniform learner and ours, seed by seed.

    An environment that VW was not tuned for raises ``ValueError``.
    """
    best = tuning.tuned()
    if missing := [name for name in environments if name not in best]:
        raise ValueError(f"no settings of VW for {', '.join(missing)}: run --ranking --tune")
    return [
        Task(name, who, seed, tuning.WHOLE if name in SETS else events, SETTINGS.get(who))
        for seed in seeds
        for name in sorted(environments, key=lambda name: name in STREAMS)
        for who in dict.fromkeys((best[name].short, best[name].long, "uniform", *ours))
    ]


def run(tasks: Sequence[Task], jobs: int, quick: bool, ours: Sequence[str], rounds: int) -> int:
    """Run, print and write; give the number of bars missed.

    Speeds are measured in ``rounds`` turns, not at all with none.
    """
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "rows.jsonl" if quick else cells.ROWS
        rows = sorted(_told(tasks, jobs, path), key=lambda row: ENVIRONMENTS.index(row.environment))
    measured = [
        speed
        for candidates in (20, 50)
        if rounds
        for speed in speeds.speeds(candidates, tasks[0].seed, rounds, ours)
    ]
    return _reported("ranking-quick" if quick else "ranking", rows, measured, ours)


def tune(environments: Sequence[str], jobs: int) -> None:
    """Find VW's best settings and keep them."""
    for name in environments:
        found = tuning.tune(name, lambda tasks: _told(tasks, jobs, cells.ROWS))
        tuning.keep(name, found)
        print(f"{name}: {found.short} (mean {found.means[found.short]:.3f}), {found.long}")


def _told(tasks: Sequence[Task], jobs: int, path: Path) -> Iterator[Row]:
    for number, row in enumerate(cells.performed(tasks, jobs, path), 1):
        where = f"{row.environment}, {row.learner}, seed {row.seed}, {row.last:,} events"
        found = f"{row.fractions[row.last]:.3f}, {row.speed:,.0f}/s"
        print(f"{number}/{len(tasks)} {where}: {found}", file=sys.stderr, flush=True)
        yield row


def _reported(name: str, rows: Sequence[Row], measured: list[Speed], ours: Sequence[str]) -> int:
    table = [*report.lines(rows)]
    pairs = [*_pairs(rows, ("uniform", *ours))]
    pair_table = [*report.pair_lines(pairs)]
    report.print_table("True rewards over the oracle's", report.TITLES, table)
    report.print_table("Against VW's best", report.PAIR_TITLES, pair_table)
    judged = [bar for who in ours for bar in bars(rows, who)]
    if measured:
        print_speeds(measured)
        judged += [speeds.bar(measured, who) for who in ours]
    if judged:
        print_bars("Rankings", judged)
    write_result(
        name,
        bars=[asdict(bar) for bar in judged],
        pairs=[asdict(found) for found in pairs],
        speeds=[asdict(speed) for speed in measured],
        rows=[asdict(row) for row in rows],
    )
    text = [
        f"Commit {commit()}, {machine_line()}.",
        "",
        *markdown_table([*report.TITLES], table),
        "",
        *markdown_table([*report.PAIR_TITLES], pair_table),
        "",
        *markdown_table(["learner", "events/s", "quartiles"], [*map(speed_cells, measured)]),
    ]
    (RESULTS / f"{name}.md").write_text("\n".join(text) + "\n")
    return sum(bar.passed is False for bar in judged)


def _pairs(rows: Sequence[Row], learners: Sequence[str]) -> Iterator[Pairs]:
    for name in dict.fromkeys(row.environment for row in rows):
        last = max(row.last for row in rows if row.environment == name)
        for events in sorted({last, *JUDGED}):
            for learner in learners:
                found = paired(rows, name, learner, events)
                if found is not None:
                    yield found
