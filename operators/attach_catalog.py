"""Attach the catalog: batches wait until it is loaded, then carry the catalog of their time."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct

from operators.decode import Reader
from operators.envelope import Batch, CatalogUpdate, Event, Rejected
from operators.gathering import Gathered, Gathering
from operators.io.metrics.records import RecordMetrics
from operators.logic.catalog import CatalogedBatch, CatalogHistory, CatalogState
from operators.logic.catalog_limits import take_in
from operators.streams import split
from schemas.clock import ALWAYS, NEVER, Clock
from schemas.settings import EventTimeSettings
from schemas.state import StateFormat, pack, unpack
from schemas.topics import Topic

HOLD_STATE = StateFormat("admit", 4)
"""Named after the id of the step in the personalize flow, ``admit``, which never changes."""

OLDER_HOLDS = (3,)
"""Versions that are read, too: nothing marks the versions of the catalog that were forgotten."""


@dataclass(frozen=True)
class Attached:
    """Streams of batches with their catalog, undelayed and gathered, and of rejected records."""

    batches: KeyedStream[CatalogedBatch]
    gathered: KeyedStream[Gathered]
    rejected: KeyedStream[list[Rejected]]


class WaitingBatch(Struct, kw_only=True):
    """The stored form of a batch that waits: the records that it was read from."""

    shard: int
    watermark: int
    at_end: bool
    records: list[tuple[str, bytes, int, int]]


class AttachState(Struct):
    """A shard's snapshot: ``held`` batches wait for the catalog, ``gathered`` ones for others."""

    catalog: CatalogState
    held: list[WaitingBatch]
    gathered: list[WaitingBatch]


_time = attrgetter("at")

_Out = CatalogedBatch | Gathered | list[Rejected]


@dataclass
class AttachLogic(StatefulBatchLogic[Batch | CatalogUpdate, _Out, bytes]):
    """One shard's catalog and the batches that wait for it, or to be gathered.

    Batches wait at every start, a restart too: what was changed while the flow was down holds from
    the first decision on.
    """

    read: Reader
    history: CatalogHistory
    gathering: Gathering
    complete: bool = False
    waiting: list[Batch] = field(default_factory=list)
    """Batches that wait for the catalog."""
    restored: list[Batch] = field(default_factory=list)
    """Batches that were being gathered when the snapshot was taken: they are gathered anew, once
    the catalog is loaded."""
    time: EventTimeSettings = field(default_factory=EventTimeSettings)
    metrics: RecordMetrics = field(default_factory=RecordMetrics)

    def on_batch(self, values: list[Batch | CatalogUpdate]) -> tuple[Iterable[_Out], bool]:
        """Take in catalog updates, then let batches through once the catalog is loaded."""
        out: list[_Out] = []
        for value in values:
            if isinstance(value, CatalogUpdate):
                refused = self._update(value)
                if refused:
                    out.append(refused)
            else:
                if value.rejected:
                    out.append(list(value.rejected))
                    value = replace(value, rejected=[])
                self.waiting.append(value)
        if self.complete:
            if self.restored:
                out += self._gather_restored()
            for batch in self.waiting:
                if batch.rejected:  # read otherwise than by who held it
                    out.append(list(batch.rejected))
                for part in self._parts(batch):
                    self.metrics.taken_in([event.origin.topic for event in part.events])
                    out.append(part)
                    out += self.gathering.add(part)
                if batch.ends_epoch:
                    out += self.gathering.release()
            if self.waiting:
                self._forget(self.waiting[-1].watermark)
                self.waiting = []
        return out, StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[Iterable[_Out], bool]:
        """Release what has been gathered for long enough."""
        due = self.gathering.due
        is_due = due is not None and due <= self.gathering.clock()
        return self.gathering.release() if is_due else [], StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        """Ask to be woken when what is gathered may wait no longer."""
        return self.gathering.due

    def snapshot(self) -> bytes:
        """Write the catalog, and waiting batches as their records."""
        held, gathered = (
            [
                WaitingBatch(
                    shard=batch.shard,
                    watermark=batch.watermark,
                    at_end=batch.at_end,
                    records=[*map(_record, batch.events), *map(_record, batch.rejected)],
                )
                for batch in batches
            ]
            for batches in (self.waiting, [*self.restored, *self.gathering.batches])
        )
        return pack(*HOLD_STATE, AttachState(self.history.state(), held, gathered))

    def _gather_restored(self) -> list[_Out]:
        out: list[_Out] = []
        for batch in self.restored:
            if batch.rejected:
                out.append(list(batch.rejected))
            for part in self._parts(batch):
                out += self.gathering.add(part)
        self.restored = []
        return out

    def _update(self, update: CatalogUpdate) -> list[Rejected]:
        """Take in catalog records; give those that are refused, where this shard reports them."""
        self.complete = self.complete or update.complete
        if not update.places:
            for entry in update.entries:
                self.history.add(entry)
            return []
        rejected = []
        appended = [place.appended for place in update.places]
        for place, flaw in take_in(self.history, update.entries, appended):
            origin, payload, _ = update.places[place]
            rejected.append(Rejected(flaw.reason, origin, payload, flaw.field, flaw.detail))
        return rejected

    def _forget(self, watermark: int) -> None:
        """Drop the versions of the catalog that no record can ask for which is not too late.

        A request is stale beyond the dedup horizon; a decision counts while its reward window is
        open, which the allowed lateness extends.
        """
        if watermark == ALWAYS:  # the end of the input is not a time
            return
        time, window = self.time, self.history.longest_window
        late = max(time.dedup_horizon * 1e6, time.allowed_lateness * 1e6 + window)
        oldest = watermark - round(late)
        if self.history.due <= oldest:
            gathered = (_start(batch) for batch in self.gathering.batches)
            self.history.forget(min([oldest, *gathered]))

    def _parts(self, batch: Batch) -> Iterator[CatalogedBatch]:
        """Cut the batch where the catalog changes, so that each part has one catalog."""
        events = batch.events
        start = _start(batch)
        change = self.history.next_change(start)
        while change is not None and events and change <= events[-1].at:
            cut = bisect_left(events, change, key=_time)
            watermark = min(batch.watermark, change)
            catalog = self.history.as_of(start)
            yield CatalogedBatch(
                batch.shard,
                watermark,
                events[:cut],
                at_end=False,
                catalog=catalog,
                history=self.history,
            )
            events = events[cut:]
            start = events[0].at  # several changes between two events are one cut
            change = self.history.next_change(start)
        catalog = self.history.as_of(start)
        yield CatalogedBatch(
            batch.shard,
            batch.watermark,
            events,
            at_end=batch.at_end,
            catalog=catalog,
            history=self.history,
        )


