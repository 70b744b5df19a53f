"""kill -9 in the middle of live traffic: one answer per request, and exactly what was learned."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from flows.devkit.embedded import Server, Supervisor
from flows.devkit.simulation import Simulator
from flows.verification.verify import verify
from schemas.settings import Settings, child_environment
from tests.support.live import deployed, until

KILLS = 2


@pytest.fixture
def settings(broker: Server, valkey: Server, topic_prefix: str, tmp_path: Path) -> Settings:
    return deployed(broker, valkey, topic_prefix, tmp_path)


def worker_of(supervisor: int) -> int:
    """Find the process that does the work: the youngest one that the supervisor started."""
    found = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _parent(entry) == supervisor and _runs(entry, b"worker")
    ]
    return max(found, default=0)


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


def test_a_killed_flow_answers_once_and_learns_exactly(settings: Settings, tmp_path: Path) -> None:
    simulator = Simulator(settings, rate=150.0, seed=7, patience=60.0)
    reports = []
    with Supervisor(tmp_path / "logs") as supervisor:
        command = [sys.executable, "-m", "flows", "run", "personalize", "--processes=1"]
        flow = supervisor.start(
            "flow",
            [*command, f"--logs={tmp_path / 'flow-logs'}"],
            env=child_environment(settings),
        )
        visitors = threading.Thread(target=lambda: reports.append(simulator.run()))
        visitors.start()
        try:
            for number in range(1, KILLS + 1):
                until(lambda number=number: simulator.progress().decisions > 400 * number)
                worker = worker_of(flow.pid)
                os.kill(worker, signal.SIGKILL)
                until(lambda worker=worker: worker_of(flow.pid) not in {0, worker})
            until(lambda: simulator.progress().decisions > 400 * (KILLS + 1))
        finally:
            simulator.stop()
            visitors.join()
        (report,) = reports
        assert report.unanswered == 0
        assert report.duplicate_answers == 0
        until(lambda: _caught_up(settings, report.impressions), seconds=120.0)
    found = verify(settings)
    assert found.holds, found
    assert found.requests == found.decisions == report.requests
    learned = [sum(check.learned[part] for check in found.actions) for part in (0, 1)]
    assert learned[0] == report.impressions
    assert 0 < learned[1] <= report.clicks


def _caught_up(settings: Settings, impressions: int) -> bool:
    """Say whether a snapshot holds everything: the learner has counted every impression."""
    counted = sum(check.learned[0] for check in verify(settings).actions)
    return counted >= impressions
