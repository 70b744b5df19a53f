"""CPU per event of each step of personalize, and of each of its sinks.

The steps run one by one on one thread in a closed loop of event time (``speed/loop.py``): batches
as a backlog makes them, and as live traffic does. Sinks and sources are measured with the whole
process's CPU, their background threads included, on what the loop wrote. An event is a request, an
impression or a click; that each decision is read back costs, but does not count.
"""

import argparse
import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import confluent_kafka
from threadpoolctl import threadpool_limits

import operators.decide.scoring
from flows.devkit.embedded import APACHE_KAFKA, BROKERS, Embedded
from flows.runtime.clock import system_clock
from operators.cache import decision_copies
from operators.envelope import Event, Message, Origin
from operators.io.kafka import KafkaSink, SharedProducer, create_topics
from operators.io.kafka.fetch import SharedConsumer
from operators.io.redis import RedisSink
from operators.io.store.sqlite import SqliteStore
from operators.logic.placement import shard_of
from operators.persist import rows_of
from ops.benchmarks.speed.loop import SEED, Loop, Made
from ops.benchmarks.speed.report import Report
from schemas.codec import encode
from schemas.settings import Settings, load
from schemas.topics import Topic

STEPS = ("decode", "align", "admit", "profile", "attribute", "queue", "decide", "learn")
INSIDE_DECIDE = {
    "_candidates": "decide: features",
    "select": "decide: probabilities and draw",
    "decision_records": "decide: encode",
    "_observe": "decide: metrics",
}


def main() -> None:
    """Measure, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default=APACHE_KAFKA.name)
    parser.add_argument("--actions", type=int, default=10)
    parser.add_argument("--policy", default="logistic")
    parser.add_argument("--requests", type=int, default=60_000, help="measured, after as many")
    parser.add_argument("--backlog", type=int, default=1900, help="requests per turn, 4 shards")
    parser.add_argument("--live", type=int, default=25, help="requests per turn")
    parser.add_argument("--rate", type=float, default=4000.0, help="requests/s of event time")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--no-sinks", action="store_true", help="the steps alone")
    parser.add_argument("--quick", action="store_true", help="10,000 requests")
    args = parser.parse_args()
    if args.quick:
        args.requests, args.rate = 10_000, 600.0  # decisions settle within the warm-up
    raise SystemExit(_measure(args).finish())


def _measure(args: argparse.Namespace) -> Report:
    report = Report("steps", ("step", "backlog: µs/event", "live: µs/event"), vars(args).copy())
    with threadpool_limits(1, user_api="blas"):
        backlog, loop, made = steps(args, args.backlog, args.requests)
        live, _, _ = steps(args, args.live, max(args.requests // 6, 2000))
        for name in (*STEPS, *INSIDE_DECIDE.values()):
            label = f"  {name}" if name in INSIDE_DECIDE.values() else name
            report.rows.append((label, backlog[name], live[name]))
        total = [sum(found[name] for name in STEPS) for found in (backlog, live)]
        report.rows.append(("all steps", *total))
        if not args.no_sinks:
            sinks = ends(args, loop, made)
            report.rows += [(name, value, None) for name, value in sinks.items()]
            mine = sum(value for name, value in sinks.items() if not name.startswith("persist"))
            report.rows.append(("all of personalize but Bytewax", total[0] + mine, None))
    return report


def steps(
    args: argparse.Namespace, requests: int, count: int
) -> tuple[dict[str, float], Loop, list[Made]]:
    """Run a loop; give µs per event by step, and what the measured turns wrote."""
    loop = Loop(args.rate, args.policy, args.actions, seed=args.seed, keep=True)
    for _ in range(count // requests):
        loop.turn(requests)
    assert loop.log is not None
    loop.log.clear()
    loop.watch.seconds.clear()
    loop.events, made = 0, []
    gc.collect()
    gc.freeze()
    with _inside(loop):
        made += [loop.turn(requests) for _ in range(count // requests)]
    gc.unfreeze()
    spent = {name: 1e6 * seconds / loop.events for name, seconds in loop.watch.seconds.items()}
    return defaultdict(float, spent), loop, made


@contextmanager
def _inside(loop: Loop) -> Iterator[None]:
    """Put the parts of deciding on stopwatches of their own."""

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            with loop.watch.on(name):
                return function(*args)

        return run

    with ExitStack() as stack:
        for name, label in INSIDE_DECIDE.items():
            function = getattr(operators.decide.scoring, name)
            stack.enter_context(
                patch.object(operators.decide.scoring, name, timed(label, function))
            )
        yield


def ends(args: argparse.Namespace, loop: Loop, made: list[Made]) -> dict[str, float]:
    """Give µs of CPU per event of the source's fetching and of each sink."""
    with Embedded(broker=args.broker) as parts, tempfile.TemporaryDirectory() as folder:
        settings = load(
            {},
            secret="a secret of benchmarks",
            bootstrap_servers=parts.bootstrap_servers,
            redis_url=parts.redis_url,
        )
        create_topics(settings.kafka)
        events = loop.events
        found = {"fetch from Kafka": 1e6 * _fetch(settings, loop) / events}
        for name, topic, batches in _written(made):
            found[f"sink: {name}"] = 1e6 * _kafka(settings, topic, batches) / events
        found["sink: Redis"] = 1e6 * _redis(settings, made) / events
        found["persist: rows and SQLite"] = 1e6 * _sqlite(Path(folder), made) / events
        return found


