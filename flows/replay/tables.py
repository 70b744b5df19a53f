"""The report of a replay as tables for people."""

from rich import box
from rich.console import Console
from rich.table import Table

from flows.replay.replay import ReplayReport
from operators.logic.experiments.estimators import Estimate

CAPTION = "relative: to the logging policy's value; rows: effective, after weighting"


def show(console: Console, report: ReplayReport, top: int) -> None:
    """Print a report as tables."""
    verdict = "equal to" if report.recounted else "[red]different from[/red]"
    console.print(
        f"[bold]{report.log}[/bold]: {report.rows} rows, {report.settled} settled, "
        f"{report.clicks} clicks by action {verdict} a recount of the CSV, "
        f"{sum(report.dead_letters.values())} dead letters, {report.seconds:.1f} s"
    )
    columns = ("policy", "IPS", "95 %", "SNIPS", "95 %", "relative", "rows")
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption=CAPTION)
    for value in report.values:
        table.add_row(
            value.policy,
            *_cells(value.ips),
            *_cells(value.snips),
            f"{value.relative:.6f}",
            f"{value.ips.effective:.0f}",
        )
    console.print(table)
    best = Table("action", "shown", "clicks", "mean", "deviation", box=box.SIMPLE_HEAD)
    for action in report.learned[:top]:
        numbers = (f"{action.count:.0f}", f"{action.reward:.0f}")
        best.add_row(action.action_id, *numbers, f"{action.mean:.4f}", f"{action.deviation:.4f}")
    console.print(best)
    for reason, count in report.dead_letters.items():
        console.print(f"[red]{count} dead letters: {reason}[/red]")


def _cells(estimate: Estimate) -> tuple[str, str]:
    return f"{estimate.value:.6f}", f"{estimate.low:.4f}–{estimate.high:.4f}"
