"""The command line: ``python -m flows``, installed as ``banditflow``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from operators.logic.policies import KINDS
from schemas.settings import load

EPILOG = """\
start here:
  banditflow demo          everything on embedded parts, with simulated visitors
  banditflow replay        a real click log through the same flow

with your own Kafka, Redis and store:
  export BANDITFLOW_SECRET=...       keys the pseudonyms; at least 16 characters
  export BANDITFLOW_BOOTSTRAP_SERVERS=kafka:9092 BANDITFLOW_REDIS_URL=redis://cache:6379/0
  banditflow topics create
  banditflow store migrate
  banditflow run personalize
  banditflow run persist

Every setting is a variable BANDITFLOW_<NAME>: docs/reference/settings.md lists them.
"""

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; an error is a sentence on standard error."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        explained = _explained(error)
        if explained is None:
            raise
        print(f"banditflow: {explained}", file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    """Make the parser of every command."""
    top = argparse.ArgumentParser(
        prog="banditflow",
        description="Choose content for each visitor, learn from every click, prove what works.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_demo, _run, _worker, _simulate, _replay, _topics, _store, _inspect, _verify):
        add(commands)
    return top


def _demo(commands: Commands) -> None:
    command = commands.add_parser(
        "demo",
        help="watch it learn: embedded parts, the flows and simulated visitors",
        description="Start a broker, Valkey, SQLite, the flows and simulated visitors on this "
        "machine, and show how the policy learns. Ctrl-C ends everything and prints a summary.",
    )
    command.add_argument("--seconds", type=float, help="stop after this long (default: Ctrl-C)")
    command.add_argument("--rate", type=float, default=1000, help="requests per second (1000)")
    command.add_argument("--seed", type=int, default=7, help="of the visitors and their tastes")
    command.add_argument("--policy", choices=KINDS, help="kind of policy (default: the demo's)")
    command.add_argument("--folder", type=Path, help="where results go (default: .banditflow/...)")
    command.add_argument("--picture", type=Path, metavar="FILE", help="save the last view (SVG)")
    command.add_argument("--no-tty", action="store_true", help="no live view")
    command.add_argument("--json", action="store_true", help="print the summary as JSON")

    def run(options: argparse.Namespace) -> int:
        from flows.demo import demo

        return demo(options)

    command.set_defaults(command=run)


def _run(commands: Commands) -> None:
    command = commands.add_parser(
        "run",
        help="run a flow",
        description="Run a flow until it is stopped. With --processes, as that many worker "
        "processes that are started again together when one dies.",
    )
    command.add_argument(
        "flow",
        choices=("personalize", "persist"),
        help="personalize: decide and learn; persist: write the results to the durable store",
    )
    command.add_argument("--processes", type=int, help="supervise this many worker processes")
    command.add_argument(
        "--logs", type=Path, default=Path("logs"), help="folder for what the processes say (logs)"
    )

    def run(options: argparse.Namespace) -> None:
        from flows import runner

        settings = load()
        if options.processes is None:
            runner.run(options.flow, settings)
        else:
            runner.supervise(options.flow, settings, options.processes, options.logs)

    command.set_defaults(command=run)


def _worker(commands: Commands) -> None:
    command = commands.add_parser("worker")  # of `run --processes`; without help it is not listed
    command.add_argument("flow")
    command.add_argument("--process", type=int, default=0)
    command.add_argument("--address", action="append", default=[])

    def run(options: argparse.Namespace) -> None:
        from flows import runner

        runner.work(options.flow, load(), options.process, options.address)

    command.set_defaults(command=run)


def _simulate(commands: Commands) -> None:
    command = commands.add_parser(
        "simulate",
        help="closed-loop visitors: requests, impressions, clicks",
        description="Visitors with latent tastes ask for decisions, see them and click with known "
        "probabilities, so that the achieved and the best possible click rate are both known.",
    )
    from flows.simulate import add_arguments, run_simulate

    add_arguments(command)
    command.set_defaults(command=run_simulate)


def _replay(commands: Commands) -> None:
    command = commands.add_parser(
        "replay",
        help="a real click log (Open Bandit Dataset) through the same flow",
        description="Read logged decisions, impressions and clicks, learn from them in order, and "
        "print what was learned and what the learned policy would have earned (IPS, SNIPS).",
    )
    from flows.replay import add_arguments, run_replay

    add_arguments(command)
    command.set_defaults(command=run_replay)


def _topics(commands: Commands) -> None:
    command = commands.add_parser(
        "topics",
        help="create the topics of a deployment",
        description="Create the topics that are missing on BANDITFLOW_BOOTSTRAP_SERVERS, with "
        "BANDITFLOW_PARTITIONS partitions and BANDITFLOW_REPLICATION copies. It waits up to two "
        "minutes for a broker that is not there yet; existing topics are left as they are.",
    )
    command.add_argument("action", choices=("create",), help="create what is missing")

    def run(_: argparse.Namespace) -> None:
        from operators.io.kafka import create_topics

        for name in create_topics(load()):
            print(f"created {name}")

    command.set_defaults(command=run)


def _store(commands: Commands) -> None:
    command = commands.add_parser(
        "store",
        help="bring the durable store's schema up to date",
        description="Look after the schema of the store that BANDITFLOW_STORE names: "
        "sqlite:PATH or oracle:DSN.",
    )
    command.add_argument(
        "action",
        choices=("migrate", "status"),
        help="migrate: apply what is new; status: list what was applied and what is pending",
    )

    def run(options: argparse.Namespace) -> None:
        from flows import store

        lines = store.migrate(load()) if options.action == "migrate" else store.status(load())
        print("\n".join(lines))

    command.set_defaults(command=run)


def _inspect(commands: Commands) -> None:
    command = commands.add_parser(
        "inspect",
        help="what is known of a slot, a subject or a decision, and why",
        description="Read from Redis and the durable store. A subject is given by its raw id.",
    )
    from flows.inspect import add_arguments, run_inspect

    add_arguments(command)
    command.set_defaults(command=run_inspect)


def _verify(commands: Commands) -> None:
    command = commands.add_parser(
        "verify",
        help="compare what the flows made with a recomputation from the topics",
        description="Read the recovery stores (BANDITFLOW_RECOVERY) and the topics, recompute from "
        "scratch what the flows had made when their last epochs closed, and compare: what was "
        "learned (counts exactly, floats to 1e-9), pending decisions, outcomes, and, where the "
        "persist flow runs with the same recovery folder, the store's rows. Exits with 1 when "
        "anything differs, when a request has two different answers, or when one has none.",
    )

    def run(_: argparse.Namespace) -> int:
        from flows.verify import describe, verify
        from schemas.codec import encode_for_people

        found = verify(load())
        print(encode_for_people(found))
        print("\n".join(describe(found)), file=sys.stderr)
        print("holds" if found.holds else "DIFFERS", file=sys.stderr)
        return 0 if found.holds else 1

    command.set_defaults(command=run)


def _explained(error: BaseException | None) -> BaseException | None:
    """Find the error that was written for people: ours, where Bytewax has wrapped it."""
    while error is not None:
        if type(error).__module__.split(".")[0] in {"flows", "operators", "schemas"}:
            return error
        error = error.__cause__
    return None


if __name__ == "__main__":
    sys.exit(main())
