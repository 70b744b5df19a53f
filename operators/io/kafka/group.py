"""One aligned partition group: partition k of some topics as batches in event-time order."""

import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, cast

from bytewax.inputs import StatefulSourcePartition
from msgspec import Struct
from msgspec.structs import replace

from operators.envelope import Batch, Event, Origin, Rejected
from operators.io.kafka.client import Fetched
from operators.io.kafka.fetch import Inlet
from operators.io.kafka.identity import LogIdentity
from operators.io.kafka.pace import Beat
from operators.io.kafka.timestamps import SteadyClock, is_append_time, latest_times
from operators.io.kafka.turns import Turns
from operators.io.metrics.kafka import KafkaMetrics
from operators.io.reading import EventsAndRejected, ReadMany, in_offset_order, parted
from operators.io.releases import Releases
from operators.logic.alignment import Alignment, Lane
from operators.logic.answer_window import AnswerWindow
from schemas.clock import ALWAYS, NEVER, Clock
from schemas.settings import EventTimeSettings, KafkaSettings
from schemas.state import pack, unpack
from schemas.topics import Topic

Item = tuple[str, Batch]

_KIND, _VERSION = "kafka-source", 2
_WITHOUT_LOGS = (1,)
"""Versions that say nothing of which log the offsets belong to: they are read from unproven."""

CAPACITY = 8_000
"""Records of one topic partition that may wait, undecoded, for the other topics of the group."""

_ANSWER_WAIT, _LONGEST_ANSWER_WAIT = 1_000_000, 60_000_000
"""Microseconds for which a flow that is behind, having taken in half the allowed lateness, waits
for answers where none comes back, and for all of them at the longest."""

_IDLE_TICK = 200_000
"""Microseconds between batches that say nothing but a later watermark."""


class SourceState(Struct):
    """The first offset of each topic that was not released, and the watermark.

    ``logs`` says of each topic which log the offset belongs to.
    """

    offsets: dict[str, int]
    watermark: int
    logs: dict[str, LogIdentity] = {}


class Feeder(Protocol):
    """What a partition group needs of its source: fetching, and the slowest watermark."""

    settings: KafkaSettings
    time: EventTimeSettings
    read_many: ReadMany
    bounded: bool
    beat: Beat
    clock: Clock
    present: SteadyClock
    """Our own clock, for what records may not be ahead of."""
    metrics: KafkaMetrics
    releases: Releases
    turns: Turns

    def item_key(self, part: str, shard: int) -> str:
        """Give the key of the items of a source partition."""

    def poll(self, wait: float = 0.0) -> None:
        """Fetch for all groups of this process; wait so many seconds for something to come."""

    def slowest(self) -> int:
        """Give the smallest watermark of the groups that have had an event."""

    def has_unread(self, shard: int, offset: int) -> bool:
        """Say whether decisions were written to a shard at this offset or behind it."""

    def answered_until(self, shard: int) -> int:
        """Give the event time up to which a shard's requests are answered."""

    def note_create_time(self, topic: Topic) -> None:
        """Note that a topic's records bear the times of their producers, not of the broker."""

    def check_clock(self, messages: Sequence[Fetched]) -> None:
        """Say where our clock is behind that of the broker, for some were refused."""


def restore(snapshot: bytes | None) -> SourceState:
    """Read a partition's snapshot; without one, nothing was read yet."""
    if snapshot is None:
        return SourceState({}, NEVER)
    return unpack(_KIND, _VERSION, SourceState, snapshot, older=_WITHOUT_LOGS)


def begin_at(offsets: Mapping[Topic, int]) -> bytes:
    """Write the snapshot of a partition that begins at these offsets."""
    named = {topic.value: offset for topic, offset in offsets.items()}
    return pack(_KIND, _VERSION, SourceState(named, NEVER))


def lower_source(snapshot: bytes, to: int) -> tuple[bytes, int]:
    """Lower the watermark in a partition's snapshot; give what it was, too."""
    state = restore(snapshot)
    lowered = replace(state, watermark=min(state.watermark, to))
    return pack(_KIND, _VERSION, lowered), state.watermark


