"""``banditflow replay``: a real click log through the personalize flow."""

import argparse
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console

from flows.cli.arguments import count, refuse_idle
from flows.cli.terminal import progress_on_terminal
from flows.replay.open_bandit import POLICIES, SHIPPED, clicks_by_item, read_open_bandit
from flows.replay.replay import PRIORS, SECRET, replay
from flows.replay.tables import show
from flows.runtime.endings import quiet_interrupts
from operators.logic.policies import KINDS
from schemas.catalog import PolicySettings
from schemas.settings import load

_TOP = 5
"""Actions that are shown."""


_LEARN = tuple(kind for kind in KINDS if kind != "shared")
"""Logs of other systems have vectors; ``shared`` learns from JSON."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "folder", nargs="?", type=Path, default=SHIPPED, help="of the dataset (default: an extract)"
    )
    command.add_argument("--policy", choices=(*POLICIES, "both"), default="both", help="whose log")
    command.add_argument("--learn", choices=_LEARN, default="beta", help="the policy that learns")
    command.add_argument(
        "--refresh", type=count, default=10, help="rows between publications of the policy (10)"
    )
    command.add_argument("--top", type=count, help=f"actions to show ({_TOP}); JSON has all")
    command.add_argument("--json", action="store_true", help="print the results as JSON")


def run(options: argparse.Namespace) -> int:
    """Replay the logs; 1 when a row was refused or the click counts differ from the CSV's."""
    if options.json:
        refuse_idle(options, ["top"], "with --json, which has all actions")
    policies = POLICIES if options.policy == "both" else (options.policy,)
    settings = load({}, secret=SECRET, partitions=4)
    console = Console(stderr=options.json)
    reports = []
    with quiet_interrupts(), progress_on_terminal() as progress:
        for policy in policies:
            log = read_open_bandit(options.folder, policy)
            task = progress.add_task(f"{policy}: {len(log.rows)} rows", total=len(log.rows))
            advance = partial(progress.advance, task)
            reports.append(
                replay(
                    log,
                    clicks_by_item(options.folder, policy),
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
            show(console, report, options.top or _TOP)
    return 0 if all(r.recounted and not r.dead_letters for r in reports) else 1
