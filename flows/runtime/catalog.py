"""Catalog records from a file to their topic."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import confluent_kafka

from operators.io.kafka import client as kafka_client
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry
from operators.logic.catalog_limits import take_in
from schemas.catalog import CatalogEntry
from schemas.codec import Flaw, encode
from schemas.settings import Settings
from schemas.topics import Topic


class CatalogFileError(ValueError):
    """The file cannot be published; the message lists what is wrong, a record a line."""


def read_catalog(path: Path) -> list[CatalogEntry]:
    """Read a file of records, one JSON object per line.

    Raises :class:`CatalogFileError` that names every flawed line.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CatalogFileError(f"{path}: is not UTF-8") from error
    except OSError as error:
        raise CatalogFileError(f"{path}: cannot be read: {error.strerror}") from error
    entries, numbers, wrong = [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            entry = read_entry(line.encode())
            if isinstance(entry, Flaw):
                wrong.append(f"{path}:{number}: {_sentence(entry)}")
            else:
                entries.append(entry)
                numbers.append(number)
    for place, flaw in take_in(CatalogHistory(), entries):
        wrong.append(f"{path}:{numbers[place]}: {_sentence(flaw)}")
    if wrong:
        raise CatalogFileError("\n".join(wrong))
    if not entries:
        raise CatalogFileError(f"{path}: holds no record: one JSON object per line is expected")
    return entries


def publish(settings: Settings, entries: Sequence[CatalogEntry]) -> None:
    """Send catalog records to their topic, each under its ``id``, and wait until they are there."""
    producer = kafka_client.producer(settings.kafka)
    kafka_client.check_topics(settings.kafka, producer, [Topic.CATALOG])
    failed: list[str] = []

    def delivered(error: confluent_kafka.KafkaError | None, _: confluent_kafka.Message) -> None:
        if error is not None:
            failed.append(error.str())

    topic = settings.kafka.topic(Topic.CATALOG)
    for entry in entries:
        _produce(producer, topic, entry, delivered)
    producer.flush()
    if failed:
        raise CatalogFileError(f"{len(failed)} records were not taken: {failed[0]}")


def _produce(
    producer: confluent_kafka.Producer, topic: str, entry: CatalogEntry, delivered: Any
) -> None:
    while True:
        try:
            producer.produce(topic, encode(entry), entry.id.encode(), on_delivery=delivered)
            return
        except BufferError:  # its queue is full
            producer.poll(0.05)
        except confluent_kafka.KafkaException as error:  # it is too large for the client
            why = error.args[0].str()
            raise CatalogFileError(f"record {entry.id!r} cannot be sent: {why}") from error


def _sentence(flaw: Flaw) -> str:
    if flaw.field == "type":
        return "type: is none of slot, action and experiment"
    place = f"{flaw.field}: " if flaw.field else ""
    return f"{place}{flaw.detail or flaw.reason}"
