"""Where the microseconds go: CPU per event of the whole personalize process, by component.

At a backlog, live at set rates, and idle, on Apache Kafka and Valkey. Stopwatches around every
callback and some functions read the CPU clock of the worker's thread; other threads are taken from
the scheduler; Bytewax and the rest are what remains of the process. What the stopwatches cost is
measured and left out of the components; the same points without any of them stand beside it.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from flows.devkit.embedded import APACHE_KAFKA, Embedded
from flows.registry import PERSONALIZE
from ops.benchmarks.speed.inside import components
from ops.benchmarks.speed.inside.components import COMPONENTS, COMPUTE, REST
from ops.benchmarks.speed.inside.reading import SOCKET, Reading, Spent, read
from ops.benchmarks.speed.points import (
    BACKLOG,
    CPU,
    IDLE,
    RATE,
    SHARE,
    Figures,
    Points,
    add_arguments,
    at,
    flow_of,
    one,
    shorten,
)
from ops.benchmarks.speed.report import Cell, Invalid, Report
from ops.benchmarks.speed.rig import FlowProcess, Rig


def main() -> None:
    """Measure with and without stopwatches, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    args = parser.parse_args()
    shorten(args)
    names = [BACKLOG, *map(at, args.rates), IDLE]
    titles = ("", *(f"{name}: µs/event" for name in names[:-1]), f"{IDLE}: % of a core")
    name = "stages" if args.broker == APACHE_KAFKA.name else f"stages-{args.broker}"
    report = Report(name, titles, vars(args).copy())
    with Embedded(broker=args.broker) as parts:
        points, invalid = Points(args, parts), report.invalid
        plain = one("without stopwatches", lambda: _all(points, flow_of()), invalid)
        watched: dict[str, Spent] = {}
        figures = one("stopwatches", lambda: _watched(points, watched), invalid)
    if not invalid:
        report.rows += _rows(names, plain, figures, watched)
    raise SystemExit(report.finish())


def _all(points: Points, start: Callable[[Rig], FlowProcess]) -> Figures:
    return points.backlog(start)[0] | points.live_and_idle(start)


def _watched(points: Points, spent: dict[str, Spent]) -> Figures:
    """Measure with stopwatches; fill in what was spent at each point."""
    readings: dict[str, list[Reading]] = defaultdict(list)
    sockets: list[Path] = []

    def start(rig: Rig) -> FlowProcess:
        sockets.append(rig.folder / "stopwatches")
        return FlowProcess(
            rig,
            PERSONALIZE.name,
            module="ops.benchmarks.speed.inside",
            extra={SOCKET: str(sockets[-1])},
        )

    def note(point: str) -> None:
        readings[point].append(read(str(sockets[-1])))

    figures, places = points.backlog(start, lambda _: note(BACKLOG))
    readings[BACKLOG] = [readings[BACKLOG][place] for place in places]
    figures |= points.live_and_idle(start, note)
    for point, (before, after) in readings.items():
        spent[point] = Spent.between(before, after)
    if not spent[BACKLOG].records:
        raise Invalid(f"no records in what the source gives: see LENGTHS in {components.__file__}")
    return figures


def _rows(
    names: list[str], plain: Figures, figures: Figures, spent: dict[str, Spent]
) -> list[tuple[Cell, ...]]:
    units = {name: _unit(name, figures, spent[name]) for name in names}

    def row(label: str, value: Callable[[Spent], float]) -> tuple[Cell, ...]:
        return (label, *(value(spent[name]) * units[name] for name in names))

    def adding(label: str, parts: tuple[str, ...]) -> tuple[Cell, ...]:
        return row(label, lambda each: sum(each.components[part] for part in parts))

    found = [adding("compute, with decode", COMPUTE)]
    for part in COMPONENTS:
        found.append(adding(f"  {part}" if part in COMPUTE else part, (part,)))
        if part == REST:
            found.append(row("  of it in the worker's thread", lambda each: each.outside))
    found.append(row("all components", lambda each: each.total - each.stopwatches))
    found.append(row("stopwatches", lambda each: each.stopwatches))
    totals = [plain.get((name, SHARE if name == IDLE else CPU)) for name in names]
    found.append(("total without stopwatches", *totals))
    each = [spent[name] for name in names]
    found.append(("turns/s", *(one.turns / one.seconds for one in each)))
    found.append(("turns/s that gave records", *(one.busy_turns / one.seconds for one in each)))
    found.append(("batches a turn", *(_over(one.batches, one.busy_turns) for one in each)))
    found.append(("records a batch", *(_over(one.records, one.batches) for one in each)))
    return found


def _unit(name: str, figures: Figures, spent: Spent) -> float:
    """Give what turns CPU seconds into microseconds per event, or into percent of a core."""
    if name == IDLE:
        return 100 / spent.seconds
    return 1e6 / (figures[name, RATE] * spent.seconds)


def _over(count: int, number: int) -> float | None:
    return count / number if number else None


if __name__ == "__main__":
    main()
