"""Bars whose figures are words, judged where they were measured; the report of a campaign."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.benchmarks.reporting.machine import RESULTS, circumstances, machine_line

WORDS = {True: "[green]pass[/]", False: "[red]MISSED[/]", None: "-"}


@dataclass(frozen=True, slots=True)
class JudgedBar:
    """A figure and what it must be; ``passed`` is None where the run is too small to judge."""

    name: str
    limit: str
    figure: str
    passed: bool | None


def print_bars(title: str, bars: Iterable[JudgedBar]) -> None:
    """Print each bar with its figure, and what the figures depend on."""
    table = Table(title=title)
    for name in ("bar", "must be", "figure", ""):
        table.add_column(name)
    for bar in bars:
        table.add_row(bar.name, bar.limit, bar.figure, WORDS[bar.passed])
    console = Console(width=150, highlight=False)
    console.print(table)
    console.print(machine_line())


def write_result(name: str, **document: Any) -> None:
    """Write a result's JSON under its name, with the commit and the machine."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(circumstances() | document, indent=1, default=str)
    (RESULTS / f"{name}.json").write_text(text)


def report(name: str, title: str, bars: Iterable[JudgedBar], **document: Any) -> int:
    """Print the bars, write them with what else belongs to them; give the number missed."""
    bars = list(bars)
    print_bars(title, bars)
    write_result(name, **document, bars=[asdict(bar) for bar in bars])
    return sum(bar.passed is False for bar in bars)
