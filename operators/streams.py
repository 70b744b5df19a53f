"""Small stream idioms that several operators share."""

from typing import Any, TypeVar

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

X = TypeVar("X")


@operator
def of_type(step_id: str, up: KeyedStream[Any], kind: type[X]) -> KeyedStream[X]:
    """Let through the items whose value is a ``kind``."""
    return op.filter("is", up, lambda item: isinstance(item[1], kind))
