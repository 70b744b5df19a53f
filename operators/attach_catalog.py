"""The way in: batches wait for the catalog and carry the one that holds for their events."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct

from operators.decode import Reader
from operators.envelope import Batch, CatalogUpdate, Event, Rejected
from operators.gathering import Gathered, Gathering
from operators.io.metrics.records import RecordMetrics
from operators.logic.catalog import CatalogedBatch, CatalogHistory, CatalogState
from operators.streams import of_type
from schemas.clock import Clock
from schemas.state import pack, unpack
from schemas.topics import Topic

_KIND, _VERSION = "admit", 2


@dataclass(frozen=True)
class Attached:
    """Batches with their catalog, at once and gathered; the records that could not be used."""

    batches: KeyedStream[CatalogedBatch]
    gathered: KeyedStream[Gathered]
    rejected: KeyedStream[list[Rejected]]


class Held(Struct):
    """A batch that waits, as the records that it was read from."""

    shard: int
    watermark: int
    at_end: bool
    records: list[tuple[str, bytes, int, int]]


class AttachState(Struct):
    """What a snapshot keeps: ``held`` waits for the catalog, ``gathered`` for more of its kind."""

    catalog: CatalogState
    complete: bool
    held: list[Held]
    gathered: list[Held]


Admission = CatalogedBatch | Gathered | list[Rejected]


@dataclass
class AttachLogic(StatefulBatchLogic[Batch | CatalogUpdate, Admission, bytes]):
    """One shard's catalog and the batches that wait for it, or to be gathered."""

    read: Reader
    history: CatalogHistory
    gathering: Gathering
    complete: bool = False
    held: list[Batch] = field(default_factory=list)
    again: list[Batch] = field(default_factory=list)
    """What an earlier life had gathered."""
    metrics: RecordMetrics = field(default_factory=RecordMetrics)

    def on_batch(self, values: list[Batch | CatalogUpdate]) -> tuple[Iterable[Admission], bool]:
        """Take in catalog updates, then let through what has a catalog."""
        out: list[Admission] = []
        for value in values:
            if isinstance(value, CatalogUpdate):
                self._learn(value)
            else:
                if value.rejected:
                    out.append(list(value.rejected))
                self.held.append(value)
        if self.complete:
            out += self._gather_again()
            for batch in self.held:
                for part in self._parts(batch):
                    self.metrics.taken_in(event.origin.topic for event in part.events)
                    out.append(part)
                    out += self.gathering.add(part)
            self.held = []
        return out, StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[Iterable[Admission], bool]:
        """Give what has been gathered for long enough."""
        out = self._gather_again()
        due = self.gathering.due
        if due is not None and due <= self.gathering.clock():
            out += self.gathering.give()
        return out, StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken when what is gathered may wait no longer."""
        return self.gathering.clock() if self.again else self.gathering.due

    def snapshot(self) -> bytes:
        """Keep the catalog and the records of waiting batches."""
        held, gathered = (
            [
                Held(batch.shard, batch.watermark, batch.at_end, [_record(e) for e in batch.events])
                for batch in batches
            ]
            for batches in (self.held, [*self.again, *self.gathering.batches])
        )
        return pack(
            _KIND, _VERSION, AttachState(self.history.state(), self.complete, held, gathered)
        )

    def _gather_again(self) -> list[Admission]:
        out: list[Admission] = []
        for batch in self.again:
            for part in self._parts(batch):
                out += self.gathering.add(part)
        self.again = []
        return out

    def _learn(self, update: CatalogUpdate) -> None:
        for entry in update.entries:
            self.history.add(entry)
        self.complete = self.complete or update.complete

    def _parts(self, batch: Batch) -> Iterator[CatalogedBatch]:
        """Cut the batch where the catalog changes, so that each part has one catalog."""
        events = batch.events
        start = events[0].at if events else batch.watermark
        change = self.history.next_change(start)
        while change is not None and events and change <= events[-1].at:
            cut = next(i for i, event in enumerate(events) if event.at >= change)
            mark = min(batch.watermark, change)
            catalog = self.history.as_of(start)
            yield CatalogedBatch(batch.shard, mark, events[:cut], at_end=False, catalog=catalog)
            events, start = events[cut:], change
            change = self.history.next_change(start)
        catalog = self.history.as_of(start)
        yield CatalogedBatch(
            batch.shard, batch.watermark, events, at_end=batch.at_end, catalog=catalog
        )


def _record(event: Event) -> tuple[str, bytes, int, int]:
    return (str(event.origin.topic), event.payload, event.origin.offset, event.origin.time)


def unpack_admit(snapshot: bytes) -> AttachState:
    """Read what a shard's snapshot keeps."""
    return unpack(_KIND, _VERSION, AttachState, snapshot)


def _resume(
    read: Reader, gathering: Gathering, snapshot: bytes | None, metrics: RecordMetrics
) -> AttachLogic:
    if snapshot is None:
        return AttachLogic(
            read=read, history=CatalogHistory(), gathering=gathering, metrics=metrics
        )
    state = unpack_admit(snapshot)
    history = CatalogHistory(state.catalog)
    logic = AttachLogic(
        read=read, history=history, gathering=gathering, complete=state.complete, metrics=metrics
    )
    logic.held = [_batch(held, read) for held in state.held]
    logic.again = [_batch(held, read) for held in state.gathered]
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
    catalog: KeyedStream[CatalogUpdate],
    read: Reader,
    gather: float,
    clock: Clock,
    metrics: RecordMetrics,
) -> Attached:
    """Hold batches until the catalog is loaded; attach the catalog of their event time.

    A batch in which the catalog changes is cut there. ``catalog`` must reach every shard. What no
    decision waits for comes a second time, in larger batches (``gathered``), after ``gather``
    seconds on the clock at the latest.
    """

    def shim_builder(resume_state: bytes | None) -> AttachLogic:
        return _resume(read, Gathering(gather, clock), resume_state, metrics)

    merged: KeyedStream[Batch | CatalogUpdate] = op.merge("merge", up, catalog)
    admitted = op.stateful_batch("hold", merged, shim_builder)
    return Attached(
        batches=of_type("batches", admitted, CatalogedBatch),
        gathered=of_type("gathered", admitted, Gathered),
        rejected=of_type("rejected", admitted, list),
    )
