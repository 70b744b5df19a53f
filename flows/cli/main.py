"""The command line: ``python -m flows``, installed as ``banditflow``."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from flows.runtime.endings import (
    FAULT,
    INTERRUPTED,
    REFUSED,
    STOPPED,
    explained,
    of_files,
    say,
    status_of,
)
from schemas.settings import idle, unknown

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


class Command(NamedTuple):
    """A command: its line in the list of commands, and its page.

    By agreement the command NAME lies in ``flows/cli/NAME.py``, with ``add_arguments``, which
    declares its options, and ``run``. Each is imported when it is wanted, so that help is there at
    once.
    """

    help: str
    description: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; an error is a sentence on standard error."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read the output, such as head, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if _interrupted(error):
            say(STOPPED)
            return INTERRUPTED
        known = explained(error)
        about_files = of_files(error) if known is None and isinstance(error, OSError) else None
        if known is None and about_files is None:
            raise
        say(known or about_files)
        return REFUSED if known is None else status_of(known)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Bytewax, which has printed it
            raise
        say(f"a fault in Bytewax: {error}")
        return FAULT
    return status


def _run(words: Sequence[str]) -> int:
    wanted = next((word for word in words if not word.startswith("-")), "")
    options = parser(wanted).parse_args(words)
    for sentence in unknown() + idle():
        say(sentence)
    return int(options.run(options) or 0)


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
        if wanted in (None, name):
            _add_arguments(name, page)
    if wanted in (None, HIDDEN):  # without help it is not listed
        _add_arguments(HIDDEN, commands.add_parser(HIDDEN))
    return top


def _add_arguments(name: str, page: argparse.ArgumentParser) -> None:
    module = import_module(f"flows.cli.{name.replace('-', '_')}")
    module.add_arguments(page)
    page.set_defaults(run=module.run)


COMMANDS: dict[str, Command] = {
    "demo": Command(
        "watch it learn: embedded parts, the flows and simulated visitors",
        "Start a broker, Valkey, SQLite, the flows and simulated visitors on this machine, and "
        "show how the policy learns. Ctrl-C ends everything and prints a summary.",
    ),
    "run": Command(
        "run a flow",
        "Run a flow until it is stopped. With --processes, as that many worker processes that are "
        "started again together when one dies.",
    ),
    "simulate": Command(
        "closed-loop visitors: requests, impressions, clicks",
        "Visitors with latent tastes ask for decisions, see them and click with known "
        "probabilities, so that the achieved and the best possible click rate are both known.",
    ),
    "replay": Command(
        "a real click log (Open Bandit Dataset) through the same flow",
        "Read logged decisions, impressions and clicks, learn from them in order, and print what "
        "was learned and what the learned policy would have earned (IPS, SNIPS).",
    ),
    "topics": Command(
        "create or check the topics of a deployment",
        "Create the topics that are missing on BANDITFLOW_BOOTSTRAP_SERVERS, with "
        "BANDITFLOW_PARTITIONS partitions, BANDITFLOW_REPLICATION copies and the broker's times "
        "(LogAppendTime), and say which existing ones keep those of producers, and how to change "
        "that; with check, only say it, and exit with 1 where there are some. It waits up to two "
        "minutes for a broker that is not there yet; existing topics are left as they are.",
    ),
    "catalog": Command(
        "check and publish slots and actions",
        "Check catalog records (docs/how-to/write-a-catalog.md), send them to the topic, or print "
        "those of the demo as an example.",
    ),
    "store": Command(
        "bring the durable store's schema up to date",
        "Look after the schema of the store that BANDITFLOW_STORE names: sqlite:PATH or "
        "oracle:DSN.",
    ),
    "inspect": Command(
        "what is known of a slot, its features, a subject or a decision, and why",
        "Read from Redis and the durable store. A subject is given by its raw id.",
    ),
    "state": Command(
        "what a stopped flow has learned and keeps, as lines that can be compared",
        "Read the personalize flow's recovery store (BANDITFLOW_RECOVERY) and print learners, "
        "profiles, consents and pending decisions as sorted JSON lines, floats to 6 significant "
        "digits. It names pseudonyms only. With --digest, one hash per part. lower-watermark "
        "lowers every time in the recovery store that is later than now (or --to), after a clock "
        "was ahead; what is settled stays settled.",
    ),
    "verify": Command(
        "compare what the flows made with a recomputation from the topics",
        "Read the recovery stores (BANDITFLOW_RECOVERY) and the topics, recompute from scratch "
        "what the flows had made when their last epochs closed, and compare: what was learned "
        "(counts exactly, floats to 1e-9), pending decisions, outcomes, and, where the persist "
        "flow runs with the same recovery folder, the store's rows. Exits with 1 when anything "
        "differs, when a request has two different answers, or when one has none.",
    ),
    "verify-replay": Command(
        "run a log through the flows with random kill -9, and compare everything",
        "Feed a log (simulated, or recorded from a deployment) to the personalize and persist "
        "flows while killing one of them at random moments; verify what each kill leaves behind "
        "and what all ends in; then run the same topics once without kills and compare the two. "
        "Needs no deployment of its own. Exits with 1 on any difference.",
    ),
}
"""Every command in the order in which the first page lists them."""

HIDDEN = "worker"
"""The command by which ``run --processes`` starts its processes."""


def _interrupted(error: BaseException | None) -> bool:
    """Tell a Ctrl-C, which Bytewax wraps, from a fault."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt) or "signal received" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


if __name__ == "__main__":
    sys.exit(main())
