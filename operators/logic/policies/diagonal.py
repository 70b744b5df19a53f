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
from operators.logic.policies.linear_posterior import LinearPosterior
from operators.logic.policies.packing import read_params
from operators.logic.policies.parameters import Alpha, HalfLife, Mean, Variance, Weight
from operators.logic.policies.statistics import Statistics, StatisticsState
from operators.logic.policies.tally import aligned_rows, published_ids
from schemas.state import pack, unpack

_VERSION = 1
_ETA_LIMIT = 30.0


class DiagonalParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``diagonal``.

    ``alpha``, ``prior_mean``, ``prior_variance``, ``intercept_variance`` and ``half_life`` are as
    of ``logistic``; ``rate`` is the step of dual averaging and ``damping`` its δ.
    """

    alpha: Alpha = 0.5
    prior_mean: Mean = -3.5
    prior_variance: Variance = 0.1
    intercept_variance: Variance = 0.3
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
        self._scaled = scaled
        self._params = read_params("diagonal", DiagonalParams, params)
        self._active: list[str] | None = None
        shapes = {"counts": (), "rewards": (), "score": (dim,), "squares": (dim,), "slope": (dim,)}
        if scaled is not None:
            shapes |= {"squares_once": (dim,), "slope_once": (dim,)}
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
        rows, weight = statistics.place(deltas.action_ids, deltas.time)
        p = expit(np.clip(deltas.eta, -_ETA_LIMIT, _ETA_LIMIT))
        count_delta, reward_delta = weight * deltas.count_delta, weight * deltas.reward_delta
        counts, rewards = statistics["counts"], statistics["rewards"]
        counts += np.bincount(rows, count_delta, len(counts))
        rewards += np.bincount(rows, reward_delta, len(rewards))
        x, squared = deltas.x, np.square(deltas.x)
        np.add.at(statistics["score"], rows, (reward_delta - count_delta * p)[:, None] * x)
        # (r - p)² for r in {0, 1}, which is linear in the reward.
        error = count_delta * p * p + reward_delta * (1 - 2 * p)
        curvature = count_delta * p * (1 - p)
        np.add.at(statistics["squares"], rows, error[:, None] * squared)
        np.add.at(statistics["slope"], rows, curvature[:, None] * squared)
        if self._scaled is not None:
            np.add.at(statistics["squares_once"], rows, error[:, None] * x)
            np.add.at(statistics["slope_once"], rows, curvature[:, None] * x)

    def publish(self, now: float | None = None) -> LinearPosterior:
        """Give the posterior as of ``now``."""
        params = self._params
        ids, (counts, rewards) = published_ids(
            self._statistics, self._active, now, "counts", "rewards"
        )
        score, squares, slope = aligned_rows(
            self._statistics, ids, now, "score", "squares", "slope"
        )
        view = self._coordinates(now)
        if view is not None:
            once = aligned_rows(self._statistics, ids, now, "squares_once", "slope_once")
            score = view.transform(score)
            squares, slope = _moved(view, squares, once[0]), _moved(view, slope, once[1])
        empty = np.zeros((1, self.dim))
        base = np.zeros(self.dim)
        variance = np.full(self.dim, params.prior_variance)
        base[0], variance[0] = params.prior_mean, params.intercept_variance
        step = params.rate / (params.damping + np.sqrt(np.maximum(squares, 0.0)))
        mean = np.vstack([base + step * score, empty + base])
        information = 1.0 / variance + np.maximum(np.vstack([slope, empty]), 0.0)
        return LinearPosterior(
            self.kind,
            params.alpha,
            ids,
            (counts, rewards),
            mean,
            information**-0.5,
            coordinates=view,
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
        state = DiagonalState(params, self.dim, self._active, self._statistics.dump(), self._scaled)
        return pack("policy-diagonal", _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read parameters and statistics."""
        state = unpack("policy-diagonal", _VERSION, DiagonalState, snapshot)
        policy = cls(state.params, state.dim, state.scaled)
        policy._active = state.active
        policy._statistics = Statistics.load(state.statistics)
        return policy


def _moved(view: Coordinates, second: Floats, first: Floats) -> Floats:
    """Give sums of w z² [K, d] from those of w x² and w x, for z = a x + b."""
    rows = view.rows
    a, b = view.matrix[np.arange(len(rows)), rows], view.matrix[:, 0]
    moved = second.copy()
    moved[:, rows] = a * a * second[:, rows] + 2.0 * a * b * first[:, rows] + b * b * first[:, :1]
    return moved
