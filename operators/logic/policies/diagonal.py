"""Contextual Thompson sampling for wide features: no matrix, d numbers per action.

The coefficients follow the logged scores by dual averaging (Xiao 2010, Dual averaging methods for
regularized stochastic learning; McMahan 2017, A survey of algorithms for adaptive online learning,
section 3.2): m = μ0 + rate G / (δ + sqrt(Q)), with G the sum of (r - p) x and Q that of
E[(r - p)²] x² at the logged predictors. The widths are those of a diagonal Laplace approximation.
A diagonal in place of Λ would not do: it gives the marginal instead of the joint coefficients.

Where features are scaled, z = T x as in ``linear``: sums of w x are kept beside those of w x².
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import msgspec
import numpy as np
from msgspec import Struct
from scipy.special import expit

from operators.logic.features.scaling import Coordinates, Moments, Scaled, coordinates
from operators.logic.policies.additive import Additive
from operators.logic.policies.base import Deltas, Floats, PolicyError
from operators.logic.policies.level import LevelPrior, log_odds_level
from operators.logic.policies.level_prior import fit_levels
from operators.logic.policies.linear_posterior import LinearPosterior
from operators.logic.policies.log_odds import fit_log_odds
from operators.logic.policies.packing import learned_params, read_params
from operators.logic.policies.parameters import (
    Alpha,
    HalfLife,
    Mean,
    Optimism,
    Variance,
    Weight,
)
from operators.logic.policies.reward_variation import RewardVariation, reward_variation
from operators.logic.policies.statistics import Statistics, StatisticsState
from operators.logic.policies.tally import (
    SQUARES_LIKE,
    TALLIES,
    add_totals,
    aligned_rows,
    by_row,
)
from schemas.state import pack, unpack

_VERSION = 2
_ETA_LIMIT = 30.0
_WRITTEN = {"prior_mean": -3.5, "prior_variance": 0.1, "intercept_variance": 0.3}
"""The defaults of version 1."""

_ONCE_LIKE = {"slope_once": "slope", "level": "counts"}
"""Arrays that version 1 lacks, and others of their shape."""

_ITERATIONS = 2
_STRENGTH = 20.0
_COEFFICIENT_VARIANCE = 0.1
_LEAST = 1e-12


class DiagonalParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``diagonal``.

    ``alpha``, ``prior_mean``, ``prior_variance``, ``intercept_variance`` and ``half_life`` are as
    of ``logistic``; ``rate`` is the step of dual averaging and ``damping`` its δ.
    """

    alpha: Alpha = 0.5
    prior_mean: Mean | None = None
    prior_variance: Variance | None = None
    intercept_variance: Variance | None = None
    action_variance: Variance | None = None
    optimism: Optimism | None = None
    rate: Weight = 0.3
    damping: Weight = 1.0
    half_life: HalfLife | None = None


class DiagonalState(Struct):
    """The written form of a :class:`Diagonal` policy."""

    params: dict[str, Any]
    dim: int
    active: list[str] | None
    statistics: StatisticsState
    scaled: Scaled | None = None
    default_reward: float = 0.0