def _written(made: list[Made]) -> Iterator[tuple[str, Topic, list[tuple[str, list[Message]]]]]:
    yield "decisions", Topic.DECISIONS, [batch for one in made for batch in one.decisions]
    yield "outcomes", Topic.OUTCOMES, [("0", one.outcomes) for one in made]
    profiles = [[Message(0, p.subject.encode(), encode(p)) for p in one.profiles] for one in made]
    yield "profiles", Topic.PROFILES, [("0", batch) for batch in profiles]


def _fetch(settings: Settings, loop: Loop) -> float:
    """Write the log to its topics, and give the CPU seconds of reading it all back."""
    assert loop.log is not None
    producer = confluent_kafka.Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    for record in loop.log:
        while True:
            try:
                producer.produce(
                    settings.kafka.topic(record.topic), record.value, record.key, record.shard
                )
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush(60)
    shared = SharedConsumer(settings.kafka)
    topics = {record.topic for record in loop.log}
    inlets = [
        shared.open(settings.kafka.topic(topic), k, 0)
        for topic in topics
        for k in range(settings.kafka.partitions)
    ]
    taken = first = 0
    started = 0.0
    while taken < len(loop.log):
        shared.poll()
        found = [message for inlet in inlets for message in inlet.take(settings.kafka.batch_size)]
        for message in found:
            message.key(), message.value(), message.offset(), message.timestamp()
        taken += len(found)
        if not found:
            time.sleep(0.002)
        elif not first:
            # Connecting costs as much as some 50,000 records, but only once.
            first, started = taken, time.process_time()
    spent = time.process_time() - started
    shared.consumer.close()
    return spent * len(loop.log) / (len(loop.log) - first)


def _kafka(settings: Settings, topic: Topic, batches: list[tuple[str, list[Message]]]) -> float:
    sink = KafkaSink(SharedProducer(settings.kafka), topic)
    parts = [sink.build_part("sink", name, None) for name in sink.list_parts()]
    started = time.process_time()
    for key, messages in batches:
        parts[sink.part_fn(key)].write_batch([messages])
    for part in parts:
        part.snapshot()
    return time.process_time() - started


def _redis(settings: Settings, made: list[Made]) -> float:
    sink = RedisSink(settings.redis.url)
    part = sink.build("sink", 0, 1)
    started = time.process_time()
    for one in made:
        for batch in one.batches:
            part.write_batch(
                [(str(batch.shard), decision_copies(batch.events, settings.redis.ttl))]
            )
        while len(sink._buffer or ()) > 5000:
            time.sleep(0.001)
    part.close()
    return time.process_time() - started


def _sqlite(folder: Path, made: list[Made]) -> float:
    """Write decisions, outcomes and profiles, 5,000 records to a transaction."""
    store = SqliteStore(folder / "store.db")
    store.migrate(system_clock())
    events = []
    for _, topic, batches in _written(made):
        offset = 0
        for key, messages in batches:
            for message in messages:
                origin = Origin(topic.value, shard_of(key), offset, 0)
                events.append(Event(0, None, "", 0, origin, message.value))
                offset += 1
    started = time.process_time()
    for first in range(0, len(events), 5000):
        store.apply(rows_of(0, events[first : first + 5000]))
    spent = time.process_time() - started
    store.close()
    return spent


if __name__ == "__main__":
    main()
