"""``banditflow run``: a flow in this process, or as supervised worker processes."""

import argparse
import sys
from pathlib import Path

from flows.cli.arguments import count, refuse_idle
from flows.registry import FLOWS, PERSONALIZE
from schemas.settings import load

_LOGS = Path("logs")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "flow",
        choices=tuple(FLOWS),
        help="; ".join(f"{flow.name}: {flow.help}" for flow in FLOWS.values()),
    )
    command.add_argument("--processes", type=count, help="supervise this many worker processes")
    command.add_argument(
        "--logs", type=Path, help="with --processes: folder for what they say (logs)"
    )
    command.add_argument(
        "--from-store",
        action="store_true",
        help=f"{PERSONALIZE.name}: where the recovery store is lost, begin with the store's "
        "checkpoints",
    )


def run(options: argparse.Namespace) -> None:
    """Run the flow until it is stopped."""
    if options.processes is None:
        refuse_idle(options, ["logs"], "without --processes")
    if options.flow != PERSONALIZE.name:
        refuse_idle(options, ["from_store"], f"on {options.flow}: it keeps nothing learned")
    settings = load()  # before the long imports: what is wrong is named at once
    if not settings.state.recovery:
        refuse_idle(options, ["from_store"], "without BANDITFLOW_RECOVERY, where it is put")
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
        runner.supervise(options.flow, settings, options.processes, options.logs or _LOGS)
