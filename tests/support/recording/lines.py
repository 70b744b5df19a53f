"""Records of topics as lines of text: what lies where, readable where the payload is text."""

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from flows.runtime.clock import system_clock
from flows.verification.log import Logged, sort_log
from operators.io.kafka.partition import read_partition
from schemas.settings import Settings
from schemas.topics import Topic

Line = tuple[int, Topic, int, str | None, str, str]
"""Time in milliseconds, topic, partition, key, and the payload as text or else as base64."""

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Line)


def write_lines(path: Path, log: Iterable[Logged]) -> None:
    """Write records to a file."""
    with path.open("wb") as file:
        for each in log:
            key = None if each.key is None else each.key.decode()
            line = (each.time, each.topic, each.partition, key, *_texts(each.value))
            file.write(_ENCODER.encode(line) + b"\n")


def read_lines(path: Path) -> list[Logged]:
    """Read the records of a file."""
    with path.open("rb") as file:
        return [_logged(*_DECODER.decode(line)) for line in file]


def on_topics(settings: Settings, topics: Iterable[Topic]) -> list[Logged]:
    """Read all that lies on some topics, in an order that keeps each partition's."""
    return sort_log(_partition_by_partition(settings, topics))


def _partition_by_partition(settings: Settings, topics: Iterable[Topic]) -> Iterator[Logged]:
    for topic in topics:
        for partition in range(settings.kafka.partitions_of(topic)):
            newest = 0
            for value, key, _, time in read_partition(
                settings.kafka, topic, partition, system_clock
            ):
                newest = max(newest, time // 1000)  # so that sorting by time keeps the order
                yield Logged(newest, topic, partition, key, value)


def _texts(value: bytes) -> tuple[str, str]:
    try:
        return value.decode(), ""
    except UnicodeDecodeError:
        return "", base64.b64encode(value).decode()


def _logged(
    time: int, topic: Topic, partition: int, key: str | None, text: str, other: str
) -> Logged:
    value = text.encode() or base64.b64decode(other)
    return Logged(time, topic, partition, None if key is None else key.encode(), value)
