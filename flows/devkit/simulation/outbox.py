"""Sends records now or when they are due, some of them twice or late, as the injection says."""

import heapq
from collections import Counter
from typing import NamedTuple, Protocol

from flows.devkit.simulation.injection import Injection
from schemas.topics import Topic


class Sender(Protocol):
    """What takes records: the wire, or a test."""

    def send(self, topic: Topic, key: bytes, value: bytes) -> None:
        """Take one record."""
        ...


class _Due(NamedTuple):
    at: float
    order: int
    topic: Topic
    key: bytes
    value: bytes


class Outbox:
    """Records on their way; ``injected`` counts what was spoiled, by kind of injection."""

    def __init__(self, sender: Sender, injection: Injection) -> None:
        self._sender = sender
        self._injection = injection
        self._waiting: list[_Due] = []
        self._order = 0
        self.injected: Counter[str] = Counter()

    def __len__(self) -> int:
        """Count the records that wait for their time."""
        return len(self._waiting)

    def put(
        self, topic: Topic, key: bytes, value: bytes, at: float, now: float,
        duplicate: float = 1.0, disorder: float = 1.0,
    ) -> float:  # fmt: skip
        """Send a record at a time, and give the time at which it goes.

        ``duplicate`` and ``disorder`` are uniform numbers that say whether it goes twice and how
        late it goes.
        """
        rates = self._injection
        if disorder < rates.disorder:
            self.injected["disorder"] += 1
            at += rates.disorder_seconds * disorder / rates.disorder
        if at <= now:
            self._sender.send(topic, key, value)
        else:
            self._wait(topic, key, value, at)
        if duplicate < rates.duplicates:
            self.injected["duplicates"] += 1
            self._wait(topic, key, value, at + duplicate / rates.duplicates)
        return at

    def send_due(self, now: float) -> None:
        """Send what is due."""
        waiting = self._waiting
        while waiting and waiting[0].at <= now:
            due = heapq.heappop(waiting)
            self._sender.send(due.topic, due.key, due.value)

    def _wait(self, topic: Topic, key: bytes, value: bytes, at: float) -> None:
        self._order += 1
        heapq.heappush(self._waiting, _Due(at, self._order, topic, key, value))
