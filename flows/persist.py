"""The persist flow: topics to the store, so that a slow database never delays a decision."""

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.registry import INPUT, OUTPUT, PERSIST, Step
from flows.wiring import Wiring
from operators.envelope import Batch
from operators.io.metrics.records import RecordMetrics
from operators.io.reading import read_undecoded
from operators.io.store.protocol import Writes
from operators.persist import rows_of


class Steps(Step):
    """The steps that keep state, by their ids: a recovery store knows their state by them."""

    TOPICS = "persist.topics", INPUT
    STORE = "persist.store", OUTPUT


OFFSETS = Steps.TOPICS
"""The step whose snapshots hold the offsets that the flow resumes from."""


def build(
    source: Source[tuple[str, Batch]],
    sink: Sink[tuple[str, Writes]],
    max_record_bytes: int,
    metrics: RecordMetrics,
) -> Dataflow:
    """Build the flow that writes every result to the store.

    ``source`` gives batches of the topics that the store keeps, undecoded:
    :func:`operators.io.reading.read_undecoded`; ``sink`` is a :class:`operators.persist.StoreSink`.
    """

    def to_rows(item: tuple[str, Batch]) -> tuple[str, Writes]:
        _, batch = item
        return str(batch.shard), rows_of(
            batch.shard, batch.events, max_record_bytes, metrics, batch.rejected
        )

    flow = Dataflow("persist")
    batches = op.input("topics", flow, source)
    full = op.filter("full", batches, _has_records)
    writes = op.map("rows", full, to_rows)
    op.output("store", writes, sink)
    return flow


def _has_records(item: tuple[str, Batch]) -> bool:
    return bool(item[1].events or item[1].rejected)


def wire(wiring: Wiring) -> Dataflow:
    """Build the dataflow on Kafka and the durable store."""
    source = wiring.topics(PERSIST.resumes, read_undecoded)
    limit = wiring.settings.kafka.max_record_bytes
    return build(source, wiring.store(), limit, wiring.metrics.records)
