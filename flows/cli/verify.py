"""``banditflow verify``: what the flows made, against a recomputation from the topics."""

import argparse
import sys

from flows.registry import FLOWS
from flows.runtime.recovery import RecoveryError, check_stopped
from flows.verification.findings import describe, verdict
from flows.verification.verify import verify
from schemas.codec import encode_for_people
from schemas.settings import Settings, load


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Declare no options: the settings say what is compared."""


def run(_: argparse.Namespace) -> int:
    """Print the findings as JSON, and in sentences on standard error; 1 when anything differs."""
    settings = load()
    verification = verify(settings)
    print(encode_for_people(verification))
    print("\n".join(describe(verification)), file=sys.stderr)
    running = [] if verification.holds else _running(settings)
    print(verdict(verification, running), file=sys.stderr)
    return 0 if verification.holds else 1


def _running(settings: Settings) -> list[str]:
    """Name the flows that run on the recovery folder."""
    running = []
    for flow in FLOWS:
        try:
            check_stopped(settings, flow)
        except RecoveryError:
            running.append(flow)
    return running
