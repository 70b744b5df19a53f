"""The audit flow: counts the records of a topic by partition, over stops, and prints the counts."""

import bytewax.operators as op
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source

from flows.registry import AUDIT, INPUT, OUTPUT, STATE, Step
from flows.wiring import Wiring
from operators.envelope import Batch
from operators.io.reading import as_written


class Steps(Step):
    """The steps that keep state, by their ids: a recovery store knows their state by them."""

    TOPIC = "audit.topic", INPUT
    COUNT = "audit.count.stateful_flat_map.stateful.stateful_batch", STATE
    PRINT = "audit.print", OUTPUT


OFFSETS = Steps.TOPIC
"""The step whose snapshots hold the offsets that the flow resumes from."""


def build(source: Source[tuple[str, Batch]]) -> Dataflow:
    """Build the flow that counts; ``source`` gives batches of a topic, decoded or not."""
    flow = Dataflow("audit")
    batches = op.input("topic", flow, source)
    sizes = op.map("size", batches, lambda item: (str(item[1].shard), len(item[1].events)))
    some = op.filter("some", sizes, lambda item: bool(item[1]))
    counts = op.stateful_map("count", some, _add)
    lines = op.map("line", counts, lambda item: f"partition {item[0]}: {item[1]} records")
    op.output("print", lines, StdOutSink())
    return flow


def wire(wiring: Wiring) -> Dataflow:
    """Build the dataflow on Kafka."""
    return build(wiring.topics(AUDIT.resumes, as_written))


def _add(total: int | None, count: int) -> tuple[int, int]:
    total = (total or 0) + count
    return total, total
