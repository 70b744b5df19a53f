"""Gather small batches that no decision waits for into larger ones, which cost less per event."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from operators.logic.catalog import CatalogedBatch
from schemas.clock import ALWAYS, Clock
from schemas.events import DecisionRequest

LARGEST = 256
"""A gathered batch of so many events waits for no more."""


@dataclass(slots=True)
class Gathered:
    """One batch made of several of a shard, without their requests."""

    batch: CatalogedBatch


class Gathering:
    """Collects small batches of one shard and makes one of them.

    The one is complete with ``LARGEST`` events, after ``wait`` seconds on ``clock`` (``due``),
    where the catalog changes, and at the end of the input.
    """

    def __init__(self, wait: float, clock: Clock) -> None:
        self.clock = clock
        self._wait = timedelta(seconds=wait)
        self.batches: list[CatalogedBatch] = []
        self.due: datetime | None = None
        self._count = 0

    def add(self, batch: CatalogedBatch) -> list[Gathered]:
        """Take in a batch; give the gathered batches that this completes."""
        out = []
        if self.batches and self.batches[-1].catalog is not batch.catalog:
            out += self.release()
        events = [event for event in batch.events if type(event.body) is not DecisionRequest]
        self.batches.append(
            CatalogedBatch(batch.shard, batch.watermark, events, catalog=batch.catalog)
        )
        self._count += len(events)
        if self._count >= LARGEST or batch.watermark == ALWAYS or not self._wait:
            out += self.release()
        elif self.due is None:
            self.due = self.clock() + self._wait
        return out

    def release(self) -> list[Gathered]:
        """Give what has been gathered, complete or not."""
        batches, self.batches, self.due, self._count = self.batches, [], None, 0
        if len(batches) < 2:
            return [Gathered(batch) for batch in batches]
        last = batches[-1]
        events = [event for batch in batches for event in batch.events]
        return [Gathered(CatalogedBatch(last.shard, last.watermark, events, catalog=last.catalog))]
