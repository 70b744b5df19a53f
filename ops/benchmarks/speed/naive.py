"""Runs the naive loop (``rivals/naive.py``), over a recorded log and on live traffic."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import confluent_kafka
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.devkit.embedded import Embedded
from ops.benchmarks.speed.loop import Logged
from ops.benchmarks.speed.report import Invalid
from ops.benchmarks.speed.rig import PATIENCE, Process, Rig
from schemas.topics import Topic

RIVALS = Path(__file__).parent / "rivals"
NAIVE = RIVALS / "naive.py"
WINDOW = 10.0
"""Seconds after which a decision that was seen counts as a failure."""

_EVENTS = (Topic.DECISION_REQUESTS, Topic.IMPRESSIONS, Topic.CLICKS)
_LIVE_WAIT = 0.005
"""Seconds for which it waits for a batch of live traffic, as the echo does."""


def merged(
    parts: Embedded, log: Sequence[Logged], name: str, partitions: int, requests: int
) -> dict[str, Any]:
    """Write a log's first events into one topic, in the order of their time; describe it."""
    topic = f"{name}-events"
    admin = AdminClient({"bootstrap.servers": parts.bootstrap_servers})
    new = [NewTopic(each, partitions, 1) for each in (topic, f"{name}-decisions")]
    for created in admin.create_topics(new).values():
        created.result(20)
    producer = confluent_kafka.Producer({"bootstrap.servers": parts.bootstrap_servers})
    records = 0
    for record in log:
        if record.topic is Topic.DECISIONS:
            continue
        requests -= record.topic is Topic.DECISION_REQUESTS
        records += 1
        producer.produce(topic, record.value, record.key, record.shard)
        producer.poll(0)
        if not records % 50_000:
            producer.flush(60)
        if not requests:
            break
    producer.flush(60)
    return {
        "bootstrap": parts.bootstrap_servers,
        "topics": [topic],
        "out": f"{name}-decisions",
        "partitions": partitions,
        "records": records,
        "window": WINDOW,
        "wait": 0.05,
    }


def naive_config(
    parts: Embedded, config: dict[str, Any], actions: int, store: str = ""
) -> dict[str, Any]:
    """Complete a description for the loop that pipelines; without a ``store`` it has no SQL."""
    own = {"pipelined": True, "contextual": False, "count": ""}
    return config | own | {"redis": parts.redis_url, "store": store, "actions": actions}


def finished(
    parts: Embedded, name: str, command: list[str], config: dict[str, Any]
) -> dict[str, float]:
    """Run a rival to the end of its topic, and give what it says of itself."""
    env = {"PATH": "/usr/bin:/bin"}
    process = Process(parts, name, [*command, json.dumps(config)], env)
    try:
        if process.child.wait(PATIENCE) != 0:
            raise Invalid(f"{name}: {process.child.tail(3)}")
    finally:
        process.end()
    found: dict[str, float] = json.loads(process.child.tail(1))
    if found["lost"] > 0.05 * (found["rewards"] + found["lost"]):
        raise Invalid(f"{name}: {found['lost']:,.0f} clicks found no decision")
    return found


class NaiveLive(Process):
    """The naive loop on a deployment's topics, without SQL.

    A decision that was seen counts as a failure after ``window`` seconds.
    """

    def __init__(self, rig: Rig, actions: int, window: float) -> None:
        kafka = rig.settings.kafka
        self._count = rig.folder / "events"
        config = {
            "bootstrap": kafka.bootstrap_servers,
            "topics": [kafka.topic(topic) for topic in _EVENTS],
            "out": kafka.topic(Topic.DECISIONS),
            "partitions": kafka.partitions,
            "records": -1,
            "window": window,
            "wait": _LIVE_WAIT,
        }
        config = naive_config(rig.parts, config, actions) | {"count": str(self._count)}
        command = [sys.executable, str(NAIVE), json.dumps(config)]
        super().__init__(rig.parts, f"{rig.name}-naive", command, {"PATH": "/usr/bin:/bin"})

    @property
    def events(self) -> int:
        """The requests, impressions and clicks that it has taken in."""
        return int(self._count.read_bytes() or 0)
