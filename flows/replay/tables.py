"""The report of a replay as tables for people."""

from rich import box
from rich.console import Console
from rich.table import Table

from flows.replay.evaluation import PolicyValue
from flows.replay.replay import ReplayReport
from operators.logic.experiments.estimators import Estimate

CAPTION = (
    "95 %: approximate, for one look at the end; ratio: of IPS to the mean reward of the log; "
    "rows: effective, after weighting"
)


def show(console: Console, report: ReplayReport, top: int) -> None:
    """Print a report as tables."""
    verdict = "equal to" if report.recounted else "[red]different from[/red]"
    console.print(
        f"[bold]{report.log}[/bold]: {report.rows} rows, {report.settled} settled, "
        f"{report.clicks} clicks by action {verdict} a recount of the CSV, "
        f"{sum(report.dead_letters.values())} dead letters, {report.seconds:.1f} s"
    )
    columns = ("policy", "IPS", "95 %", "SNIPS", "95 %", "ratio", "95 %", "rows")
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=0, caption=CAPTION)
    for value in report.values:
        table.add_row(
            value.policy,
            *_cells(value.ips, 6),
            *_cells(value.snips, 4),
            *_relative(value),
            f"{value.ips.effective:.0f}",
        )
    console.print(table)
    best = Table(
        "action", "shown", "clicks", "observed", "believed", "deviation", box=box.SIMPLE_HEAD
    )
    for action in report.learned[:top]:
        counts = (f"{action.count:.0f}", f"{action.reward:.0f}")
        rates = (action.observed, action.mean, action.deviation)
        best.add_row(
            action.action_id, *counts, *("–" if rate is None else f"{rate:.4f}" for rate in rates)
        )
    console.print(best)
    for reason, count in report.dead_letters.items():
        console.print(f"[red]{count} dead letters: {reason}[/red]")


def _relative(value: PolicyValue) -> tuple[str, str]:
    if value.relative is None:
        return "–", "–"
    return f"{value.relative:.2f}", f"{value.relative_low:.2f}–{value.relative_high:.2f}"


def _cells(estimate: Estimate, digits: int) -> tuple[str, str]:
    return f"{estimate.value:.{digits}f}", f"{estimate.low:.4f}–{estimate.high:.4f}"
