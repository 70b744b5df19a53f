"""The command ``banditflow catalog``: check catalog records, publish them, print an example."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import confluent_kafka

from flows.cli.arguments import count
from flows.devkit.demo_catalog import demo_catalog
from operators.io.kafka.client import check_topics, producer_config
from operators.logic.catalog_check import flaw_of, without_effect
from schemas.catalog import CatalogEntry, PolicySettings
from schemas.codec import Flaw, decode, encode
from schemas.settings import Settings, load
from schemas.topics import Topic

DEMO_POLICY = PolicySettings(kind="logistic")


class CatalogFileError(ValueError):
    """The file cannot be published; the message lists what is wrong, a record a line."""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    command.add_argument(
        "action",
        choices=("check", "publish", "demo"),
        help="check: say what is wrong with FILE; publish: check it and send it to the topic; "
        "demo: print the catalog that the simulated visitors know",
    )
    command.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a JSON record per line ('-': stdin)"
    )
    command.add_argument(
        "--neighbours",
        type=count,
        metavar="N",
        help="publish: give every action with an embedding its N nearest in the store and FILE",
    )
    command.add_argument("--seed", type=int, default=7, help="demo: of the visitors (7)")
    command.add_argument("--actions", type=count, default=20, help="demo: content variants (20)")


def run_catalog(options: argparse.Namespace) -> int:
    """Do what the options say."""
    if options.action == "demo":
        for entry in demo_catalog(options.seed, DEMO_POLICY, actions=options.actions):
            print(encode(entry).decode())
        return 0
    if options.file is None:
        raise CatalogFileError(f"catalog {options.action}: which FILE? ('-' is standard input)")
    entries = read_catalog(options.file)
    note = without_effect(entries)
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    if options.action == "publish":
        settings = load()
        if options.neighbours is not None:
            entries = _with_neighbours(settings, entries, options.neighbours)
        publish(settings, entries)
        print(f"published {len(entries)} records")
    else:
        print(f"{len(entries)} records, nothing wrong with them")
    return 0


def _with_neighbours(
    settings: Settings, entries: Sequence[CatalogEntry], count: int
) -> list[CatalogEntry]:
    from flows.cli.neighbours import with_neighbours
    from operators.io.store.open import open_store

    store = open_store(settings)
    try:
        return with_neighbours(store, entries, count)
    finally:
        store.close()


def read_catalog(path: Path) -> list[CatalogEntry]:
    """Read a file of records, one JSON object per line.

    Raises :class:`CatalogFileError` that names every flawed line.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogFileError(f"{path}: cannot be read: {error}") from error
    entries, wrong = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            found = decode(Topic.CATALOG, line.encode())
            flaw = found if isinstance(found, Flaw) else flaw_of(found)
            if flaw is None:
                entries.append(found)
            else:
                wrong.append(f"{path}:{number}: {_sentence(flaw)}")
    if wrong:
        raise CatalogFileError("\n".join(wrong))
    if not entries:
        raise CatalogFileError(f"{path}: holds no record: one JSON object per line is expected")
    return entries


def publish(settings: Settings, entries: Sequence[CatalogEntry]) -> None:
    """Send catalog records to their topic, each under its ``id``, and wait until they are there."""
    producer = confluent_kafka.Producer(producer_config(settings))
    check_topics(settings, producer, [Topic.CATALOG])
    failed: list[str] = []

    def delivered(error: confluent_kafka.KafkaError | None, _: confluent_kafka.Message) -> None:
        if error is not None:
            failed.append(error.str())

    topic = settings.topic(Topic.CATALOG)
    for entry in entries:
        producer.produce(topic, encode(entry), entry.id.encode(), on_delivery=delivered)
    producer.flush()
    if failed:
        raise CatalogFileError(f"{len(failed)} records were not taken: {failed[0]}")


def _sentence(flaw: Flaw) -> str:
    if flaw.field == "type":
        return "type: is none of slot, action and experiment"
    place = f"{flaw.field}: " if flaw.field else ""
    return f"{place}{flaw.detail or flaw.reason}"
