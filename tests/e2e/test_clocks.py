"""A clock two days ahead: of a producer, which moves nothing; of our machine, and the way back."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka
import msgspec
import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.cli.main import main
from flows.devkit.embedded import Child, Server, Supervisor
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.visitors import Visitors
from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.recovery import RecoveryError
from flows.runtime.snapshots import offsets_of, states_of
from flows.verification.verify import describe, verify
from operators.io.kafka import client_config, producer_config
from operators.io.kafka.partition import read_partition
from operators.logic.murmur2 import partition_of
from schemas.codec import encode
from schemas.results import DeadLetter
from schemas.settings import Settings, child_environment, environment_of, load
from schemas.topics import GROUP, Topic
from tests.support.live import deployed, until

ROOT = Path(__file__).parents[2]
AHEAD = ROOT / "tests" / "support" / "flow_ahead.py"
TWO_DAYS = 2 * 86_400.0
USER = 1
RUN = [sys.executable, "-m", "flows", "run", "personalize"]


class Deployment:
    """A deployment whose topics keep the times of producers, and one visitor of it."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self.settings = settings
        self._supervisor = supervisor
        self._writer = RecordWriter("clocks", Visitors(7, users=2))
        self._producer = confluent_kafka.Producer(producer_config(settings.kafka))
        self._started = 0
        self.home = partition_of(self._writer.keys[USER], settings.kafka.partitions)
        self.sent: dict[Topic, int] = {}

    @contextmanager
    def running(self, command: list[str] = RUN) -> Iterator[Child]:
        """Run the flow, and kill it once it has taken in all that was sent."""
        self._started += 1
        child = self._supervisor.start(
            f"flow-{self._started}",
            command,
            env=child_environment(self.settings) | {"PYTHONPATH": str(ROOT)},
        )
        yield child
        until(self._is_taken_in, 60.0)
        child.kill()
        self._supervisor.stop(child)

    def ask(self, number: int) -> None:
        """Ask for a decision."""
        now = time.time()
        self._send(Topic.DECISION_REQUESTS, self._writer.request(number, USER, 0, now), now)

    def see(self, number: int) -> None:
        """See what was decided."""
        now = time.time()
        action = str(self.decision(number)["action_id"])
        self._send(Topic.IMPRESSIONS, self._writer.impression(number, USER, action, now), now)

    def click(self, number: int, ahead: float = 0.0) -> None:
        """Click, by a clock that is ahead by some seconds."""
        at = time.time() + ahead
        self._send(Topic.CLICKS, self._writer.click(number, USER, at), at)

    def await_answer(self, number: int) -> None:
        """Wait for a decision."""
        until(lambda: bool(self.decision(number)), 30.0)

    def await_read_back(self, decisions: int) -> None:
        """Wait until so many decisions are pending in a snapshot: what comes now comes after."""
        until(lambda: self._taken_in()[Topic.DECISIONS] == decisions, 30.0)

    def await_letters(self, *reasons: str) -> None:
        """Wait for these dead letters, and no others."""
        until(lambda: len(self.letters()) >= len(reasons), 30.0)
        assert sorted(self.letters()) == sorted(reasons)

    def letters(self) -> list[str]:
        """Read the reasons of the dead letters."""
        return [str(letter["reason"]) for letter in self._records(Topic.DEAD_LETTERS)]

    def forge_letter(self, topic: str, offset: int) -> None:
        """Say of a good record that it was dated ahead."""
        letter = DeadLetter(
            reason="time_in_future",
            topic=topic,
            partition=self.home,
            offset=offset,
            size=0,
            hash="",
            time=system_clock(),
        )
        name = self.settings.kafka.topic(Topic.DEAD_LETTERS)
        self._producer.produce(name, encode(letter), partition=self.home)
        assert self._producer.flush(30) == 0

    def decision(self, number: int) -> dict[str, object]:
        """Read the decision of a request; nothing while there is none."""
        name = self._writer.decision_id(number)
        made = [d for d in self._records(Topic.DECISIONS) if d["decision_id"] == name]
        assert len(made) <= 1, "two answers"
        return made[0] if made else {}

    def final_outcomes(self, number: int) -> list[object]:
        """Read the rewards in the final outcomes of a decision."""
        name = self._writer.decision_id(number)
        return [
            outcome["reward"]
            for outcome in self._records(Topic.OUTCOMES)
            if outcome["decision_id"] == name and outcome["status"] == "settled"
        ]

    def _records(self, topic: Topic) -> Iterator[dict[str, object]]:
        for shard in range(self.settings.kafka.partitions_of(topic)):
            for value, _, _, _ in read_partition(self.settings.kafka, topic, shard, system_clock):
                yield msgspec.json.decode(value)

    def _send(self, topic: Topic, value: bytes, stamped: float) -> None:
        self.sent[topic] = self.sent.get(topic, 0) + 1
        name, key = self.settings.kafka.topic(topic), self._writer.keys[USER]
        self._producer.produce(name, value, key, timestamp=round(stamped * 1000))
        assert self._producer.flush(30) == 0

    def _is_taken_in(self) -> bool:
        taken = self._taken_in()
        return all(taken[topic] == count for topic, count in self.sent.items())

    def _taken_in(self) -> Counter[Topic]:
        taken: Counter[Topic] = Counter()
        try:
            offsets = offsets_of(PERSONALIZE, states_of(self.settings, PERSONALIZE))
        except RecoveryError:  # no snapshot yet
            return taken
        for (topic, _), offset in offsets.items():
            taken[topic] += offset
        return taken


