"""What the catalog says of actions, as a matrix for the hierarchical prior."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.feature_map import LIMIT
from operators.logic.features.one_hot import category_text
from schemas.catalog import Action

Floats = NDArray[np.float64]


def action_matrix(actions: Sequence[Action], names: Sequence[str]) -> Floats | None:
    """Encode the named features of actions, one row per action; ``None`` without any.

    A feature whose values are all numbers is one column, one of lists of numbers is as many as
    the longest list, and any other is one column per value that occurs. ``embedding`` is the
    action's content vector unless a feature has that name. A missing number is the mean of the
    others, a missing category is zero.

    Returns
    -------
    Array of shape (actions, columns) of finite numbers, or ``None`` if there are no columns.
    """
    blocks = [_block([_value(action, name) for action in actions]) for name in names]
    matrix = np.hstack(blocks) if blocks else np.zeros((len(actions), 0))
    return matrix if matrix.size else None


def _value(action: Action, name: str) -> Any:
    if name == "embedding" and name not in action.features:
        return action.embedding
    return action.features.get(name)


def _block(values: list[Any]) -> Floats:
    present = [value for value in values if value is not None]
    if present and all(_is_number(value) for value in present):
        return _columns([[value] for value in values], 1)
    if present and all(isinstance(v, list) and all(map(_is_number, v)) for v in present):
        return _columns([v or [] for v in values], max(map(len, present)))
    texts = [category_text(value) for value in values]
    listed = sorted({text for text in texts if text is not None})
    return np.array([[float(text == one) for one in listed] for text in texts]).reshape(
        len(values), len(listed)
    )


def _columns(rows: list[list[Any]], width: int) -> Floats:
    known = np.array([[_float(v) for v in row] + [np.nan] * (width - len(row)) for row in rows])
    here = np.isfinite(known)
    mean = np.where(here, known, 0.0).sum(axis=0) / np.maximum(here.sum(axis=0), 1)
    filled: Floats = np.where(here, known, mean)
    return filled


def _float(value: int | float | None) -> float:
    return np.nan if value is None else float(max(-LIMIT, min(LIMIT, value)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
