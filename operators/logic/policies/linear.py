"""Contextual Thompson sampling: Bayesian logistic or Gaussian regression per action.

A decision contributes Λ += w n W x xᵀ and h += w (n (W η - p) + r) x to its action: one Newton
step of the log-likelihood, linearised at the logged linear predictor η, where p is the expected
reward and W = p (1 - p) its slope. So the statistics are additive, whatever the order.

Scaled features are scaled here: Λ and h are sums over logged vectors x, of which z = T x gives
T Λ Tᵀ and T h, and the sum of all Λ holds the (W-weighted) means and deviations that make T.
The linearisation does not mind: η is the same number in any coordinates.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Self

import msgspec
import numpy as np
from msgspec import Meta, Struct
from scipy.special import expit

from operators.logic.features.scaling import Coordinates, Moments, Scaled, coordinates
from operators.logic.policies.additive import Additive
from operators.logic.policies.base import Deltas, Floats, PolicyError
from operators.logic.policies.level import log_odds_level, reward_level
from operators.logic.policies.level_prior import fit_levels
from operators.logic.policies.linear_posterior import LinearPosterior
from operators.logic.policies.log_odds import fit_log_odds
from operators.logic.policies.neighbours import Neighbours, similarities
from operators.logic.policies.packing import learned_params, read_params
from operators.logic.policies.parameters import (
    Alpha,
    HalfLife,
    Iterations,
    Mean,
    Noise,
    Optimism,
    Share,
    Variance,
    Weight,
)
from operators.logic.policies.prior import BasePrior, fit
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
_WRITTEN = {
    "logistic": {"prior_mean": -3.5, "prior_variance": 0.1, "intercept_variance": 0.3},
    "gaussian": {"prior_mean": 0.0, "intercept_variance": 1.0, "noise": 0.5, "iterations": 0},
}
"""The defaults of version 1."""

_ETA_LIMIT = 30.0
_COEFFICIENT_VARIANCE = 0.1
WIDEST = 0.5
"""The largest standard deviation that a reward in [0, 1] may have: the statistics' unit."""


class LogisticParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``logistic``.

    ``alpha`` scales the posterior width when drawing. The base prior of the coefficients has mean
    ``prior_mean`` for the intercept (the first feature, on the log-odds scale) and 0 otherwise,
    and variances ``intercept_variance`` and ``prior_variance``. ``curvature_floor`` is the least
    slope W. ``half_life`` is in seconds of decision time. ``iterations`` of empirical Bayes learn
    the prior from all actions, with ``ridge`` on the item features and the base prior counting as
    ``prior_strength`` actions; 0 keeps the base prior. ``neighbours`` is the share of what an
    action's neighbours lend that its prior takes.
    """

    alpha: Alpha = 0.5
    prior_mean: Mean | None = None
    prior_variance: Variance | None = None
    intercept_variance: Variance | None = None
    action_variance: Variance | None = None
    optimism: Optimism | None = None
    curvature_floor: Annotated[float, Meta(ge=0.0, le=0.25)] = 0.0
    half_life: HalfLife | None = None
    iterations: Iterations = 2
    prior_strength: Weight = 20.0
    ridge: Weight = 2.0
    neighbours: Share = 0.0


class GaussianParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``gaussian``: as of ``logistic``, on the scale of the reward itself.

    ``noise`` is the standard deviation of a reward around its expectation.
    """

    alpha: Alpha = 0.25
    prior_mean: Mean | None = None
    prior_variance: Variance = 1.0
    intercept_variance: Variance | None = None
    action_variance: Variance | None = None
    optimism: Optimism | None = None
    noise: Noise | None = None
    half_life: HalfLife | None = None
    iterations: Iterations = 1
    prior_strength: Weight = 20.0
    ridge: Weight = 2.0
    neighbours: Share = 0.0


class LinearState(Struct):
    """The written form of a :class:`Linear` policy."""

    kind: str
    params: dict[str, Any]
    dim: int
    active: list[str] | None
    features: dict[str, list[float]]
    statistics: StatisticsState
    scaled: Scaled | None = None
    neighbours: dict[str, dict[str, float]] = {}
    default_reward: float = 0.0


