"""The part of the fault suite (``make campaign NAME=faults``) that every test run can afford."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from flows.devkit.embedded import Server, Supervisor
from flows.verification.verify import verify
from schemas.topics import Topic
from tests.support import records as make
from tests.support.stage import Stage

RATE = 100.0
DECISIONS = 2_000


class Parts:
    """The session's servers, and processes of a test's own."""

    def __init__(self, folder: Path, supervisor: Supervisor, broker: Server, valkey: Server):
        self.folder, self.supervisor = folder, supervisor
        self.bootstrap_servers = broker.address
        self.redis_url = f"redis://{valkey.address}/0"


@pytest.fixture
def stage_on(
    valkey: Server, topic_prefix: str, tmp_path: Path
) -> Iterator[Callable[[Server], Stage]]:
    """Make a deployment of the test's own on a broker."""
    stages: list[Stage] = []
    with Supervisor(tmp_path / "logs") as supervisor:

        def make_one(broker: Server) -> Stage:
            parts = Parts(tmp_path, supervisor, broker, valkey)
            stages.append(
                Stage(parts, "stage", topic_prefix=topic_prefix, partitions=2, window=300.0)
            )
            return stages[-1]

        yield make_one
        for stage in stages:
            stage.close()


@pytest.mark.kafka
def test_a_broker_killed_in_live_traffic_is_waited_for(
    stage_on: Callable[[Server], Stage], apache_kafka: Server
) -> None:
    stage = stage_on(apache_kafka)
    flow = stage.run("personalize", supervised=False)
    with stage.visitors(RATE) as visitors:
        stage.answered(visitors, 100)
        apache_kafka.kill()
        apache_kafka.restart()
        stage.answered(visitors, 200)
    stage.settle("personalize")
    assert flow.child.running, flow.log
    flow.stop()
    found = verify(stage.settings)
    assert stage.report.unanswered == stage.report.undelivered == 0
    assert found.holds, found
    assert found.decisions == stage.report.requests
    # A producer that lost the broker's receipt sends again: a request can stand there twice.
    assert found.requests >= stage.report.requests
    assert sum(check.learned[0] for check in found.actions) == stage.report.impressions


def test_a_writer_killed_after_its_commit_leaves_one_copy_of_each_row(
    stage_on: Callable[[Server], Stage], broker: Server
) -> None:
    stage = stage_on(broker)
    encode = msgspec.json.encode
    stage.produce(
        (Topic.DECISIONS, None, encode(make.decision(number)), number % 2)
        for number in range(DECISIONS)
    )
    path = stage.settings.store.address.removeprefix("sqlite:")
    persist = stage.run("persist", supervised=False)
    with closing(sqlite3.connect(path)) as other:
        first = version(other)
        deadline = time.monotonic() + 60.0
        while version(other) == first:
            assert time.monotonic() < deadline, persist.log
    persist.kill()
    stored = stage.counts()["decisions"]
    kept = stage.resumes_from("persist")
    assert stored > sum(kept.get((Topic.DECISIONS, k), 0) for k in range(2))
    persist.restart()
    stage.settle("persist")
    assert stage.counts()["decisions"] == DECISIONS


def version(other: sqlite3.Connection) -> int:
    """A number that changes when another connection commits."""
    return int(other.execute("PRAGMA data_version").fetchone()[0])
