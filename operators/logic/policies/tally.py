"""Counts and rewards per action, and their rows in the order of the published actions."""

from collections.abc import Mapping, Sequence

import numpy as np

from operators.logic.policies.base import Deltas, Floats, Indices
from operators.logic.policies.statistics import Statistics

_NOTHING = 1e-9
"""So few decisions are what subtracting left of none."""


TALLIES = ("counts", "rewards", "reward_squares")
"""Sums over decisions: how many, their rewards, and the squares of these."""

SQUARES_LIKE = {"reward_squares": "rewards"}
"""What statistics of releases that added up no squares stand for: rewards of 0 and 1."""


def add_totals(statistics: Statistics, deltas: Deltas) -> tuple[Indices, Floats]:
    """Add the deltas to those tallies that the statistics have; give their rows and weights."""
    rows, weight = statistics.place(deltas.action_ids, deltas.time)
    k = len(statistics.ids)
    for name, values in zip(
        TALLIES, (deltas.count_delta, deltas.reward_delta, deltas.squares), strict=True
    ):
        if name in statistics:
            sums = statistics[name]
            sums += np.bincount(rows, weight * values, k)
    return rows, weight


def by_row(rows: Indices) -> list[Indices]:
    """Give the places of each row that there is, by row.

    >>> [part.tolist() for part in by_row(np.array([3, 1, 3]))]
    [[1], [0, 2]]
    """
    if not len(rows):
        return []
    order = np.argsort(rows, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(rows[order])) + 1)


def columns_of(columns: Mapping[str, int], ids: Sequence[str]) -> Indices:
    """Give the column of each id, -1 where there is none."""
    return np.array([columns.get(action_id, -1) for action_id in ids], dtype=np.intp)


def published_ids(
    statistics: Statistics, active: Sequence[str] | None, now: float | None, *names: str
) -> tuple[list[str], list[Floats]]:
    """Give the sorted actions to publish and their rows of the named arrays, 0 where none."""
    ids = sorted(statistics.ids if active is None else active)
    return ids, aligned_rows(statistics, ids, now, *names)


def aligned_rows(
    statistics: Statistics, ids: Sequence[str], now: float | None, *names: str
) -> list[Floats]:
    """Give the rows of the named arrays as of ``now``, in the order of ``ids``."""
    position = {action_id: i for i, action_id in enumerate(statistics.ids)}
    rows = np.array([position.get(action_id, -1) for action_id in ids], dtype=np.intp)
    known = rows >= 0
    arrays = statistics.at(now)
    result = []
    for name in names:
        array = np.zeros((len(ids), *arrays[name].shape[1:]))
        array[known] = arrays[name][rows[known]]
        result.append(array)
    return result


def mean_and_deviation(a: float, b: float) -> tuple[float, float]:
    """Give the mean and standard deviation of a Beta distribution, (0, 0) where it is empty.

    >>> mean_and_deviation(1.0, 1.0)
    (0.5, 0.28867513459481287)
    """
    total = a + b
    if total <= 0.0:
        return 0.0, 0.0
    mean = min(max(a / total, 0.0), 1.0)
    return mean, float((mean * (1.0 - mean) / (total + 1.0)) ** 0.5)


def observed_mean(reward: float, count: float) -> float | None:
    """Give the mean reward of ``count`` decisions; None where that is 0 but for rounding.

    >>> observed_mean(1.0, 4.0), observed_mean(0.0, 0.0)
    (0.25, None)
    """
    return reward / count if count > _NOTHING else None
