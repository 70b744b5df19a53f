"""From one process to two and back under live traffic, with processes of the cluster killed."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka
import pytest

from flows.devkit.embedded import Server, Supervisor
from flows.devkit.simulation import Simulator
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.visitors import HOURS, Visitors
from flows.runtime.snapshots import progress
from flows.verification.verify import verify
from operators.io.kafka import producer_config
from operators.io.segments import PENDING
from operators.logic.attribution import chunks
from schemas.settings import Settings, child_environment
from schemas.topics import Topic
from tests.support.live import deployed, until

RATE = 100.0
BACKLOG = 3 * chunks.CHUNK
"""Requests at the start: both shards fill segments of pending decisions."""


@pytest.fixture
def settings(apache_kafka: Server, valkey: Server, topic_prefix: str, tmp_path: Path) -> Settings:
    return deployed(apache_kafka, valkey, topic_prefix, tmp_path)


def ask_at_once(settings: Settings, visitors: Visitors) -> None:
    """Write the backlog's requests, and clicks on some of what will be decided."""
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    writer = RecordWriter("backlog", visitors)
    for number in range(BACKLOG):
        user, now = number % len(writer.keys), time.time()
        request = writer.request(number, user, number % HOURS, now)
        producer.produce(settings.kafka.topic(Topic.DECISION_REQUESTS), request, writer.keys[user])
        if number % 7 == 0:
            click = writer.click(number, user, now)
            producer.produce(settings.kafka.topic(Topic.CLICKS), click, writer.keys[user])
        producer.poll(0)
    assert producer.flush(30) == 0


@contextmanager
def running(settings: Settings, supervisor: Supervisor, processes: int) -> Iterator[int]:
    """Run the flow at so many processes, killing all of them in the end; give its process id."""
    before = closed(settings)[0]
    child = supervisor.start(
        f"flow-{processes}",
        [sys.executable, "-m", "flows", "run", "personalize", f"--processes={processes}",
         f"--logs={supervisor.logs}"],
        env=child_environment(settings),
    )  # fmt: skip
    until(lambda: closed(settings)[0] > before and closed(settings)[1] > 0)
    yield child.pid
    child.kill()
    supervisor.stop(child)


def closed(settings: Settings) -> tuple[int, int]:
    """Say which execution was the last, and how many epochs it has closed."""
    return progress(Path(settings.state.recovery) / "personalize")


def workers_of(supervisor: int) -> list[int]:
    """List the supervisor's worker processes in the order of their start."""
    return sorted(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _parent(entry) == supervisor and _runs(entry, b"worker")
    )


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return 0


def _runs(entry: Path, word: bytes) -> bool:
    try:
        return word in (entry / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.mark.timeout(400)
@pytest.mark.kafka
def test_one_process_two_and_one_again_under_traffic_and_kills(
    settings: Settings, tmp_path: Path
) -> None:
    simulator = Simulator(settings, rate=RATE, seed=7, patience=90.0)
    ask_at_once(settings, simulator.visitors)
    reports = []
    answered = lambda: simulator.progress().decisions  # noqa: E731

    def more(decisions: int) -> None:
        goal = answered() + decisions
        until(lambda: answered() >= goal)

    with Supervisor(tmp_path / "logs") as supervisor:
        visitors = threading.Thread(target=lambda: reports.append(simulator.run()))
        visitors.start()
        try:
            with running(settings, supervisor, 1):
                more(100)
                until(lambda: any((Path(settings.state.recovery) / PENDING).glob("*")))
            with running(settings, supervisor, 2) as flow:
                for victim in (1, 0):
                    more(100)
                    execution = closed(settings)[0]
                    workers = workers_of(flow)
                    assert len(workers) == 2
                    os.kill(workers[victim], signal.SIGKILL)
                    until(lambda execution=execution: closed(settings)[0] > execution)
                    until(lambda workers=workers: len(set(workers_of(flow)) - set(workers)) == 2)
                more(100)
            together = verify(settings)
            with running(settings, supervisor, 1):
                more(100)
                simulator.stop()
                visitors.join()
                epochs = closed(settings)[1]
                until(lambda: closed(settings)[1] > epochs + 2)
        finally:
            simulator.stop()
            visitors.join()
    (report,) = reports
    assert report.unanswered == report.duplicate_answers == 0
    found = verify(settings)
    for each in (together, found):
        assert each.holds, each
        assert each.pending.decisions > chunks.CHUNK
    assert found.requests == found.decisions == report.requests + BACKLOG
    clicked = len(range(0, BACKLOG, 7))
    assert sum(check.learned[0] for check in found.actions) == report.impressions + clicked
