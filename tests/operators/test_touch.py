"""Sinks without messages are touched now and then."""

from datetime import datetime, timedelta

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from operators.logic.catalog import CatalogedBatch
from operators.touch import TOUCH_INTERVAL, touch
from tests.support import records as make


def test_shards_are_touched_at_first_once_an_interval_and_after_a_step_of_the_clock() -> None:
    seconds = [0, 10, 20, TOUCH_INTERVAL, TOUCH_INTERVAL + 1, -3600, -3590, -3600 + TOUCH_INTERVAL]
    now = make.START

    def clock() -> datetime:
        return now

    def at(item: tuple[str, float]) -> tuple[str, CatalogedBatch]:
        nonlocal now
        now = make.START + timedelta(seconds=item[1])
        return item[0], CatalogedBatch(0, 0)

    out: list[tuple[str, list[object]]] = []
    flow = Dataflow("touching")
    items = op.input("in", flow, TestingSource([(k, s) for s in seconds for k in ("0", "1")]))
    op.output("out", touch("touch", op.map("at", items, at), clock), TestingSink(out))
    run_main(flow)
    assert out == [("0", []), ("1", [])] * 4
