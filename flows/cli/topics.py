"""``banditflow topics``: creates the topics of a deployment, and says which are set up wrongly."""

import argparse

from operators.io.kafka import create_topics
from operators.io.kafka.admin import (
    APPEND_TIME,
    CLEANUP,
    DELETE,
    FOREVER,
    RETENTION,
    TIMESTAMP_TYPE,
    compacted_topics,
    expiring_topics,
    timestamp_types,
)
from schemas.settings import KafkaSettings, load


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "action",
        choices=("create", "check"),
        help="create what is missing; or only say which topics keep the times of producers or are "
        "compacted",
    )


def run(options: argparse.Namespace) -> int:
    """Create the topics that are missing, and name them; name those that keep wrong times.

    The status of ``check`` is 1 where there are some, or no topics at all.
    """
    settings = load().kafka
    if options.action == "create":
        created = create_topics(settings)
        for name in created:
            print(f"created {name}")
        if not created:
            print("all topics exist")
    types = timestamp_types(settings)
    wrong = [name for name, type_ in types.items() if type_ not in (APPEND_TIME, None)]
    compacted = compacted_topics(settings)
    lines = _described(settings, types, wrong) + _compacted(settings, compacted)
    for line in lines + _expiring(settings, expiring_topics(settings)):
        print(line)
    return int(options.action == "check" and bool(wrong or compacted or not types))


def _described(
    settings: KafkaSettings, types: dict[str, str | None], wrong: list[str]
) -> list[str]:
    silent = [name for name, type_ in types.items() if type_ is None]
    lines = []
    if not types:
        lines.append("no topic of this deployment exists: `banditflow topics create` makes them")
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
    lines += [_change(settings, name, f"{TIMESTAMP_TYPE}={APPEND_TIME}") for name in wrong]
    if types and not silent and not wrong:
        lines.append(f"all {len(types)} topics keep the broker's times ({APPEND_TIME})")
    return lines


def _compacted(settings: KafkaSettings, names: list[str]) -> list[str]:
    if not names:
        return []
    return [
        f"{len(names)} topics are compacted: the broker drops earlier records of a key, and all of "
        "them after a tombstone. Change them before it does:",
        *(_change(settings, name, f"{CLEANUP}={DELETE}") for name in names),
    ]


def _expiring(settings: KafkaSettings, days: dict[str, float]) -> list[str]:
    lines = []
    for name, after in days.items():
        lines.append(
            f"{name} is deleted by age, after {after:g} days, and who reads it then does not know "
            "what it said. Keep it for good, or publish the whole catalog again before that "
            "(`banditflow catalog publish FILE --again`):"
        )
        lines.append(_change(settings, name, f"{RETENTION}={FOREVER}"))
    return lines


def _change(settings: KafkaSettings, name: str, config: str) -> str:
    address = settings.bootstrap_servers.partition(",")[0]
    return (
        f"  kafka-configs.sh --bootstrap-server {address} --alter --entity-type topics "
        f"--entity-name {name} --add-config {config}"
    )
