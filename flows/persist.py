"""The persist flow: topics to the store, so that a slow database never delays a decision."""

from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import Sink

from operators.io.store import Writes
from operators.persist import Message, rows_of
from schemas.settings import Settings


def build(
    source: FixedPartitionedSource[tuple[str, list[Message]], Any],
    sink: Sink[tuple[str, Writes]],
    settings: Settings,
) -> Dataflow:
    """Build the flow that writes every result to the store.

    ``source`` gives (partition number, records of the topics that :func:`operators.persist.topics`
    lists); ``sink`` is a :class:`operators.persist.StoreSink`.
    """
    limit = settings.max_record_bytes

    def shim_mapper(item: tuple[str, list[Message]]) -> tuple[str, Writes]:
        shard, messages = item
        return shard, rows_of(int(shard), messages, limit)

    flow = Dataflow("persist")
    messages = op.input("topics", flow, source)
    writes = op.map("rows", messages, shim_mapper)
    op.output("store", writes, sink)
    return flow
