"""The catalog on its topic: what a flow makes of it, what a publication adds to it."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import confluent_kafka
from msgspec import Struct

from operators.io.kafka import client as kafka_client
from operators.io.kafka.partition import first_offset, read_partition
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_check import read_entry, sentence
from operators.logic.catalog_limits import AT_LAST, take_in
from operators.logic.publication import Publication, plan_file
from schemas.catalog import CatalogEntry
from schemas.clock import Clock, micros
from schemas.codec import Flaw, encode
from schemas.settings import Settings
from schemas.topics import Topic


class CatalogTopicError(ValueError):
    """The topic does not hold, or does not take, what was to be published; the message says why."""


class CatalogTopic(Struct, frozen=True, kw_only=True):
    """The catalog as a flow that reads the topic has it.

    ``appended`` are the records that can be used, with the times of their appends in microseconds;
    ``unusable`` says of each other one what is wrong. ``is_whole``: retention has taken nothing.
    """

    history: CatalogHistory
    appended: list[tuple[int, CatalogEntry]]
    unusable: list[str]
    is_whole: bool

    def known_at(self, at: int) -> CatalogHistory:
        """Give the catalog of what had been appended by a time."""
        history = CatalogHistory()
        take_in(history, [entry for appended, entry in self.appended if appended <= at])
        return history


def read_topic(settings: Settings, clock: Clock) -> CatalogTopic:
    """Read what is on the topic now."""
    kafka = settings.kafka
    kafka_client.check_topics(kafka, kafka_client.admin_client(kafka), [Topic.CATALOG])
    places: list[int] = []
    appended: list[tuple[int, CatalogEntry]] = []
    unusable: list[str] = []
    for payload, _, offset, time in read_partition(kafka, Topic.CATALOG, 0, clock):
        entry = read_entry(payload, kafka.max_record_bytes)
        if isinstance(entry, Flaw):
            unusable.append(f"offset {offset}: {sentence(entry)}")
        else:
            places.append(offset)
            appended.append((time, entry))
    history = CatalogHistory()
    since = list(accumulate((time for time, _ in appended), max))
    for place, flaw in take_in(history, [entry for _, entry in appended], since):
        unusable.append(f"offset {places[place]}: {sentence(flaw)}")
    is_whole = first_offset(kafka, Topic.CATALOG, 0) == 0
    return CatalogTopic(history=history, appended=appended, unusable=unusable, is_whole=is_whole)


def publish(
    settings: Settings,
    clock: Clock,
    plan: Callable[[CatalogTopic], Publication],
    topic: CatalogTopic | None = None,
) -> Publication:
    """Send what a plan adds to the topic, all or none; give what that changes.

    ``topic`` is what has been read of it, if it has been. Afterwards it is read again: a flow's
    catalog is what was planned. Raises :class:`CatalogTopicError` where it is not, since somebody
    else published at the same time, and where a catalog would be larger than a flow can keep.
    """
    topic = topic or read_topic(settings, clock)
    publication = plan(topic)
    if publication.records or publication.repeated:
        check_room(topic, publication)
        send(settings, [*publication.records, *publication.repeated])
        rest = plan(read_topic(settings, clock)).records
        if rest:
            raise CatalogTopicError(
                f"{len(publication.records)} records were sent, but {len(rest)} slots or actions "
                "are not as they say: somebody else published at the same time; publish again"
            )
    return publication


def publish_entries(
    settings: Settings, clock: Clock, entries: Sequence[CatalogEntry]
) -> Publication:
    """Make the catalog, from now on, what the entries say; what they do not name stays."""
    now = micros(clock())
    return publish(
        settings,
        clock,
        lambda topic: plan_file(topic.history, entries, now, is_whole=topic.is_whole),
    )


def check_room(topic: CatalogTopic, publication: Publication) -> CatalogHistory:
    """Give the catalog as it will be; refuse records for which a flow's has no room, by id."""
    history = topic.known_at(AT_LAST)
    left_out = take_in(history, publication.records)
    if left_out:
        raise CatalogTopicError(
            "\n".join(
                f"record {publication.records[place].id!r}: {sentence(flaw)}"
                for place, flaw in left_out
            )
        )
    return history


def send(settings: Settings, entries: Sequence[CatalogEntry]) -> None:
    """Send catalog records to their topic, each under its ``id``, and wait until they are there."""
    producer = kafka_client.producer(settings.kafka)
    failed: list[str] = []

    def delivered(error: confluent_kafka.KafkaError | None, _: confluent_kafka.Message) -> None:
        if error is not None:
            failed.append(error.str())

    topic = settings.kafka.topic(Topic.CATALOG)
    for entry in entries:
        _produce(producer, topic, entry, delivered)
    producer.flush()
    if failed:
        raise CatalogTopicError(f"{len(failed)} records were not taken: {failed[0]}")


def _produce(
    producer: confluent_kafka.Producer, topic: str, entry: CatalogEntry, delivered: Any
) -> None:
    while True:
        try:
            producer.produce(topic, encode(entry), entry.id.encode(), on_delivery=delivered)
            return
        except BufferError:  # its queue is full
            producer.poll(0.05)
        except confluent_kafka.KafkaException as error:  # it is too large for the client
            why = error.args[0].str()
            raise CatalogTopicError(f"record {entry.id!r} cannot be sent: {why}") from error
