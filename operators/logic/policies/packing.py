"""Arrays as raw bytes, and parameters as validated Structs."""

import math
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from operators.logic.policies.base import Floats, PolicyError
from schemas.choices import choices

T = TypeVar("T", bound=Struct)

_BOUNDS = {">=": "must be >= ", "<=": "must be <= ", ">": "must be > ", "<": "must be < "}
_BOUND = re.compile(r"Expected `[^`]*` (>=|<=|>|<) ([^ ]+) - at `\$\.([^`]*)`")
_TYPE = re.compile(r"Expected `([^`]*)`, got `([^`]*)` - at `\$\.([^`]*)`")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_CHOICE = re.compile(r"Invalid enum value .* - at `\$\.([^`]*)`")


def pack_array(array: Floats) -> bytes:
    """Write an array as little-endian float64."""
    return np.ascontiguousarray(array, dtype="<f8").tobytes()


def unpack_array(raw: bytes, shape: tuple[int, ...]) -> Floats:
    """Read an array that :func:`pack_array` wrote."""
    return np.frombuffer(raw, dtype="<f8").reshape(shape).astype(np.float64)


def pack_symmetric(array: Floats) -> bytes:
    """Write an array; of symmetric matrices, [K, d, d], only the lower triangles."""
    if array.ndim == 3:
        return pack_array(array[(slice(None), *np.tril_indices(array.shape[-1]))])
    return pack_array(array)


def unpack_symmetric(raw: bytes, shape: tuple[int, ...]) -> Floats:
    """Read an array that :func:`pack_symmetric` wrote."""
    if len(shape) != 3:
        return unpack_array(raw, shape)
    k, d, _ = shape
    rows, columns = np.tril_indices(d)
    values = unpack_array(raw, (k, len(rows)))
    array = np.empty(shape)
    array[:, rows, columns] = values
    array[:, columns, rows] = values
    return array


def learned_params(
    snapshot: bytes, params: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    r"""Leave out what an earlier release wrote because it was its default, and is learned now.

    >>> learned_params(b"policy-beta/1\n...", {"prior_reward": 1.0, "x": 2}, {"prior_reward": 1.0})
    {'x': 2}
    >>> learned_params(b"policy-beta/2\n...", {"prior_reward": 1.0}, {"prior_reward": 1.0})
    {'prior_reward': 1.0}
    """
    if snapshot.partition(b"\n")[0].endswith(b"/1"):
        return {name: value for name, value in params.items() if defaults.get(name) != value}
    return dict(params)


def read_params(kind: str, type_: type[T], params: Mapping[str, Any] | None) -> T:
    """Read a policy's parameters; an error names the parameter.

    >>> import typing
    >>> class Params(Struct, forbid_unknown_fields=True):
    ...     alpha: typing.Annotated[float, msgspec.Meta(gt=0)] = 1.0
    >>> read_params("beta", Params, {"alpha": -1})
    Traceback (most recent call last):
    operators.logic.policies.base.PolicyError: policy.alpha must be > 0, got -1
    >>> class Sized(Struct):
    ...     size: typing.Literal[1, 2] = 1
    >>> read_params("beta", Sized, {"size": 3})
    Traceback (most recent call last):
    operators.logic.policies.base.PolicyError: policy.size must be one of 1, 2, got 3
    """
    given = dict(params or {})
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise PolicyError(f"policy.{name} must be finite, got {value}")
    try:
        return msgspec.convert(given, type_)
    except msgspec.ValidationError as error:
        raise PolicyError(_explain(kind, type_, given, str(error))) from None


def _explain(kind: str, type_: type[Struct], given: dict[str, Any], message: str) -> str:
    if bound := _BOUND.search(message):
        sign, limit, name = bound.groups()
        value = given.get(name.split(".")[0].split("[")[0])
        number = f"{float(limit):g}"
        return f"policy.{name} {_BOUNDS[sign]}{number}, got {value}"
    if wrong := _TYPE.search(message):
        expected, got, name = wrong.groups()
        return f"policy.{name} must be of type {expected}, got {got}"
    if unknown := _UNKNOWN.search(message):
        return f"policy.{unknown.group(1)} is not a parameter of {kind!r}"
    if (choice := _CHOICE.search(message)) and (allowed := choices(type_).get(choice.group(1))):
        name = choice.group(1)
        return f"policy.{name} must be one of {allowed}, got {given.get(name)!r}"
    return f"policy: {message}"
