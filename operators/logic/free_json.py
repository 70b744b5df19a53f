"""What free JSON may hold, so that every later step can write and read it."""

from math import isfinite
from typing import Any

from schemas.bounds import GREATEST_INTEGER, JSON_DEPTH, LEAST_INTEGER

_LONGEST_PATH = 200


def json_flaw(value: Any, path: str) -> tuple[str, str] | None:
    """Say where decoded JSON holds what cannot be kept, and what; None where all of it can.

    Integers have 64 bits, numbers are finite, lists and objects lie in at most ``JSON_DEPTH``
    levels.

    >>> json_flaw({"size": [1, 2**64]}, "content")
    ('content.size[1]', 'an integer beyond 64 bits')
    """
    waiting: list[tuple[Any, str, int]] = [(value, path, 1)]
    while waiting:
        each, place, depth = waiting.pop()
        if isinstance(each, dict | list):
            if depth > JSON_DEPTH:
                return place[:_LONGEST_PATH], f"nested deeper than {JSON_DEPTH} levels"
            inner = (
                [(item, f"{place}.{key}"[:_LONGEST_PATH], depth + 1) for key, item in each.items()]
                if isinstance(each, dict)
                else [(item, f"{place}[{at}]", depth + 1) for at, item in enumerate(each)]
            )
            waiting += reversed(inner)
        elif isinstance(each, int) and not LEAST_INTEGER <= each <= GREATEST_INTEGER:
            return place[:_LONGEST_PATH], "an integer beyond 64 bits"
        elif isinstance(each, float) and not isfinite(each):
            return place[:_LONGEST_PATH], "a number that is not finite"
    return None
