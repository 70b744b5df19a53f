"""Touch: sinks that have nothing to write are opened and take a snapshot, too."""

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.envelope import Message
from operators.logic.catalog import CatalogedBatch
from schemas.clock import Clock

TOUCH_INTERVAL = 30.0
"""Seconds between the touches of a shard's sinks."""


@operator
def touch(
    step_id: str, up: KeyedStream[CatalogedBatch], clock: Clock
) -> KeyedStream[list[Message]]:
    """Send each shard an empty list of messages at first and every :data:`TOUCH_INTERVAL` seconds.

    Bytewax opens a sink's partition when the first item comes for it, which a decision would wait
    for: the resume fence is read then. And it takes a snapshot of a partition only where something
    came. Without one, the fence would begin where the last message of ours lies, however much
    others have written since.
    """
    last: dict[str, float] = {}

    def shim_mapper(item: tuple[str, CatalogedBatch]) -> tuple[str, list[Message]] | None:
        shard, now = item[0], clock().timestamp()
        if shard in last and last[shard] <= now < last[shard] + TOUCH_INTERVAL:
            return None
        last[shard] = now
        return (shard, [])

    return op.filter_map("due", up, shim_mapper)
