import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from operators.envelope import Batch, Message
from operators.io.memory import MemoryCatalogSource, MemorySink, Record, memory_group_source
from schemas.clock import ALWAYS
from schemas.topics import Topic
from tests.support.kafka_flow import read

RECORDS = {
    Topic.DECISION_REQUESTS: {0: [Record(b"%d" % n, n) for n in range(0, 3000, 3)]},
    Topic.CLICKS: {0: [Record(b"%d" % n, n) for n in range(1, 3000, 3)] + [Record(b"?", 1)]},
    Topic.REWARDS: {1: [Record(b"7", 7)]},
}


def drain(part) -> list[Batch]:
    got: list[Batch] = []
    while not (got and got[-1].watermark == ALWAYS):
        got += [batch for _, batch in part.next_batch()]
    return got


def test_records_in_memory_come_aligned_and_end_with_the_last_watermark() -> None:
    source = memory_group_source(RECORDS, read, partitions=2, batch_size=100)
    got = drain(source.build_part("in", "0", None))
    times = [event.at for batch in got for event in batch.events]
    assert times == sorted(n for n in range(3000) if n % 3 < 2)
    assert [r.reason for batch in got for r in batch.rejected] == ["not_a_number"]
    marks = [batch.watermark for batch in got]
    assert marks == sorted(marks)
    assert [len(drain(source.build_part("in", "1", None))[0].events)] == [1]


def test_a_memory_snapshot_resumes_at_the_first_unreleased_record() -> None:
    source = memory_group_source(RECORDS, read, partitions=2, batch_size=100)
    part = source.build_part("in", "0", None)
    first = [batch for _ in range(5) for _, batch in part.next_batch()]
    rest = drain(source.build_part("in", "0", part.snapshot()))
    times = [event.at for batch in first + rest for event in batch.events]
    assert times == sorted(n for n in range(3000) if n % 3 < 2)


def test_a_memory_sink_takes_what_a_kafka_sink_takes() -> None:
    sink = MemorySink(partitions=12)
    flow = Dataflow("flow")
    batches = op.input("in", flow, memory_group_source(RECORDS, read, partitions=2))
    written = op.map(
        "write", batches, lambda kv: ("11", [Message(e.key, None, b"") for e in kv[1].events])
    )
    op.output("out", written, sink)
    run_main(flow)
    assert len(sink.written[11]) == 2001
    assert not sink.written[2]


def test_a_memory_catalog_is_given_once() -> None:
    source = MemoryCatalogSource([])
    part = source.build_part("in", "catalog", None)
    assert [(key, update.complete) for key, update in part.next_batch()] == [("catalog", True)]
    assert not source.build_part("in", "catalog", part.snapshot()).next_batch()[0][1].entries
