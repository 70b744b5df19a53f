"""``banditflow verify``: what the flows made, against a recomputation from the topics."""

import argparse
import sys

from flows.verification.findings import describe, verdict
from flows.verification.verify import verify
from schemas.codec import encode_for_people
from schemas.settings import load


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Declare no options: the settings say what is compared."""


def run(_: argparse.Namespace) -> int:
    """Print the findings as JSON, and in sentences on standard error; 1 when anything differs."""
    verification = verify(load())
    print(encode_for_people(verification))
    print("\n".join(describe(verification)), file=sys.stderr)
    print(verdict(verification), file=sys.stderr)
    return 0 if verification.holds else 1
