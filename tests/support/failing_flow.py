"""A flow whose steps fail, started again whenever it dies, and the records that it is given."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import confluent_kafka
import msgspec

from flows.devkit.embedded import Server
from flows.registry import FLOWS
from flows.runtime import endings, runner
from flows.runtime.clock import system_clock
from flows.runtime.quarantine.files import QuarantineFiles
from flows.runtime.recovery import RecoveryError, recovery_folder
from flows.runtime.snapshots import offsets_of, states_of
from operators.io.kafka import create_topics, producer_config
from operators.io.kafka.client import consumer, range_of
from operators.io.kafka.partition import read_partition
from operators.io.store.open import migrate
from schemas.catalog import Action, FeatureSpec, PolicySettings, Slot
from schemas.codec import encode
from schemas.results import DeadLetter
from schemas.settings import Settings, load
from schemas.topics import Topic
from tests.support.failing_steps import Fault, failing

SECRET = "a secret of the tests"
START = datetime.now(UTC) - timedelta(minutes=30)
"""Long ago enough for every window to be closed by what comes last."""

_PATIENCE = 300.0
"""Seconds that a flow may take, on a machine that has much else to do."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["tests.support.failing_steps", "flows.personalize", "flows.persist"]
)


def execute(flow: str, settings: Settings, faults: Sequence[Fault], log: str) -> None:
    """Be one execution of a flow with these faults in its steps."""
    failing(faults)
    with open(log, "a") as said:
        sys.stderr = said
        try:
            runner.run(flow, settings, again=endings.ask_for_start)
        except Exception as error:  # what ``banditflow run`` would say
            endings.say(error)
            endings.end(endings.REFUSED)


class Flow:
    """A flow that is started again whenever it dies, as its supervisor does it."""

    def __init__(
        self, name: str, settings: Settings, faults: Sequence[Fault], folder: Path
    ) -> None:
        self.name, self.settings, self.faults = name, settings, faults
        self.log = folder / f"{name}.log"
        self.executions = 0
        self._reader = consumer(settings.kafka)

    def run_until_settled(self, most: int, done: Callable[[], bool] = lambda: True) -> int | None:
        """Run it until it has taken in everything and is done; give the status of a refusal."""
        deadline = time.monotonic() + _PATIENCE
        while self.executions < most and time.monotonic() < deadline:
            self.executions += 1
            process = CONTEXT.Process(
                target=execute, args=(self.name, self.settings, self.faults, str(self.log))
            )
            process.start()
            while process.is_alive() and time.monotonic() < deadline:
                process.join(0.05)
                if self._has_settled() and done() and self._has_settled():
                    process.terminate()
                    process.join()
                    return None
            if process.exitcode == endings.REFUSED:
                return endings.REFUSED
            process.kill()
        raise AssertionError(
            f"{self.name} is not done after {self.executions} executions:\n"
            f"{self.log.read_text()[-3000:]}"
        )

    def quarantined(self) -> list[tuple[str, str]]:
        """Read step and error of all that was quarantined or dropped."""
        files = QuarantineFiles(recovery_folder(self.settings, self.name))
        return [(each.step, each.error) for each in files.quarantined()]

    def _has_settled(self) -> bool:
        """Say whether its last snapshot holds everything, and no search goes on."""
        flow = FLOWS[self.name]
        files = QuarantineFiles(recovery_folder(self.settings, self.name))
        if files.history().search is not None:
            return False
        try:
            offsets = offsets_of(flow, states_of(self.settings, flow))
        except RecoveryError:
            return False
        return all(
            offsets.get((topic, k), 0) == self._end(topic, k)
            for topic in flow.resumes
            for k in range(self.settings.kafka.partitions_of(topic))
        )

    def _end(self, topic: Topic, partition: int) -> int:
        name = self.settings.kafka.topic(topic)
        return range_of(self.settings.kafka, self._reader, name, partition)[1]


def slot(name: str, **changes: Any) -> list[Slot | Action]:
    """A slot with two actions that decides by one number."""
    fields: dict[str, Any] = {
        "policy": PolicySettings(kind="logistic"),
        "features": FeatureSpec(numeric=["x"]),
        "reward_window": 300.0,
    }
    long_ago = START - timedelta(days=1)
    return [
        Slot(id=f"slot-{name}", time=long_ago, slot_id=name, **(fields | changes)),
        *(
            Action(id=f"{name}-{each}", time=long_ago, action_id=f"{name}-{each}", slots=[name])
            for each in ("a", "b")
        ),
    ]


