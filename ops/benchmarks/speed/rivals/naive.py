"""The naive loop: one consumer, River, Redis, SQL, a batch at a time, as one would write it well.

usage: naive.py JSON   (as ops/benchmarks/speed/naive.py writes it)

Of a backlog it reads all events from one topic in the order of their time, which spares it the join
across topics; live it reads the three topics as they come. Prints one JSON line at the end: events,
CPU seconds, wall seconds, of SQL, rewards learned and lost.
"""

import json
import os
import resource
import sqlite3
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

sys.path.insert(0, str(Path(__file__).parent))
from bandit import Learner

TTL = 7 * 86400
BATCH = 1000


class Loop:
    """Consume, decide or learn, write to Kafka, Redis and SQL, for one batch after another."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.consumer = Consumer(
            {
                "bootstrap.servers": config["bootstrap"],
                "group.id": config["out"],
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
            }
        )
        self.consumer.assign(
            [
                TopicPartition(topic, k, 0)
                for topic in config["topics"]
                for k in range(config["partitions"])
            ]
        )
        self.producer = Producer(
            {"bootstrap.servers": config["bootstrap"], "linger.ms": 2, "acks": "all"}
        )
        self.redis = redis.Redis.from_url(config["redis"])
        self.sql = sqlite3.connect(config["store"] or ":memory:")
        self.sql.execute("PRAGMA journal_mode=WAL")
        self.sql.execute(
            "CREATE TABLE IF NOT EXISTS decisions "
            "(decision_id TEXT PRIMARY KEY, subject TEXT, slot_id TEXT, action_id TEXT, time TEXT)"
        )
        self.sql.execute("CREATE TABLE IF NOT EXISTS clicks (decision_id TEXT, time TEXT)")
        self.learner = Learner(config["actions"], config["window"], config["contextual"])
        self.events = 0
        """Requests, impressions and clicks so far; live they are kept in a file for others."""
        count = config["count"]
        self.counted = os.open(count, os.O_WRONLY | os.O_CREAT, 0o600) if count else None
        self.sql_cpu = 0.0

    def run(self) -> None:
        """Take in all records; where their number is negative, go on until killed."""
        left, wait = self.config["records"], self.config["wait"]
        while left:
            messages = self.consumer.consume(BATCH, wait)
            left -= len(messages)
            self.batch([orjson.loads(message.value()) for message in messages])
        self.producer.flush()

    def batch(self, records: list[dict[str, Any]]) -> None:
        """Take in one batch."""
        pipe = self.redis.pipeline(transaction=False) if self.config["pipelined"] else self.redis
        decided, clicked = [], []
        for record in records:
            subject, decision_id = record["subject"], record.get("decision_id")
            if decision_id is None:
                continue  # a consent
            self.events += 1
            if "context" in record:
                action = self.learner.decide(decision_id, record["context"])
                value = orjson.dumps(
                    {
                        "decision_id": decision_id,
                        "subject": subject,
                        "slot_id": record["slot_id"],
                        "action_id": action,
                        "time": record["time"],
                    }
                )
                self.produce(subject, value)
                pipe.set(f"decision:{subject}:{record['slot_id']}", value, ex=TTL)
                decided.append((decision_id, subject, record["slot_id"], action, record["time"]))
            elif "action_id" in record:
                at = datetime.fromisoformat(record["time"]).timestamp()
                self.learner.seen(decision_id, at)
                pipe.hincrby(f"profile:{subject}", "impressions")
            else:
                self.learner.clicked(decision_id)
                pipe.hincrby(f"profile:{subject}", "clicks")
                clicked.append((decision_id, record["time"]))
        if self.config["pipelined"]:
            pipe.execute()
        if self.config["store"]:
            self.write(decided, clicked)
        if records:
            self.consumer.commit(asynchronous=True)
        if records and self.counted is not None:
            os.pwrite(self.counted, b"%020d" % self.events, 0)

    def produce(self, subject: str, value: bytes) -> None:
        """Write a decision."""
        while True:
            try:
                self.producer.produce(self.config["out"], value, subject)
                break
            except BufferError:
                self.producer.poll(0.05)
        self.producer.poll(0)

    def write(self, decided: list[Any], clicked: list[Any]) -> None:
        """Write a batch's rows in one transaction."""
        started = time.thread_time()
        with self.sql:
            self.sql.executemany("INSERT OR IGNORE INTO decisions VALUES (?, ?, ?, ?, ?)", decided)
            self.sql.executemany("INSERT INTO clicks VALUES (?, ?)", clicked)
        self.sql_cpu += time.thread_time() - started


def cpu() -> float:
    """Give this process's CPU seconds, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    loop = Loop(json.loads(sys.argv[1]))
    started, before = time.monotonic(), cpu()
    loop.run()
    found = {
        "events": loop.events,
        "cpu": cpu() - before,
        "seconds": time.monotonic() - started,
        "sql_cpu": loop.sql_cpu,
        "rewards": loop.learner.rewards,
        "lost": loop.learner.lost,
        "learned": loop.learner.learned,
    }
    print(json.dumps(found), flush=True)
