"""The command line: ``python -m flows``, installed as ``banditflow``."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from flows.cli.arguments import count, positive
from flows.registry import FLOWS
from schemas.settings import load, unknown

EPILOG = """\
start here:
  banditflow demo          everything on embedded parts, with simulated visitors
  banditflow replay        a real click log through the same flow

with your own Kafka, Redis and store:
  export BANDITFLOW_SECRET=...       keys the pseudonyms; at least 16 characters
  export BANDITFLOW_BOOTSTRAP_SERVERS=kafka:9092 BANDITFLOW_REDIS_URL=redis://cache:6379/0
  export BANDITFLOW_RECOVERY=recovery    what was learned survives a stop there
  banditflow topics create
  banditflow store migrate
  banditflow catalog publish slots.jsonl
  BANDITFLOW_METRICS_PORT=9464 banditflow run personalize
  BANDITFLOW_METRICS_PORT=9465 banditflow run persist

Every setting is a variable BANDITFLOW_<NAME>: docs/reference/settings.md lists them.
"""

Fill = Callable[[argparse.ArgumentParser], None]
"""Declares a command's options; it imports what the command needs, and is called for no other."""


class Command(NamedTuple):
    """A command: its line in the list of commands, its page, and its options."""

    help: str
    description: str
    fill: Fill


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; an error is a sentence on standard error."""
    given = sys.argv[1:] if arguments is None else arguments
    wanted = next((word for word in given if not word.startswith("-")), "")
    options = parser(wanted).parse_args(given)
    for sentence in unknown():
        print(f"banditflow: {sentence}", file=sys.stderr)
    try:
        status = int(options.command(options) or 0)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if _interrupted(error):
            print("banditflow: stopped; a flow goes on from BANDITFLOW_RECOVERY", file=sys.stderr)
            return 130
        explained = _explained(error)
        if explained is None:
            raise
        print(f"banditflow: {explained}", file=sys.stderr)
        return 2
    return status


def parser(wanted: str | None = None) -> argparse.ArgumentParser:
    """Make the parser of every command; given ``wanted``, with the options of that one only."""
    top = argparse.ArgumentParser(
        prog="banditflow",
        description="Choose content for each visitor, learn from every click, prove what works.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        page = commands.add_parser(name, help=command.help, description=command.description)
        if wanted is None or wanted == name:
            command.fill(page)
    if wanted in (None, "worker"):  # of `run --processes`; without help it is not listed
        _fill_worker(commands.add_parser("worker"))
    return top


def _fill_demo(command: argparse.ArgumentParser) -> None:
    from operators.logic.policies import KINDS

    command.add_argument("--seconds", type=positive, help="stop after this long (default: Ctrl-C)")
    command.add_argument("--rate", type=positive, default=1000, help="requests per second (1000)")
    command.add_argument("--seed", type=int, default=7, help="of the visitors and their tastes")
    command.add_argument("--policy", choices=KINDS, help="kind of policy (default: the demo's)")
    command.add_argument("--folder", type=Path, help="where results go (default: .banditflow/...)")
    command.add_argument("--picture", type=Path, metavar="FILE", help="save the last view (SVG)")
    command.add_argument("--no-tty", action="store_true", help="no live view")
    command.add_argument("--json", action="store_true", help="print the summary as JSON")

    def run(options: argparse.Namespace) -> int:
        from flows.devkit.demo import demo

        return demo(options)

    command.set_defaults(command=run)


def _fill_run(command: argparse.ArgumentParser) -> None:
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
        help="personalize: where the recovery store is lost, begin with the store's checkpoints",
    )

    def run(options: argparse.Namespace) -> None:
        settings = load()
        from flows.runtime import runner
        from flows.runtime.recovery import OWN_STORE, check_stopped
        from flows.runtime.warm_start import before_run

        check_stopped(settings, options.flow, OWN_STORE)
        runner.check_topics(options.flow, settings)
        before_run(settings, options.flow, options.from_store)
        if not settings.recovery:
            print(
                f"banditflow: {options.flow} keeps nothing over a stop: BANDITFLOW_RECOVERY, the "
                "folder of the recovery stores, is not set",
                file=sys.stderr,
            )
        if options.processes is None:
            runner.run(options.flow, settings)
        else:
            runner.supervise(options.flow, settings, options.processes, options.logs)

    command.set_defaults(command=run)


def _fill_worker(command: argparse.ArgumentParser) -> None:
    command.add_argument("flow")
    command.add_argument("--process", type=int, default=0)
    command.add_argument("--address", action="append", default=[])

    def run(options: argparse.Namespace) -> None:
        from flows.runtime import runner

        runner.work(options.flow, load(), options.process, options.address)

    command.set_defaults(command=run)


def _fill_simulate(command: argparse.ArgumentParser) -> None:
    from flows.devkit.simulate import add_arguments, run_simulate

    add_arguments(command)
    command.set_defaults(command=run_simulate)


def _fill_replay(command: argparse.ArgumentParser) -> None:
    from flows.cli.replay import add_arguments, run_replay

    add_arguments(command)
    command.set_defaults(command=run_replay)


def _fill_topics(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("create",), help="create what is missing")

    def run(_: argparse.Namespace) -> None:
        from operators.io.kafka import create_topics

        created = create_topics(load())
        for name in created:
            print(f"created {name}")
        if not created:
            print("all topics exist")

    command.set_defaults(command=run)


def _fill_catalog(command: argparse.ArgumentParser) -> None:
    from flows.cli.catalog import add_arguments, run_catalog

    add_arguments(command)
    command.set_defaults(command=run_catalog)


def _fill_store(command: argparse.ArgumentParser) -> None:
    from flows.cli.store import add_arguments, run

    add_arguments(command)
    command.set_defaults(command=run)


def _fill_inspect(command: argparse.ArgumentParser) -> None:
    from flows.cli.inspect import add_arguments, run_inspect

    add_arguments(command)
    command.set_defaults(command=run_inspect)


def _fill_state(command: argparse.ArgumentParser) -> None:
    from flows.verification.state_dump import add_arguments, run_state

    add_arguments(command)
    command.set_defaults(command=run_state)


def _fill_verify(command: argparse.ArgumentParser) -> None:
    def run(_: argparse.Namespace) -> int:
        from flows.verification.verify import describe, verify
        from schemas.codec import encode_for_people

        found = verify(load())
        print(encode_for_people(found))
        print("\n".join(describe(found)), file=sys.stderr)
        print("holds" if found.holds else "DIFFERS", file=sys.stderr)
        return 0 if found.holds else 1

    command.set_defaults(command=run)


def _fill_verify_replay(command: argparse.ArgumentParser) -> None:
    from flows.devkit.verify_replay.verify_replay import add_arguments, run_verify_replay

    add_arguments(command)
    command.set_defaults(command=run_verify_replay)


COMMANDS = {
    "demo": Command(
        "watch it learn: embedded parts, the flows and simulated visitors",
        "Start a broker, Valkey, SQLite, the flows and simulated visitors on this machine, and "
        "show how the policy learns. Ctrl-C ends everything and prints a summary.",
        _fill_demo,
    ),
    "run": Command(
        "run a flow",
        "Run a flow until it is stopped. With --processes, as that many worker processes that are "
        "started again together when one dies.",
        _fill_run,
    ),
    "simulate": Command(
        "closed-loop visitors: requests, impressions, clicks",
        "Visitors with latent tastes ask for decisions, see them and click with known "
        "probabilities, so that the achieved and the best possible click rate are both known.",
        _fill_simulate,
    ),
    "replay": Command(
        "a real click log (Open Bandit Dataset) through the same flow",
        "Read logged decisions, impressions and clicks, learn from them in order, and print what "
        "was learned and what the learned policy would have earned (IPS, SNIPS).",
        _fill_replay,
    ),
    "topics": Command(
        "create the topics of a deployment",
        "Create the topics that are missing on BANDITFLOW_BOOTSTRAP_SERVERS, with "
        "BANDITFLOW_PARTITIONS partitions and BANDITFLOW_REPLICATION copies. It waits up to two "
        "minutes for a broker that is not there yet; existing topics are left as they are.",
        _fill_topics,
    ),
    "catalog": Command(
        "check and publish slots and actions",
        "Check catalog records (docs/how-to/write-a-catalog.md), send them to the topic, or print "
        "those of the demo as an example.",
        _fill_catalog,
    ),
    "store": Command(
        "bring the durable store's schema up to date",
        "Look after the schema of the store that BANDITFLOW_STORE names: sqlite:PATH or "
        "oracle:DSN.",
        _fill_store,
    ),
    "inspect": Command(
        "what is known of a slot, a subject or a decision, and why",
        "Read from Redis and the durable store. A subject is given by its raw id.",
        _fill_inspect,
    ),
    "state": Command(
        "what a stopped flow has learned and keeps, as lines that can be compared",
        "Read the personalize flow's recovery store (BANDITFLOW_RECOVERY) and print learners, "
        "profiles, consents and pending decisions as sorted JSON lines, floats to 6 significant "
        "digits. It names pseudonyms only. With --digest, one hash per part.",
        _fill_state,
    ),
    "verify": Command(
        "compare what the flows made with a recomputation from the topics",
        "Read the recovery stores (BANDITFLOW_RECOVERY) and the topics, recompute from scratch "
        "what the flows had made when their last epochs closed, and compare: what was learned "
        "(counts exactly, floats to 1e-9), pending decisions, outcomes, and, where the persist "
        "flow runs with the same recovery folder, the store's rows. Exits with 1 when anything "
        "differs, when a request has two different answers, or when one has none.",
        _fill_verify,
    ),
    "verify-replay": Command(
        "run a log through the flows with random kill -9, and compare everything",
        "Feed a log (simulated, or recorded from a deployment) to the personalize and persist "
        "flows while killing one of them at random moments; verify what each kill leaves behind "
        "and what all ends in; then run the same topics once without kills and compare the two. "
        "Needs no deployment of its own. Exits with 1 on any difference.",
        _fill_verify_replay,
    ),
}
"""Every command in the order in which the first page lists them."""


def _explained(error: BaseException | None) -> BaseException | None:
    """Find the error that was written for people: ours, where Bytewax has wrapped it."""
    while error is not None:
        if type(error).__module__.split(".")[0] in {"flows", "operators", "schemas"}:
            return error
        error = error.__cause__
    return None


def _interrupted(error: BaseException | None) -> bool:
    """Tell a Ctrl-C, which Bytewax wraps, from a fault."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "signal received" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main())
