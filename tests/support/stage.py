"""A deployment that a fault is done to: topics of its own, both flows as processes, visitors."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import confluent_kafka
from confluent_kafka import TopicPartition

from flows.devkit.demo_catalog import demo_catalog
from flows.devkit.embedded import Child, Supervisor
from flows.devkit.simulation import Simulator
from flows.devkit.simulation.tally import SimulatorReport
from flows.registry import FLOWS, PERSIST, PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.recovery import RecoveryError
from flows.runtime.snapshots import offsets_of, states_of
from operators.io.kafka import consumer_config, create_topics, producer_config
from operators.io.store.open import migrate, open_store
from schemas.catalog import PolicySettings
from schemas.codec import encode
from schemas.settings import child_environment, load
from schemas.topics import Topic
from tests.support.parts import range_of

SEED = 7
PATIENCE = 200.0
ROOT = str(Path(__file__).parents[2])
Record = tuple[Topic, bytes | None, bytes, int]
"""Topic, key, value and partition (-1: by the key)."""

ANY_END = range(-64, 256)


class InVain(RuntimeError):  # noqa: N818 - it reads as what is the case
    """Something that was waited for did not come to pass: there is no figure."""


def until(what: str, condition: Callable[[], bool], seconds: float = PATIENCE) -> float:
    """Wait until the condition holds; give the seconds that it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise InVain(f"waited {seconds:.0f} s in vain for: {what}")
        time.sleep(0.05)
    return time.monotonic() - started


class StagedFlow:
    """A flow as a process that can be killed, and started again on the same state."""

    def __init__(
        self, stage: "Stage", label: str, command: Sequence[str], env: Mapping[str, str]
    ) -> None:
        self._stage = stage
        self._label = f"{stage.name}-{label}"
        self._command = command
        self._env = env
        self.child = self._start()

    @property
    def log(self) -> str:
        """What it said so far, in all its lives."""
        return self.child.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.child.kill()
        self._stage.parts.supervisor.stop(self.child)

    def restart(self) -> None:
        """Start it again."""
        self.child = self._start()

    def stop(self) -> None:
        """End it by SIGTERM."""
        self._stage.parts.supervisor.stop(self.child)

    def ended(self, seconds: float = PATIENCE) -> int:
        """Wait until it has ended by itself, and give its exit status."""
        status = self.child.wait(seconds)
        if status is None:
            raise InVain(f"{self._label} did not end within {seconds:.0f} s")
        return status

    def resident(self) -> int:
        """Give its resident memory in bytes."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def _start(self) -> Child:
        supervisor = self._stage.parts.supervisor
        return supervisor.start(
            self._label, self._command, env=self._env, cwd=self._stage.folder, may_end=ANY_END
        )


class Parts(Protocol):
    """Where the flows of a deployment find their services, and what starts their processes."""

    folder: Path
    supervisor: Supervisor

    @property
    def bootstrap_servers(self) -> str:
        """The broker's address."""

    @property
    def redis_url(self) -> str:
        """Valkey's address."""


