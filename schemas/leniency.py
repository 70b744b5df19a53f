"""What is read of a record that its typed decoder refuses, though nothing in it is at fault.

Producers write ``null`` for a field that they leave out; a ``context`` may hold numbers that no
machine type holds, or be nested deeper than anything reads. Both cost a record nothing: they are
taken out of its JSON, which the same decoder then reads.
"""

import json
from collections.abc import Callable
from math import isfinite
from typing import Any

import msgspec
from msgspec import Raw
from msgspec import inspect as types

from schemas.bounds import CONTEXT_DEPTH, GREATEST_INTEGER, LEAST_INTEGER
from schemas.fields import is_tolerant

_Edit = Callable[[Any], Any]
"""Gives what to read for a value of one type; numbers may still be their text (:class:`Raw`)."""

_AS_THEY_ARE = frozenset({str, float, bool, type(None)})
_LONGEST_INTEGER = len(str(LEAST_INTEGER))


class Leniency:
    """Rewrites the JSON of one type of record, or of a union of types."""

    def __init__(self, type_: Any) -> None:
        self._edit = _edit_of(types.type_info(type_))

    def rewritten(self, payload: bytes) -> bytes | None:
        """Rewrite the JSON without what may be left out; None where it is no JSON.

        Raises RecursionError where it is nested deeper than the parser goes.
        """
        try:
            return msgspec.json.encode(_edited(payload, self._edit))
        except ValueError:
            return None


def read_tolerantly(payload: bytes, levels: int) -> Any:
    """Read free JSON as :func:`tolerated` leaves it.

    Raises ValueError where it is no JSON in UTF-8, RecursionError where it is nested deeper than
    the parser goes.

    >>> read_tolerantly(b'{"odds": [1e999, 2]}', 2)
    {'odds': [None, 2]}
    """
    return _edited(payload, lambda value: tolerated(value, levels))


def _edited(payload: bytes, edit: _Edit) -> Any:
    try:
        return edit(msgspec.json.decode(payload))
    except (msgspec.ValidationError, OverflowError):
        pass  # a number that overflows: read again, numbers as their text
    record = json.loads(
        payload.decode(),
        parse_int=_literal,
        parse_float=_literal,
        parse_constant=_no_constant,
    )
    return edit(record)


def _literal(text: str) -> Raw:
    return Raw(text.encode())


def _no_constant(name: str) -> None:
    raise ValueError(name)


def _edit_of(type_: types.Type) -> _Edit:
    """Make the edit of a type: it takes out the nulls of optional fields, however deep."""
    match type_:
        case types.Metadata() if is_tolerant(type_.extra):
            return lambda value: tolerated(value, CONTEXT_DEPTH)
        case types.Metadata():
            return _edit_of(type_.type)
        case types.StructType():
            return _edit_of_struct(type_)
        case types.UnionType():
            return _edit_of_union(type_)
        case types.ListType():
            return _edit_of_list(_edit_of(type_.item_type))
        case types.DictType():
            return _edit_of_dict(_edit_of(type_.value_type))
        case _:
            return _as_it_is


def _as_it_is(value: Any) -> Any:
    return value


def _edit_of_list(inner: _Edit) -> _Edit:
    if inner is _as_it_is:
        return inner
    return lambda value: list(map(inner, value)) if isinstance(value, list) else value


def _edit_of_dict(inner: _Edit) -> _Edit:
    def edit(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: inner(each) for name, each in value.items()}

    return edit if inner is not _as_it_is else inner


def _edit_of_struct(type_: types.StructType) -> _Edit:
    edits = {field.encode_name: _edit_of(field.type) for field in type_.fields}
    optional = {field.encode_name for field in type_.fields if not field.required}

    def edit(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            name: edits.get(name, _as_it_is)(each)
            for name, each in value.items()
            if each is not None or name not in optional
        }

    return edit


def _edit_of_union(type_: types.UnionType) -> _Edit:
    structs = {each.tag: each for each in type_.types if isinstance(each, types.StructType)}
    if len(structs) > 1:
        field = next(iter(structs.values())).tag_field
        by_tag = {tag: _edit_of(each) for tag, each in structs.items()}

        def edit(value: Any) -> Any:
            tag = value.get(field) if isinstance(value, dict) else None
            return by_tag.get(tag, _as_it_is)(value) if isinstance(tag, str) else value

        return edit
    edits = [_edit_of(each) for each in type_.types]
    return next((each for each in edits if each is not _as_it_is), _as_it_is)


def tolerated(value: Any, levels: int) -> Any:
    """Reduce free JSON to numbers that fit 64 bits, in at most ``levels`` levels.

    An integer beyond that becomes a float; a number that overflows, and what lies deeper, becomes
    null. Numbers may come as their text.

    >>> tolerated({"age": Raw(b"18446744073709551616"), "odds": [Raw(b"1e999"), "x"]}, 2)
    {'age': 1.8446744073709552e+19, 'odds': [None, 'x']}
    >>> tolerated({"deep": {"er": []}}, 2)
    {'deep': {'er': None}}
    """
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Raw):
        return _number(bytes(value).decode())
    if isinstance(value, int) and not LEAST_INTEGER <= value <= GREATEST_INTEGER:
        return float(value)
    if isinstance(value, list | dict) and not levels:
        return None
    if isinstance(value, list):
        return [tolerated(each, levels - 1) for each in value]
    if isinstance(value, dict):
        return {name: tolerated(each, levels - 1) for name, each in value.items()}
    return value


def _number(text: str) -> int | float | None:
    if len(text) <= _LONGEST_INTEGER and text.lstrip("-").isdecimal():
        integer = int(text)
        if LEAST_INTEGER <= integer <= GREATEST_INTEGER:
            return integer
    number = float(text)
    return number if isfinite(number) else None
