"""``banditflow topics``: creates the topics of a deployment, and says whose times they keep."""

import argparse

from operators.io.kafka import create_topics
from operators.io.kafka.admin import APPEND_TIME, TIMESTAMP_TYPE, timestamp_types
from schemas.settings import KafkaSettings, load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "action",
        choices=("create", "check"),
        help="create what is missing; or only say which topics keep the times of producers",
    )


def run(options: argparse.Namespace) -> int:
    """Create the topics that are missing, and name them; name those that keep wrong times.

    The status of ``check`` is 1 where there are some.
    """
    settings = load().kafka
    if options.action == "create":
        created = create_topics(settings)
        for name in created:
            print(f"created {name}")
        if not created:
            print("all topics exist")
    types = timestamp_types(settings)
    wrong = [name for name, kept in types.items() if kept not in (APPEND_TIME, None)]
    for line in _described(settings, types, wrong):
        print(line)
    return int(options.action == "check" and bool(wrong))


def _described(
    settings: KafkaSettings, types: dict[str, str | None], wrong: list[str]
) -> list[str]:
    silent = [name for name, kept in types.items() if kept is None]
    lines = []
    if silent:
        lines.append(
            f"the broker does not say whose times these topics keep: {', '.join(silent)}; a flow "
            "says so when it reads a record that bears its producer's"
        )
    if wrong:
        lines.append(
            f"{len(wrong)} topics keep the times that producers set, and a backlog of them is not "
            "protected from records dated ahead. On Apache Kafka, change them (what they hold "
            "already stays as it is):"
        )
    address = settings.bootstrap_servers.partition(",")[0]
    lines += [
        f"  kafka-configs.sh --bootstrap-server {address} --alter --entity-type topics "
        f"--entity-name {name} --add-config {TIMESTAMP_TYPE}={APPEND_TIME}"
        for name in wrong
    ]
    if types and not silent and not wrong:
        lines.append(f"all {len(types)} topics keep the broker's times ({APPEND_TIME})")
    return lines
