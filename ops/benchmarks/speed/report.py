"""What every speed benchmark prints and keeps: rows, bars, the machine, the versions."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.benchmarks.reporting.judged import write_result
from ops.benchmarks.reporting.machine import machine

Cell = str | float | int | None


class Invalid(RuntimeError):  # noqa: N818 - it reads as what is the case
    """A run whose figures would say something untrue; the message says why."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar: ``figure`` has to be on the side of ``limit`` that ``sign`` (≤ or ≥) says.

    ``figure`` is None where the run gave no valid figure; ``judged`` is False where it is too small
    to judge.
    """

    name: str
    sign: str
    limit: float
    figure: float | None
    unit: str = ""
    judged: bool = True

    @property
    def passed(self) -> bool | None:
        """Whether the bar is met; None where this run does not judge it."""
        if self.figure is None:
            return False
        if not self.judged:
            return None
        return self.figure <= self.limit if self.sign == "≤" else self.figure >= self.limit


@dataclass
class Report:
    """Rows under titles, bars, and what they depend on; ``conditions`` says what was run."""

    name: str
    titles: Sequence[str]
    conditions: dict[str, Any] = field(default_factory=dict)
    rows: list[Sequence[Cell]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    detail: dict[str, Any] = field(default_factory=dict)
    invalid: list[str] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: os.getloadavg()[0])
    times_before: tuple[int, int] = field(default_factory=lambda: processor_times())

    def finish(self) -> int:
        """Print, write the JSON, and give the number of bars missed and of invalid runs."""
        console = Console(width=150, highlight=False)
        console.print(f"[bold]{self.name}[/]: {_said(self.conditions)}")
        console.print(
            f"{_said(machine())}; load before: {self.load_before:.1f}; "
            f"taken by other machines: {100 * self.stolen:.1f} % of the processor's time"
        )
        _table(console, self.titles, self.rows)
        if self.bars:
            cells = [
                (b.name, f"{b.sign} {shown(b.limit)} {b.unit}", shown(b.figure), _word(b.passed))
                for b in self.bars
            ]
            _table(console, ("bar", "limit", "figure", ""), cells)
        for reason in self.invalid:
            console.print(f"[red]INVALID, no figure:[/] {reason}")
        write_result(self.name, **self._document())
        return sum(bar.passed is False for bar in self.bars) + len(self.invalid)

    @property
    def stolen(self) -> float:
        """The share of the processor's time, since the start, that the host gave to others."""
        (taken, total), (taken_before, total_before) = processor_times(), self.times_before
        return (taken - taken_before) / max(total - total_before, 1)

    def _document(self) -> dict[str, Any]:
        return {
            "load_before": self.load_before,
            "stolen": self.stolen,
            "conditions": self.conditions,
            "titles": self.titles,
            "rows": self.rows,
            "bars": [asdict(bar) | {"passed": bar.passed} for bar in self.bars],
            "invalid": self.invalid,
            "detail": self.detail,
        }


def processor_times() -> tuple[int, int]:
    """Give the ticks that the host of a virtual machine gave to others, and all ticks, so far."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return ticks[7], sum(ticks)


def shown(value: Cell) -> str:
    """Write a figure with three digits or whole numbers.

    >>> shown(12.345), shown(0.01234), shown(43210.9), shown(None)
    ('12.3', '0.0123', '43,211', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _said(conditions: dict[str, Any]) -> str:
    parts = []
    for name, value in conditions.items():
        plain = isinstance(value, str | int | float) and not isinstance(value, bool)
        parts.append(f"{name} {shown(value) if plain else value}")
    return ", ".join(parts)


def _table(console: Console, titles: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    table = Table()
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place else "left")
    for row in rows:
        table.add_row(*map(shown, row))
    console.print(table)


def _word(passed: bool | None) -> str:
    return {True: "[green]pass[/]", False: "[red]MISSED[/]", None: "not judged"}[passed]