def _start(batch: Batch) -> int:
    """Find the time whose catalog a batch begins with."""
    return batch.events[0].at if batch.events else batch.watermark


def _record(event: Event | Rejected) -> tuple[str, bytes, int, int]:
    return (str(event.origin.topic), event.payload, event.origin.offset, event.origin.time)


def unpack_attach(snapshot: bytes) -> AttachState:
    """Read a shard's snapshot."""
    return unpack(*HOLD_STATE, AttachState, snapshot, older=OLDER_HOLDS)


def lower_attach(snapshot: bytes, to: int) -> tuple[bytes, int]:
    """Lower the watermarks of the batches that wait; give the latest that there was, too."""
    state = unpack_attach(snapshot)
    waiting = [*state.held, *state.gathered]
    latest = max((batch.watermark for batch in waiting), default=NEVER)
    for batch in waiting:
        batch.watermark = min(batch.watermark, to)
    return pack(*HOLD_STATE, state), latest


def _resume(
    read: Reader,
    gathering: Gathering,
    time: EventTimeSettings,
    snapshot: bytes | None,
    metrics: RecordMetrics,
) -> AttachLogic:
    if snapshot is None:
        return AttachLogic(
            read=read, history=CatalogHistory(), gathering=gathering, time=time, metrics=metrics
        )
    state = unpack_attach(snapshot)
    history = CatalogHistory(state.catalog)
    logic = AttachLogic(
        read=read,
        history=history,
        gathering=gathering,
        time=time,
        metrics=metrics,
    )
    logic.waiting = [_batch(waiting, read) for waiting in state.held]
    logic.restored = [_batch(waiting, read) for waiting in state.gathered]
    return logic


def _batch(waiting: WaitingBatch, read: Reader) -> Batch:
    results = [
        read(Topic(topic), waiting.shard, None, payload, offset, time)
        for topic, payload, offset, time in waiting.records
    ]
    return Batch(
        shard=waiting.shard,
        watermark=waiting.watermark,
        events=[each for each in results if isinstance(each, Event)],
        rejected=[each for each in results if isinstance(each, Rejected)],
        at_end=waiting.at_end,
    )


@operator
def attach_catalog(
    step_id: str,
    up: KeyedStream[Batch],
    catalog: KeyedStream[CatalogUpdate],
    read: Reader,
    time: EventTimeSettings,
    clock: Clock,
    metrics: RecordMetrics,
) -> Attached:
    """Hold batches until the catalog is loaded; attach the catalog of their event time.

    A batch in which the catalog changes is cut there. ``catalog`` must reach every shard. What no
    decision waits for comes a second time, in larger batches (``gathered``), after the setting
    ``gather`` in seconds on the clock at the latest. Versions of the catalog that only records too
    late to count could ask for are forgotten.
    """

    def shim_builder(resume_state: bytes | None) -> AttachLogic:
        return _resume(read, Gathering(time.gather, clock), time, resume_state, metrics)

    merged: KeyedStream[Batch | CatalogUpdate] = op.merge("merge", up, catalog)
    attached = op.stateful_batch("hold", merged, shim_builder)
    batches, others = split("batches", attached, CatalogedBatch)
    gathered, rejected = split("gathered", others, Gathered)
    return Attached(batches=batches, gathered=gathered, rejected=rejected)
