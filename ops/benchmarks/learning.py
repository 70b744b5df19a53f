"""Measure the learning core: quality against the oracle and other libraries, newcomers, speed.

Every learner sees the same streams in one run. Prints tables of means over seeds with standard
errors, of newcomers, of speeds, propensities and bars, writes all as JSON and plots under
``ops/benchmarks/results/``, and exits with 1 when a bar is missed, 2 when a run was invalid.
Finished tasks are kept under ``learning-cells/`` and ``newcomer-cells/`` there until the code that
made them changes, so a run that broke off goes on where it stopped. ``--newcomers`` measures
newcomers only; ``--before FOLDER`` only whether ours are worse than in another checkout;
``--ranking`` only requests that bring their candidates with features (``--tune`` finds Vowpal
Wabbit's settings for them).
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from threadpoolctl import threadpool_limits

from ops.benchmarks.bandits import bars, before, cells, report
from ops.benchmarks.bandits.environments import stream_of
from ops.benchmarks.bandits.newcomers import campaign
from ops.benchmarks.bandits.plan import RIVALS, STATIONARY, available, plan, speed_plan
from ops.benchmarks.bandits.ranking import campaign as ranking
from ops.benchmarks.bandits.ranking.tasks import OURS
from ops.benchmarks.bandits.runner import Row
from ops.benchmarks.bandits.speeds import speeds
from ops.benchmarks.bandits.tasks import Task
from ops.benchmarks.reporting import judged
from ops.benchmarks.reporting.judged import print_bars, write_result
from ops.benchmarks.reporting.machine import RESULTS

SEEDS = (500, 501, 502, 503, 504)
DRAWN = (STATIONARY, "contextual-abrupt-20", "plain-none-50", "delayed-5000")


def run_all(tasks: Sequence[Task], jobs: int, folder: Path, progress: bool) -> list[Row]:
    """Perform the tasks on ``jobs`` cores; the rows come in the order of the tasks."""
    for ours in (True, False):
        cells.sources(ours)  # of the code as it is now: what the workers inherit
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        waiting = {pool.submit(cells.performed, task, folder): task for task in tasks}
        for number, future in enumerate(as_completed(waiting), 1):
            task, row = waiting[future], future.result()
            if progress:
                where = f"{task.environment}, {task.learner}, seed {task.seed}"
                found = f"{row.fractions[row.events]:.3f}"
                print(f"{number}/{len(tasks)} {where}: {found}", file=sys.stderr, flush=True)
    return [future.result() for future in waiting]


def compared(folder: Path, seeds: list[int], events: int, jobs: int) -> int:
    """Compare ours on all streams with the checkout in ``folder``."""
    earlier = before.rows_of(folder, seeds, events, jobs)
    later = before.rows_of(cells.ROOT, seeds, events, jobs)
    found = before.differences(earlier, later)
    before.print_differences(found)
    return judged.report(
        "learning-before",
        "Ours against those of another checkout",
        before.bars(found),
        seeds=seeds,
        rows=[asdict(pairs) for pairs in found],
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seeds", type=int, nargs="+", help="500 to 504; of --ranking 1000 to 1004"
    )
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--trials", type=int, default=1_000, help="of each newcomer (1,000)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="under a minute: one seed, 2k events")
    parser.add_argument("--thorough", action="store_true", help="more of VW and of the delays")
    parser.add_argument(
        "--cells-only",
        action="store_true",
        help="learn; measure nothing else (--ranking: no speeds)",
    )
    parser.add_argument("--newcomers", action="store_true", help="measure the newcomers alone")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="compare with that checkout")
    parser.add_argument("--ranking", action="store_true", help="measure rankings alone")
    parser.add_argument("--tune", action="store_true", help="of --ranking: find VW's settings")
    parser.add_argument("--environments", nargs="+", metavar="NAME", help="of --ranking")
    parser.add_argument("--rivals-only", action="store_true", help="of --ranking: without ours")
    args = parser.parse_args()
    args.environments = args.environments or ranking.ENVIRONMENTS
    if not set(args.environments) <= set(ranking.ENVIRONMENTS):
        parser.error(f"--environments are of {', '.join(ranking.ENVIRONMENTS)}")
    args.seeds = args.seeds or list(ranking.SEEDS if args.ranking else SEEDS)
    if args.quick:
        args.seeds, args.events, args.trials = args.seeds[:1], 2_000, 2
    return args


def main() -> int:
    """Run what was asked for; say whether it was as it must be."""
    args = arguments()
    try:
        if args.before is not None:
            return 1 if compared(args.before, args.seeds, args.events, args.jobs) else 0
        with threadpool_limits(1):
            if args.ranking:
                return 1 if rankings(args) else 0
            missed = 0 if args.newcomers else streams(args)
            if not args.cells_only:
                missed += campaign.run(args.trials, args.jobs, args.quick)
    except ValueError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    installed = available()
    missing = [name for name in RIVALS if name not in installed]
    if missing:
        print(f"not installed, so not compared: {', '.join(missing)}")
        if not args.quick:
            return 2
    return 1 if missed else 0


def rankings(args: argparse.Namespace) -> int:
    """Measure rankings, or tune VW for them; give the number of bars missed."""
    if "vowpalwabbit" not in available():
        raise ValueError("vowpalwabbit is not installed")
    if args.tune:
        ranking.tune(args.environments, args.jobs)
        return 0
    ours = () if args.rivals_only else tuple(OURS)
    tasks = ranking.tasks_of(args.environments, args.seeds, args.events, ours)
    rounds = 0 if args.cells_only else 2 if args.quick else 10
    return ranking.run(tasks, args.jobs, args.quick, ours, rounds)


def streams(args: argparse.Namespace) -> int:
    """Run all learners on all streams, print and write; give the number of bars missed."""
    installed = available()
    size = "quick" if args.quick else "thorough" if args.thorough else "normal"
    tasks = plan(args.seeds, args.events, installed, size)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if args.quick else cells.CELLS
        rows = run_all(tasks, args.jobs, folder, progress=not args.quick)
    if args.cells_only:
        return 0
    stream_of.cache_clear()
    turns = speed_plan(args.seeds[0], 20_000 if args.quick else 80_000, installed)
    measured = speeds(turns, 3 if args.quick else 10)
    checked = [
        *bars.quality(rows, full=args.events >= 200_000 and len(args.seeds) >= 5),
        bars.open_bandit(),
        *bars.speed(measured),
        *bars.propensities(args.seeds[0], args.quick),
    ]
    report.print_rows(rows)
    report.print_speeds(measured)
    print_bars("Bars", checked)
    name = "learning-quick" if args.quick else "learning"
    write_result(
        name,
        seeds=args.seeds,
        bars=[asdict(bar) for bar in checked],
        speeds=[asdict(speed) for speed in measured],
        rows=[asdict(row) for row in rows],
    )
    report.write_markdown(RESULTS / f"{name}.md", args.seeds, rows, measured, checked)
    report.plot(RESULTS / f"{name}.png", rows)
    report.plot(RESULTS / f"{name}.svg", rows, DRAWN)
    return sum(bar.passed is False for bar in checked)


if __name__ == "__main__":
    sys.exit(main())
