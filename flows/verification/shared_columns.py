"""What a policy with one model for all actions knows of the columns of its rows."""

import math
from collections.abc import Collection, Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from flows.verification.findings import ActionCheck
from flows.verification.statistics import checks_of
from operators.logic.policies.shared import Shared
from operators.logic.policies.shared.moments import Moments
from operators.logic.policies.statistics import Statistics

EVERY_ACTION = "(all actions)"
"""What stands for an action's id where a finding is about the columns that all share."""

DRIFT = "(all actions, drift)"
"""The same where it is about what is kept of recent decisions, of columns and of actions."""

_Floats = NDArray[np.float64]


def shared_checks(
    slot_id: str, learned: Shared | None, fresh: Shared, forgotten: Collection[str] = ()
) -> Iterator[ActionCheck]:
    """Compare what two policies know of columns, and of what has changed of late.

    What single actions taught that are ``forgotten`` may differ there.
    """
    yield columns_check(slot_id, None if learned is None else learned.moments, fresh.moments)
    if fresh.drift is None:
        return
    recent = None if learned is None else learned.drift
    check = columns_check(slot_id, None if recent is None else recent.moments, fresh.drift.moments)
    intercepts = [Statistics({}) if recent is None else recent.actions, fresh.drift.actions]
    for statistics in intercepts:
        statistics.drop(forgotten)
    worst = max((c.difference for c in checks_of(slot_id, *intercepts)), default=0.0)
    yield msgspec.structs.replace(check, action_id=DRIFT, difference=max(check.difference, worst))


def columns_check(slot_id: str, learned: Moments | None, fresh: Moments) -> ActionCheck:
    """Compare all sums of all columns that either knows, as of the newer of their times."""
    known = [fresh] if learned is None else [fresh, learned]
    newest = max(each.frame.newest for each in known)
    now = newest if math.isfinite(newest) else None
    columns = np.unique(np.concatenate([each.columns for each in known]))
    recomputed, *others = [_aligned(each, columns, now) for each in known]
    held = others[0] if others else {name: np.zeros_like(a) for name, a in recomputed.items()}
    totals = [each.frame.scale(now) * each.totals for each in known]
    learned_totals = totals[1] if others else np.zeros(3)
    differences = [_difference(held[name], recomputed[name]) for name in recomputed]
    differences.append(_difference(learned_totals[:, None], totals[0][:, None]))
    return ActionCheck(
        slot_id=slot_id,
        action_id=EVERY_ACTION,
        learned=(float(learned_totals[0]), float(learned_totals[1])),
        recomputed=(float(totals[0][0]), float(totals[0][1])),
        difference=max(differences),
        forgets=fresh.frame.half_life is not None,
    )


def _aligned(moments: Moments, columns: NDArray[np.int64], now: float | None) -> dict[str, _Floats]:
    seen, sums = moments.sums(now)
    rows = np.searchsorted(columns, seen)
    aligned = {}
    for name, array in sums.items():
        aligned[name] = np.zeros((len(columns), *array.shape[1:]))
        aligned[name][rows] = array
    return aligned


def _difference(one: _Floats, two: _Floats) -> float:
    """Give the largest difference relative to the larger of two rows; absolute below 1."""
    one, two = (array.reshape(len(array), -1) for array in (one, two))
    if not one.size:
        return 0.0
    scale = np.maximum(np.maximum(np.abs(one).max(axis=1), np.abs(two).max(axis=1)), 1.0)
    return float((np.abs(one - two).max(axis=1) / scale).max())