class Diagonal(Additive):
    """Logistic regression per action by dual averaging, with diagonal posterior widths."""

    kind = "diagonal"

    def __init__(
        self, params: Mapping[str, Any] | None, dim: int, scaled: Scaled | None = None
    ) -> None:
        if dim < 1:
            raise PolicyError(
                f"policy 'diagonal' needs features, got dim {dim}: use 'beta' without"
            )
        if scaled is not None and scaled.products:
            raise PolicyError(
                "policy 'diagonal' cannot scale interactions of numbers: it learns no covariance"
            )
        self.dim = dim
        self.default_reward = 0.0
        self._scaled = scaled
        self._params = read_params("diagonal", DiagonalParams, params)
        self._active: list[str] | None = None
        names = ["score", "squares", "slope", "slope_once"]
        if scaled is not None:
            names.append("squares_once")
        shapes = dict.fromkeys((*TALLIES, "level"), ()) | dict.fromkeys(names, (dim,))
        self._statistics = Statistics(shapes, self._params.half_life)

    def set_actions(
        self,
        ids: Sequence[str],
        item_features: Floats | None = None,  # noqa: ARG002
        neighbours: Mapping[str, Mapping[str, float]] | None = None,  # noqa: ARG002
    ) -> None:
        """Name the actions to publish; statistics are kept."""
        self._active = sorted(set(ids))

    def learn(self, deltas: Deltas) -> None:
        """Add the contributions of a micro-batch."""
        deltas.check(self.dim)
        statistics = self._statistics
        rows, weight = add_totals(statistics, deltas)
        eta = np.clip(deltas.eta, -_ETA_LIMIT, _ETA_LIMIT)
        p = expit(eta)
        count, reward = weight * deltas.count_delta, weight * deltas.reward_delta
        score, curvature = reward - count * p, count * p * (1.0 - p)
        level = statistics["level"]
        level += np.bincount(rows, curvature * eta + score, len(level))
        x, squared = deltas.x, np.square(deltas.x)
        # (r - p)² for r in {0, 1}, which is linear in the reward.
        error = count * p * p + reward * (1.0 - 2.0 * p)
        terms = {
            "score": (score, x),
            "squares": (error, squared),
            "slope": (curvature, squared),
            "slope_once": (curvature, x),
        }
        if self._scaled is not None:
            terms["squares_once"] = (error, x)
        for part in by_row(rows):
            row = rows[part[0]]
            for name, (factor, values) in terms.items():
                statistics[name][row] += factor[part] @ values[part]

    def publish(self, now: float | None = None) -> LinearPosterior:
        """Give the posterior as of ``now``."""
        params = self._params
        active = self._statistics.ids if self._active is None else self._active
        ids = sorted(active)
        all_ids = ids + sorted(set(self._statistics.ids).difference(ids))
        counts, rewards, reward_squares, level, score, squares, slope, once = aligned_rows(
            self._statistics, all_ids, now,
            *TALLIES, "level", "score", "squares", "slope", "slope_once",
        )  # fmt: skip
        view = self._coordinates(now)
        if view is not None:
            (squares_once,) = aligned_rows(self._statistics, all_ids, now, "squares_once")
            squares, slope = _moved(view, squares, squares_once), _moved(view, slope, once)
            score, once = view.transform(score), view.transform(once)
        variation = reward_variation(counts, rewards, reward_squares, self.default_reward)
        weight = np.maximum(once[:, 0], 0.0)
        own = once / np.maximum(weight, _LEAST)[:, None]
        common = once.sum(axis=0) / max(float(weight.sum()), _LEAST)
        step = params.rate / (params.damping + np.sqrt(np.maximum(squares, 0.0)))
        mean = step * (score - own * score[:, :1])
        mean[:, 0] = 0.0
        level = level + weight * (mean @ common - (mean * own).sum(axis=1))
        base = self._level(variation).alone(_STRENGTH, _ITERATIONS)
        if self.dim == 1:
            levels, variances = fit_log_odds(counts, rewards, variation.dispersion, base)
        else:
            certainties = weight / variation.dispersion
            levels, variances = fit_levels(certainties, level / variation.dispersion, None, base)
        mean = np.vstack([mean, np.zeros(self.dim)])
        mean[:, 0] = levels - mean @ common
        certainty = np.vstack([np.maximum(slope, 0.0), np.zeros(self.dim)]) / variation.dispersion
        variance = params.prior_variance
        if variance is None:
            variance = _COEFFICIENT_VARIANCE * variation.effect**2
        width = (1.0 / variance + certainty) ** -0.5
        width[:, 0] = np.sqrt(variances)
        rows = [*range(len(ids)), len(all_ids)]
        return LinearPosterior(
            self.kind,
            params.alpha,
            ids,
            (counts[: len(ids)], rewards[: len(ids)]),
            mean[rows],
            width[rows],
            coordinates=view,
        )

    def _level(self, variation: RewardVariation) -> LevelPrior:
        params = self._params
        return log_odds_level(
            variation,
            self.default_reward,
            params.prior_mean,
            params.intercept_variance,
            params.action_variance,
            params.optimism,
            self.dim > 1,
        )

    def _coordinates(self, now: float | None) -> Coordinates | None:
        if self._scaled is None:
            return None
        sums = self._statistics.at(now)
        first, second = sums["slope_once"].sum(axis=0), sums["slope"].sum(axis=0)
        count = float(sums["counts"].sum())
        return coordinates(self._scaled, Moments(float(first[0]), first, second, count))

    def dump(self) -> bytes:
        """Write parameters and statistics."""
        params = msgspec.to_builtins(self._params)
        state = DiagonalState(
            params,
            self.dim,
            self._active,
            self._statistics.dump(),
            self._scaled,
            self.default_reward,
        )
        return pack("policy-diagonal", _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read parameters and statistics."""
        state = unpack("policy-diagonal", _VERSION, DiagonalState, snapshot, older=(1,))
        params = learned_params(snapshot, state.params, _WRITTEN)
        policy = cls(params, state.dim, state.scaled)
        policy._active = state.active
        policy.default_reward = state.default_reward
        policy._statistics = Statistics.load(state.statistics, SQUARES_LIKE | _ONCE_LIKE)
        if "level" not in state.statistics.arrays:
            policy._begin_levels(state.params)
        return policy

    def _begin_levels(self, params: Mapping[str, Any]) -> None:
        """Take each action's level from the intercept of version 1, which kept no other."""
        statistics = self._statistics
        weight = statistics["slope"][:, 0]
        squares, score = statistics["squares"][:, 0], statistics["score"][:, 0]
        step = params["rate"] / (params["damping"] + np.sqrt(np.maximum(squares, 0.0)))
        statistics["level"][:] = weight * (params["prior_mean"] + step * score)
        if self._scaled is None:
            statistics["slope_once"][:, 1:] = 0.0


def _moved(view: Coordinates, second: Floats, first: Floats) -> Floats:
    """Give sums of w z² [K, d] from those of w x² and w x, for z = a x + b."""
    rows = view.rows
    a, b = view.matrix[np.arange(len(rows)), rows], view.matrix[:, 0]
    moved = second.copy()
    moved[:, rows] = a * a * second[:, rows] + 2.0 * a * b * first[:, rows] + b * b * first[:, :1]
    return moved
