"""``banditflow topics create``: the topics of a deployment."""

import argparse

from operators.io.kafka import create_topics
from schemas.settings import load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument("action", choices=("create",), help="create what is missing")


def run(_: argparse.Namespace) -> None:
    """Create the topics that are missing, and name them."""
    created = create_topics(load().kafka)
    for name in created:
        print(f"created {name}")
    if not created:
        print("all topics exist")
