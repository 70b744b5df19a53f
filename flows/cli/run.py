"""``banditflow run``: a flow in this process, or as supervised worker processes."""

import argparse
import sys
from pathlib import Path

from flows.cli.arguments import count
from flows.registry import FLOWS, PERSONALIZE
from schemas.settings import load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "flow",
        choices=tuple(FLOWS),
        help="; ".join(f"{flow.name}: {flow.help}" for flow in FLOWS.values()),
    )
    command.add_argument("--processes", type=count, help="supervise this many worker processes")
    command.add_argument(
        "--logs", type=Path, default=Path("logs"), help="folder for what the processes say (logs)"
    )
    command.add_argument(
        "--from-store",
        action="store_true",
        help=f"{PERSONALIZE.name}: where the recovery store is lost, begin with the store's "
        "checkpoints",
    )


def run(options: argparse.Namespace) -> None:
    """Run the flow until it is stopped."""
    settings = load()  # before the long imports: what is wrong is named at once
    from flows.runtime.preflight import check_surroundings

    check_surroundings(settings, FLOWS[options.flow], options.processes or 1)
    from flows.runtime import runner
    from flows.runtime.endings import quiet_interrupts
    from flows.runtime.warm_start import before_run

    with quiet_interrupts():
        before_run(settings, options.flow, options.from_store)
    if not settings.state.recovery:
        print(
            f"banditflow: {options.flow} keeps nothing over a stop: BANDITFLOW_RECOVERY, the "
            "folder of the recovery stores, is not set",
            file=sys.stderr,
        )
    if options.processes is None:
        runner.run(options.flow, settings)
    else:
        runner.supervise(options.flow, settings, options.processes, options.logs)
