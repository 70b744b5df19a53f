"""The flow processes of two checkouts in turns on one broker, beside the echo and the naive loop.

Nothing inside the flows is measured: their CPU is that of the process, latency is taken outside.
Each pair gives its own ratios, so that the machine's drift concerns both sides of one alike.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from flows.devkit.embedded import Embedded
from ops.benchmarks.reporting.machine import ROOT, commit
from ops.benchmarks.speed import points
from ops.benchmarks.speed.comparison import TITLES, Comparison, Pair
from ops.benchmarks.speed.points import BACKLOG, NAIVE_BACKLOG, Points, flow_of, one
from ops.benchmarks.speed.report import Report


def run(before: Path, count: int, rest: Sequence[str]) -> Report:
    """Measure the pairs and report their figures, ratios and bars; ``rest`` are points' options."""
    parser = argparse.ArgumentParser(description=__doc__)
    points.add_arguments(parser)
    args = parser.parse_args(rest)
    points.shorten(args)
    conditions = {"before": commit(before), "pairs": count} | vars(args)
    report = Report("paired-latency", TITLES, conditions)
    with Embedded(broker=args.broker) as parts:
        measuring = Points(args, parts)
        pairs = []
        for number in range(count):
            pairs.append(_pair(measuring, before, number, report.invalid))
            print(f"paired: {number + 1} of {count} pairs", file=sys.stderr, flush=True)
    Comparison(report, pairs, judged=not args.quick).sum_up(args.rates)
    report.detail = {
        "pairs": [
            {side: {", ".join(place): value for place, value in figures.items()}
             for side, figures in (("before", pair.before), ("after", pair.after))}
            for pair in pairs
        ]
    }  # fmt: skip
    return report


def _pair(measuring: Points, before: Path, number: int, invalid: list[str]) -> Pair:
    found = Pair()
    sides = [(before, found.before), (ROOT, found.after)]
    if number % 2:
        sides.reverse()
    beside = one("echo", measuring.echo, invalid)
    for folder, figures in sides:
        live = partial(measuring.live_and_idle, flow_of(folder))
        figures |= one(f"live, {folder}", live, invalid)
    for folder, figures in sides:
        backlog = partial(measuring.backlog, flow_of(folder))
        figures |= one(f"{BACKLOG}, {folder}", lambda b=backlog: b()[0], invalid)
    beside |= one(NAIVE_BACKLOG, measuring.naive_backlog, invalid)
    beside |= one("naive loop", measuring.naive, invalid)
    for _, figures in sides:
        figures |= beside
    return found