class Stage:
    """A deployment of its own on these parts, with the demo's catalog.

    ``window`` is its reward window in seconds, ``changes`` are settings. The flows run in
    ``folder``, which holds the recovery stores and the store.
    """

    def __init__(self, parts: Parts, name: str, *, window: float = 120.0, **changes: Any) -> None:
        self.parts, self.name = parts, name
        self.folder = parts.folder / name
        self.folder.mkdir()
        fields: dict[str, Any] = {
            "secret": "only for tests and campaigns",
            "bootstrap_servers": parts.bootstrap_servers,
            "redis_url": parts.redis_url,
            "topic_prefix": f"{name}-",
            "store": f"sqlite:{self.folder / 'store.db'}",
            "recovery": str(self.folder / "recovery"),
            "epoch": 1,
            "metrics_port": 0,
        }
        self.settings = load({}, **(fields | changes))
        create_topics(self.settings.kafka)
        migrate(self.settings.store, system_clock())
        self.produce(
            (Topic.CATALOG, entry.id.encode(), encode(entry), 0)
            for entry in demo_catalog(SEED, PolicySettings(kind="logistic"), reward_window=window)
        )
        self._flows: list[StagedFlow] = []
        self._reader = confluent_kafka.Consumer(consumer_config(self.settings.kafka))

    def run(
        self,
        flow: str,
        *,
        supervised: bool = True,
        label: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> StagedFlow:
        """Start a flow; supervised it is started again when it dies, as in production."""
        command = [sys.executable, "-m", "flows", "run", flow]
        if supervised:
            command += ["--processes=1", f"--logs={self.folder / 'logs'}"]
        env = child_environment(self.settings) | {"PYTHONPATH": ROOT}
        env |= environment or {}
        started = StagedFlow(self, label or flow, command, env)
        self._flows.append(started)
        return started

    def close(self) -> None:
        """End the flows that still run."""
        for flow in self._flows:
            if flow.child.running:
                flow.kill()
        self._reader.close()

    def run_both(self) -> tuple[StagedFlow, StagedFlow]:
        """Start both flows, supervised."""
        return self.run(PERSONALIZE.name), self.run(PERSIST.name)

    @contextmanager
    def visitors(self, rate: float, **options: Any) -> Iterator[Simulator]:
        """Let visitors ask within the block; ``report`` tells of them afterwards."""
        simulator = Simulator(self.settings, rate, SEED, patience=PATIENCE, **options)
        reports: list[SimulatorReport] = []
        thread = threading.Thread(target=lambda: reports.append(simulator.run()))
        thread.start()
        try:
            yield simulator
        finally:
            simulator.stop()
            thread.join()
        if not reports:
            raise InVain(f"{self.name}: the visitors failed")
        self.report = reports[0]

    def answered(self, simulator: Simulator, more: int) -> None:
        """Wait until visitors have seen so many more decisions, and hardly one waits for more."""
        first = simulator.progress().decisions

        def answered() -> bool:
            now = simulator.progress()
            return now.decisions - first >= more and now.requests - now.decisions < more / 10

        until(f"{more} more decisions", answered)

    def resumed(self, simulator: Simulator, more: int) -> float:
        """Wait until visitors have seen so many more decisions, and give the seconds."""
        wanted = simulator.progress().decisions + more
        return until(f"{more} decisions", lambda: simulator.progress().decisions >= wanted)

    def produce(self, records: Iterable[Record]) -> None:
        """Write records and wait until the broker has them."""
        producer = confluent_kafka.Producer(producer_config(self.settings.kafka))
        for topic, key, value, partition in records:
            while True:
                try:
                    producer.produce(self.settings.kafka.topic(topic), value, key, partition)
                    break
                except BufferError:
                    producer.poll(0.05)
        if producer.flush(60):
            raise InVain("the broker did not take the records of the stage")

    def ends(self, topic: Topic) -> dict[int, int]:
        """Ask the broker for the end of each partition of a topic."""
        name = self.settings.kafka.topic(topic)
        return {
            k: range_of(self._reader, TopicPartition(name, k))[1]
            for k in range(self.settings.kafka.partitions_of(topic))
        }

    def resumes_from(self, flow: str) -> dict[tuple[Topic, int], int]:
        """Give the offsets that the flow would resume from."""
        try:
            return offsets_of(FLOWS[flow], states_of(self.settings, FLOWS[flow]))
        except RecoveryError:
            return {}

    def lag(self, flow: str) -> int:
        """Give how many records lie between what the flow would resume from and the ends."""
        kept = self.resumes_from(flow)
        return sum(
            end - kept.get((topic, k), 0)
            for topic in FLOWS[flow].resumes
            for k, end in self.ends(topic).items()
        )

    def settle(self, *flows: str, seconds: float = PATIENCE) -> float:
        """Wait until the flows' last snapshots hold everything; give the seconds."""
        names = flows or (PERSONALIZE.name, PERSIST.name)

        def settled() -> bool:
            with suppress(confluent_kafka.KafkaException):
                return all(self.lag(name) == 0 for name in names)
            return False

        return until(f"{self.name}: all in the snapshots of {names}", settled, seconds)

    def said(self, flow: str) -> str:
        """Give what a supervised flow said so far, in all its lives."""
        found = sorted((self.folder / "logs").glob(f"{flow}-*.log"))
        return "".join(log.read_text(errors="replace") for log in found)

    def counts(self) -> dict[str, int]:
        """Count the rows of the store."""
        store = open_store(self.settings.store)
        try:
            return store.counts()
        finally:
            store.close()
