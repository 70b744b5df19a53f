"""Records made from the schemas themselves: a field that is declared is a field that is fuzzed.

A record is a tree of what JSON has: objects, lists, texts, numbers. :class:`msgspec.Raw` in it is
text that goes into the record as it is, since JSON texts exist that no Python value stands for.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import Any

from msgspec import inspect

Tree = Any
"""An object, a list, a text, a number, a boolean, None, or :class:`msgspec.Raw`."""

Path = tuple[str | int, ...]
"""Where in a tree something lies: keys of objects, places of lists."""

Names = Mapping[str, Callable[[Random], Tree]]
"""What a field of a name holds, whatever its type allows beside: ids that refer to something."""

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Shapes:
    """Makes values of a type; ``names`` are the fields whose values mean something."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def record(self, rng: Random, type_: type) -> dict[str, Tree]:
        """Make a record of a type: every field that it needs, and some of the others."""
        value = self._value(rng, _type_info(type_), "")
        assert isinstance(value, dict)
        return value

    def _struct(self, rng: Random, type_: inspect.StructType) -> dict[str, Tree]:
        tree = {} if type_.tag is None else {str(type_.tag_field): type_.tag}
        for field in type_.fields:
            if field.required or rng.random() < 0.5:
                tree[field.encode_name] = self._value(rng, field.type, field.encode_name)
        return tree

    def _value(self, rng: Random, type_: inspect.Type, name: str) -> Tree:
        if name in self._names:
            return self._names[name](rng)
        match type_:
            case inspect.Metadata():
                return self._value(rng, type_.type, name)
            case inspect.UnionType():
                return self._value(rng, rng.choice(type_.types), name)
            case inspect.StructType():
                return self._struct(rng, type_)
            case inspect.ListType():
                count = rng.randrange(4) + (type_.min_length or 0)
                return [self._value(rng, type_.item_type, "") for _ in range(count)]
            case inspect.TupleType():
                return sorted(self._value(rng, each, "") for each in type_.item_types)
            case inspect.DictType():
                keys = [rng.choice("abcdef") for _ in range(rng.randrange(3))]
                return {key: self._value(rng, type_.value_type, "") for key in keys}
            case _:
                return _plain(rng, type_)


@cache
def _type_info(type_: type) -> inspect.Type:
    return inspect.type_info(type_)


def _plain(rng: Random, type_: inspect.Type) -> Tree:
    match type_:
        case inspect.NoneType():
            return None
        case inspect.BoolType():
            return rng.random() < 0.5
        case inspect.IntType():
            low = type_.ge or 0
            if type_.le is not None and rng.random() < 0.05:
                return type_.le
            return rng.randint(low, min(low + 20, type_.le or low + 20))
        case inspect.FloatType():
            least = type_.ge or 0.0
            width = 1.0 if type_.le is None else min(1.0, type_.le - least)
            return least + width * round(0.01 + 0.98 * rng.random(), 3)
        case inspect.LiteralType():
            return rng.choice(type_.values)
        case inspect.DateTimeType():
            return written(START + timedelta(seconds=rng.randrange(3600)))
        case inspect.StrType(pattern=str()):
            return "1/3"  # a weight: the one text with a form of its own
        case inspect.StrType():
            return "x" * (type_.min_length or 0) or rng.choice(("", "a", "b"))
        case inspect.RawType():
            return rng.choice((None, {}, {"a": 1}, {"b": {"c": ["x"]}}, [{"a": 0.5}, {"b": None}]))
        case inspect.AnyType():
            return rng.choice((1, 0.5, "a", None, True, [0.1, 0.2], {"a": 1}))
    raise NotImplementedError(f"a record has a {type(type_).__name__}: say what is valid there")


def written(time: datetime) -> str:
    """Write a time as our records have it."""
    return time.isoformat().replace("+00:00", "Z")


def places(tree: Tree, at: Path = ()) -> Iterator[Path]:
    """Find every place in a tree but its root."""
    inner: Iterator[tuple[str | int, Tree]] = iter(())
    if isinstance(tree, dict):
        inner = iter(tree.items())
    elif isinstance(tree, list):
        inner = iter(enumerate(tree))
    for step, value in inner:
        yield (*at, step)
        yield from places(value, (*at, step))


def value_at(tree: Tree, path: Path) -> Tree:
    """Read what lies at a place of a tree."""
    for step in path:
        tree = tree[step]
    return tree


def put(tree: Tree, path: Path, value: Tree) -> Tree:
    """Make a copy of the tree with another value at a place."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    if isinstance(tree, list):
        copy: Tree = list(tree)
    else:
        copy = dict(tree)
    inner = copy[step] if isinstance(tree, list) or step in copy else {}
    copy[step] = put(inner, rest, value)
    return copy
