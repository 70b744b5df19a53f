"""Counts and rewards per action, and their rows in the order of the published actions."""

from collections.abc import Mapping, Sequence

import numpy as np

from operators.logic.policies.base import Deltas, Floats, Indices
from operators.logic.policies.statistics import Statistics

_NOTHING = 1e-9
"""So few decisions are what subtracting left of none."""


def add_totals(statistics: Statistics, deltas: Deltas) -> None:
    """Add the deltas' weighted counts and rewards to the statistics."""
    rows, weight = statistics.place(deltas.action_ids, deltas.time)
    k = len(statistics.ids)
    counts, rewards = statistics["counts"], statistics["rewards"]
    counts += np.bincount(rows, weight * deltas.count_delta, k)
    rewards += np.bincount(rows, weight * deltas.reward_delta, k)


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
