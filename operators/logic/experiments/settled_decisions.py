"""Decisions whose rewards are final, joined with what was last reported of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from operators.logic.experiments.score_columns import ACTIVATED, NOT_EXPOSED, VOID, Scores
from operators.logic.experiments.scored_metric import ScoredMetric

Table = NDArray[np.void]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledDecisions:
    """Decisions by (time, key): what each earned, and whether it exposed its unit or is void."""

    rows: Table
    value: NDArray[np.float64]
    exposes: NDArray[np.bool_]
    void: NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the decisions."""
        return len(self.rows)


def settle(
    metric: ScoredMetric, decisions: Table, reports: Table, *, evicted: bool = False
) -> SettledDecisions:
    """Join decisions with their reports, each sorted by key.

    A decision without a report was not activated. ``evicted`` makes all of them void: they are
    taken before their rewards are final.
    """
    found, at = _places(decisions["key"], reports["key"])
    flags, value = np.zeros(len(found), dtype=np.uint8), np.zeros(len(found))
    flags[found], value[found] = reports["flags"][at[found]], reports["value"][at[found]]
    activated, void = flags & ACTIVATED != 0, flags & VOID != 0
    counts = activated | (not metric.activated_only)
    otherwise = 0.0 if metric.activated_only else metric.default_reward
    times = decisions["at"]
    exposes = counts & (decisions["variation"] != NOT_EXPOSED)
    if metric.start is not None:
        exposes &= times >= metric.start
    if metric.end is not None:
        exposes &= times < metric.end
    order = np.lexsort((decisions["key"], times))
    return SettledDecisions(
        rows=decisions[order],
        value=np.where(activated, value, otherwise)[order],
        exposes=exposes[order],
        void=np.ones(len(order), dtype=np.bool_) if evicted else void[order],
    )


def decision_scores(metric: ScoredMetric, settled: SettledDecisions) -> Scores:
    """Give the scores of decisions that are units themselves, by (closing time, unit)."""
    counts = settled.exposes & ~settled.void
    rows, value = settled.rows[counts], settled.value[counts]
    order = np.lexsort((rows["unit"], rows["at"]))
    value, rows = value[order], rows[order]
    cap = np.inf if metric.cap is None else metric.cap
    return Scores(
        closing=rows["at"] + metric.settle,
        unit=rows["unit"].copy(),
        first=rows["at"].copy(),
        variation=rows["variation"].astype(np.int64),
        segment=rows["segment"].astype(np.int64),
        probabilities=rows["probabilities"].copy(),
        value=np.minimum(value, cap),
        capped=value > cap,
        mixed=np.zeros(len(rows), dtype=np.bool_),
    )


def without_decision(reports: Table, decisions: Table) -> NDArray[np.bool_]:
    """Tell which reports are of none of the decisions; both are sorted by key."""
    return ~_places(reports["key"], decisions["key"])[0]


def _places(
    keys: NDArray[np.uint64], among: NDArray[np.uint64]
) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Tell which keys are among sorted ones, and where."""
    if not len(among):
        return np.zeros(len(keys), dtype=np.bool_), np.zeros(len(keys), dtype=np.intp)
    at: NDArray[np.intp] = np.minimum(np.searchsorted(among, keys), len(among) - 1)
    same: NDArray[Any] = among[at] == keys
    return same, at
