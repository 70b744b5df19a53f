"""Some records of every topic, and what the release that wrote them read in each."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import Struct

from flows.verification.log import Logged
from schemas.codec import Flaw, decode, encode
from schemas.topics import Topic
from tests.support.recording.oddities import LARGEST

_EACH = 12
"""Records to keep of each topic."""

_LARGE = (Topic.POLICIES, Topic.CHECKPOINTS)


class OldRecord(Struct):
    """A record, and what was read in it, as JSON."""

    topic: str
    payload: str
    read: dict[str, Any]


def chosen(everything: Iterable[Logged]) -> Iterator[OldRecord]:
    """Choose some records of each topic; of large ones the first of each key."""
    by_topic: dict[Topic, list[Logged]] = {}
    for each in everything:
        by_topic.setdefault(each.topic, []).append(each)
    for topic, log in sorted(by_topic.items()):
        if topic in _LARGE:
            chosen = list({each.key: each for each in reversed(log)}.values())
        else:
            chosen = log[:: max(1, len(log) // _EACH)]
        for each in chosen:
            try:
                payload = each.value.decode()
            except UnicodeDecodeError:
                continue
            yield OldRecord(topic, payload, read(topic, each.value))


def read(topic: Topic, payload: bytes) -> dict[str, object]:
    """Give what this release reads in a record, as JSON does; of a flaw its reason and field."""
    found = decode(topic, payload, LARGEST)
    if isinstance(found, Flaw):
        return {"flaw": found.reason, "field": found.field}
    read: dict[str, object] = json.loads(encode(found))
    return read
