"""Small stream idioms that several operators share."""

from typing import Any, TypeVar

import bytewax.operators as op
from bytewax.operators import KeyedStream

X = TypeVar("X")


def split(step_id: str, up: KeyedStream[Any], kind: type[X]) -> tuple[KeyedStream[X], Any]:
    """Part the items whose value is a ``kind`` from the others, which are the second stream.

    One step on the way of both, and none where nothing comes.
    """
    parted = op.branch(step_id, up, lambda item: isinstance(item[1], kind))
    return parted.trues, parted.falses
