"""What pairs of two checkouts' figures say: ratios and differences, and how sure they are."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from ops.benchmarks.speed.bars import (
    ABOVE_ECHO,
    BACKLOG_RATIO,
    CPU_RATIO,
    IDLE_SHARE,
    NAIVE_RATIO,
    P99_RATIO,
    above_echo,
    naive_over_ours,
)
from ops.benchmarks.speed.bounds import lower, upper
from ops.benchmarks.speed.points import (
    BACKLOG,
    CPU,
    IDLE,
    NAIVE_BACKLOG,
    P50,
    P99,
    RATE,
    SHARE,
    Figures,
    at,
)
from ops.benchmarks.speed.report import Bar, Report

TITLES = ("figure", "before, median", "after, median", "mean", "95 % bound", "pairs")
"""The mean is of ratios where the figure is one, after over before or naive over ours, of the side
after elsewhere."""

Value = Callable[[Figures], float | None]


@dataclass
class Pair:
    """What one pair measured: each side's figures, and the echo's and the naive loop's in both."""

    before: Figures = field(default_factory=dict)
    after: Figures = field(default_factory=dict)


class Comparison:
    """Fills a report's rows and bars from pairs; a bar is held against its mean's bound."""

    def __init__(self, report: Report, pairs: Sequence[Pair], *, judged: bool) -> None:
        self._report = report
        self._pairs = pairs
        self._judged = judged

    def sum_up(self, rates: Sequence[int]) -> None:
        """Report all figures of live traffic at these rates, of the backlog and of idleness."""
        for rate in rates:
            self._ratio((at(rate), CPU), CPU_RATIO.get(rate))
            self._ratio((at(rate), P50), None)
            self._ratio((at(rate), P99), P99_RATIO.get(rate))
            for column in (P50, P99):
                limit = ABOVE_ECHO.get(rate, {}).get(column)
                value = partial(above_echo, rate=rate, column=column)
                self._figure(f"{at(rate)}: {column} above echo", value, limit)
        self._ratio((BACKLOG, CPU), BACKLOG_RATIO)
        self._ratio((BACKLOG, RATE), None)
        self._figure(f"{IDLE}: {SHARE}", lambda figures: figures.get((IDLE, SHARE)), IDLE_SHARE)
        self._over_naive(NAIVE_BACKLOG, BACKLOG, NAIVE_RATIO)
        for rate in rates:
            self._over_naive(at(rate, "naive loop"), at(rate), None)

    def _ratio(self, place: tuple[str, str], limit: float | None) -> None:
        """Report a figure's ratio, after over before."""
        sides = self._both(lambda figures: figures.get(place))
        logs = [math.log(after / before) for before, after in sides]
        label = f"{': '.join(place)}, after / before"
        self._row(label, sides, logs, upper, limit, math.exp)

    def _figure(self, label: str, value: Value, limit: float | None) -> None:
        """Report a figure of the side after."""
        sides = self._both(value)
        self._row(label, sides, [after for _, after in sides], upper, limit)

    def _over_naive(self, naive: str, ours: str, limit: float | None) -> None:
        """Report how many times the CPU of the side after the naive loop takes."""
        sides = self._both(partial(naive_over_ours, naive=naive, ours=ours))
        logs = [math.log(after) for _, after in sides]
        self._row(f"{ours}: CPU, naive / ours", sides, logs, lower, limit, math.exp)

    def _both(self, value: Value) -> list[tuple[float, float]]:
        """Give a value of both sides of each pair that has it on both."""
        found = [(value(pair.before), value(pair.after)) for pair in self._pairs]
        return [(a, b) for a, b in found if a is not None and b is not None]

    def _row(
        self,
        label: str,
        sides: list[tuple[float, float]],
        values: list[float],
        bound: Callable[[Sequence[float]], float],
        limit: float | None,
        back: Callable[[float], float] = float,
    ) -> None:
        mean = back(statistics.fmean(values)) if values else None
        end = back(bound(values)) if len(values) > 1 else None
        medians = [statistics.median(side) for side in zip(*sides, strict=True)] or [None, None]
        self._report.rows.append((label, *medians, mean, end, len(sides)))
        if limit is not None:
            sign = "≥" if bound is lower else "≤"
            self._report.bars.append(Bar(label, sign, limit, end, "", self._judged))
