"""Visitors in an open loop: each request has its time, however slow the answers are.

Latency runs from the time at which a request was due, not from when it could be sent, to the
moment at which its decision was consumed: a stall that delays the sender counts in full.
"""

import time
from dataclasses import dataclass, field

import confluent_kafka
import msgspec
import numpy as np
from confluent_kafka import TopicPartition
from msgspec import Struct
from numpy.typing import NDArray

from flows.devkit.demo_catalog import action_id
from flows.devkit.simulation.record_writer import RecordWriter
from flows.devkit.simulation.script import Script
from flows.devkit.visitors import Visitors
from operators.io.kafka import consumer_config, producer_config
from ops.benchmarks.speed.loop import SEED
from ops.benchmarks.speed.report import Invalid
from schemas.settings import Settings
from schemas.topics import Topic

EVENTS_PER_REQUEST = 2.07
"""Requests, impressions and clicks for each request of the demo's visitors, about."""

_CONSENTING = 0.95


class _Said(Struct):
    decision_id: str
    action_id: str = action_id(0)
    policy_version: int = 0


@dataclass
class Heard:
    """What came back: latency in seconds of each request, NaN where there was no answer."""

    due: NDArray[np.float64]
    latency: NDArray[np.float64]
    sent_late: NDArray[np.float64]
    twice: int = 0
    events: int = 0
    version: int = 0
    _answered: int = field(default=0)

    @property
    def unanswered(self) -> int:
        """The number of requests without an answer."""
        return int(np.isnan(self.latency).sum())

    def quantiles(self, after: float, *q: float) -> list[float]:
        """Give quantiles in milliseconds of the requests due later than ``after`` seconds."""
        chosen = self.latency[self.due - self.due[0] >= after]
        return [float(1e3 * value) for value in np.quantile(chosen, q)]


class Visits:
    """Visitors that ask at set times and react to what they are shown.

    Every instance's requests have names of their own (``run``).
    """

    def __init__(self, settings: Settings, run: str, actions: int, seed: int = SEED) -> None:
        visitors = Visitors(seed, actions)
        self._visitors = visitors
        self._script = Script(visitors, seed)
        self._writer = RecordWriter(run, visitors)
        self._places = {action_id(place): place for place in range(actions)}
        self._names = {topic: settings.kafka.topic(topic) for topic in Topic}
        # librdkafka's own linger: what a fleet of web servers sends comes in batches too.
        self._producer = confluent_kafka.Producer(
            producer_config(settings.kafka) | {"linger.ms": 5}
        )
        self._consumer = confluent_kafka.Consumer(
            consumer_config(settings.kafka) | {"enable.partition.eof": False}
        )
        name = self._names[Topic.DECISIONS]
        places = [TopicPartition(name, k) for k in range(settings.kafka.partitions)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=20.0)[1]
        self._consumer.assign(places)
        self._consumer.consume(1, 0.2)
        self._decode = msgspec.json.Decoder(_Said).decode
        self.stopped = False
        self.answered = 0
        self.events = 0
        """Requests, impressions and clicks so far."""
        self.last_due = 0.0
        """Wall time at which the newest answered request was due."""

    def consent(self) -> None:
        """Let most visitors consent to a profile."""
        now = time.time()
        for user in range(round(_CONSENTING * len(self._writer.keys))):
            self._send(Topic.CONSENTS, user, self._writer.consent(user, now))
        self._producer.flush(60)

    def burst(self, requests: int, patience: float = 300.0) -> None:
        """Ask everything at once, and wait for the answers; nobody reacts to them."""
        heard = self._ask(requests, 1e9, patience, react=False)
        if heard.unanswered:
            raise Invalid(f"{heard.unanswered:,} of {requests:,} requests at once got no answer")

    def open_loop(self, rate: float, seconds: float, patience: float = 30.0) -> Heard:
        """Ask ``rate`` times a second, evenly, and react to the answers."""
        return self._ask(int(rate * seconds), rate, patience, react=True)

    def close(self) -> None:
        """Leave."""
        self._producer.flush(10)
        self._consumer.close()

    def _ask(self, count: int, rate: float, patience: float, *, react: bool) -> Heard:
        fate = self._script.rows(np.arange(count))
        users, hours = fate.users.tolist(), fate.hours.tolist()
        start = time.time() + 0.05
        due = start + np.arange(count) / rate
        heard = Heard(due, np.full(count, np.nan), np.zeros(count))
        sent, last = 0, start
        clicks = self._visitors.click
        answers, events = 0, self.events
        while answers < count and not (self.stopped and sent == answers):
            now = time.time()
            upto = sent if self.stopped else min(count, int((now - start) * rate) + 1, sent + 2000)
            for number in range(sent, upto):
                value = self._writer.request(number, users[number], hours[number], due[number])
                self._send(Topic.DECISION_REQUESTS, users[number], value)
            if upto > sent:
                heard.sent_late[sent:upto] = time.time() - due[sent:upto]
                self.events += upto - sent
                sent = upto
            self._producer.poll(0)
            for message in self._consumer.consume(2000, 0.001):
                if message.error() is not None:
                    continue
                now = last = time.time()
                said = self._decode(message.value() or b"")
                name = self._writer.number(said.decision_id)
                if name is None or name >= count:
                    continue
                if not np.isnan(heard.latency[name]):
                    heard.twice += 1
                    continue
                heard.latency[name] = now - due[name]
                heard.version = said.policy_version
                self.last_due = max(self.last_due, float(due[name]))
                answers += 1
                if not react:
                    continue
                user, place = users[name], self._places[said.action_id]
                value = self._writer.impression(name, user, said.action_id, now)
                self._send(Topic.IMPRESSIONS, user, value)
                self.events += 1
                if fate.click[name] < clicks[user, hours[name], place]:
                    self._send(Topic.CLICKS, user, self._writer.click(name, user, now))
                    self.events += 1
            self.answered = answers
            if now - max(last, due[min(sent, count - 1)] if sent < count else last) > patience:
                break
        heard.events = self.events - events
        return heard

    def _send(self, topic: Topic, user: int, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self._names[topic], value, self._writer.keys[user])
                return
            except BufferError:
                self._producer.poll(0.005)
