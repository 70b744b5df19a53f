r"""What the name of a feature says: its field, and what kind of value it was made of."""

from collections.abc import Iterator
from typing import NamedTuple

NUMBER, CATEGORY, VECTOR, OBJECT = "number", "category", "vector", "object"


class Typed(NamedTuple):
    """A field, by the name that it has as a number, and a kind of value that it had."""

    field: str
    kind: str


def typed_fields(name: str) -> Iterator[Typed]:
    r"""Give the field of a feature with the kind of its value, and the objects around it.

    >>> [tuple(each) for each in typed_fields("user|home.geo=US")]
    [('user|home.geo', 'category'), ('user|home', 'object'), ('|user', 'object')]
    >>> [tuple(each) for each in typed_fields("|taste[3]")]
    [('|taste', 'vector')]
    """
    marks = list(_marks(name))
    kinds = {"=": CATEGORY, "[": VECTOR}
    ends = [(at, kinds[mark]) for at, mark in marks if mark in kinds]
    end, kind = ends[0] if ends else (len(name), NUMBER)
    yield Typed(name[:end], kind)
    for at, mark in reversed(marks):
        if at < end and mark == ".":
            yield Typed(name[:at], OBJECT)
        elif mark == "|" and at:
            yield Typed(f"|{name[:at]}", OBJECT)


def _marks(name: str) -> Iterator[tuple[int, str]]:
    """Find the signs of a name that are no part of a key, as far as to a category's text."""
    is_escaped = False
    for at, letter in enumerate(name):
        if is_escaped:
            is_escaped = False
        elif letter == "\\":
            is_escaped = True
        elif letter in "|.[=":
            yield at, letter
            if letter == "=":
                return
