"""Writes batches of messages to a topic; an epoch closes only once the broker has them all."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial

import confluent_kafka
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from confluent_kafka import KafkaError, KafkaException
from msgspec import Struct, structs
from typing_extensions import override

from operators.envelope import Message
from operators.io.kafka.client import (
    PATIENCE,
    Fetched,
    KafkaUnavailable,
    check_topics,
    consumer,
    logger,
    note_error,
    producer,
)
from operators.io.kafka.fence import Identify, ids_written
from operators.io.kafka.identity import LogIdentity, TopicIds, replaced_logs, seen_record
from operators.io.metrics.kafka import KafkaMetrics
from operators.logic.placement import ALONE, WorkerPlace, shard_of
from schemas.settings import KafkaSettings
from schemas.state import pack, unpack
from schemas.topics import Topic

_KIND, _VERSION = "kafka-sink", 2
_WITHOUT_LOG = (1,)

LOOK = 30.0
"""Seconds between looks for how far others have written where nothing of ours waits."""


class SinkState(Struct):
    """Where the fence starts to read on resume: at or before all that the next epoch may repeat.

    None: at the partition's first offset. ``log`` is the log that the offset belongs to.
    """

    offset: int | None
    log: LogIdentity = LogIdentity()


def lower_fence(snapshot: bytes, offset: int) -> bytes:
    """Let the fence in a partition's snapshot begin at this offset, where it would later."""
    state = unpack(_KIND, _VERSION, SinkState, snapshot, older=_WITHOUT_LOG)
    if state.offset is not None:
        state.offset = min(state.offset, offset)
    return pack(_KIND, _VERSION, state)


class SharedProducer:
    """The producer of a worker process, and who asks for ends; each is made when it is needed."""

    def __init__(self, settings: KafkaSettings, metrics: KafkaMetrics | None = None) -> None:
        self.settings = settings
        self.metrics = metrics or KafkaMetrics()
        self.partitions: dict[tuple[Topic, int], SinkPartition] = {}
        """The partitions that are open."""
        self._client: confluent_kafka.Producer | None = None
        self._reader: confluent_kafka.Consumer | None = None

    def has_unread(self, topic: Topic, partition: int, offset: int) -> bool:
        """Say whether we have written to a partition at this offset or behind it."""
        written = self.partitions.get((topic, partition))
        return written is not None and written.reaches(offset)

    def end(self, topic: str, partition: int) -> int | None:
        """Ask once for the offset after a partition's last record; None without an answer."""
        if self._reader is None:
            self._reader = consumer(self.settings, self.metrics)
        try:
            place = confluent_kafka.TopicPartition(topic, partition)
            _, end = self._reader.get_watermark_offsets(place, timeout=1.0)
        except KafkaException as error:
            note_error(self.metrics, error.args[0])
            return None
        return int(end)

    @property
    def client(self) -> confluent_kafka.Producer:
        """The producer."""
        if self._client is None:
            self._client = producer(self.settings, self.metrics)
        return self._client


