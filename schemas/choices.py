"""Which values a field may have where only some are allowed."""

from collections.abc import Iterator
from typing import Any

from msgspec.inspect import LiteralType, StructType, Type, UnionType, type_info


def choices(type_: Any) -> dict[str, str]:
    """List the allowed values of such fields of a record, by path, the values in order.

    >>> from schemas.catalog import Holdout
    >>> choices(Holdout)
    {'unit': 'decision, subject'}
    """
    return dict(_choices(type_info(type_), ""))


def _choices(type_: Type, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(type_, LiteralType):
        yield path, ", ".join(map(str, type_.values))
    elif isinstance(type_, UnionType):
        for each in type_.types:
            yield from _choices(each, path)
    elif isinstance(type_, StructType):
        for field in type_.fields:
            name = field.encode_name
            yield from _choices(field.type, f"{path}.{name}" if path else name)
