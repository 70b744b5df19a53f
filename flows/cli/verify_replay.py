"""``banditflow verify-replay``: a log through the flows under ``kill -9``, and once without."""

import argparse
import contextlib
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console

from flows.cli.arguments import count, natural, positive
from flows.cli.terminal import progress_on_terminal
from flows.verification.log import record_log
from schemas.settings import load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    from flows.devkit.embedded import APACHE_KAFKA

    source = command.add_mutually_exclusive_group()
    source.add_argument("--log", type=Path, metavar="FOLDER", help="a log that was recorded")
    source.add_argument(
        "--record",
        type=Path,
        metavar="FOLDER",
        help="only record: copy the topics of the deployment that BANDITFLOW_... names",
    )
    source.add_argument(
        "--requests", type=count, default=20_000, help="of a simulated log (20000); the default"
    )
    command.add_argument(
        "--rate", type=positive, default=500.0, help="its requests per second (500)"
    )
    command.add_argument(
        "--given-decisions",
        action="store_true",
        help="keep the log's own decisions; needs the BANDITFLOW_SECRET that made them",
    )
    command.add_argument("--kills", type=natural, default=10, help="how often to kill -9 (10)")
    command.add_argument("--seed", type=natural, default=7, help="of log, victims and moments (7)")
    command.add_argument("--speed", type=positive, default=1.0, help="seconds of log in one (1)")
    command.add_argument(
        "--at-end-only", action="store_true", help="do not verify what each kill leaves behind"
    )
    command.add_argument(
        "--kafka",
        nargs="?",
        const=APACHE_KAFKA.name,
        metavar="ADDRESS",
        help="on Apache Kafka started here, or at this address (default: the embedded broker)",
    )
    command.add_argument("--folder", type=Path, help="keep stores and logs there")
    command.add_argument("--json", action="store_true", help="print the report as JSON")


def run(options: argparse.Namespace) -> int:
    """Record, or replay and compare; 1 when anything differs."""
    if options.record is not None:
        count = record_log(load(), options.record)
        print(f"{count} records in {options.record}: they hold raw visitor ids")
        return 0
    from flows.devkit.verify_replay import verify_replay as replay
    from flows.devkit.verify_replay.simulated_log import simulated_log

    settings = load() if options.given_decisions else load(secret=replay.SECRET)
    if options.log is None:
        shards = settings.kafka.partitions
        log = simulated_log(options.requests, options.rate, shards, options.seed)
    else:
        settings, log = replay.recorded_log(settings, options.log, options.given_decisions)
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="banditflow-"))
        )
        addresses, supervisor = stack.enter_context(replay.services(options.kafka, folder))
        progress = stack.enter_context(progress_on_terminal())
        task = progress.add_task("with kills", total=len(log))
        report = replay.verify_replay(
            settings.replaced(**addresses),
            supervisor,
            folder,
            log,
            kills=options.kills,
            seed=options.seed,
            speed=options.speed,
            verify_kills=not options.at_end_only,
            on_progress=lambda done, what: progress.update(
                task, completed=done, description=what or "with kills"
            ),
        )
    if options.json:
        print(msgspec.json.encode(report).decode())
    else:
        replay.show(Console(), report)
    return 0 if report.holds else 1
