"""Whom an experiment is about, by the context of a request."""

from collections.abc import Mapping
from typing import Any

from schemas.experiments import Condition, Targeting

_ABSENT = object()

ORDERED = frozenset({"lt", "le", "gt", "ge"})
"""The operators that compare two numbers or two texts."""


def is_targeted(targeting: Targeting, context: Mapping[str, Any]) -> bool:
    """Tell whether all of the conditions that must hold do, and one of the others if there are any.

    >>> phones = Targeting(all_of=[Condition(field="device.kind", values=["phone"])])
    >>> is_targeted(phones, {"device": {"kind": "phone"}}), is_targeted(phones, {})
    (True, False)
    """
    return all(holds(each, context) for each in targeting.all_of) and (
        not targeting.any_of or any(holds(each, context) for each in targeting.any_of)
    )


def holds(condition: Condition, context: Mapping[str, Any]) -> bool:
    """Tell whether a condition holds.

    Values are equal where they are of one kind: a text, a number or a truth value. A list is
    ``in`` the values where one of what it holds is. A field that is missing or null is in nothing,
    so ``not_in`` holds, and is neither less nor more than anything; nor is a number than a text.

    >>> holds(Condition(field="age", operator="ge", values=[18]), {"age": "18"})
    False
    """
    value = _value_at(condition.field, context)
    match condition.operator:
        case "exists":
            return value is not _ABSENT
        case "missing":
            return value is _ABSENT
        case "in":
            return _is_in(value, condition)
        case "not_in":
            return not _is_in(value, condition)
        case operator:
            return bool(condition.values) and _is_so(operator, value, condition.values[0])


def _value_at(field: str, context: Mapping[str, Any]) -> Any:
    value: Any = context.get(field)  # a name may itself hold a dot
    if value is None and "." in field:
        value = context
        for name in field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
    return _ABSENT if value is None else value


def _is_in(value: Any, condition: Condition) -> bool:
    if isinstance(value, list):
        return any(_is_in(each, condition) for each in value)
    return any(_kind(value) is _kind(each) and value == each for each in condition.values)


def _is_so(operator: str, value: Any, other: Any) -> bool:
    if _kind(value) is not _kind(other) or _kind(value) not in (float, str):
        return False
    match operator:
        case "lt":
            return bool(value < other)
        case "le":
            return bool(value <= other)
        case "gt":
            return bool(value > other)
        case _:
            return bool(value >= other)


def _kind(value: Any) -> type:
    """Give one type for all numbers; a truth value is none of them."""
    return float if type(value) is int else type(value)
