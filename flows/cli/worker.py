"""``banditflow worker``: one of the processes that ``run --processes`` supervises."""

import argparse

from schemas.settings import load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument("flow")
    command.add_argument("--process", type=int, default=0)
    command.add_argument("--address", action="append", default=[])


def run(options: argparse.Namespace) -> None:
    """Run the worker process until it is stopped."""
    from flows.runtime import runner

    runner.work(options.flow, load(), options.process, options.address)
