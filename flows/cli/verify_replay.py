"""``banditflow verify-replay``: a log through the flows under ``kill -9``, and once without."""

import argparse
import contextlib
import tempfile
from pathlib import Path

import msgspec
from rich.console import Console

from flows.cli.arguments import count, natural, positive, refuse_idle
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
    source.add_argument("--requests", type=count, help="of a simulated log (20000); the default")
    command.add_argument("--rate", type=positive, help="its requests per second (500)")
    command.add_argument(
        "--given-decisions",
        action="store_true",
        help="keep the log's own decisions; needs the BANDITFLOW_SECRET that made them",
    )
    command.add_argument("--kills", type=natural, help="how often to kill -9 (10)")
    command.add_argument("--seed", type=natural, help="of log, victims and moments (7)")
    command.add_argument("--speed", type=positive, help="seconds of log in one (1)")
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
    _check(options)
    if options.record is not None:
        count = record_log(load(), options.record)
        print(f"{count} records in {options.record}: they hold raw visitor ids")
        return 0
    from flows.devkit.verify_replay import verify_replay as replay
    from flows.devkit.verify_replay.simulated_log import simulated_log

    _fill(options)
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


_DEFAULTS = {"requests": 20_000, "rate": 500.0, "kills": 10, "seed": 7, "speed": 1.0}


def _check(options: argparse.Namespace) -> None:
    """Refuse options that do nothing beside the others."""
    if options.record is not None:
        others = vars(options).keys() - {"record", "log", "run"}
        refuse_idle(options, sorted(others), "with --record, which only copies")
    if options.log is None:
        refuse_idle(options, ["given_decisions"], "without --log: a simulated log has no decisions")
    else:
        refuse_idle(options, ["rate"], "with --log, which has its own")


def _fill(options: argparse.Namespace) -> None:
    """Put the defaults in for what was not given."""
    for name, default in _DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, default)