class SinkPartition(StatefulSinkPartition[list[Message], bytes]):
    """One partition of a topic.

    ``fence`` holds the keys of messages that are already there, with their offsets: such a message
    is not written, and its key is forgotten. A snapshot's offset does not pass the first key that
    still waits: replay cuts epochs anew, so that its repetition may come epochs later, and the next
    crash before that. What waits after ``horizon`` seconds without a repetition never repeats.
    Where nothing waits, it passes what others have written, too: every :data:`LOOK` seconds ``end``
    is asked where the partition ends now.

    There is no ``close()``: Bytewax snapshots at the end of a finite flow too, and an exception in
    ``close()`` while another one unwinds the dataflow aborts the process without a message.
    """

    def __init__(
        self, client: confluent_kafka.Producer, topic: str, partition: int, offset: int | None,
        fence: dict[int, int], metrics: KafkaMetrics, horizon: float = math.inf,
        log: LogIdentity | None = None, end: Callable[[], int | None] = lambda: None,
    ) -> None:  # fmt: skip
        self._end = end
        self._looked_at = time.monotonic()
        self._client = client
        self._topic = topic
        self._partition = partition
        self._offset = offset
        self._fence = fence
        self._metrics = metrics
        self._horizon = horizon
        self._log = log or LogIdentity()
        self._newest: Fetched | None = None
        self._suppressed_at = time.monotonic()
        self._unconfirmed = self._written = 0
        self._failed: KafkaError | None = None
        self._too_large: list[Fetched] = []
        """Records of batches that the broker found too large."""

    def write_batch(self, values: list[list[Message]]) -> None:
        """Hand messages to the producer, waiting where its queue is full."""
        for messages in values:
            unwritten = self._unwritten(messages) if self._fence else messages
            self._write(unwritten)
            self._metrics.written(self._topic, len(unwritten))
        self._client.poll(0)
        self._raise_failure()

    def reaches(self, offset: int) -> bool:
        """Say whether something of ours lies at this offset or behind it, or is to be written."""
        if self._unconfirmed:
            self._client.poll(0)
        return bool(self._unconfirmed) or self._written > offset

    def snapshot(self) -> bytes:
        """Wait until the broker has everything; raise when it does not take it."""
        deadline = time.monotonic() + PATIENCE + 10.0
        self._flush(deadline)
        while self._too_large:
            self._send_alone(self._too_large.pop(), deadline)
        self._raise_failure()
        if self._unconfirmed:
            raise KafkaUnavailable(
                f"topic {self._topic!r}, partition {self._partition}: {self._unconfirmed} records "
                f"are still unconfirmed after {PATIENCE:.0f} s; the epoch will be replayed"
            )
        if self._fence and time.monotonic() - self._suppressed_at > self._horizon:
            self._fence.clear()
        if not self._fence and time.monotonic() - self._looked_at >= LOOK:
            self._looked_at = time.monotonic()
            self._offset = later(self._offset, self._end())
        if self._newest is not None:
            seen = seen_record(self._newest, written=True)
            self._log, self._newest = structs.replace(self._log, seen=seen), None
        offset = next(iter(self._fence.values()), self._offset)
        return pack(_KIND, _VERSION, SinkState(offset, self._log))

    def _unwritten(self, messages: Sequence[Message]) -> list[Message]:
        unwritten = [message for message in messages if message.id not in self._fence]
        if len(unwritten) < len(messages):
            self._metrics.suppressed(self._topic, len(messages) - len(unwritten))
            self._suppressed_at = time.monotonic()
            for message in messages:
                self._fence.pop(message.id, None)
        return unwritten

    def _write(self, messages: Sequence[Message]) -> None:
        produce, delivered = self._client.produce, self._delivered
        topic, partition = self._topic, self._partition
        for message in messages:
            while True:
                try:
                    produce(topic, message.value, message.key, partition, delivered)
                    self._unconfirmed += 1
                    break
                except BufferError:
                    self._client.poll(0.05)
                    self._raise_failure()
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                        raise
                    self._leave_out(message.value, message.key)
                    break

    def _flush(self, deadline: float) -> None:
        while self._unconfirmed and time.monotonic() < deadline:
            self._client.flush(0.1)

    def _send_alone(self, message: Fetched, deadline: float) -> None:
        """Send a record of a batch that was too large once more; leave it out if it still is."""
        value, key = message.value(), message.key()
        self._client.produce(self._topic, value, key, self._partition, self._delivered)
        self._unconfirmed += 1
        before = len(self._too_large)
        self._flush(deadline)
        if len(self._too_large) > before:
            self._too_large.pop()
            self._leave_out(value, key)

    def _leave_out(self, value: bytes, key: bytes | None) -> None:
        """Leave out a record that the broker never takes: every replay would end at it."""
        self._metrics.left_out(self._topic, 1)
        logger.error(
            "topic %r, partition %d: a record of %s bytes is larger than the broker takes and was "
            "left out: raise the topic's max.message.bytes (and message.max.bytes, where "
            "BANDITFLOW_KAFKA_OPTIONS has it), or lower BANDITFLOW_MAX_RECORD_BYTES",
            self._topic, self._partition, f"{len(value) + len(key or b''):,}",
        )  # fmt: skip

    def _delivered(self, error: KafkaError | None, message: Fetched) -> None:
        self._unconfirmed -= 1
        if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._too_large.append(message)
        elif error is not None:
            self._failed = self._failed or error
        elif (after := message.offset() + 1) > (self._offset or 0):
            self._offset, self._newest, self._written = after, message, after

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise KafkaUnavailable(
                f"topic {self._topic!r}, partition {self._partition}: a record was not written: "
                f"{self._failed.str()}; the epoch will be replayed"
            )


