"""Whether a change costs: a benchmark in this checkout and in another, in turns, figure by figure.

The machine's speed drifts, so two runs that follow one another are compared with one another only:
a pair gives the logarithm of the ratio, after over before, of every figure that both runs print.
The bound is the upper end of the one-sided 95 % confidence interval of their mean (Student's t).

``latency`` is another case: one run of this checkout's benchmark measures the flow processes of
both, in turns on one broker (``speed/alternation.py``), so the other needs no such benchmark.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from ops.benchmarks.reporting.machine import ROOT
from ops.benchmarks.speed import alternation
from ops.benchmarks.speed.bounds import upper
from ops.benchmarks.speed.report import Bar, Report

Figures = dict[tuple[str, str], float]
"""A benchmark's figures by row and column."""

_AS_FLOWS_RUN = """
import gc, runpy, sys
gc.set_threshold(20_000, 20, 50)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Collects garbage as rarely as the runner of flows does: a collection falls on whichever step of a
benchmark allocates next, and would be taken for a cost of that step."""


def main() -> None:
    """Run the pairs, print one table with a bar for each figure, and write it as JSON."""
    args, rest = _arguments().parse_known_args()
    if args.name == "latency":
        raise SystemExit(alternation.run(args.before, args.pairs, rest).finish())
    ratios: dict[tuple[str, str], list[float]] = defaultdict(list)
    befores: dict[tuple[str, str], list[float]] = defaultdict(list)
    for pair in range(args.pairs):
        order = [args.before, ROOT] if pair % 2 else [ROOT, args.before]
        runs = {folder: figures_of(folder, args.name, rest, args.result) for folder in order}
        for place in runs[args.before].keys() & runs[ROOT].keys():
            before, after = runs[args.before][place], runs[ROOT][place]
            if before > 0.0 and after > 0.0:
                befores[place].append(before)
                ratios[place].append(math.log(after / before))
        print(f"paired: {pair + 1} of {args.pairs} pairs", file=sys.stderr, flush=True)
    raise SystemExit(_report(args, ratios, befores).finish())


def figures_of(folder: Path, name: str, arguments: list[str], result: str | None) -> Figures:
    """Run a benchmark of the checkout in ``folder`` and read the figures that it wrote.

    Its own bars do not matter here; a run that it calls invalid raises :class:`ValueError`.
    """
    results = folder / "ops/benchmarks/results" / f"{result or name}.json"
    results.unlink(missing_ok=True)
    subprocess.run(
        [sys.executable, "-c", _AS_FLOWS_RUN, f"ops.benchmarks.{name}", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
        stdout=subprocess.DEVNULL,
        check=False,
    )
    document = json.loads(results.read_text())
    if document["invalid"]:
        raise ValueError(f"{folder}: {document['invalid']}")
    return {
        (row[0].strip(), title): float(value)
        for row in document["rows"]
        for title, value in zip(document["titles"][1:], row[1:], strict=True)
        if isinstance(value, int | float)
    }


def _report(
    args: argparse.Namespace,
    ratios: dict[tuple[str, str], list[float]],
    befores: dict[tuple[str, str], list[float]],
) -> Report:
    titles = ("figure", "before, median", "difference, mean %", "95 % bound %", "pairs")
    report = Report(f"paired-{args.name}", titles, vars(args).copy())
    for place, logs in sorted(ratios.items()):
        if len(logs) < 2 or args.column not in place[1]:
            continue
        label, bound = f"{place[0]}, {place[1]}", 100.0 * (math.exp(upper(logs)) - 1.0)
        mean = 100.0 * (math.exp(statistics.fmean(logs)) - 1.0)
        report.rows.append((label, statistics.median(befores[place]), mean, bound, len(logs)))
        report.bars.append(Bar(label, "≤", args.most, bound, "%"))
    report.detail = {", ".join(place): logs for place, logs in ratios.items()}
    return report


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="Further options go to the benchmark."
    )
    parser.add_argument("--before", type=Path, required=True, help="the other checkout")
    parser.add_argument("--name", default="steps", help="the benchmark (steps)")
    parser.add_argument("--result", help="the name of its result, where it is another")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--column", default="µs", help="compare columns whose title has this (µs)")
    parser.add_argument("--most", type=float, default=5.0, help="the bar, in percent (5)")
    return parser


if __name__ == "__main__":
    main()
