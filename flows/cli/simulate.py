"""``banditflow simulate``: closed-loop visitors on the topics of a deployment."""

import argparse
from pathlib import Path

from flows.cli.arguments import count, natural, positive, share
from schemas.settings import load

_MISCHIEF = {
    "duplicates": "sent twice",
    "disorder": "sent up to a second after the time that they bear",
    "late": "clicks long past their window, by request",
    "malformed": "records that nothing can be done with, by request",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument("--rate", type=positive, default=1000, help="requests per second (1000)")
    command.add_argument("--seconds", type=positive, help="how long to ask (default: until Ctrl-C)")
    command.add_argument(
        "--catalog", action="store_true", help="first publish the catalog that the visitors know"
    )
    command.add_argument("--seed", type=natural, default=7, help="of the visitors and their tastes")
    command.add_argument("--actions", type=count, default=20, help="content variants (20)")
    command.add_argument(
        "--articles",
        type=share,
        default=0.05,
        help="requests that bring articles, beside the others, as a share of their rate (0.05)",
    )
    command.add_argument("--arrivals", choices=("poisson", "even"), default="poisson")
    command.add_argument("--consent", type=share, default=0.95, help="share who consent (0.95)")
    command.add_argument("--click-delay", type=positive, default=1.0, help="mean seconds (1)")
    command.add_argument(
        "--patience", type=positive, default=30.0, help="seconds to wait at the end"
    )
    command.add_argument(
        "--run",
        dest="run_id",
        metavar="RUN",
        help="name of this run in all ids (default: by the time)",
    )
    wrong = command.add_argument_group("what goes wrong on purpose, as shares of the records")
    for name, meaning in _MISCHIEF.items():
        wrong.add_argument(f"--{name}", type=share, default=0.0, help=meaning)
    command.add_argument(
        "--progress", type=Path, metavar="FILE", help="a line of JSON each second ('-': stdout)"
    )
    command.add_argument("--json", action="store_true", help="print the final report as JSON")


def run(options: argparse.Namespace) -> int:
    """Run the simulation that the options describe; 1 when a request went unanswered."""
    settings = load()  # before the long imports: a missing variable is named at once
    from flows.devkit.demo_catalog import DEMO_POLICY, articles_slot, demo_catalog
    from flows.devkit.simulate import all_answered, describe, simulate
    from flows.devkit.simulation import Injection, Simulator
    from flows.runtime.catalog_topic import publish_entries
    from flows.runtime.clock import system_clock
    from schemas.codec import encode

    if options.catalog:
        catalog = demo_catalog(options.seed, DEMO_POLICY, actions=options.actions)
        publish_entries(settings, system_clock, [*catalog, articles_slot()])
    simulator = Simulator(
        settings,
        options.rate,
        options.seed,
        options.seconds,
        actions=options.actions,
        arrivals=options.arrivals,
        consent_share=options.consent,
        click_delay=options.click_delay,
        injection=Injection(**{name: getattr(options, name) for name in _MISCHIEF}),
        patience=options.patience,
        run=options.run_id,
        articles=options.articles,
    )
    report = simulate(simulator, options.progress)
    if options.json:
        print(encode(report).decode())
    elif str(options.progress) != "-":
        print("\n".join(describe(report)))
    return 0 if all_answered(report) else 1