class GroupPartition(StatefulSourcePartition[Item, bytes]):
    """Partition k of some topics, as batches in event-time order."""

    def __init__(
        self,
        source: Feeder,
        key: str,
        shard: int,
        inlets: dict[Topic, Inlet],
        watermark: int,
    ) -> None:
        self._source = source
        self._key = key
        self._item_key = source.item_key(key, shard)
        self._shard = shard
        self._inlets = inlets
        self._limit = source.settings.batch_size
        idle_after = round(source.time.idle_after * 1e6)
        self.alignment = Alignment[Event | Rejected](len(inlets), idle_after, watermark)
        self._sent_watermark, self._sent_end, self._sent_at = NEVER, False, 0
        self._awake: datetime | None = None
        self._turn = 0
        """The turn in which it looked last."""
        self._over = False
        self._unreadable = 0
        """How many of what waits in the lanes could not be read."""
        self._unseen = set(inlets)
        """The topics of which no record has come yet."""
        span = round(source.time.allowed_lateness * 1e6 / 2)
        self._answers = AnswerWindow(span, _ANSWER_WAIT, _LONGEST_ANSWER_WAIT)
        lanes = dict(zip(inlets, self.alignment.lanes, strict=True))
        self._asked = lanes.get(Topic.DECISION_REQUESTS)
        self._answered = lanes.get(Topic.DECISIONS)
        source.metrics.watch(self)

    def next_batch(self) -> list[Item]:
        """Give the events that the alignment releases and the unreadable records, or nothing."""
        if self._over:
            raise StopIteration
        self._source.beat.note_poll()
        turns = self._source.turns
        wait = turns.begin(self._turn)
        if wait is None:
            self._awake = turns.next(gave=False, at_end=True)
            return []
        self._turn = turns.number
        self._take_in(wait)
        now = time.monotonic_ns() // 1000
        alignment = self.alignment
        present = self._source.present()
        until = self._answers_until(now)
        events, rejected = self._parted(alignment.release(self._limit, now, present, until))
        if self._source.releases.has_dropped:
            rejected += self._dropped()
        if alignment.silent:
            alignment.follow(self._source.slowest(), present)
        ends_epoch = self._source.beat.ends_epoch
        batch = Batch(
            self._shard, alignment.watermark, events, rejected, alignment.at_end, ends_epoch
        )
        if self._source.bounded and batch.at_end:
            batch.watermark, self._over = ALWAYS, True
        worth_giving = self._is_worth_giving(batch, now)
        self._awake = turns.next(gave=worth_giving, at_end=batch.at_end)
        if not worth_giving:
            return []
        self._sent_watermark, self._sent_end, self._sent_at = batch.watermark, batch.at_end, now
        if events or rejected:
            self._source.releases.notes.release(self.places())
        return [(self._item_key, batch)]

    def next_awake(self) -> datetime | None:
        """Go on at once while there is more to read, otherwise as the turns say."""
        return self._source.beat.next_poll(self._awake)

    def snapshot(self) -> bytes:
        """Keep where to read on: at the first record of each topic that was not released."""
        self._source.beat.note_epoch_end()
        offsets = {topic.value: offset for topic, offset in self.offsets().items()}
        logs = {topic.value: inlet.identity() for topic, inlet in self._inlets.items()}
        return pack(_KIND, _VERSION, SourceState(offsets, self.alignment.watermark, logs))

    def offsets(self) -> dict[Topic, int]:
        """Give the first offset of each topic that was not released."""
        lanes = zip(self._inlets.items(), self.alignment.lanes, strict=True)
        return {
            topic: lane.events[0].origin.offset if lane.events else inlet.next_offset
            for (topic, inlet), lane in lanes
        }

    def places(self) -> dict[str, int]:
        """Name what :meth:`offsets` gives by ``topic/partition``."""
        return {place_of(topic, self._shard): offset for topic, offset in self.offsets().items()}

    def lags(self) -> dict[tuple[str, int], int]:
        """Give the number of offsets between each topic's end and what was released.

        A topic whose end the broker has not told yet is left out.
        """
        return {
            (topic.value, self._shard): max(0, high - offset)
            for topic, offset in self.offsets().items()
            if (high := self._inlets[topic].high) >= 0
        }

    def _take_in(self, wait: float) -> None:
        if self._should_fetch():
            if wait and self.alignment.at_end and (left := self._source.beat.seconds_left) > 0.0:
                self._source.poll(min(wait, left))
                self._source.turns.waited()
            else:
                self._source.poll()
        if self.alignment.at_end and not any(inlet.messages for inlet in self._inlets.values()):
            return
        for (topic, inlet), lane in zip(self._inlets.items(), self.alignment.lanes, strict=True):
            if inlet.messages and len(lane) < self._limit:
                self._decode(topic, inlet.take(self._limit), lane)
            inlet.hold(CAPACITY)
            lane.at_end = inlet.at_end

    def _parted(self, items: list[Event | Rejected]) -> EventsAndRejected:
        """Part what was released; only where something that could not be read has waited."""
        if not self._unreadable:
            return cast(list[Event], items), []
        events, rejected = parted(items)
        self._unreadable -= len(rejected)
        return events, rejected

    def _first_unanswered(self) -> int | None:
        """Give the time of the first request that waits behind all answers; None where none does.

        Where the topic of decisions was read to its end, what is asked next has no answer there.
        """
        asked, answered = self._asked, self._answered
        if asked is None or answered is None or not asked.keys or self._source.bounded:
            return None
        if not answered.at_end:
            return None
        first = bisect_right(asked.keys, answered.keys[-1]) if answered.keys else 0
        return asked.keys[first] if first < len(asked.keys) else None

    def _answers_until(self, now: int) -> int:
        """Give how far event time may go on for the sake of the answers to requests."""
        inlet = self._inlets.get(Topic.DECISIONS)
        return self._answers.until(
            self._first_unanswered(),
            now,
            answered=self._source.answered_until(self._shard) >= self._sent_watermark,
            on_their_way=self._answers_on_their_way(),
            read=0 if inlet is None else inlet.next_offset,
        )

    def _answers_on_their_way(self) -> bool:
        inlet = self._inlets.get(Topic.DECISIONS)
        return inlet is not None and self._source.has_unread(self._shard, inlet.next_offset)

    def _should_fetch(self) -> bool:
        """Whether to fetch: what was fetched before is used up, or some topic waits for its own."""
        empty = [inlet for inlet in self._inlets.values() if not inlet.messages]
        return len(empty) == len(self._inlets) or not all(inlet.at_end for inlet in empty)

    def _decode(
        self, topic: Topic, messages: Sequence[Fetched], lane: Lane[Event | Rejected]
    ) -> None:
        """Let what a topic's records become wait in its lane, in the order of their offsets.

        What could not be read waits, too: a snapshot begins at the first record that was not
        released, and one that had gone before it would be read, and rejected, again.
        """
        if topic in self._unseen:
            self._unseen.remove(topic)
            if not is_append_time(messages[0]):
                self._source.note_create_time(topic)
        refused: list[Rejected] = []
        if self._source.releases.holds(place_of(topic, self._shard)):
            messages = self._unquarantined(topic, messages, refused)
        events, rejected = self._source.read_many(
            topic,
            self._shard,
            [message.key() for message in messages],
            [message.value() for message in messages],
            [message.offset() for message in messages],
            times := latest_times(messages, self._source.present()),
        )
        if rejected:
            self._source.check_clock(messages)
        refused += rejected
        if not refused:
            lane.extend(events, [event.at for event in events], times)
            return
        self._unreadable += len(refused)
        items = in_offset_order(events, refused)
        at = [item.at if isinstance(item, Event) else NEVER for item in items]
        lane.extend(items, at, [item.origin.time for item in items])

    def _dropped(self) -> list[Rejected]:
        """Reject what steps have dropped since; it is told beside the next record to come."""
        topic, offset = next(iter(self.offsets().items()))
        now = self._source.present()
        return self._source.releases.dropped(Origin(topic, self._shard, offset, now))

    def _unquarantined(
        self, topic: Topic, messages: Sequence[Fetched], out: list[Rejected]
    ) -> list[Fetched]:
        """Reject the quarantined among some records; give the others."""
        place, releases = place_of(topic, self._shard), self._source.releases
        good: list[Fetched] = []
        times = latest_times(messages, self._source.present())
        for message, at in zip(messages, times, strict=True):
            if releases.is_unreported(place, message.offset()):
                continue
            origin = Origin(topic, self._shard, message.offset(), at)
            rejected = releases.rejected(place, origin, message.value() or b"")
            if rejected is None:
                good.append(message)
            else:
                out.append(rejected)
        return good

    def _is_worth_giving(self, batch: Batch, now: int) -> bool:
        return bool(
            batch.events
            or batch.rejected
            or batch.ends_epoch
            or (batch.at_end and not self._sent_end)
            or (batch.watermark > self._sent_watermark and now - self._sent_at >= _IDLE_TICK)
            or self._over
        )


def place_of(topic: Topic, partition: int) -> str:
    """Name a topic's partition, as the flow's journal does."""
    return f"{topic.value}/{partition}"
