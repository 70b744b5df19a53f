"""``banditflow state``: what a stopped flow has learned and keeps, as lines."""

import argparse

from flows.registry import PERSONALIZE
from flows.runtime.recovery import check_stopped
from flows.runtime.snapshots import states_of
from flows.verification.state_dump import PARTS, digest, dump
from schemas.settings import load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument("--digest", action="store_true", help="one SHA-256 per part instead")
    command.add_argument("--part", choices=tuple(PARTS), help="this part only")


def run(options: argparse.Namespace) -> None:
    """Print the lines of every part, or a digest of each."""
    settings = load()
    check_stopped(settings, PERSONALIZE.name)
    states = states_of(settings, PERSONALIZE)
    for part in [options.part] if options.part else PARTS:
        if options.digest:
            print(f"{digest(settings, states, part)}  {part}")
        else:
            for line in dump(settings, states, part):
                print(line)
