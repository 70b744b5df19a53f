"""Thompson sampling by one Bayesian model over context × action features.

A decision whose chosen action had the row x contributes to the columns j of x, with its sketch z:
Λ_jj += w n W x_j², (Λ Pᵀ)_j += w n W x_j z, h_j += w (n (W η - p) + r) x_j, and the same with
x_j = 1 to its action's own intercept: one Newton step of the log-likelihood, linearised at the
logged linear predictor η, as :mod:`operators.logic.policies.linear` does. With the Gaussian link W
is 1 and η drops out. So the statistics are additive, whatever the order. They are kept twice: of
all decisions, and under a short half-life for what has changed of late
(:mod:`operators.logic.policies.shared.drift`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import msgspec
import numpy as np
from msgspec import Struct
from scipy.special import expit

from operators.logic.policies.base import Deltas, Floats, PolicyError
from operators.logic.policies.level import ACTION_VARIANCE, first_log_odds
from operators.logic.policies.packing import read_params
from operators.logic.policies.reward_variation import RewardVariation, reward_variation
from operators.logic.policies.shared.drift import drifted
from operators.logic.policies.shared.fit import (
    SharedFit,
    SharedPrior,
    Sums,
    fit_exactly,
    fit_together,
    fit_widely,
)
from operators.logic.policies.shared.moments import Moments, MomentsState
from operators.logic.policies.shared.parameters import SharedParams
from operators.logic.policies.shared.posterior import Intercepts, SharedPosterior
from operators.logic.policies.shared.statistics import SharedStatistics, SharedStatisticsState
from operators.logic.policies.statistics import Statistics, StatisticsState
from operators.logic.policies.tally import aligned_rows
from schemas.state import pack, unpack

_VERSION = 1
_LOWEST, _HIGHEST = -30.0, 1.0
"""Between which log-odds a decision is linearised. One believed to be far better than it is would
else count as far worse, with next to no curvature against it, and not be tried again."""

_LEAST_VARIANCE = 1e-9

_FIRST_ENTRIES = 50.0
"""How many numbers a row is expected to have before any is seen."""


class SharedState(Struct):
    """The written form of a :class:`Shared` policy."""

    params: dict[str, Any]
    width: int
    moments: MomentsState
    actions: StatisticsState
    default_reward: float
    dim: int = 1
    drift: SharedStatisticsState | None = None


class Shared:
    """One Bayesian linear model of sparse rows, with an intercept of their own for known actions.

    Parameters
    ----------
    params
        :class:`~operators.logic.policies.shared.parameters.SharedParams`.
    width
        The width of the rows, a power of two. Column 0 is the intercept, 1 in each row.
    dim
        How many declared features deltas have beside their rows; they are not learned from.
    """

    kind = "shared"

    def __init__(self, params: Mapping[str, Any] | None, width: int, dim: int = 1) -> None:
        self._params = read_params(self.kind, SharedParams, params)
        if width < 1 or width & (width - 1):
            raise PolicyError(
                "policy 'shared' needs features without a declaration: set features.auto"
                if not width
                else f"policy 'shared' needs rows of 2**bits columns, got {width}"
            )
        buckets = self._params.buckets
        if buckets & (buckets - 1):
            raise PolicyError(f"policy.buckets must be a power of two, got {buckets}")
        self.width = width
        self.dim = dim
        self.default_reward = 0.0
        self._statistics = self._empty_statistics(self._params.half_life)
        self._drift: SharedStatistics | None = None
        if self._params.drift_half_life is not None:
            self._drift = self._empty_statistics(self._params.drift_half_life)

    def _empty_statistics(self, half_life: float | None) -> SharedStatistics:
        params = self._params
        columns = min(self.width, params.buckets)
        moments = Moments(columns, params.rank, half_life, params.whole)
        return SharedStatistics(moments, has_intercepts=params.ids > 0)

    def set_actions(
        self,
        ids: Sequence[str],
        item_features: Floats | None = None,
        neighbours: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Take no notice: what is published are the actions that were learned from."""

    def learn(self, deltas: Deltas) -> None:
        """Add the contributions of a micro-batch; ``deltas.rows`` are the chosen actions' rows.

        Of :data:`NO_OWN_INTERCEPT` only the row counts.
        """
        deltas.check(0)
        rows = deltas.rows
        if rows is None or len(rows) != len(deltas):
            raise PolicyError("deltas.rows must have a row for each delta")
        if rows.width != self.width:
            raise PolicyError(f"deltas.rows are {rows.width} wide, expected {self.width}")
        if not len(deltas):
            return
        slope, offset = self._linearise(deltas.eta)
        for statistics in self._all():
            statistics.learn(deltas, slope, offset)

    def _all(self) -> list[SharedStatistics]:
        """Give all statistics that are kept."""
        return [self._statistics] if self._drift is None else [self._statistics, self._drift]

    @property
    def moments(self) -> Moments:
        """The sums by column, which all actions share."""
        return self._statistics.moments

    @property
    def drift(self) -> SharedStatistics | None:
        """What is kept under the half-life of drift, None where nothing is taken to change."""
        return self._drift

    @property
    def remembered(self) -> float:
        """How many decisions it knows as of the newest, weighted by age where it forgets."""
        moments = self.moments
        return float(moments.frame.scale(None) * moments.totals[0])

    @property
    def intercepts(self) -> Statistics:
        """The sums of the actions that have an intercept of their own."""
        return self._statistics.actions

    def _linearise(self, eta: Floats) -> tuple[Floats, Floats]:
        """Give the slope W at η and W η - p."""
        if self._params.link == "gaussian":
            return np.ones(len(eta)), np.zeros(len(eta))
        eta = np.clip(eta, _LOWEST, _HIGHEST)
        p = expit(eta)
        slope = p * (1.0 - p)
        return slope, slope * eta - p

    def forget(self, action_ids: Collection[str]) -> None:
        """Drop actions' own intercepts; what their features taught stays with the features."""
        for statistics in self._all():
            statistics.drop(action_ids)

    def surplus(self) -> list[str]:
        """Give the actions that are more than ``ids``: those with the least information.

        Where several have the same, the last ones by id.
        """
        actions = self.intercepts
        many = len(actions.ids) - self._params.ids
        if many <= 0:
            return []
        ranked = sorted(zip(-actions["slope"], actions.ids, strict=True))
        return [action_id for _, action_id in ranked[-many:]]

    def merge(self, other: Self) -> None:
        """Add the statistics of another replica."""
        self._add(other, 1.0)

    def subtract(self, other: Self | Deltas) -> None:
        """Remove contributions, given as the replica or the deltas that hold them."""
        if isinstance(other, Deltas):
            self.learn(-other)
        else:
            self._add(other, -1.0)

    def _add(self, other: Self, sign: float) -> None:
        mine, others = self._all(), other._all()
        if len(mine) != len(others):
            raise PolicyError("the statistics are of another drift_half_life")
        for statistics, added in zip(mine, others, strict=True):
            statistics.add(added, sign)

    def publish(self, now: float | None = None) -> SharedPosterior:
        """Give the posterior as of ``now``: by default the newest decision time learned from."""
        statistics, moments = self._statistics, self.moments
        if now is None:
            now = moments.frame.newest
        ids = sorted(set(statistics.actions.ids).difference(self.surplus()))
        n, reward, squares = (moments.frame.scale(now) * moments.totals)[:, None]
        variation = reward_variation(n, reward, squares, self.default_reward)
        certainty = self._certainty(variation)
        sums = statistics.sums(now, ids, certainty)
        prior = self._prior(variation, _entries(moments))
        fitted = level = _fit(sums, prior, moments.exact)
        if self._drift is not None:
            recent = self._drift.sums(now, ids, certainty)
            fitted = drifted(fitted, statistics.columns, recent, self._drift.columns, prior)
        return SharedPosterior(
            self._params.link,
            self._params.alpha,
            moments.width,
            statistics.columns,
            np.column_stack([fitted.mean, np.sqrt(fitted.variance)]),
            float(np.sqrt(fitted.unseen)),
            self._intercepts(ids, now, fitted, _shift(level, sums)),
            fitted.root,
        )

    def _certainty(self, variation: RewardVariation) -> float:
        """Say how much more the statistics tell than they say themselves."""
        if self._params.link == "logistic":
            return 1.0 / variation.dispersion
        noise = self._params.noise
        return 1.0 / (variation.variance if noise is None else noise * noise)

    def _prior(self, variation: RewardVariation, entries: float) -> SharedPrior:
        params = self._params
        logistic = params.link == "logistic"
        unit = variation.effect if logistic else variation.variance / variation.size
        mean = params.prior_mean
        if mean is None:
            default, size = self.default_reward, variation.size
            mean = first_log_odds(default, size) if logistic else default
        signal = params.signal if params.signal is not None else unit**2
        action = params.action_variance
        return SharedPrior(
            mean=mean,
            intercept=(
                params.intercept_variance
                if params.intercept_variance is not None
                else unit**2
                if logistic
                else 1.0
            ),
            column=max(signal / entries, _LEAST_VARIANCE),
            action=ACTION_VARIANCE * unit**2 if action is None else action,
            strength=params.prior_strength,
            iterations=params.iterations,
        )

    def _intercepts(
        self, ids: Sequence[str], now: float, fitted: SharedFit, shift: Floats | None
    ) -> Intercepts:
        at = now if np.isfinite(now) else None
        counts, rewards = aligned_rows(self.intercepts, ids, at, "counts", "rewards")
        return Intercepts(
            ids=tuple(ids),
            mean=fitted.action_mean,
            variance=fitted.action_variance,
            counts=counts,
            rewards=rewards,
            unseen=fitted.unseen_action if self._params.ids else 0.0,
            shift=shift,
        )

    def dump(self) -> bytes:
        """Write parameters and statistics."""
        state = SharedState(
            params=msgspec.to_builtins(self._params),
            width=self.width,
            moments=self.moments.dump(),
            actions=self.intercepts.dump(),
            default_reward=self.default_reward,
            dim=self.dim,
            drift=None if self._drift is None else self._drift.dump(),
        )
        return pack("policy-shared", _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read parameters and statistics."""
        state = unpack("policy-shared", _VERSION, SharedState, snapshot)
        policy = cls(state.params, state.width, state.dim)
        has_intercepts = policy._params.ids > 0
        written = SharedStatisticsState(state.moments, state.actions)
        policy._statistics = SharedStatistics.load(written, has_intercepts)
        if state.drift is not None:
            policy._drift = SharedStatistics.load(state.drift, has_intercepts)
        policy.default_reward = state.default_reward
        return policy


def _fit(sums: Sums, prior: SharedPrior, is_exact: bool) -> SharedFit:
    if is_exact:
        return fit_exactly(sums, prior)
    is_whole = sums.whole is not None and len(sums.whole)
    return (fit_together if is_whole else fit_widely)(sums, prior)


def _shift(fitted: SharedFit, sums: Sums) -> Floats | None:
    """Give what intercepts give way by when columns move, where the columns are known."""
    return None if fitted.root is None else fitted.action_variance[:, None] * sums.action_cross


def _entries(moments: Moments) -> float:
    """Give how many numbers that are not 0 a row has on average, the intercept left out."""
    rows = float(moments.weights[moments.columns == 0].sum())
    if rows <= _LEAST_VARIANCE:
        return _FIRST_ENTRIES
    return max((float(moments.weights.sum()) - rows) / rows, 1.0)
