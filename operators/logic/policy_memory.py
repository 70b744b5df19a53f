"""How much memory a slot's learner needs, known before any of it is allocated.

Bytes per action of what a learner holds: two policies' statistics (of all decisions and of those
settled), the posterior that is published and what scoring keeps of it, and the click model, whose
tables grow with the features that were ever set.
"""

from typing import Final

import msgspec

from operators.logic.features.feature_counts import count_columns
from operators.logic.policies.shared import SharedParams
from schemas.bounds import (
    MOST_ACTIONS,
    MOST_COLUMNS,
    MOST_MATRIX_COLUMNS,
    MOST_RELATED_ACTIONS,
    POLICY_BYTES,
)
from schemas.catalog import AutoFeatures, Slot

_MATRIX_KINDS: Final = frozenset({"logistic", "gaussian", "greedy"})
"""The kinds that keep a matrix of columns x columns for each action."""

_MATRIX, _MATRIX_COLUMN = 2 * 8 + 2 * 4, 2 * 8 + 16
"""Bytes for each number of the matrix and for each column: float64 twice, float32 twice."""

_DIAGONAL_COLUMN, _SCALED_COLUMN = 2 * 4 * 8 + 24, 2 * 1 * 8
"""Bytes of ``diagonal`` for each column, and further ones where numbers are scaled."""

_CLICK_COLUMN = 200
"""Bytes of the click model for each column: a weight and what its optimizer remembers, by name."""

_STATISTIC = 2 * 8
"""Bytes of a number that two policies hold."""

_ACTION = 1_000
"""Bytes of an action whatever its policy: its name, counts, rewards."""


def slot_columns(slot: Slot) -> int:
    """Count what the slot's policy learns from: its features, and the position in a slate."""
    return count_columns(slot.features) + slot.slate_size - 1


def bytes_per_action(slot: Slot) -> int:
    """Count the bytes that the slot's learner holds for each action.

    >>> from schemas.catalog import FeatureSpec, PolicySettings
    >>> from schemas.clock import moment
    >>> slot = Slot(
    ...     id="s",
    ...     time=moment(0),
    ...     slot_id="s",
    ...     policy=PolicySettings(kind="logistic"),
    ...     features=FeatureSpec(vectors={"v": 39}),
    ... )
    >>> bytes_per_action(slot)
    48680
    """
    columns, scaled = slot_columns(slot), slot.features.scale
    needed = _ACTION + _CLICK_COLUMN * columns
    if slot.policy.kind in _MATRIX_KINDS:
        needed += columns * (_MATRIX * columns + _MATRIX_COLUMN)
    elif slot.policy.kind == "diagonal":
        needed += columns * (_DIAGONAL_COLUMN + (_SCALED_COLUMN if scaled else 0))
    elif slot.policy.kind == "shared":
        rank, width, sets = _shared_sizes(slot)
        needed += sets * _STATISTIC * (rank + 4) + (8 * width if width <= rank else 0)
    return needed


def most_actions(slot: Slot) -> int:
    """Say how many actions the slot may have: as many as its learner has memory for.

    >>> from schemas.clock import moment
    >>> most_actions(Slot(id="s", time=moment(0), slot_id="s"))
    10000
    """
    related = slot.item_features or slot.policy.params.get("neighbours")
    limit = MOST_RELATED_ACTIONS if related else MOST_ACTIONS
    room = max(POLICY_BYTES - _shared_bytes(slot), 0)
    return min(limit, room // bytes_per_action(slot))


def size_flaw(slot: Slot) -> str | None:
    """Say why the slot's policy is too large for a few actions; None where it is not."""
    columns, kind = slot_columns(slot), slot.policy.kind
    if kind in _MATRIX_KINDS and columns > MOST_MATRIX_COLUMNS:
        return (
            f"{columns:,} columns: policy {kind!r} keeps a matrix of {in_words(8 * columns**2)} "
            f"for each action, at most {MOST_MATRIX_COLUMNS} columns fit ('diagonal' keeps none)"
        )
    if columns > MOST_COLUMNS:
        return f"{columns:,} columns with the positions of a slate, at most {MOST_COLUMNS:,} fit"
    if most_actions(slot) < 2:
        if kind == "shared":
            rank, width, _ = _shared_sizes(slot)
            return (
                f"policy 'shared' with rank {rank} and {width:,} columns (buckets, or 2 to the "
                f"power of bits) needs {in_words(_shared_bytes(slot))}, of "
                f"{in_words(POLICY_BYTES)}"
            )
        return (
            f"{columns:,} columns: policy {kind!r} needs {in_words(bytes_per_action(slot))} for "
            f"each action and {in_words(_shared_bytes(slot))} for all, of {in_words(POLICY_BYTES)}"
        )
    return None


def in_words(count: int) -> str:
    """Write a number of bytes for people.

    >>> in_words(8 * 65537**2), in_words(2**20)
    ('32.0 GiB', '1.0 MiB')
    """
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.1f} MiB"


def _shared_bytes(slot: Slot) -> int:
    """Count the bytes that are held once: the coordinates of scaled numbers, in two posteriors.

    Of ``shared`` they are the sums of each column, with the posterior's table or matrix.
    """
    if slot.policy.kind == "shared":
        rank, width, sets = _shared_sizes(slot)
        return width * (sets * _STATISTIC * (rank + 2) + 4 * 8) + (
            2 * 8 * width**2 if width <= rank else 0
        )
    spec = slot.features
    if not spec.scale:
        return 0
    rows = len(spec.numeric) + len(spec.profile)
    if slot.policy.kind in _MATRIX_KINDS:  # products are scaled, too
        rows = slot_columns(slot)
    return 3 * 8 * rows * slot_columns(slot)


def _shared_sizes(slot: Slot) -> tuple[int, int, int]:
    """Give the width of the sketch of ``shared``, how many columns it tells apart, and statistics.

    Of these there are two where coefficients drift. Of parameters that are none the defaults count:
    they are refused where the policy is made.
    """
    try:
        params = msgspec.convert(slot.policy.params, SharedParams)
    except msgspec.ValidationError:
        params = SharedParams()
    width = min(params.buckets, 2 ** (slot.features.auto or AutoFeatures()).bits)
    return min(params.rank, width), width, 1 if params.drift_half_life is None else 2
