"""The statistics in what policies wrote, and whether two of them agree."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from flows.verification.findings import ActionCheck
from operators.logic.policies.shared import Shared
from operators.logic.policies.statistics import Statistics, StatisticsState

_SHARED = b"policy-shared"


class _Written(Struct):
    """The part of a written policy that holds what it learned; ``model`` is a policy inside."""

    statistics: StatisticsState | None = None
    model: bytes | None = None


class PolicyStatistics(NamedTuple):
    """The sufficient statistics by action, and the model itself where all actions share one."""

    by_action: Statistics
    shared: Shared | None = None


def statistics_of(policy: bytes) -> PolicyStatistics | None:
    """Read what a policy's ``dump`` wrote; None where it learns nothing."""
    if policy.startswith(_SHARED):
        shared = Shared.load(policy)
        return PolicyStatistics(shared.intercepts, shared)
    written = msgspec.msgpack.decode(policy.partition(b"\n")[2], type=_Written)
    if written.statistics is not None:
        return PolicyStatistics(Statistics.load(written.statistics))
    return statistics_of(written.model) if written.model else None


def checks_of(slot_id: str, learned: Statistics, fresh: Statistics) -> Iterable[ActionCheck]:
    """Compare all statistics of the actions that either knows, as of the newer of their times."""
    now = max(learned.newest, fresh.newest)
    by_action = [_by_action(statistics, now) for statistics in (learned, fresh)]
    for action_id in sorted(set(learned.ids) | set(fresh.ids)):
        left, right = (entries.get(action_id, {}) for entries in by_action)
        yield ActionCheck(
            slot_id=slot_id,
            action_id=action_id,
            learned=_totals(left),
            recomputed=_totals(right),
            difference=max(
                _difference(left.get(name), right.get(name)) for name in left.keys() | right
            ),
            forgets=fresh.half_life is not None,
        )


Entry = Mapping[str, NDArray[np.float64]]


def _by_action(statistics: Statistics, now: float) -> dict[str, Entry]:
    arrays = statistics.at(now if math.isfinite(now) else None)
    return {
        action_id: {name: array[row] for name, array in arrays.items()}
        for row, action_id in enumerate(statistics.ids)
    }


def _totals(entry: Entry) -> tuple[float, float]:
    return float(entry.get("counts", 0.0)), float(entry.get("rewards", 0.0))


def _difference(left: NDArray[np.float64] | None, right: NDArray[np.float64] | None) -> float:
    """Give the largest difference relative to the larger of the two; absolute below 1."""
    one, two = (np.zeros(1) if array is None else np.asarray(array) for array in (left, right))
    scale = max(1.0, float(np.abs(one).max()), float(np.abs(two).max()))
    return float(np.abs(one - two).max()) / scale