@pytest.fixture
def deployment(
    broker: Server,
    valkey: Server,
    topic_prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Deployment]:
    old = AdminClient(client_config(deployed_settings(broker, topic_prefix).kafka))
    names = [f"{topic_prefix}{topic.value}" for topic in GROUP]
    for made in old.create_topics([NewTopic(name, 2, 1) for name in names]).values():
        made.result(timeout=20)
    settings = deployed(broker, valkey, topic_prefix, tmp_path)
    for name, value in environment_of(settings).items():
        monkeypatch.setenv(name, value)
    with Supervisor(tmp_path / "logs") as supervisor:
        yield Deployment(settings, supervisor)


def deployed_settings(broker: Server, prefix: str) -> Settings:
    return load(
        {}, secret="sixteen letters!", bootstrap_servers=broker.address, topic_prefix=prefix
    )


def test_a_click_dated_two_days_ahead_silences_nobody(deployment: Deployment) -> None:
    with deployment.running() as flow:
        deployment.ask(0)
        deployment.await_answer(0)
        deployment.see(0)
        deployment.click(0, ahead=TWO_DAYS)
        deployment.await_letters("time_in_future")
        deployment.ask(1)
        deployment.await_answer(1)
        assert flow.log.read_text().count("CreateTime") == 1
    with deployment.running():
        deployment.ask(2)
        deployment.await_answer(2)
        deployment.click(0)
    assert deployment.letters() == ["time_in_future"]
    report = verify(deployment.settings)
    assert report.holds, "\n".join(describe(report))
    assert report.requests == report.decisions == 3
    deployment.forge_letter("clicks", 1)
    assert verify(deployment.settings).holds, "a letter that its times do not bear out"


def test_a_watermark_that_ran_ahead_stands_still_until_it_is_lowered(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    with deployment.running([sys.executable, str(AHEAD)]):
        deployment.ask(0)
        deployment.await_answer(0)
        deployment.see(0)
        deployment.click(0)
        deployment.ask(1)
        deployment.await_answer(1)
        deployment.click(1, ahead=TWO_DAYS)
        deployment.await_letters("outside_window")
        until(lambda: bool(deployment.final_outcomes(0)))
        deployment.ask(2)
        deployment.await_letters("outside_window", "stale_request")
        assert main(["state", "lower-watermark"]) == 2
        assert "in use" in capsys.readouterr().err
    with deployment.running() as flow:
        deployment.ask(3)
        deployment.await_letters("outside_window", "stale_request", "stale_request")
        assert "lower-watermark" in flow.log.read_text()
    settled = deployment.final_outcomes(0)
    assert main(["state", "lower-watermark"]) == 0
    said = capsys.readouterr().out
    for step in ("records 0", "admit.hold", "keep", "life", "learn.slot", "queue.admit"):
        assert step in said or step == "admit.hold", said
    assert main(["state", "lower-watermark"]) == 0
    assert "nothing in the recovery store lies after" in capsys.readouterr().out
    with deployment.running():
        deployment.ask(4)
        deployment.await_answer(4)
        deployment.see(4)
        deployment.click(4)
        deployment.ask(0)  # once more: it has its answer
        deployment.see(0)
        deployment.click(0)
    report = verify(deployment.settings)
    assert report.holds, "\n".join(describe(report))
    assert report.decisions == 3
    assert deployment.final_outcomes(0) == settled, "it is settled once"
    assert not deployment.final_outcomes(4)
