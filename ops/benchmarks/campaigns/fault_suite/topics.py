"""Partitions without traffic, and topics whose retention deleted what is to be read next."""

import time
from collections.abc import Iterator

import confluent_kafka
import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.visitors import Visitors
from flows.registry import PERSIST, PERSONALIZE
from flows.runtime.clock import system_clock
from operators.io.kafka import client_config
from operators.io.kafka.partition import read_partition
from operators.logic.murmur2 import partition_of
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.disks import NotHere
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.lab import Lab
from schemas.topics import Topic
from tests.support.stage import SEED, Record, Stage, StagedFlow, until

WINDOW = 20.0
LATENESS = 5.0
BUSY = 1
"""The only partition with traffic."""


def silence_partitions(found: Finding, lab: Lab) -> None:
    """Let only visitors of one partition ask, and see what they got; then wait for settlement."""
    stage = lab.stage("quiet", window=WINDOW, allowed_lateness=LATENESS)
    flow, persist = stage.run_both()
    count = lab.portion
    stage.produce(asked_in(stage, BUSY, "quiet", count))
    until("all answers", lambda: sum(stage.ends(Topic.DECISIONS).values()) >= count)
    found.exactly("decisions by partition", {BUSY: count}, _some(stage.ends(Topic.DECISIONS)))
    stage.produce(_seen_in(stage, BUSY, "quiet", count))
    waited = until("settlement", lambda: _settled(stage) == count, WINDOW + LATENESS + 60.0)
    limit = WINDOW + LATENESS + 15.0
    found.that(
        f"all {count:,} outcomes settled, with three of four partitions silent",
        f"< {limit:.0f} s (window {WINDOW:.0f} s, lateness {LATENESS:.0f} s)",
        f"{waited:.0f} s",
        waited < limit,
    )
    judge(found, stage, flow, requests=count, shown=count)
    persist.stop()


def delete_what_comes_next(found: Finding, lab: Lab) -> None:
    """Delete the records at each flow's resume offset while it is stopped, and start it."""
    stage = lab.stage("retention")
    flow, persist = stage.run_both()
    with stage.visitors(lab.rate) as visitors:
        stage.answered(visitors, lab.portion)
        until("offsets of persist", lambda: bool(stage.resumes_from(PERSIST.name)))
        persist.stop()
        stage.answered(visitors, lab.portion)
    stage.settle(PERSONALIZE.name)
    flow.stop()
    stage.produce(asked_in(stage, BUSY, "deleted", 100))
    for name, topic in (
        (PERSONALIZE.name, Topic.DECISION_REQUESTS),
        (PERSIST.name, Topic.DECISIONS),
    ):
        offset = stage.resumes_from(name)[topic, BUSY]
        low = _delete(stage, topic, BUSY)
        before = stage.ends(Topic.DECISIONS), stage.counts()["decisions"]
        refused = stage.run(name, supervised=False)
        status = refused.ended()
        after = stage.ends(Topic.DECISIONS), stage.counts()["decisions"]
        found.that(
            f"{name} resumes at {offset:,} of {topic.value}, deleted below {low:,}",
            "status 2, naming topic, partition and offsets",
            f"status {status}: {_reason(refused)}",
            status == 2 and _names(refused, stage.settings.kafka.topic(topic), offset, low),
        )
        found.exactly(f"{name} wrote nothing", True, before == after)


def _names(flow: StagedFlow, topic: str, offset: int, low: int) -> bool:
    wanted = (f"topic {topic!r}, partition {BUSY}", f"offset {offset} ", f"only {low} to")
    return all(words in _reason(flow) for words in wanted)


def _reason(flow: StagedFlow) -> str:
    """Give what a flow that stopped said for people."""
    lines = [line for line in flow.log.splitlines() if line.startswith("banditflow:")]
    return lines[-1] if lines else "nothing"


def _delete(stage: Stage, topic: Topic, partition: int) -> int:
    """Delete all that a partition holds; give its first offset from now on."""
    end = stage.ends(topic)[partition]
    place = TopicPartition(stage.settings.kafka.topic(topic), partition, end)
    admin = AdminClient(client_config(stage.settings.kafka))
    try:
        (done,) = admin.delete_records([place]).values()
        return int(done.result(timeout=20).low_watermark)
    except confluent_kafka.KafkaException as error:
        raise NotHere(f"this broker deletes no records: {error}") from error


def asked_in(stage: Stage, partition: int, run: str, count: int) -> Iterator[Record]:
    """Give requests of visitors who belong to one partition."""
    writer, now = RecordWriter(run, Visitors(SEED)), time.time()
    for number, user in enumerate(_users(stage, writer, partition, count)):
        yield Topic.DECISION_REQUESTS, writer.keys[user], writer.request(number, user, 0, now), -1


def _seen_in(stage: Stage, partition: int, run: str, count: int) -> Iterator[Record]:
    """Give the impressions of these requests, and a click for every fifth."""
    writer, now = RecordWriter(run, Visitors(SEED)), time.time()
    for number, user in enumerate(_users(stage, writer, partition, count)):
        key = writer.keys[user]
        shown = msgspec.json.decode(writer.impression(number, user, "", now))
        del shown["action_id"]
        yield Topic.IMPRESSIONS, key, msgspec.json.encode(shown), -1
        if number % 5 == 0:
            yield Topic.CLICKS, key, writer.click(number, user, now), -1


def _users(stage: Stage, writer: RecordWriter, partition: int, count: int) -> list[int]:
    shards = stage.settings.kafka.partitions
    own = [user for user, key in enumerate(writer.keys) if partition_of(key, shards) == partition]
    return [own[number % len(own)] for number in range(count)]


def _settled(stage: Stage) -> int:
    outcomes = read_partition(stage.settings.kafka, Topic.OUTCOMES, BUSY, system_clock)
    return sum(b'"settled"' in payload for payload, _, _, _ in outcomes)


def _some(ends: dict[int, int]) -> dict[int, int]:
    return {k: end for k, end in ends.items() if end}
