"""Measure the learning core: quality against the oracle and other libraries, propensities, speed.

Every learner sees the same streams in one run. Prints one table of means over seeds with standard
errors and one of bars, writes both as JSON and a plot under ``ops/benchmarks/results/``, and exits
with 1 when a bar is missed, 2 when a run was invalid.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ops.benchmarks.bandits import bars, report
from ops.benchmarks.bandits.tasks import VW_SETTINGS, Row, Task, perform

RESULTS = Path(__file__).parent / "results"
HALF_LIFE = 40_000.0


def plan(seeds: list[int], events: int, rivals: list[str], quick: bool = False) -> list[Task]:
    """List the tasks; the slowest learners first, so that the cores finish together."""
    vw = [name for name in VW_SETTINGS if "vowpalwabbit" in rivals]
    tasks: list[Task] = []
    half = min(events, 100_000)
    for seed in seeds:
        contextual = [(name, {}, None) for name in vw[:2]]
        contextual += [(name, {}, 30_000) for name in vw[2:]]
        contextual += [("logistic", {}, None), ("diagonal", {}, None), ("greedy", {}, None)]
        contextual += [("uniform", {}, None)]
        if "bayesianbandits" in rivals:
            contextual.append(("bayesianbandits", {}, 50_000))
        if "mabwiser" in rivals:
            contextual.append(("mabwiser LinTS", {}, None))
        if "river" in rivals:
            contextual.append(("River LinUCB", {}, 2_000))
        name = "contextual-none-20"
        tasks += [Task(name, who, seed, events, o, limit) for who, o, limit in contextual]
        forgetting = {"half_life": HALF_LIFE}
        for change in ("abrupt", "drift"):
            name = f"contextual-{change}-20"
            tasks.append(Task(name, "logistic", seed, events, forgetting))
            tasks += [Task(name, who, seed, events) for who in vw[:1]]
        tasks.append(Task("plain-none-50", "beta", seed, events))
        for change in ("abrupt", "drift"):
            sharp = {"half_life": 20_000.0, "sharpen": 2.0}
            tasks.append(Task(f"plain-{change}-20", "beta", seed, events, sharp))
        if "river" in rivals:
            tasks.append(Task("plain-none-50", "River Thompson", seed, events, limit=10_000))
        tasks += [
            Task("delayed", f"logistic {mode}", seed, half)
            for mode in ("immediate", "wait", "exposure")
        ]
        for data in ("digits", "segments"):
            tasks.append(Task(data, "gaussian", seed, 0, {"batch": 10}))
            tasks.append(Task(data, "logistic", seed, 0, {"batch": 10}))
            if not quick:
                tasks += [Task(data, who, seed, 0) for who in vw if "items" not in who]
    return sorted(tasks, key=lambda task: not task.learner.startswith("VW"))


def speed_plan(seed: int, quick: bool, rivals: list[str]) -> list[Task]:
    """List the tasks of the speed bar, which run alone."""
    events = 3_000 if quick else 20_000
    name = "contextual-none-20"
    tasks = [Task(name, "logistic", seed, events), Task(name, "logistic sampled", seed, events)]
    if "vowpalwabbit" in rivals:
        tasks.append(Task(name, next(iter(VW_SETTINGS)), seed, events, limit=events // 4))
    return tasks


def available() -> list[str]:
    """Name the other libraries that are installed."""
    from importlib.util import find_spec

    names = ("vowpalwabbit", "river", "mabwiser", "bayesianbandits")
    return [name for name in names if find_spec(name)]


def main() -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[300, 301, 302, 303, 304])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="under a minute: one seed, 2k events")
    args = parser.parse_args()
    if args.quick:
        args.seeds, args.events = args.seeds[:1], 2_000
    rivals = available()
    missing = {"vowpalwabbit", "river", "mabwiser", "bayesianbandits"} - set(rivals)
    try:
        speeds = [perform(task) for task in speed_plan(args.seeds[0], args.quick, rivals)]
        with ProcessPoolExecutor(args.jobs) as pool:
            rows: list[Row] = list(
                pool.map(perform, plan(args.seeds, args.events, rivals, args.quick))
            )
        checked = [
            *bars.quality(rows, full=args.events >= 200_000 and len(args.seeds) >= 5),
            *bars.speed(speeds),
            *bars.propensities(args.seeds[0], args.quick),
        ]
    except ValueError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    report.print_rows(rows)
    report.print_bars(checked)
    name = "learning-quick" if args.quick else "learning"
    report.write(RESULTS / f"{name}.json", args.seeds, rows, speeds, checked)
    report.plot(RESULTS / f"{name}.png", rows)
    if missing:
        print(f"not installed, so not compared: {', '.join(sorted(missing))}")
        if not args.quick:
            return 2
    return 1 if any(bar.passed is False for bar in checked) else 0


if __name__ == "__main__":
    sys.exit(main())
