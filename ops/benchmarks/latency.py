"""What the whole flow costs and how long answers take: live at set rates, idle, over a backlog.

Open loop: a request's latency counts from the time at which it was due (``speed/traffic.py``), to
the consumption of its decision. An event is a request, an impression or a click. In the same run:
a process that only copies requests to the decisions topic (the broker's bare echo), and the naive
loop, live and over the backlog. ``paired --name latency`` compares two checkouts so.
"""

import argparse

from flows.devkit.embedded import APACHE_KAFKA, Embedded
from ops.benchmarks.speed.bars import (
    ABOVE_ECHO,
    IDLE_SHARE,
    NAIVE_RATIO,
    above_echo,
    naive_over_ours,
)
from ops.benchmarks.speed.points import (
    BACKLOG,
    COLUMNS,
    IDLE,
    NAIVE_BACKLOG,
    SHARE,
    Figures,
    Points,
    add_arguments,
    at,
    flow_of,
    one,
    shorten,
)
from ops.benchmarks.speed.report import Bar, Report


def main() -> None:
    """Measure every point once, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    args = parser.parse_args()
    shorten(args)
    name = "latency" if args.broker == APACHE_KAFKA.name else f"latency-{args.broker}"
    report = Report(name, ("", *COLUMNS), vars(args).copy())
    with Embedded(broker=args.broker) as parts:
        points, start = Points(args, parts), flow_of()
        figures: Figures = {}
        for label, measure in {
            "echo": points.echo,
            "live": lambda: points.live_and_idle(start),
            "naive loop": points.naive,
            BACKLOG: lambda: points.backlog(start)[0],
            NAIVE_BACKLOG: points.naive_backlog,
        }.items():
            figures |= one(label, measure, report.invalid)
    report.rows += _rows(figures)
    report.bars += _bars(args, figures)
    raise SystemExit(report.finish())


def _rows(figures: Figures) -> list[tuple[str | float | None, ...]]:
    """Give a row for each point."""
    points = list(dict.fromkeys(point for point, _ in figures))
    return [(point, *(figures.get((point, column)) for column in COLUMNS)) for point in points]


def _bars(args: argparse.Namespace, figures: Figures) -> list[Bar]:
    judged = not args.quick
    bars = [Bar("idle", "≤", IDLE_SHARE, figures.get((IDLE, SHARE)), "% of a core", judged)]
    for rate in args.rates:
        for column, limit in ABOVE_ECHO.get(rate, {}).items():
            above = above_echo(figures, rate, column)
            bars.append(Bar(f"{at(rate)}: {column} above echo", "≤", limit, above, "ms", judged))
        ratio = naive_over_ours(figures, at(rate, "naive loop"), at(rate))
        bars.append(Bar(f"{at(rate)}: naive / ours", "≥", NAIVE_RATIO, ratio, "×", judged=False))
    ratio = naive_over_ours(figures, NAIVE_BACKLOG, BACKLOG)
    return [*bars, Bar("backlog: naive / ours", "≥", NAIVE_RATIO, ratio, "×", judged)]


if __name__ == "__main__":
    main()
