"""Recorded logs: the records of a deployment's topics in the order in which the broker had them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from operators.io.kafka.partition import read_partition
from schemas.settings import Settings
from schemas.topics import Topic

RECORDED = PERSONALIZE.reads
"""The topics that make up a log: all that decisions, learning and profiles follow from."""

_FILE = "log.jsonl"


class LogError(ValueError):
    """A log cannot be used; the message says why."""


class Logged(Struct, array_like=True, gc=False):
    """One record: the broker's time in milliseconds, its topic and partition, key and payload."""

    time: int
    topic: Topic
    partition: int
    key: bytes | None
    value: bytes


class Header(Struct):
    """The first line of a log."""

    partitions: int


def record_log(settings: Settings, folder: Path) -> int:
    """Copy the topics of a deployment to a folder; give the number of records.

    The file holds visitors' raw ids: only its owner may read it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = sort_log(copied(settings))
    opener = lambda path, flags: os.open(path, flags, 0o600)  # noqa: E731
    encoder = msgspec.json.Encoder()
    with open(folder / _FILE, "wb", opener=opener) as file:
        file.write(encoder.encode(Header(settings.kafka.partitions)) + b"\n")
        file.writelines(encoder.encode(record) + b"\n" for record in log)
    return len(log)


def read_log(folder: Path) -> tuple[int, list[Logged]]:
    """Read a log that was recorded: its number of partitions, and its records in order."""
    path = folder / _FILE
    decoder = msgspec.json.Decoder(Logged)
    try:
        with path.open("rb") as file:
            header = msgspec.json.decode(file.readline(), type=Header)
            log = [decoder.decode(line) for line in file]
    except FileNotFoundError:
        raise LogError(f"{path} is not there: record a log with --record {folder}") from None
    except OSError as error:
        raise LogError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise LogError(f"{path} is no recorded log: {error}") from error
    if any(not 0 <= record.partition < header.partitions for record in log):
        raise LogError(f"{path} holds a record of a partition that its first line does not count")
    return header.partitions, log


def sort_log(log: Sequence[Logged] | Iterator[Logged]) -> list[Logged]:
    """Sort records by time, the catalog first; those of one partition keep their order."""
    return sorted(log, key=lambda record: (record.topic is not Topic.CATALOG, record.time))


def copied(settings: Settings) -> Iterator[Logged]:
    """Read the topics of a deployment, one after the other."""
    for topic in RECORDED:
        for partition in range(settings.kafka.partitions_of(topic)):
            newest = 0
            for value, key, _, time in read_partition(
                settings.kafka, topic, partition, system_clock
            ):
                newest = max(newest, time // 1000)  # so that sorting by time keeps the order
                yield Logged(newest, topic, partition, key, value)
