"""The command line: ``python -m flows``, installed as ``banditflow``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.settings import Settings, SettingsError, load

EPILOG = """\
start here:
  banditflow demo                    everything on embedded parts, with simulated visitors
  banditflow replay                  a real click log through the same flow

with your own Kafka, Redis and store (see docs/how-to/run-it.md):
  export BANDITFLOW_SECRET=...       keys the pseudonyms; at least 16 characters
  export BANDITFLOW_BOOTSTRAP_SERVERS=kafka:9092 BANDITFLOW_REDIS_URL=redis://cache:6379/0
  banditflow topics create
  banditflow store migrate
  banditflow run personalize
  banditflow run persist

Every setting is a variable BANDITFLOW_<NAME>; docs/reference/settings.md lists them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; errors are one sentence on standard error."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except SettingsError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_ours(error):
            raise
        return _fail(str(error))


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="banditflow",
        description="Choose content for each visitor, learn from every click, prove what works.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _demo(commands)
    _run(commands)
    _simulate(commands)
    _replay(commands)
    _topics(commands)
    _store(commands)
    _inspect(commands)
    return top
