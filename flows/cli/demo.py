"""``banditflow demo``: everything on this machine, with simulated visitors and a live view."""

import argparse
from pathlib import Path

from flows.cli.arguments import natural, positive, share
from operators.logic.policies import KINDS


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument("--seconds", type=positive, help="stop after this long (default: Ctrl-C)")
    command.add_argument("--rate", type=positive, default=1000, help="requests per second (1000)")
    command.add_argument(
        "--articles",
        type=share,
        default=0.05,
        help="requests that bring articles, beside the others, as a share of their rate (0.05)",
    )
    command.add_argument("--seed", type=natural, default=7, help="of the visitors and their tastes")
    command.add_argument("--policy", choices=KINDS, help="kind of policy (default: the demo's)")
    command.add_argument("--folder", type=Path, help="where results go (default: .banditflow/...)")
    command.add_argument("--picture", type=Path, metavar="FILE", help="save the last view (SVG)")
    command.add_argument("--no-tty", action="store_true", help="no live view")
    command.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(options: argparse.Namespace) -> int:
    """Run the demo; 1 when a request went unanswered."""
    from flows.devkit.demo import DemoOptions, demo

    return demo(
        DemoOptions(
            seconds=options.seconds,
            rate=options.rate,
            articles=options.articles,
            seed=options.seed,
            policy=options.policy,
            folder=options.folder,
            picture=options.picture,
            live=not options.no_tty,
            as_json=options.json,
        )
    )
