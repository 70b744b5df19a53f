"""Measure a broker alone: produce-to-consume latency and the CPU it burns.

One process produces at a steady rate to every topic, another consumes all of them; both read the
same monotonic clock. Latency is from the call of produce to the return of consume; the first fifth
of each run is dropped. CPU is of one core, from /proc (Linux).
"""

import argparse
import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from pathlib import Path

import confluent_kafka
import numpy as np
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.devkit.embedded import BROKERS, Embedded
from ops.benchmarks.reporting.judged import write_result
from ops.benchmarks.reporting.machine import machine_line

PARTITIONS = 4
PAYLOAD = 250
TICK = 0.001


def main() -> None:
    """Run every combination asked for and print one row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", choices=BROKERS, default="noida")
    parser.add_argument("--rates", type=int, nargs="+", default=[2000, 6000], help="messages/s")
    parser.add_argument("--topics", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--linger", type=float, nargs="+", default=[1, 5], help="ms")
    parser.add_argument("--wait", type=int, nargs="+", default=[10, 50], help="fetch.wait.max.ms")
    parser.add_argument("--min-bytes", type=int, nargs="+", default=[1], help="fetch.min.bytes")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--quick", action="store_true", help="one combination, two seconds")
    args = parser.parse_args()
    if args.quick:
        args.rates, args.topics, args.linger, args.wait, args.seconds = [2000], [3], [1], [10], 2.0
    combinations = [
        (rate, topics, linger, wait, least)
        for rate in args.rates
        for topics in args.topics
        for linger in args.linger
        for wait in args.wait
        for least in args.min_bytes
    ]
    rows = []
    print("   msg/s topics linger wait  bytes |  p50 ms  p99 ms | CPU % broker produce consume")
    with Embedded(broker=args.broker, redis=False) as parts:
        pid = parts.broker.child.pid
        time.sleep(1)
        print(f"    idle                            |                 | {_share(pid, 2.0):12.1f}")
        for run, (rate, topics, linger, wait, least) in enumerate(combinations):
            names = [f"t{run}-{i}" for i in range(topics)]
            fetch = {"fetch.wait.max.ms": wait, "fetch.min.bytes": least}
            create = args.broker != "mock"  # it has every topic as soon as it is asked for
            row = measure(
                parts.bootstrap_servers, pid, names, rate, linger, fetch, args.seconds, create
            )
            rows.append(row)
            print(
                f"{rate:8d} {topics:6d} {linger:6g} {wait:4d} {least:6d} | {row['p50_ms']:7.1f} "
                f"{row['p99_ms']:7.1f} | {row['broker_cpu']:12.1f} {row['producer_cpu']:7.1f} "
                f"{row['consumer_cpu']:7.1f}",
                flush=True,
            )
    print(machine_line())
    write_result(f"broker-{args.broker}", rows=rows)


def measure(
    servers: str,
    pid: int,
    topics: list[str],
    rate: int,
    linger: float,
    fetch: dict[str, int],
    seconds: float,
    create: bool,
) -> dict[str, float]:
    """Run one combination; raise if a single message is missing at the end."""
    admin = AdminClient({"bootstrap.servers": servers})
    if create:
        for created in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in topics]).values():
            created.result(20)
    else:
        for topic in topics:
            admin.list_topics(topic, timeout=10)
    count = int(rate * seconds)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    consumer = context.Process(target=_consume, args=(theirs, servers, topics, fetch, count))
    consumer.start()
    ours.recv()
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": servers, "linger.ms": linger, "acks": "all"}
    )
    broker_cpu, own_cpu, started = _cpu(pid), time.process_time(), time.perf_counter()
    _produce(producer, topics, rate, count)
    own_cpu, elapsed = time.process_time() - own_cpu, time.perf_counter() - started
    broker_cpu = _cpu(pid) - broker_cpu
    if producer.flush(30) or not ours.poll(30):
        raise RuntimeError(f"messages are missing at {rate}/s: no valid figure")
    latencies, consumer_cpu = ours.recv()
    consumer.join()
    p50, p99 = np.percentile(latencies[len(latencies) // 5 :], [50, 99]) * 1e3
    return {
        "rate": rate,
        "topics": len(topics),
        "linger_ms": linger,
        **fetch,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "broker_cpu": 100 * broker_cpu / elapsed,
        "producer_cpu": 100 * own_cpu / elapsed,
        "consumer_cpu": 100 * consumer_cpu / elapsed,
    }


def _produce(producer: confluent_kafka.Producer, topics: list[str], rate: int, count: int) -> None:
    padding = "x" * (PAYLOAD - 20)
    started, sent = time.perf_counter(), 0
    while sent < count:
        due = min(count, int((time.perf_counter() - started) * rate))
        for i in range(sent, due):
            value = f"{time.monotonic():020.9f}{padding}"
            producer.produce(
                topics[i % len(topics)], value, partition=i // len(topics) % PARTITIONS
            )
        sent = due
        producer.poll(0)
        time.sleep(TICK)


def _consume(
    pipe: Connection, servers: str, topics: list[str], fetch: dict[str, int], count: int
) -> None:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": "bench",
            "enable.auto.commit": False,
            **fetch,
        }
    )
    consumer.assign(
        [confluent_kafka.TopicPartition(t, p, 0) for t in topics for p in range(PARTITIONS)]
    )
    consumer.consume(1, 0.5)
    pipe.send("ready")
    latencies: list[float] = []
    cpu = time.process_time()
    while len(latencies) < count:
        messages = consumer.consume(1000, 0.001)
        now = time.monotonic()
        latencies += [now - float((m.value() or b"")[:20]) for m in messages if m.value()]
    pipe.send((np.array(latencies), time.process_time() - cpu))
    consumer.close()


def _cpu(pid: int) -> float:
    """Give the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _share(pid: int, seconds: float) -> float:
    before = _cpu(pid)
    time.sleep(seconds)
    return 100 * (_cpu(pid) - before) / seconds


if __name__ == "__main__":
    main()
