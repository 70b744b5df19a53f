"""A decider that learns nothing: it answers every readable request, seeded, on a real broker."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import confluent_kafka
import msgspec

from flows.devkit.demo_catalog import ARTICLES, SLOT, action_id
from operators.io.kafka.client import consumer_config, producer_config, range_of
from schemas.codec import Flaw, decode
from schemas.events import Decision, DecisionRequest, Ranked
from schemas.settings import Settings
from schemas.topics import Topic

ACTIONS = 20
STALENESS = timedelta(seconds=0.25)


@contextmanager
def echo_decider(settings: Settings, skip: int = 0) -> Iterator[None]:
    """Decide uniformly at random until the block ends; every ``skip``-th request is left out."""
    stop, ready = threading.Event(), threading.Event()
    thread = threading.Thread(target=_decide, args=(settings, skip, stop, ready), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def _decide(settings: Settings, skip: int, stop: threading.Event, ready: threading.Event) -> None:
    consumer = confluent_kafka.Consumer(
        consumer_config(settings.kafka) | {"enable.partition.eof": False}
    )
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    name = settings.kafka.topic(Topic.DECISION_REQUESTS)
    consumer.assign(
        [
            confluent_kafka.TopicPartition(name, k, range_of(settings.kafka, consumer, name, k)[1])
            for k in range(settings.kafka.partitions)
        ]
    )
    ready.set()
    rng, seen = random.Random(0), 0
    while not stop.is_set():
        producer.poll(0)
        for message in consumer.consume(500, 0.01):
            if message.error():
                continue
            request = decode(Topic.DECISION_REQUESTS, message.value())
            if isinstance(request, Flaw):
                continue
            known = request.slot_id in (SLOT, ARTICLES)
            if not known or not request.decision_id or "-" not in request.decision_id:
                continue
            seen += 1
            if skip and seen % skip == 0:
                continue
            decision = _decision(request, rng)
            producer.produce(
                settings.kafka.topic(Topic.DECISIONS),
                msgspec.json.encode(decision),
                message.key(),
                message.partition(),
            )
    producer.flush(10)
    consumer.close()


def _decision(request: DecisionRequest, rng: random.Random) -> Decision:
    if request.actions:
        brought = rng.choice(request.actions)
        action = brought if isinstance(brought, str) else brought.id
    else:
        action = action_id(rng.randrange(ACTIONS))
    return Decision(
        id=f"decision-{request.id}",
        time=request.time,
        subject=None,
        decision_id=request.decision_id or request.id,
        key="0" * 16,
        slot_id=request.slot_id,
        action_id=action,
        ranking=[Ranked(action, 1.0 / ACTIONS)],
        propensity=1.0 / ACTIONS,
        policy="echo",
        policy_version=1,
        expires_at=request.time + timedelta(seconds=10),
        variation_id="holdout" if rng.random() < 0.1 else "policy",
        policy_time=request.time - STALENESS,
        decided_at=datetime.now(UTC),
    )
