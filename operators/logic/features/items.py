"""What the catalog says of actions, as a matrix for the hierarchical prior."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.feature_map import LIMIT
from operators.logic.features.one_hot import category_text
from schemas.bounds import MOST_ITEM_COLUMNS
from schemas.catalog import Action

Floats = NDArray[np.float64]


def action_matrix(actions: Sequence[Action], names: Sequence[str]) -> Floats | None:
    """Encode the named features of actions, one row per action; ``None`` without any.

    A feature whose values are all numbers is one column, one of lists of numbers is as many as
    the longest list, and any other is one column per value that occurs. ``embedding`` is the
    action's content vector unless a feature has that name. A missing number is the mean of the
    others, a missing category is zero. Columns beyond MOST_ITEM_COLUMNS are left out.

    Returns
    -------
    Array of shape (actions, columns) of finite numbers, or ``None`` if there are no columns.
    """
    blocks, room = [], MOST_ITEM_COLUMNS
    for name in names:
        blocks.append(_block([_value(action, name) for action in actions], room))
        room -= blocks[-1].shape[1]
    matrix = np.hstack(blocks) if blocks else np.zeros((len(actions), 0))
    return matrix if matrix.size else None


def _value(action: Action, name: str) -> Any:
    if name == "embedding" and name not in action.features:
        return action.embedding
    return action.features.get(name)


def _block(values: list[Any], room: int) -> Floats:
    """Encode one feature in at most ``room`` columns."""
    present = [value for value in values if value is not None]
    if present and all(_is_number(value) for value in present):
        return _columns([[value] for value in values], min(1, room))
    if present and all(isinstance(v, list) and all(map(_is_number, v)) for v in present):
        return _columns([v or [] for v in values], min(max(map(len, present)), room))
    texts = [category_text(value) for value in values]
    listed = sorted({text for text in texts if text is not None})[:room]
    column = {text: place for place, text in enumerate(listed)}
    matrix = np.zeros((len(values), len(listed)))
    for row, text in enumerate(texts):
        if text in column:
            matrix[row, column[text]] = 1.0
    return matrix


def _columns(rows: list[list[Any]], width: int) -> Floats:
    known = np.full((len(rows), width), np.nan)
    for place, row in enumerate(rows):
        known[place, : len(row)] = [_float(value) for value in row[:width]]
    here = np.isfinite(known)
    mean = np.where(here, known, 0.0).sum(axis=0) / np.maximum(here.sum(axis=0), 1)
    filled: Floats = np.where(here, known, mean)
    return filled


def _float(value: int | float | None) -> float:
    return np.nan if value is None else float(max(-LIMIT, min(LIMIT, value)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
