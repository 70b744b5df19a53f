"""One consumer for everything that a worker process reads from Kafka, cut into inlets."""

import threading
import time
from collections.abc import Sequence
from typing import NoReturn

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition

from operators.io.kafka.client import Fetched, KafkaTrouble, consumer, note_error, range_of
from operators.io.kafka.identity import LogIdentity
from operators.io.metrics.kafka import KafkaMetrics
from schemas.settings import KafkaSettings

_PAUSE_BETWEEN_EMPTY_POLLS = 0.001
_GONE = {
    KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART
}  # fmt: skip


AHEAD = 16_384
"""Kilobytes: with much less, partitions of a backlog run far ahead of each other in time."""

AT_ONCE = 2_000
"""Records per fetch: with more, what nobody waits for yet piles up undecoded."""

_QUEUED = "queued.max.messages.kbytes"


class Inlet:
    """What was fetched of one topic partition and not yet taken.

    ``position`` is the offset after the last record fetched, end markers and gaps included.
    """

    __slots__ = ("_log", "_newest", "_shared", "messages", "paused", "place", "position")

    def __init__(
        self,
        shared: "SharedConsumer",
        topic: str,
        partition: int,
        offset: int,
        log: LogIdentity,
    ) -> None:
        self._shared = shared
        self._log = log
        self._newest: Fetched | None = None
        self.place = TopicPartition(topic, partition, offset)
        self.messages: list[Fetched] = []
        self.position = offset
        self.paused = False

    def take(self, limit: int) -> Sequence[Fetched]:
        """Take up to ``limit`` records, in offset order."""
        taken = self.messages[:limit]
        del self.messages[:limit]
        self._shared.waiting -= len(taken)
        if taken:
            self._newest = taken[-1]
            self.position = max(self.position, taken[-1].offset() + 1)
        return taken

    def identity(self) -> LogIdentity:
        """Say which log this is, by the last record that was taken of it, too."""
        self._log, self._newest = self._log.after(self._newest), None
        return self._log

    @property
    def next_offset(self) -> int:
        """The offset of the first record that was not taken."""
        return self.messages[0].offset() if self.messages else self.position

    @property
    def high(self) -> int:
        """The partition's end as of the last answer of the broker; negative before the first.

        The broker's answer raises it before its records can be taken, so an inlet whose position
        has reached it was at its end at that answer. End-of-partition events say the same, but one
        fetch later; they are needed where the last offsets hold no records. A position beyond it
        is that of a topic made anew, and about to be refused.
        """
        _, high = self._shared.consumer.get_watermark_offsets(self.place, cached=True)
        return int(high)

    @property
    def at_end(self) -> bool:
        """Whether everything up to the partition's end has been taken."""
        return not self.messages and self.high == self.position

    def hold(self, capacity: int) -> None:
        """Stop fetching when the capacity is full; go on at half of it.

        The client throws away what it had fetched ahead of a stop and fetches it again later, so
        the capacity should be many fetches large.
        """
        waiting = len(self.messages)
        if not self.paused and waiting >= capacity:
            self._shared.consumer.pause([self.place])
            self.paused = True
        elif self.paused and waiting * 2 <= capacity:
            self._shared.consumer.resume([self.place])
            self.paused = False


class SharedConsumer:
    """The consumer of a worker process: every inlet is fed by the same non-blocking polls.

    The client fetches some ``ahead`` kilobytes before they are asked for.
    """

    def __init__(
        self, settings: KafkaSettings, ahead: int = AHEAD, metrics: KafkaMetrics | None = None
    ) -> None:
        self.settings = settings
        self.metrics = metrics or KafkaMetrics()
        options = {_QUEUED: settings.options.get(_QUEUED, ahead)}
        self.consumer: confluent_kafka.Consumer = consumer(settings, self.metrics, **options)
        self.waiting = 0
        """Records that were fetched and not yet taken."""
        self._inlets: dict[str, dict[int, Inlet]] = {}
        self._unassigned: list[TopicPartition] = []
        self._lock = threading.Lock()
        self._empty_until = 0.0

    def open(
        self,
        topic: str,
        partition: int,
        offset: int | None,
        log: LogIdentity | None = None,
        *,
        end: bool = False,
    ) -> Inlet:
        """Add a topic partition; without an offset it starts at the beginning, or at the end.

        ``log`` is what is known of the log so far.
        """
        if offset is None:
            ends = range_of(self.settings, self.consumer, topic, partition, self.metrics)
            offset = ends[int(end)]
        inlet = Inlet(self, topic, partition, offset, log or LogIdentity())
        with self._lock:
            self._inlets.setdefault(topic, {})[partition] = inlet
            self._unassigned.append(inlet.place)
        return inlet

    def poll(self, wait: float = 0.0) -> None:
        """Sort what has arrived into the inlets; wait so many seconds for the first of it."""
        now = time.monotonic()
        if now < self._empty_until or not self._lock.acquire(blocking=False):
            return
        try:
            if self._unassigned:
                self.consumer.incremental_assign(self._unassigned)
                self._unassigned = []
            most = min(self.settings.batch_size, AT_ONCE)
            first = self.consumer.poll(wait) if wait and not self.waiting else None
            messages: list[Fetched] = [] if first is None else [first]
            messages += self.consumer.consume(most, 0)
            if not messages:
                self._empty_until = time.monotonic() + _PAUSE_BETWEEN_EMPTY_POLLS
            for message in messages:
                error = message.error()
                if error is None:
                    self._inlets[message.topic()][message.partition()].messages.append(message)
                    self.waiting += 1
                else:
                    self._on_error(message, error)
        finally:
            self._lock.release()

    def _on_error(self, message: Fetched, error: KafkaError) -> None:
        code, topic = error.code(), message.topic()
        if code == KafkaError._PARTITION_EOF:
            inlet = self._inlets[topic][message.partition()]
            inlet.position = max(inlet.position, message.offset())
        elif code == KafkaError._AUTO_OFFSET_RESET:
            self._offset_gone(topic, message.partition())
        elif code in _GONE:
            raise KafkaTrouble(
                f"topic {topic!r} (partition {message.partition()}) does not exist on "
                f"{self.settings.bootstrap_servers}: create it with `banditflow topics create`"
            )
        elif error.fatal() or code in _REFUSED:
            raise KafkaTrouble(f"Kafka refuses to go on with topic {topic!r}: {error.str()}")
        else:
            note_error(self.metrics, error)

    def _offset_gone(self, topic: str, partition: int) -> NoReturn:
        offset = self._inlets[topic][partition].position
        low, high = range_of(self.settings, self.consumer, topic, partition, self.metrics)
        raise KafkaTrouble(
            f"topic {topic!r}, partition {partition}: offset {offset} is to be read next, but the "
            f"broker has only {low} to {high}: records between were deleted by retention, or the "
            "topic was made anew. Nothing is skipped silently: raise the topic's retention and "
            "restore the records, or start with an empty recovery store (BANDITFLOW_RECOVERY)"
        )


_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
}  # fmt: skip
