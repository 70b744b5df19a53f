"""How records of the recorded log come to lie on their topics."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from flows.verification.log import Logged
from operators.logic.murmur2 import partition_of
from schemas.codec import encode
from schemas.topics import Topic

PARTITIONS = 2


def sent(topic: Topic, record: Any, arrives: int | None = None) -> Logged:
    """Give a record as it lies on its topic."""
    time = ms(record.time) if arrives is None else arrives
    return Logged(time, topic, home(record.subject), record.subject.encode(), encode(record))


def names(stem: str) -> Iterator[str]:
    """Give names without end."""
    return (f"{stem}-{number}" for number in range(10**6))


def home(subject: str) -> int:
    """Give the partition of a visitor."""
    return partition_of(subject.encode(), PARTITIONS)


def ms(at: datetime) -> int:
    """Give a time in milliseconds since 1970."""
    return round(at.timestamp() * 1000)