class Records:
    """Writes records of visitors, a second of event time after each other."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer = confluent_kafka.Producer(producer_config(settings.kafka))
        self._second = 0
        self.good: list[str] = []
        """The ids of the requests on which nothing fails."""

    def catalog(self, entries: Sequence[Slot | Action]) -> None:
        for entry in entries:
            self._write(Topic.CATALOG, entry.id, encode(entry), 0)
        self.flush()

    def request(
        self,
        name: str,
        slot_id: str = "home",
        x: float = 1.0,
        *,
        good: bool = False,
        events: Sequence[Topic] = (Topic.IMPRESSIONS, Topic.CLICKS),
    ) -> None:
        """A visitor who asks, sees and clicks."""
        self.good += [name] if good else []
        asked = self.event(
            Topic.DECISION_REQUESTS, name, slot_id=slot_id, context={"x": x}, subject=f"v-{name}"
        )
        for topic in events:
            self.event(topic, f"{name}-{topic}", decision_id=name, slot_id=slot_id, subject=asked)

    def wait(self, seconds: int) -> None:
        """Let event time pass."""
        self._second += seconds

    def consent(self, name: str) -> None:
        """The visitor of a request agrees to a profile."""
        self.event(
            Topic.CONSENTS, f"{name}-c", subject=f"v-{name}", type="consent", purposes=[1, 5, 6]
        )

    def event(self, topic: Topic, name: str, *, subject: str, **fields: Any) -> str:
        self._second += 1
        time = START + timedelta(seconds=self._second)
        record = {"id": name, "time": time.isoformat(), "subject": subject, **fields}
        self._write(topic, subject, msgspec.json.encode(record))
        return subject

    def raw(self, topic: Topic, payload: bytes, partition: int = 0) -> None:
        self._write(topic, None, payload, partition)

    def flush(self) -> None:
        assert self._producer.flush(20) == 0

    def _write(self, topic: Topic, key: str | None, payload: bytes, partition: int = -1) -> None:
        self._producer.produce(
            self._settings.kafka.topic(topic), payload, key and key.encode(), partition
        )


def letters(settings: Settings) -> Iterator[tuple[DeadLetter, bytes]]:
    """Read the dead letters."""
    for partition in range(settings.kafka.partitions):
        for payload, *_ in read_partition(
            settings.kafka, Topic.DEAD_LETTERS, partition, system_clock
        ):
            yield msgspec.json.decode(payload, type=DeadLetter), payload


def processing_errors(settings: Settings) -> list[DeadLetter]:
    """Read the dead letters of quarantined records, which say nothing of their values."""
    errors = [
        (letter, raw) for letter, raw in letters(settings) if letter.reason == "processing_error"
    ]
    assert not any(b"visitor-secret" in raw or b"m-" in raw for _, raw in errors)
    places = [
        (letter.topic, letter.partition, letter.offset) for letter, _ in errors if letter.size
    ]
    assert len(set(places)) == len(places)
    return [letter for letter, _ in errors]


def answers(settings: Settings) -> list[str]:
    """Read the decision id of every decision."""
    return [
        msgspec.json.decode(payload)["decision_id"]
        for partition in range(settings.kafka.partitions)
        for payload, *_ in read_partition(settings.kafka, Topic.DECISIONS, partition, system_clock)
    ]


def deployment(
    broker: Server, valkey: Server, topic_prefix: str, folder: Path, **changes: Any
) -> Settings:
    """Make the topics and the store of a deployment of two partitions."""
    settings = load(
        {},
        secret=SECRET,
        bootstrap_servers=broker.address,
        redis_url=f"redis://{valkey.address}/0",
        topic_prefix=topic_prefix,
        store=f"sqlite:{folder / 'store.db'}",
        partitions=2,
        recovery=str(folder / "recovery"),
        epoch=1,
        metrics_port=0,
        idle_after=0.2,
        allowed_lateness=5.0,
        profile_interval=1.0,
    )
    create_topics(settings.kafka)
    migrate(settings.store, system_clock())
    return settings
