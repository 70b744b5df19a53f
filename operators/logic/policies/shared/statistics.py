"""What a shared model learned, under one half-life: sums by column and by action."""

from collections.abc import Collection, Sequence
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.policies.base import Deltas, Floats
from operators.logic.policies.shared.fit import Sums, mean_squares
from operators.logic.policies.shared.moments import Moments, MomentsState
from operators.logic.policies.statistics import Statistics, StatisticsState
from operators.logic.policies.tally import add_totals, aligned_rows

NO_OWN_INTERCEPT = ""
"""The id of actions that are not told apart."""


def with_known_ids(action_ids: Sequence[str], known: NDArray[np.bool_]) -> list[str]:
    """Keep the ids of known actions alone.

    >>> with_known_ids(["a", "b"], np.array([True, False]))
    ['a', '']
    """
    pairs = zip(action_ids, known.tolist(), strict=True)
    return [action_id if is_known else NO_OWN_INTERCEPT for action_id, is_known in pairs]


class SharedStatisticsState(Struct):
    """The written form of :class:`SharedStatistics`."""

    moments: MomentsState
    actions: StatisticsState


class SharedStatistics:
    """Additive sums over rows, of all actions together and of each action's own intercept.

    Parameters
    ----------
    moments
        The empty sums by column; their half-life is that of the actions' sums, too.
    has_intercepts
        Whether actions have intercepts of their own.
    """

    def __init__(self, moments: Moments, has_intercepts: bool) -> None:
        self.moments = moments
        self.actions = Statistics(
            {
                "counts": (),
                "rewards": (),
                "slope": (),
                "target": (),
                "cross": (moments.rank,),
            },
            moments.frame.half_life,
        )
        self._has_intercepts = has_intercepts

    def learn(self, deltas: Deltas, slope: Floats, offset: Floats) -> None:
        """Add deltas with rows, linearised: W and W η - p of each (see :class:`.Shared`)."""
        moments = self.moments
        assert deltas.rows is not None
        moments.move_to(float(deltas.time.max()))
        weight = moments.frame.weights(deltas.time)
        count, reward = weight * deltas.count_delta, weight * deltas.reward_delta
        curvature, target = count * slope, count * offset + reward
        totals = np.column_stack([count, reward, weight * deltas.squares])
        z = moments.add_rows(deltas.rows, curvature, target, totals)
        if self._has_intercepts:
            self._learn_intercepts(deltas, curvature, target, z)

    def _learn_intercepts(
        self, deltas: Deltas, curvature: Floats, target: Floats, z: Floats
    ) -> None:
        actions = self.actions
        if NO_OWN_INTERCEPT in deltas.action_ids:
            own = np.flatnonzero([bool(action_id) for action_id in deltas.action_ids])
            deltas, curvature, target, z = deltas.take(own), curvature[own], target[own], z[own]
        places, _ = add_totals(actions, deltas)
        np.add.at(actions["slope"], places, curvature)
        np.add.at(actions["target"], places, target)
        np.add.at(actions["cross"], places, curvature[:, None] * z)

    def add(self, other: Self, sign: float = 1.0) -> None:
        """Add another's sums, or with ``sign`` -1 remove them."""
        self.moments.add(other.moments, sign)
        self.actions.add(other.actions, sign)

    def drop(self, action_ids: Collection[str]) -> None:
        """Drop actions' own intercepts."""
        self.actions.drop(action_ids)

    @property
    def columns(self) -> NDArray[np.int64]:
        """The columns [U] of the rows of :meth:`sums`, rising."""
        moments = self.moments
        return np.arange(moments.width) if moments.exact else np.sort(moments.columns)

    def sums(self, now: float, ids: Sequence[str], certainty: float) -> Sums:
        """Give the sums of :attr:`columns` and of these actions as of ``now``, times ``certainty``.

        Actions that are not known have sums of 0.
        """
        moments = self.moments
        at = now if np.isfinite(now) else None
        slope, target, cross = (
            certainty * each for each in aligned_rows(self.actions, ids, at, *_OF_ACTIONS)
        )
        scale = certainty * moments.frame.scale(now)
        sketch, whole = scale * moments.sketch(), moments.whole
        order = np.argsort(moments.columns)
        if moments.exact:
            targets, weights = np.zeros((2, moments.width))
            targets[moments.columns] = scale * moments.targets
            weights[moments.columns] = scale * moments.weights
            slopes, columns, first = np.diagonal(sketch), sketch, 0
        else:
            slopes, targets = scale * moments.slopes[order], scale * moments.targets[order]
            weights = scale * moments.weights[order]
            columns = scale * moments.cross[order]
            first = 0 if len(order) and moments.columns[order[0]] == 0 else -1
        return Sums(
            first=first,
            squares=mean_squares(slopes, weights),
            slopes=slopes,
            targets=targets,
            cross=columns,
            sketch=sketch,
            whole=None if whole is None else scale * whole[np.ix_(order, order)],
            action_slopes=slope,
            action_targets=target,
            action_cross=cross,
        )

    def dump(self) -> SharedStatisticsState:
        """Give the written form."""
        return SharedStatisticsState(self.moments.dump(), self.actions.dump())

    @classmethod
    def load(cls, state: SharedStatisticsState, has_intercepts: bool) -> Self:
        """Read the written form."""
        statistics = cls(Moments.load(state.moments), has_intercepts)
        statistics.actions = Statistics.load(state.actions)
        return statistics


_OF_ACTIONS = "slope", "target", "cross"