def later(offset: int | None, other: int | None) -> int | None:
    """Choose the later of two offsets that may be unknown."""
    known = [each for each in (offset, other) if each is not None]
    return max(known, default=None)


class KafkaSink(FixedPartitionedSink[list[Message], bytes]):
    """Takes ``(shard_key(partition), [Message, …])`` and writes to exactly that partition.

    With ``identify`` the resume fence is on: before its first write a partition is read from the
    offset in the snapshot (from its start where there is none) to its end, and no message is
    written whose ``id`` is there; what never repeats is forgotten after ``horizon`` seconds.
    """

    def __init__(
        self,
        shared: SharedProducer,
        topic: Topic,
        identify: Identify | None = None,
        place: WorkerPlace = ALONE,
        horizon: float = math.inf,
        ids: TopicIds | None = None,
    ) -> None:
        self._ids = ids or TopicIds(shared.settings, shared.metrics)
        self._shared = shared
        self._topic = topic
        self._identify = identify
        self._place = place
        self._horizon = horizon
        self._checked = False

    def list_parts(self) -> list[str]:
        """Give this worker's partitions; padded, so that their order is that of their numbers."""
        count = self._shared.settings.partitions_of(self._topic)
        return [f"{k:05d}" for k in range(count) if self._place.owns(k)]

    def part_fn(self, item_key: str) -> int:
        """Route by the partition number that the item's key begins with."""
        return shard_of(item_key)

    @override
    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> StatefulSinkPartition[list[Message], bytes]:
        """Open a partition behind its fence.

        Where the topic was made anew, what the snapshot's offset means is gone with the old one:
        the fence reads the new one from its start, and a warning says so.
        """
        settings, client, metrics = self._shared.settings, self._shared.client, self._shared.metrics
        if not self._checked:
            check_topics(settings, client, [self._topic], metrics)
            self._checked = True
        topic, partition = settings.topic(self._topic), int(for_part)
        if resume_state is None:
            state = SinkState(None)
        else:
            state = unpack(_KIND, _VERSION, SinkState, resume_state, older=_WITHOUT_LOG)
        if self._identify is None:
            return SinkPartition(client, topic, partition, state.offset, {}, metrics)
        state = self._of_this_log(topic, partition, state)
        written = ids_written(settings, topic, partition, state.offset, self._identify, metrics)
        fence = written.offsets
        offset = state.offset if fence else later(state.offset, written.end)
        end = partial(self._shared.end, topic, partition)
        part = SinkPartition(
            client, topic, partition, offset, fence, metrics, self._horizon, state.log, end
        )
        self._shared.partitions[self._topic, partition] = part
        return part

    def _of_this_log(self, topic: str, partition: int, state: SinkState) -> SinkState:
        """Keep the state, or begin without one where the topic was made anew."""
        known, metrics = {(topic, partition): state.log}, self._shared.metrics
        wrong = replaced_logs(self._shared.settings, self._ids, known, metrics)
        for proof in wrong.values():
            logger.warning(
                "topic %r, partition %d: it was made anew (%s): the resume fence begins at its "
                "first record", topic, partition, proof,
            )  # fmt: skip
            state = SinkState(None)
        return structs.replace(state, log=self._ids.now(topic, state.log))
