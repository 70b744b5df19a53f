"""Whatever lies on the topics that flows and commands read: they start, go on, and say it once."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flows.devkit.demo_catalog import SLOT, demo_catalog
from flows.devkit.embedded import Server, Supervisor
from flows.registry import PERSONALIZE
from flows.reports.inspection import NotFoundError
from flows.reports.inspection import slot as inspected
from flows.runtime.clock import system_clock
from flows.runtime.snapshots import states_of
from flows.runtime.warm_start import WarmStartError, before_run
from flows.verification.log import record_log
from flows.verification.state_dump import PARTS, dump
from flows.verification.verify import verify
from operators.io.kafka import create_topics
from operators.io.store.open import migrate, open_store
from operators.logic.murmur2 import partition_of
from schemas.codec import decode, encode
from schemas.events import DecisionBack, DecisionRequest
from schemas.results import DeadLetter
from schemas.settings import Settings, load
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import log_of, produce
from tests.support.recording.runs import run_to_the_end

SHARDS = 2
PER_ROUND = 40
READ = PERSONALIZE.reads
CATALOG = demo_catalog(3, actions=3)
GOOD = {
    Topic.DECISIONS: make.decision(7, slot_id="nowhere"),
    Topic.OUTCOMES: make.outcome(7, slot_id="nowhere"),
    Topic.DEAD_LETTERS: make.dead_letter(7),
    Topic.POLICIES: make.policy("nowhere", 7),
    Topic.CHECKPOINTS: make.checkpoint("nowhere"),
    Topic.PROFILES: make.profile("nobody", 7),
}


def strange(rng: np.random.Generator, topic: Topic) -> Iterator[bytes]:
    """Make bytes of every kind that are no record: noise, other JSON, damaged records of ours."""
    for size in (1, 30, 3000):
        yield rng.bytes(size)
    yield from (b"", b"null", b"[]", b"{}", b'"key"', b"1e999", b"\xef\xbb\xbf{}", b"[" * 2000)
    yield json.dumps({"key": "f" * 16, "status": "settled", "revision": 10**40}).encode()
    if topic in GOOD:
        good = encode(GOOD[topic])
        for _ in range(4):
            yield good[: int(rng.integers(1, len(good)))]
        for name in (b"key", b"time", b"status", b"offset", b"slot_id", b"subject"):
            if b'"%b":' % name in good:
                yield good.replace(b'"%b":' % name, b'"%b":[]+' % name)


class Deployment:
    """Topics on the embedded broker, a store, and both flows as processes."""

    def __init__(self, server: Server, prefix: str, folder: Path, supervisor: Supervisor) -> None:
        self.settings: Settings = load(
            {},
            secret="a secret of the tests",
            bootstrap_servers=server.address,
            topic_prefix=prefix,
            partitions=SHARDS,
            recovery=str(folder / "recovery"),
            store=f"sqlite:{folder / 'store.db'}",
            epoch=1,
            metrics_port=0,
        )
        self._supervisor = supervisor
        create_topics(self.settings.kafka)
        migrate(self.settings.store, system_clock())
        produce(self.settings, Topic.CATALOG, {0: [encode(entry) for entry in CATALOG]})
        self.asked: set[str] = set()

    def ask(self) -> None:
        """Send good requests."""
        requests: dict[int, list[bytes]] = {shard: [] for shard in range(SHARDS)}
        for number in range(len(self.asked), len(self.asked) + PER_ROUND):
            subject = f"visitor-{number}"
            request = DecisionRequest(
                id=f"r{number}", time=system_clock(), subject=subject, slot_id=SLOT
            )
            requests[partition_of(subject.encode(), SHARDS)].append(encode(request))
            self.asked.add(request.id)
        produce(self.settings, Topic.DECISION_REQUESTS, requests)

    def spoil(self, seed: int) -> None:
        """Write what is no record to every topic."""
        rng = np.random.default_rng(seed)
        for topic in Topic:
            shards = range(self.settings.kafka.partitions_of(topic))
            produce(self.settings, topic, {shard: list(strange(rng, topic)) for shard in shards})

    def run(self, *flows: str) -> None:
        run_to_the_end(self.settings, self._supervisor, flows)

    def written(self, topic: Topic) -> list[object]:
        log = log_of(self.settings, topic)
        return [decode(topic, value) for values in log.values() for value in values]


@pytest.fixture
def deployment(broker: Server, topic_prefix: str, tmp_path: Path) -> Iterator[Deployment]:
    with Supervisor(tmp_path / "logs") as supervisor:
        yield Deployment(broker, topic_prefix, tmp_path, supervisor)


def test_flows_and_commands_go_on_beside_anything(deployment: Deployment, tmp_path: Path) -> None:
    settings = deployment.settings
    deployment.spoil(0)
    with pytest.raises(WarmStartError):
        before_run(settings, "personalize", from_store=True)
    before_run(settings, "personalize", from_store=False)
    for round_ in (1, 2):  # the second time is a resume
        deployment.ask()
        deployment.spoil(round_)
        deployment.run("personalize")
    deployment.run("persist")

    decisions = [each for each in deployment.written(Topic.DECISIONS) if is_decision(each)]
    answered = Counter(each.decision_id for each in decisions)
    assert answered == dict.fromkeys(deployment.asked, 1)
    letters = [each for each in deployment.written(Topic.DEAD_LETTERS) if is_letter(each)]
    places = Counter((each.topic, each.partition, each.offset) for each in letters)
    assert set(places.values()) == {1}
    assert Counter(topic for topic, _, _ in places) == {
        topic: 3 * settings.kafka.partitions_of(topic) * strange_ones(topic) for topic in READ
    }

    verified = verify(settings)
    assert verified.holds, verified
    assert verified.decisions == len(deployment.asked)
    assert verified.outcomes.unreadable == 3 * SHARDS * strange_ones(Topic.OUTCOMES)
    states = states_of(settings, PERSONALIZE)
    for part in PARTS:
        list(dump(settings, states, part))
    store = open_store(settings.store)
    assert store.counts()["decisions"] == len(deployment.asked)
    assert store.counts()["dead_letters"] >= len(places)
    with pytest.raises(NotFoundError):
        inspected(settings, store, "nowhere else")
    store.close()
    assert record_log(settings, tmp_path / "log") > len(places)


def strange_ones(topic: Topic) -> int:
    return len(list(strange(np.random.default_rng(0), topic)))


def is_decision(record: object) -> bool:
    return isinstance(record, DecisionBack) and record.slot_id == SLOT


def is_letter(record: object) -> bool:
    return isinstance(record, DeadLetter) and record.topic in READ
