"""The persist flow: topics to the store, so that a slow database never delays a decision."""

from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import Sink

from operators.batches import Batch, Event, Origin
from operators.io.store import Writes
from operators.persist import rows_of
from schemas.settings import Settings
from schemas.topics import Topic


def build(
    source: FixedPartitionedSource[tuple[str, Batch], Any],
    sink: Sink[tuple[str, Writes]],
    settings: Settings,
) -> Dataflow:
    """Build the flow that writes every result to the store.

    ``source`` gives batches of the topics that :func:`operators.persist.topics` lists, as
    :func:`as_written` reads them; ``sink`` is a :class:`operators.persist.StoreSink`.
    """
    limit = settings.max_record_bytes

    def shim_mapper(item: tuple[str, Batch]) -> tuple[str, Writes]:
        batch = item[1]
        messages = [
            (Topic(event.origin.topic), event.origin.offset, event.origin.time, event.payload)
            for event in batch.events
        ]
        return str(batch.shard), rows_of(batch.shard, messages, limit)

    flow = Dataflow("persist")
    records = op.input("topics", flow, source)
    writes = op.map("rows", records, shim_mapper)
    op.output("store", writes, sink)
    return flow


def as_written(
    topic: Topic, shard: int, key: bytes | None, payload: bytes | None, offset: int, time: int
) -> Event:
    """Read a record without decoding it, at the broker's time: the store's rows come later."""
    del key
    return Event(time, None, "", 0, Origin(topic, shard, offset, time), payload or b"")
