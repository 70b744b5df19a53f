"""A record that reading fails on costs itself alone, and is noted to be passed by from now on."""

import time
from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from flows.devkit.embedded import Server
from flows.runtime.clock import system_clock
from operators.envelope import Event, Origin, Rejected
from operators.io.kafka import CatalogSource, create_topics
from operators.io.reading import EventsAndRejected, by_column, read_undecoded, resilient
from operators.io.releases import PROCESSING_ERROR, Releases, Unnoted
from operators.logic.catalog_check import flaw_of
from schemas.catalog import CatalogEntry
from schemas.codec import Flaw, encode
from schemas.topics import Topic
from tests.support import records as make
from tests.support.kafka_flow import produce, settings_for


class Noted(Unnoted):
    """Remembers the records that could not be read."""

    def __init__(self) -> None:
        self.unreadable: list[tuple[str, int, str]] = []

    def note_unreadable(self, place: str, offset: int, step: str, error: str) -> None:
        assert step == "reading"
        self.unreadable.append((place, offset, error))


class Reader:
    """Reads records one by one or together, and fails on some."""

    def __init__(self, bad: Collection[int], unusable: Collection[int], together: bool) -> None:
        self._bad = bad
        self._unusable = unusable
        if together:
            self.many = by_column(self.__call__)

    def __call__(
        self, topic: Topic, shard: int, key: bytes | None, payload: bytes | None, at: int, now: int
    ) -> Event | Rejected:
        if at in self._bad:
            raise ZeroDivisionError("a visitor's secret")
        if at in self._unusable:
            return Rejected("empty", Origin(topic, shard, at, now))
        return read_undecoded(topic, shard, key, payload, at, now)


def read(reader: Reader, noted: Noted, count: int) -> EventsAndRejected:
    offsets, times = list(range(count)), [0] * count
    many = resilient(by_column(reader), reader, noted)
    return many(Topic.CLICKS, 3, [None] * count, [b"{}"] * count, offsets, times)


@given(st.integers(0, 12), st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)), st.booleans())
def test_exactly_the_records_that_reading_fails_on_are_rejected(
    count: int, bad: set[int], unusable: set[int], together: bool
) -> None:
    noted, bad = Noted(), {offset for offset in bad if offset < count}
    events, rejected = read(Reader(bad, unusable, together), noted, count)

    good = [offset for offset in range(count) if offset not in bad | unusable]
    assert [event.origin.offset for event in events] == good
    failed = [each for each in rejected if each.reason == PROCESSING_ERROR]
    assert [each.origin.offset for each in failed] == sorted(bad)
    assert {each.detail for each in failed} <= {"ZeroDivisionError in reading"}
    assert len(rejected) == count - len(good)
    assert noted.unreadable == [("clicks/3", offset, "ZeroDivisionError") for offset in sorted(bad)]


def test_a_catalog_record_that_its_check_fails_on_costs_itself_alone(
    broker: Server, topic_prefix: str
) -> None:
    def check(entry: CatalogEntry) -> Flaw | None:
        if entry.id == make.action("bad").id:
            raise ZeroDivisionError
        return flaw_of(entry)

    settings, noted = settings_for(broker.address, topic_prefix), Noted()
    create_topics(settings.kafka)
    entries = [make.slot("home"), make.action("bad"), make.action("a")]
    produce(settings, Topic.CATALOG, {0: [encode(entry) for entry in entries]})
    source = CatalogSource(settings.kafka, check, system_clock, releases=Releases(noted))
    part, deadline, updates = source.build_part("in", "catalog", None), time.monotonic() + 20, []
    while not (updates and updates[-1].complete):
        assert time.monotonic() < deadline
        updates += [update for _, update in part.next_batch()]

    assert [entry.id for each in updates for entry in each.entries] == [
        make.slot("home").id,
        make.action("a").id,
    ]
    assert [
        (each.reason, each.origin.offset) for update in updates for each in update.rejected
    ] == [(PROCESSING_ERROR, 1)]
    assert noted.unreadable == [("catalog/0", 1, "ZeroDivisionError")]
