"""Which log an offset belongs to: the id that the broker gave the topic, and a record seen there.

A topic that was deleted and made anew has offsets again that mean other records. So an offset that
is kept is kept with the identity of its log, and compared before it is read from
(``ops/adr/0017-logs-have-an-identity.md``).
"""

import hashlib
import time
from collections.abc import Mapping
from functools import partial

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from msgspec import Struct, structs

from operators.io.kafka.client import (
    PATIENCE,
    Fetched,
    KafkaTrouble,
    KafkaUnavailable,
    admin_client,
    ask_until_answered,
    consumer,
    note_error,
    range_of,
)
from operators.io.metrics.kafka import KafkaMetrics
from schemas.settings import KafkaSettings
from schemas.topics import Topic

Place = tuple[str, int]
"""The name of a topic on the broker, and a partition."""

_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"
"""What brokers answer that give topics no ids: 128 zero bits."""


class SeenRecord(Struct, array_like=True, frozen=True):
    """A record that was read from, or written to, a partition.

    ``time`` is the broker's timestamp in milliseconds, -1 for one that was written: who writes may
    be told another one than who reads.
    """

    offset: int
    digest: bytes
    time: int = -1


class LogIdentity(Struct, frozen=True):
    """What is known of the log that an offset belongs to; both may be unknown."""

    topic_id: str = ""
    seen: SeenRecord | None = None

    def after(self, message: Fetched | None) -> "LogIdentity":
        """Note the newest record read in the identity; None where there was no newer one."""
        return self if message is None else structs.replace(self, seen=seen_record(message))


def seen_record(message: Fetched, *, written: bool = False) -> SeenRecord:
    """Say what was read, or ``written``: its place, its time and a digest of key and value."""
    key, value = message.key() or b"", message.value() or b""
    digest = hashlib.blake2b(b"%d:%b%b" % (len(key), key, value), digest_size=16).digest()
    return SeenRecord(message.offset(), digest, -1 if written else message.timestamp()[1])


class TopicIds:
    """The ids of a deployment's topics (KIP-516): the broker is asked once, for all of them."""

    def __init__(self, settings: KafkaSettings, metrics: KafkaMetrics | None = None) -> None:
        self._settings = settings
        self._metrics = metrics or KafkaMetrics()
        self._ids: dict[str, str] | None = None

    def of(self, topic: str) -> str:
        """Look up the id of a topic by its name on the broker; empty where it gives none."""
        if self._ids is None:
            self._ids = self._ask()
        return self._ids.get(topic, "")

    def now(self, topic: str, known: LogIdentity | None = None) -> LogIdentity:
        """Complete what is known of a log of this topic with the id that the topic has now."""
        return structs.replace(known or LogIdentity(), topic_id=self.of(topic))

    def _ask(self) -> dict[str, str]:
        admin = admin_client(self._settings, self._metrics)
        names = TopicCollection([self._settings.topic(topic) for topic in Topic])
        answers = ask_until_answered(
            self._settings, partial(admin.describe_topics, names, request_timeout=5), self._metrics
        )
        ids: dict[str, str] = {}
        for name, answer in answers.items():
            try:
                id_ = str(answer.result(timeout=10).topic_id)
            except KafkaException:  # no such topic, or a broker that does not describe any
                continue
            ids[name] = "" if id_ == _NO_ID else id_
        return ids


def replaced_logs(
    settings: KafkaSettings,
    ids: TopicIds,
    known: Mapping[Place, LogIdentity],
    metrics: KafkaMetrics,
) -> dict[Place, str]:
    """Say of each partition that is not the log that it was, how that is known.

    Ids decide where there are two. Otherwise the record that was seen must lie where it lay; where
    retention has deleted it there is nothing to compare.
    """
    wrong: dict[Place, str] = {}
    compare: dict[Place, SeenRecord] = {}
    for place, log in known.items():
        now = ids.of(place[0])
        if log.topic_id and now:
            if log.topic_id != now:
                wrong[place] = f"its id is {now}, and was {log.topic_id}"
        elif log.seen is not None:
            compare[place] = log.seen
    return wrong | (_compared(settings, compare, metrics) if compare else {})


def check_logs(
    settings: KafkaSettings,
    ids: TopicIds,
    shard: int,
    offsets: Mapping[str, int],
    known: Mapping[str, LogIdentity],
    metrics: KafkaMetrics,
) -> None:
    """Raise :class:`KafkaTrouble` where a partition is another log than that of the offset.

    ``offsets`` and ``known`` are by the logical names of topics.
    """
    places = {(settings.topic(Topic(name)), shard): name for name in known if name in offsets}
    wrong = replaced_logs(
        settings, ids, {place: known[name] for place, name in places.items()}, metrics
    )
    for place, proof in wrong.items():
        topic, partition_ = place
        raise KafkaTrouble(
            f"topic {topic!r}, partition {partition_}: offset {offsets[places[place]]} is to be "
            f"read next, but the topic was made anew: {proof}. Nothing is skipped silently: "
            "restore the topic that it was, or start with an empty recovery store "
            "(BANDITFLOW_RECOVERY)"
        )


def _compared(
    settings: KafkaSettings, places: Mapping[Place, SeenRecord], metrics: KafkaMetrics
) -> dict[Place, str]:
    """Fetch the records that were seen, all at once, and compare them."""
    reader = consumer(settings, metrics)
    wrong: dict[Place, str] = {}
    left = dict(places)
    try:
        reader.assign([TopicPartition(*place, seen.offset) for place, seen in left.items()])
        deadline = time.monotonic() + PATIENCE
        while left:
            for message in reader.consume(len(left), 0.1):
                place = (message.topic(), message.partition())
                error = message.error()
                if error is not None and error.code() not in _OUTSIDE:
                    note_error(metrics, error)
                elif place in left:
                    seen = left.pop(place)
                    proof = (
                        _difference(seen, message)
                        if error is None
                        else _missing(seen, range_of(settings, reader, *place, metrics))
                    )
                    if proof:
                        wrong[place] = proof
            if left and time.monotonic() > deadline:
                topic, number = next(iter(left))
                raise KafkaUnavailable(
                    f"topic {topic!r}, partition {number}: no answer from Kafka at "
                    f"{settings.bootstrap_servers} for {PATIENCE:.0f} s"
                )
    finally:
        reader.close()
    return wrong


_OUTSIDE = {KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET}


def _difference(seen: SeenRecord, message: Fetched) -> str:
    """Say that the first record from the offset on is another one; "" where it may be the same."""
    lies = seen_record(message, written=seen.time < 0)
    if lies.offset == seen.offset and lies != seen:
        return f"another record than before lies at offset {seen.offset}"
    return ""


def _missing(seen: SeenRecord, there: tuple[int, int]) -> str:
    """Say that the log ends before the record; "" where retention or compaction took it."""
    _, high = there
    return f"it ends at offset {high}, and held {seen.offset}" if high <= seen.offset else ""
