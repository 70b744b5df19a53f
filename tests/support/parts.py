"""Real servers for tests, started on first use; what could not be had is said at the end."""

import re
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from flows.devkit.embedded import Part, PartUnavailable, Server, Supervisor

NOT_PROVEN: Counter[str] = Counter()
"""How many tests were skipped for each reason."""

_PREFIX = "NOT PROVEN: "


def not_proven(what: str, why: object) -> None:
    """Skip this test: ``what`` stays unproven because of ``why``."""
    pytest.skip(f"{_PREFIX}{what} ({why})")


def count_not_proven(report: pytest.TestReport) -> None:
    """Count a test's report if the test was skipped for the want of a part."""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(_PREFIX):
            NOT_PROVEN[reason.removeprefix(_PREFIX)] += 1


class Servers:
    """One session's servers: each part is started once, when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._supervisor: Supervisor | None = None
        self._running: dict[str, Server] = {}
        self._unavailable: dict[str, PartUnavailable] = {}

    def get(self, part: Part, proves: str) -> Server:
        """Give the running part, or skip the test that asked: it ``proves`` something."""
        if part.name in self._unavailable:
            not_proven(proves, self._unavailable[part.name])
        if self._supervisor is None:
            self._supervisor = Supervisor(self.folder / "logs")
        self._supervisor.check()
        if part.name not in self._running:
            try:
                self._running[part.name] = Server(self._supervisor, part, self.folder)
            except PartUnavailable as error:
                self._unavailable[part.name] = error
                not_proven(proves, error)
        return self._running[part.name]

    def running(self, part: Part) -> Server | None:
        """Give a part if it was started."""
        return self._running.get(part.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._supervisor is not None:
            self._supervisor.__exit__(kind, error, trace)


def prefix_for(nodeid: str) -> str:
    """Give a topic prefix of a test's own, such as ``tests-io-test_kafka-test_reads-``."""
    return re.sub(r"[^a-zA-Z0-9._]+", "-", nodeid.replace(".py", ""))[-150:].strip("-") + "-"


def create_topics(bootstrap_servers: str, topics: Mapping[str, int]) -> None:
    """Create topics (name -> partition count) and wait until the broker has them."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    wanted = [NewTopic(name, num_partitions=n, replication_factor=1) for name, n in topics.items()]
    for created in admin.create_topics(wanted, request_timeout=20).values():
        created.result(timeout=20)


def range_of(client: Consumer, place: TopicPartition, seconds: float = 20.0) -> tuple[int, int]:
    """Ask for a partition's first offset and its end; a new one may be unknown for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            low, high = client.get_watermark_offsets(place, timeout=seconds)
            return low, high
        except KafkaException as error:
            is_new = error.args[0].code() == KafkaError._UNKNOWN_PARTITION
            if not is_new or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def delete_topics(bootstrap_servers: str) -> None:
    """Delete all topics of a broker where they are still there."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    if topics := list(admin.list_topics(timeout=20).topics):
        for deleted in admin.delete_topics(topics, request_timeout=20).values():
            with suppress(KafkaException):
                deleted.result(timeout=20)
