"""The way in: batches wait for the catalog and carry the one that holds for their events."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct

from operators.batches import Batch, CatalogNews, Event, Rejected
from operators.decode import Reader
from operators.io import metrics
from operators.logic.catalog import CatalogHistory, CatalogState
from operators.streams import only
from schemas.state import pack, unpack
from schemas.topics import Topic

_KIND, _VERSION = "admit", 1


@dataclass(frozen=True)
class Admitted:
    """Batches with their catalog, and the records that could not be used."""

    batches: KeyedStream[Batch]
    rejected: KeyedStream[list[Rejected]]


class Held(Struct):
    """A batch that waits for the catalog, as the records that it was read from."""

    shard: int
    watermark: int
    at_end: bool
    records: list[tuple[str, bytes, int, int]]


class AdmitState(Struct):
    """What a snapshot keeps."""

    catalog: CatalogState
    complete: bool
    held: list[Held]


Admission = Batch | list[Rejected]


@dataclass
class AdmitLogic(StatefulBatchLogic[Batch | CatalogNews, Admission, bytes]):
    """One shard's catalog and the batches that wait for it."""

    read: Reader
    history: CatalogHistory
    complete: bool = False
    held: list[Batch] = field(default_factory=list)

    def on_batch(self, values: list[Batch | CatalogNews]) -> tuple[Iterable[Admission], bool]:
        """Take in catalog news, then let through what has a catalog."""
        out: list[Admission] = []
        for value in values:
            if isinstance(value, CatalogNews):
                self._learn(value)
            else:
                if value.rejected:
                    out.append(list(value.rejected))
                self.held.append(value)
        if self.complete:
            for batch in self.held:
                self._release(batch, out)
            self.held = []
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Keep the catalog and the records of waiting batches."""
        held = [
            Held(batch.shard, batch.watermark, batch.at_end, [_record(e) for e in batch.events])
            for batch in self.held
        ]
        return pack(_KIND, _VERSION, AdmitState(self.history.state(), self.complete, held))

    def _learn(self, news: CatalogNews) -> None:
        for entry in news.entries:
            self.history.add(entry)
        self.complete = self.complete or news.complete

    def _release(self, batch: Batch, out: list[Admission]) -> None:
        """Cut the batch where the catalog changes, so that each part has one catalog."""
        events = batch.events
        start = events[0].at if events else batch.watermark
        change = self.history.next_change(start)
        while change is not None and events and change <= events[-1].at:
            cut = next(i for i, event in enumerate(events) if event.at >= change)
            part = Batch(batch.shard, min(batch.watermark, change), events[:cut], at_end=False)
            self._emit(part, start, out)
            events, start = events[cut:], change
            change = self.history.next_change(start)
        self._emit(Batch(batch.shard, batch.watermark, events, at_end=batch.at_end), start, out)

    def _emit(self, batch: Batch, start: int, out: list[Admission]) -> None:
        batch.catalog = self.history.as_of(start)
        metrics.events_in(event.origin.topic for event in batch.events)
        out.append(batch)


def _record(event: Event) -> tuple[str, bytes, int, int]:
    return (str(event.origin.topic), event.payload, event.origin.offset, event.origin.time)


def unpack_admit(snapshot: bytes) -> AdmitState:
    """Read what a shard's snapshot keeps."""
    return unpack(_KIND, _VERSION, AdmitState, snapshot)


def _resume(read: Reader, snapshot: bytes | None) -> AdmitLogic:
    if snapshot is None:
        return AdmitLogic(read, CatalogHistory())
    state = unpack_admit(snapshot)
    logic = AdmitLogic(read, CatalogHistory(state.catalog), state.complete)
    logic.held = [_batch(held, read) for held in state.held]
    return logic


def _batch(held: Held, read: Reader) -> Batch:
    found = (
        read(Topic(topic), held.shard, None, payload, offset, time)
        for topic, payload, offset, time in held.records
    )
    events = [event for event in found if isinstance(event, Event)]
    return Batch(held.shard, held.watermark, events, at_end=held.at_end)


@operator
def admit(
    step_id: str,
    up: KeyedStream[Batch],
    catalog: KeyedStream[CatalogNews],
    read: Reader,
) -> Admitted:
    """Hold batches until the catalog is loaded; attach the catalog of their event time.

    A batch in which the catalog changes is cut there. ``catalog`` must reach every shard.
    """

    def shim_builder(resume_state: bytes | None) -> AdmitLogic:
        return _resume(read, resume_state)

    merged: KeyedStream[Batch | CatalogNews] = op.merge("merge", up, catalog)
    admitted = op.stateful_batch("hold", merged, shim_builder)
    return Admitted(
        batches=only("batches", admitted, Batch),
        rejected=only("rejected", admitted, list),
    )
