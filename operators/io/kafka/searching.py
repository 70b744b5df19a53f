"""A partition group in a search: its suspects are released part by part, each in its own epoch."""

import time
from collections.abc import Sequence
from datetime import timedelta

from typing_extensions import override

from operators.envelope import Batch, Event, Rejected
from operators.io.kafka.client import Fetched
from operators.io.kafka.fetch import Inlet
from operators.io.kafka.group import Feeder, GroupPartition, Item, place_of
from operators.io.releases import SearchTurns
from operators.logic.quarantine import InFlight
from schemas.clock import NEVER
from schemas.topics import Topic

_SOON = timedelta(milliseconds=1)


class SearchingPartition(GroupPartition):
    """Releases what the group has as :class:`operators.io.releases.SearchTurns` lets it.

    One record alone is released in two epochs: first the watermark rises to its time, then it
    comes. So a step that fails because time passes is told from one that fails on the record.
    Records come in the order of their offsets within a topic, so that a snapshot between two parts
    names neither twice.
    """

    def __init__(
        self,
        source: Feeder,
        key: str,
        shard: int,
        inlets: dict[Topic, Inlet],
        watermark: int,
        turns: SearchTurns,
    ) -> None:
        super().__init__(source, key, shard, inlets, watermark)
        self._turns = turns
        self._held: list[Event] = []
        """What is to come after its watermark."""
        self._before: dict[Topic, int] = {}
        """The offsets before what is held."""
        self._given = watermark
        self._has_caught_up = False
        turns.join(key)

    @override
    def next_batch(self) -> list[Item]:
        """Release the next part, or nothing while another partition has its turn."""
        self._source.beat.note_poll()
        self._awake = self._source.clock() + _SOON
        if not self._turns.begin(self._key):
            return []
        at_end = self.alignment.at_end
        if not self._held and self._turns.passed(self._key, self.places(), at_end=at_end):
            return []
        batch = self._caught_up() or self._held_events() or self._read() or self._released()
        if batch is None:
            self._turns.clear_in_flight()
            return []
        self._awake = None
        self._given = self._sent_watermark = batch.watermark
        self._note(batch)
        return [(self._item_key, batch)]

    @override
    def offsets(self) -> dict[Topic, int]:
        """Name the first offset of each topic that was not released."""
        return self._before if self._held else super().offsets()

    def _caught_up(self) -> Batch | None:
        """Let steps reach the watermark of the snapshot first, before any record comes."""
        if self._has_caught_up or self._given == NEVER:
            return None
        self._has_caught_up = True
        return Batch(self._shard, self._given)

    def _held_events(self) -> Batch | None:
        """Release the record whose watermark was released before."""
        events, self._held = self._held, []
        return Batch(self._shard, self._given, events) if events else None

    def _read(self) -> Batch | None:
        """Take in records; give what says that steps have dropped something."""
        if self._should_fetch():
            self._source.poll()
        limit = self._turns.size(self.places())
        for (topic, inlet), lane in zip(self._inlets.items(), self.alignment.lanes, strict=True):
            if inlet.messages and not lane.events:
                messages = inlet.take(limit)
                self._turns.read(_reading(self._key, place_of(topic, self._shard), messages))
                self._decode(topic, messages, lane)
            lane.at_end = inlet.at_end
        dropped = self._dropped()
        return Batch(self._shard, self._given, [], dropped) if dropped else None

    def _released(self) -> Batch | None:
        """Release what comes next; where that is one event, first the watermark at its time."""
        before, alignment = super().offsets(), self.alignment
        limit = self._turns.size(self.places())
        now = time.monotonic_ns() // 1000
        until, present = self._answers_until(now), self._source.present()
        events, rejected = self._parted(
            alignment.release_in_order(limit, now, present, self._is_suspect, until)
        )
        if not events and rejected:
            return Batch(self._shard, self._given, [], rejected)
        if not events:
            risen = alignment.watermark > self._given and alignment.at_end
            return Batch(self._shard, alignment.watermark) if risen else None
        if len(events) + len(rejected) > 1:
            watermark, at_end = alignment.watermark, alignment.at_end
            return Batch(self._shard, watermark, events, rejected, at_end=at_end)
        self._held, self._before = events, before
        at = max(self._given, min(alignment.watermark, events[0].at))
        return Batch(self._shard, at)

    def _is_suspect(self, item: Event | Rejected) -> bool:
        place = place_of(Topic(item.origin.topic), self._shard)
        return self._turns.is_suspect(place, item.origin.offset)

    def _note(self, batch: Batch) -> None:
        origins = [event.origin for event in batch.events]
        origins += [rejected.origin for rejected in batch.rejected]
        record = None
        if origins and not self._held:
            origin = origins[0]
            record = place_of(Topic(origin.topic), self._shard), origin.offset
        self._turns.note_in_flight(
            InFlight(
                source=self._key,
                records=len(origins) if record else 0,
                record=record,
                end=self.places(),
            )
        )


def _reading(source: str, place: str, messages: Sequence[Fetched]) -> InFlight:
    """Describe records that are about to be read: a failure of the source is theirs."""
    first, last = messages[0].offset(), messages[-1].offset()
    return InFlight(
        source=source, records=len(messages), record=(place, first), end={place: last + 1}
    )
