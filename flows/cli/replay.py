"""The command ``banditflow replay``: a real click log through the personalize flow."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from bytewax.testing import TestingSink, run_main
from msgspec import Struct
from prometheus_client import CollectorRegistry
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from flows import personalize
from flows.replay.evaluation import Value, in_order, progressive, values
from flows.replay.logged import action_id, catalog_of, records_of
from flows.replay.open_bandit import (
    POLICIES,
    SHIPPED,
    Floats,
    Log,
    production_prior,
    read_log,
    recount,
    thompson_probabilities,
)
from flows.runtime.clock import system_clock
from operators.decode import reader
from operators.io.memory import MemoryCatalogSource, MemorySink, Records, memory_group_source
from operators.io.metrics.root import Metrics
from operators.logic.experiments.estimators import Estimate
from operators.logic.policies import KINDS
from schemas.catalog import Action, CatalogEntry, PolicySettings, Slot
from schemas.results import ActionSummary, DeadLetter, Outcome
from schemas.settings import Settings, load

T = TypeVar("T")

ETA = -5.0
"""The log-odds at which contextual policies linearise: clicks are some 0.5 % in such logs."""

PRIORS = {
    "beta": {"prior_reward": 1.0, "prior_failure": 200.0},
    "logistic": {"prior_mean": ETA},
    "diagonal": {"prior_mean": ETA},
}
"""What is known before the first row: fashion recommendations earn about 0.5 clicks in 100."""

CAPTION = "relative: to the logging policy's value; rows: effective, after weighting"

SECRET = "replayed logs hold no raw ids"
"""Keys the pseudonyms of synthetic subjects, which identify nobody."""


class Replayed(Struct):
    """What the flow made of a log: its settled outcomes in order, and its dead letters."""

    outcomes: list[Outcome]
    dead_letters: dict[str, int]


class ReplayReport(Struct):
    """What a replay showed of one policy's log.

    ``clicks_by_action`` is the flow's count; ``recounted`` says whether it equals the CSV's.
    ``learned`` describes every action's final posterior, the best first.
    """

    log: str
    rows: int
    settled: int
    clicks: int
    dead_letters: dict[str, int]
    recounted: bool
    clicks_by_action: dict[str, int]
    values: list[Value]
    learned: list[ActionSummary]
    seconds: float


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "folder", nargs="?", type=Path, default=SHIPPED, help="of the dataset (default: an extract)"
    )
    command.add_argument("--policy", choices=(*POLICIES, "both"), default="both", help="whose log")
    command.add_argument("--learn", choices=KINDS, default="beta", help="the policy that learns")
    command.add_argument(
        "--refresh", type=int, default=10, help="rows between publications of the policy (10)"
    )
    command.add_argument("--top", type=int, default=5, help="actions to show (5)")
    command.add_argument("--json", action="store_true", help="print the results as JSON")


def run_replay(options: argparse.Namespace) -> int:
    """Replay the logs; 1 when a row was refused or the click counts differ from the CSV's."""
    policies = POLICIES if options.policy == "both" else (options.policy,)
    settings = load({}, secret=SECRET, partitions=4)
    console = Console(stderr=options.json)
    reports = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for policy in policies:
            log = read_log(options.folder, policy)
            task = progress.add_task(f"{policy}: {len(log.rows)} rows", total=len(log.rows))
            advance = partial(progress.advance, task)
            reports.append(
                replay(
                    log,
                    recount(options.folder, policy),
                    settings,
                    PolicySettings(kind=options.learn, params=PRIORS.get(options.learn, {})),
                    options.refresh,
                    advance,
                )
            )
    if options.json:
        print(msgspec.json.encode(reports).decode())
    else:
        for report in reports:
            show(console, report, options.top)
    return 0 if all(r.recounted and not r.dead_letters for r in reports) else 1


def replay(
    log: Log,
    expected: dict[int, int],
    settings: Settings,
    policy: PolicySettings,
    refresh: int = 10,
    advance: Callable[[int], None] = lambda _: None,
) -> ReplayReport:
    """Run a log through the personalize flow and say what ``policy`` learned and was worth.

    ``expected`` is the recount of clicks by item.
    """
    start = time.perf_counter()
    catalog = catalog_of(log, policy)
    slot = next(entry for entry in catalog if isinstance(entry, Slot))
    actions = [entry for entry in catalog if isinstance(entry, Action)]
    records = records_of(log, slot.features, settings, ETA)
    made = through_the_flow(records, catalog, settings)
    scored = progressive(slot, actions, made.outcomes, refresh, advance)
    clicks: Counter[str] = Counter()
    for outcome in made.outcomes:
        clicks[outcome.action_id] += round(outcome.reward)
    wanted = {action_id(item): count for item, count in expected.items()}
    targets = {policy.kind: scored.target} | references(log, made.outcomes)
    return ReplayReport(
        log=log.policy,
        rows=len(log.rows),
        settled=len(made.outcomes),
        clicks=clicks.total(),
        dead_letters=made.dead_letters,
        recounted=clicks == wanted and len(made.outcomes) == len(log.rows),
        clicks_by_action=dict(sorted(clicks.items())),
        values=values(made.outcomes, targets),
        learned=sorted(scored.posterior.summary(), key=lambda action: -action.mean),
        seconds=time.perf_counter() - start,
    )


def through_the_flow(
    records: Records, catalog: Sequence[CatalogEntry], settings: Settings
) -> Replayed:
    """Run the personalize flow on records in memory, to the end of every reward window."""
    shards = settings.partitions
    outcomes, dead_letters, decisions = (MemorySink(shards) for _ in range(3))
    sources = personalize.Sources(
        records=memory_group_source(records, reader(settings), shards),
        catalog=MemoryCatalogSource(catalog),
    )
    sinks = personalize.Sinks(
        decisions=decisions,
        outcomes=outcomes,
        profiles=MemorySink(shards),
        policies=MemorySink(1),
        checkpoints=MemorySink(1),
        dead_letters=dead_letters,
        cache=TestingSink([]),
    )
    run_main(
        personalize.build(sources, sinks, settings, system_clock, Metrics(CollectorRegistry()))
    )
    settled = [o for o in _read(outcomes, Outcome) if o.status == "settled"]
    reasons = Counter(letter.reason for letter in _read(dead_letters, DeadLetter))
    return Replayed(in_order(settled), dict(reasons))


def references(log: Log, outcomes: Sequence[Outcome]) -> dict[str, Floats]:
    """Give what policies that do not learn would have given each logged action.

    ``uniform``, and ``bts-prior``: the production Thompson sampling at its published prior, where
    the log has its 80 items.
    """
    rows = [log.rows[int(o.decision_id.rpartition("-")[2])] for o in outcomes]
    found = {"uniform": np.full(len(rows), 1.0 / len(log.items))}
    alpha, beta = production_prior()
    if len(log.items) == len(alpha):
        p = thompson_probabilities(alpha, beta)
        found["bts-prior"] = p[[r.item for r in rows], [r.position - 1 for r in rows]]
    return found


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


def _read(sink: MemorySink, kind: type[T]) -> list[T]:
    decode = msgspec.json.Decoder(kind).decode
    return [decode(message.value) for written in sink.written.values() for message in written]
