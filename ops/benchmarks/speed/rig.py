"""A deployment that a benchmark runs a flow on: topics of its own, the flow as a process."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka import TopicPartition

from flows.devkit.embedded import Child, Embedded
from flows.registry import FLOWS, PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.flow_metrics import FlowMetrics, read_metrics
from flows.runtime.ports import free_port
from flows.runtime.recovery import RecoveryError
from flows.runtime.snapshots import offsets_of, states_of
from operators.io.kafka import consumer_config, create_topics, producer_config
from operators.io.store.open import migrate
from ops.benchmarks.reporting.machine import ROOT
from ops.benchmarks.speed.loop import SECRET, Logged
from ops.benchmarks.speed.report import Invalid
from schemas.catalog import CatalogEntry
from schemas.codec import encode
from schemas.settings import Settings, child_environment, environment_of, load
from schemas.topics import Topic

PATIENCE = 600.0
_TICKS = os.sysconf("SC_CLK_TCK")
_ANY_END = range(-64, 256)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was known of a flow at a moment: monotonic seconds, CPU seconds, resident bytes.

    ``events`` are requests, impressions, clicks and consents taken in: decisions do not count.
    """

    at: float
    cpu: float
    resident: int
    events: int


class Process:
    """A flow or a baseline as one process of its own."""

    def __init__(
        self, parts: Embedded, label: str, command: list[str], env: dict[str, str]
    ) -> None:
        self._parts = parts
        self.label = label
        self.started = time.monotonic()
        self.child: Child = parts.supervisor.start(
            label, command, env=env, cwd=parts.folder, may_end=_ANY_END
        )

    @property
    def cpu(self) -> float:
        """The CPU seconds, user and system, of all its threads."""
        return sum(_cpu(pid) for pid in self.pids)

    @property
    def resident(self) -> int:
        """Its resident memory in bytes."""
        return sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in self.pids
        )

    @property
    def pids(self) -> list[int]:
        """Its process and those that this one has started."""
        found = [self.child.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(FileNotFoundError):  # the thread has ended
                    found += map(int, task.read_text().split())
        return found

    def check(self) -> None:
        """Raise :class:`Invalid` when it has ended."""
        if not self.child.running:
            raise Invalid(f"{self.label} ended by itself: {self.child.tail(3)}")

    def end(self) -> None:
        """End it by SIGKILL, if it still runs."""
        if self.child.running:
            self.child.kill()
        self._parts.supervisor.stop(self.child)


class FlowProcess(Process):
    """A flow of ours, or of the checkout in ``folder``; its own metrics say what it has taken in.

    ``module`` is what runs it; ``extra`` is added to its environment.
    """

    def __init__(
        self,
        rig: "Rig",
        flow: str,
        life: int = 0,
        processes: int = 1,
        folder: Path = ROOT,
        module: str = "flows",
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.flow = flow
        port = free_port()
        self.urls = [f"http://127.0.0.1:{port + k}/metrics" for k in range(processes)]
        settings = rig.settings.replaced(metrics_port=port)
        command = [sys.executable, "-m", module, "run", flow]
        if processes > 1:
            command += [f"--processes={processes}", f"--logs={rig.folder / 'logs'}"]
        env = _environment(settings) | {"PYTHONPATH": str(folder.resolve())} | dict(extra or {})
        super().__init__(rig.parts, f"{rig.name}-{flow}-{life}", command, env)

    def metrics(self) -> FlowMetrics:
        """Read the metrics of its first process; empty while it does not serve them."""
        return self.all_metrics()[0]

    def all_metrics(self) -> list[FlowMetrics]:
        """Read the metrics of each of its processes."""
        self.check()
        return [read_metrics(url, timeout=10.0) or FlowMetrics() for url in self.urls]

    def sample(self) -> tuple[Sample, list[FlowMetrics]]:
        """Take a sample, and the metrics that it is from."""
        found = self.all_metrics()
        events = 0.0
        for each in found:
            by_topic = each.by("banditflow_events_in_total", "topic")
            events += sum(n for t, n in by_topic.items() if t != Topic.DECISIONS.value)
        return Sample(time.monotonic(), self.cpu, self.resident, int(events)), found


class Rig:
    """Topics with a prefix of their own on the parts' broker, the loop's catalog in them.

    ``changes`` are settings.
    """

    def __init__(
        self, parts: Embedded, name: str, catalog: Iterable[CatalogEntry], **changes: Any
    ) -> None:
        self.parts, self.name = parts, name
        self.folder = parts.folder / name
        self.folder.mkdir()
        fields: dict[str, Any] = {
            "secret": SECRET,
            "bootstrap_servers": parts.bootstrap_servers,
            "redis_url": parts.redis_url,
            "topic_prefix": f"{name}-",
            "store": f"sqlite:{self.folder / 'store.db'}",
            "recovery": str(self.folder / "recovery"),
            "epoch": 2,
            "allowed_lateness": 5.0,
        }
        self.settings = load({}, **(fields | changes))
        create_topics(self.settings.kafka)
        migrate(self.settings.store, system_clock())
        self.write(
            Logged(Topic.CATALOG, 0, entry.id.encode(), encode(entry), 0) for entry in catalog
        )

    def write(self, log: Iterable[Logged]) -> None:
        """Write records and wait until the broker has them."""
        producer = confluent_kafka.Producer(producer_config(self.settings.kafka))
        for record in log:
            topic = self.settings.kafka.topic(record.topic)
            while True:
                try:
                    producer.produce(topic, record.value, record.key, record.shard)
                    break
                except BufferError:
                    producer.poll(0.05)
        if producer.flush(120):
            raise Invalid("the broker did not take the log")

    def ends(self, topic: Topic) -> dict[int, int]:
        """Ask the broker for the end of each partition of a topic."""
        client = confluent_kafka.Consumer(consumer_config(self.settings.kafka))
        name = self.settings.kafka.topic(topic)
        try:
            return {
                k: client.get_watermark_offsets(TopicPartition(name, k), timeout=20.0)[1]
                for k in range(self.settings.kafka.partitions_of(topic))
            }
        finally:
            client.close()

    def lag(self, flow: str) -> int:
        """Give how many records lie between what the flow would resume from and the ends."""
        registered = FLOWS[flow]
        try:
            offsets = offsets_of(registered, states_of(self.settings, registered))
        except RecoveryError:
            offsets = {}
        return sum(
            end - offsets.get((topic, k), 0)
            for topic in registered.resumes
            for k, end in self.ends(topic).items()
        )

    def settle(self, process: Process, flow: str = PERSONALIZE.name) -> None:
        """Wait until the flow's last snapshots hold everything."""

        def settled() -> bool:
            process.check()
            return self.lag(flow) == 0

        until(f"everything in a snapshot of {flow}", settled, every=0.5)


def until(
    what: str, condition: Callable[[], bool], seconds: float = PATIENCE, every: float = 0.1
) -> None:
    """Wait until the condition holds, or raise :class:`Invalid`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Invalid(f"waited {seconds:.0f} s in vain for: {what}")
        time.sleep(every)


def histogram(found: list[FlowMetrics], name: str) -> dict[str, float]:
    """Sum a histogram's cumulative counts by upper bound."""
    total: dict[str, float] = {}
    for each in found:
        for bound, count in each.by(f"{name}_bucket", "le").items():
            total[bound] = total.get(bound, 0.0) + count
    return total


def quantile(buckets: dict[str, float], q: float) -> float | None:
    """Give the upper bound of the bucket that holds a quantile; None without any value.

    >>> quantile({"0.1": 5.0, "0.5": 99.0, "+Inf": 100.0}, 0.99)
    0.5
    """
    counts = sorted((float(bound), count) for bound, count in buckets.items())
    if not counts or not counts[-1][1]:
        return None
    return next(bound for bound, count in counts if count >= q * counts[-1][1])


def _environment(settings: Settings) -> dict[str, str]:
    """Name to a flow what is not a default: another checkout has defaults of its own."""
    default = environment_of(load({}, secret=f"not {SECRET}"))
    found = child_environment(settings)
    return {name: value for name, value in found.items() if default.get(name) != value}


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