class Linear(Additive):
    """Bayesian linear regression per action, in information form.

    Parameters
    ----------
    kind
        ``logistic`` or ``gaussian``.
    params
        :class:`LogisticParams` or :class:`GaussianParams`.
    dim
        The number of features, at least 1; the first is the intercept.
    scaled
        Which of them are scaled before the prior sees them.
    """

    def __init__(
        self,
        kind: str,
        params: Mapping[str, Any] | None,
        dim: int,
        scaled: Scaled | None = None,
    ) -> None:
        if dim < 1:
            raise PolicyError(f"policy {kind!r} needs features, got dim {dim}: use 'beta' without")
        self.kind = kind
        self.dim = dim
        self.default_reward = 0.0
        self._params: LogisticParams | GaussianParams = (
            read_params(kind, LogisticParams, params)
            if kind == "logistic"
            else read_params(kind, GaussianParams, params)
        )
        if self._params.neighbours > 0.0 and not self._params.iterations:
            raise PolicyError("policy.neighbours needs policy.iterations of 1 or more, got 0")
        self._scaled = scaled
        self._active: list[str] | None = None
        self._features: dict[str, Floats] = {}
        self._neighbours: dict[str, Mapping[str, float]] = {}
        shapes = dict.fromkeys(TALLIES, ()) | {"h": (dim,), "information": (dim, dim)}
        self._statistics = Statistics(shapes, self._params.half_life)

    def set_actions(
        self,
        ids: Sequence[str],
        item_features: Floats | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        """Name the actions to publish, with a row of features each; statistics are kept.

        Where the features have become more or fewer, those of other actions are forgotten.
        """
        self._active = sorted(set(ids))
        given = neighbours or {}
        self._neighbours |= {action_id: given.get(action_id, {}) for action_id in ids}
        if item_features is None:
            return
        if len(item_features) != len(ids) or not np.isfinite(item_features).all():
            raise PolicyError("item_features must be finite and have a row for each action")
        columns = item_features.shape[1]
        others = {a: row for a, row in self._features.items() if len(row) == columns}
        rows = np.asarray(item_features, dtype=float)
        self._features = others | dict(zip(ids, rows, strict=True))

    def learn(self, deltas: Deltas) -> None:
        """Add the contributions of a micro-batch."""
        deltas.check(self.dim)
        statistics = self._statistics
        rows, weight = add_totals(statistics, deltas)
        slope, offset = self._linearise(deltas.eta)
        count_delta, reward_delta = weight * deltas.count_delta, weight * deltas.reward_delta
        curvature, score = count_delta * slope, count_delta * offset + reward_delta
        h, information = statistics["h"], statistics["information"]
        for part in by_row(rows):
            x = deltas.x[part]
            row = rows[part[0]]
            h[row] += score[part] @ x
            information[row] += (x * curvature[part, None]).T @ x

    def _linearise(self, eta: Floats) -> tuple[Floats, Floats]:
        """Give the slope W at η and W η - p."""
        params = self._params
        if isinstance(params, GaussianParams):
            noise = params.noise or WIDEST
            return np.full(len(eta), noise**-2), np.zeros(len(eta))
        eta = np.clip(eta, -_ETA_LIMIT, _ETA_LIMIT)
        p = expit(eta)
        slope = np.maximum(p * (1.0 - p), params.curvature_floor)
        return slope, slope * eta - p

    def forget(self, action_ids: Collection[str]) -> None:
        """Drop the statistics of actions, and what was said of them."""
        super().forget(action_ids)
        for action_id in action_ids:
            self._neighbours.pop(action_id, None)
            self._features.pop(action_id, None)

    def merge(self, other: Self) -> None:
        """Add the statistics of another replica, and what its actions resemble."""
        super().merge(other)
        self._features = other._features | self._features
        self._neighbours = other._neighbours | self._neighbours

    def publish(self, now: float | None = None) -> LinearPosterior:
        """Give the posterior as of ``now``."""
        active = self._statistics.ids if self._active is None else self._active
        ids = sorted(active)
        retired = sorted(set(self._statistics.ids).difference(ids))
        all_ids = ids + retired
        names = (*TALLIES, "h", "information")
        counts, rewards, squares, h, information = aligned_rows(
            self._statistics, all_ids, now, *names
        )
        view = self._coordinates(information, counts)
        if view is not None:
            information, h = view.transform_forms(information), view.transform(h)
        similarity = similarities(all_ids, self._neighbours) if self._params.neighbours else None
        features = self._feature_matrix(all_ids)
        variation = reward_variation(counts, rewards, squares, self.default_reward)
        certainty, base = self._certainty(variation), self._base(variation)
        if isinstance(self._params, GaussianParams):
            h = h * (self._params.noise or WIDEST) ** -2
        if certainty != 1.0:
            information, h = certainty * information, certainty * h
        mean, factor = self._fitted(
            (counts, rewards, variation.dispersion), information, h, base, features, similarity
        )
        rows = [*range(len(ids)), len(all_ids)]
        tallies = (counts[: len(ids)], rewards[: len(ids)])
        return LinearPosterior(
            self.kind,
            self._params.alpha,
            ids,
            tallies,
            mean[rows],
            factor[rows],
            coordinates=view,
        )

    def _fitted(
        self,
        seen: tuple[Floats, Floats, float],
        information: Floats,
        h: Floats,
        base: BasePrior,
        features: Floats | None,
        similarity: Floats | None,
    ) -> tuple[Floats, Floats]:
        """Give means and factors; ``seen`` are counts, rewards and their dispersion."""
        if self.dim > 1:
            fitted = fit(information, h, features, base, similarity)
            return fitted.mean, fitted.factor
        if isinstance(self._params, LogisticParams):
            floor = self._params.curvature_floor
            mean, variance = fit_log_odds(*seen, base, features, similarity, floor)
        else:
            mean, variance = fit_levels(information[:, 0, 0], h[:, 0], features, base, similarity)
        return mean[:, None], np.sqrt(variance)[:, None, None]

    def _coordinates(self, information: Floats, counts: Floats) -> Coordinates | None:
        if self._scaled is None:
            return None
        form = information.sum(axis=0)
        count = float(counts.sum())
        return coordinates(
            self._scaled, Moments(float(form[0, 0]), form[0], np.diagonal(form), count)
        )

    def _certainty(self, variation: RewardVariation) -> float:
        """Say how much more the statistics tell than they say themselves."""
        params = self._params
        if isinstance(params, LogisticParams):
            return 1.0 / variation.dispersion
        return 1.0 if params.noise else WIDEST**2 / variation.variance

    def _base(self, variation: RewardVariation) -> BasePrior:
        params = self._params
        gaussian = isinstance(params, GaussianParams)
        level = (reward_level if gaussian else log_odds_level)(
            variation,
            self.default_reward,
            params.prior_mean,
            params.intercept_variance,
            params.action_variance,
            params.optimism,
            self.dim > 1,
        )
        each = params.prior_variance
        if each is None:
            each = _COEFFICIENT_VARIANCE * variation.effect**2
        mean, variance = np.zeros(self.dim), np.full(self.dim, each)
        spread = variance.copy()
        mean[0], variance[0], spread[0] = level.mean, level.variance, level.spread
        return BasePrior(
            mean=mean,
            variance=variance,
            spread=spread,
            optimism=level.optimism,
            strength=params.prior_strength,
            ridge=params.ridge,
            iterations=params.iterations,
            neighbours=params.neighbours,
        )

    def _feature_matrix(self, ids: Sequence[str]) -> Floats | None:
        rows = [self._features.get(action_id) for action_id in ids]
        given = [row for row in rows if row is not None]
        if not given:
            return None
        if any(len(row) != len(given[0]) for row in given):
            raise PolicyError("item_features changed their number: publish needs all of one length")
        average = np.mean(given, axis=0)
        return np.array([average if row is None else row for row in rows])

    def dump(self) -> bytes:
        """Write parameters and statistics."""
        state = LinearState(
            kind=self.kind,
            params=msgspec.to_builtins(self._params),
            dim=self.dim,
            active=self._active,
            features={action_id: row.tolist() for action_id, row in self._features.items()},
            statistics=self._statistics.dump(),
            scaled=self._scaled,
            neighbours={a: dict(near) for a, near in self._neighbours.items() if near},
            default_reward=self.default_reward,
        )
        return pack("policy-linear", _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read parameters and statistics."""
        state = unpack("policy-linear", _VERSION, LinearState, snapshot, older=(1,))
        params = learned_params(snapshot, state.params, _WRITTEN[state.kind])
        policy = cls(state.kind, params, state.dim, state.scaled)
        policy._active = state.active
        policy._features = {a: np.array(row) for a, row in state.features.items()}
        policy._neighbours = dict(state.neighbours)
        policy._statistics = Statistics.load(state.statistics, SQUARES_LIKE)
        policy.default_reward = state.default_reward
        return policy
