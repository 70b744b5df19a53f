"""The posterior of the contextual policies: a Gaussian of the coefficients per action."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.special import expit

from operators.logic.deciding.quadrature import gaussian_probabilities
from operators.logic.features.scaling import Coordinates
from operators.logic.policies.base import Floats, Indices, Mask, PolicyError, Weights
from operators.logic.policies.packing import pack_array, unpack_array
from operators.logic.policies.tally import columns_of, observed_mean
from schemas.results import ActionSummary
from schemas.state import pack, unpack

_VERSION = 1
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
_WEIGHTS /= _WEIGHTS.sum()


class LinearPosteriorState(Struct):
    """The written form of a :class:`LinearPosterior`; triangles as raw float32.

    ``rows`` of the map from logged vectors to scored ones are not the identity's.
    """

    kind: str
    dim: int
    alpha: float
    epsilon: float
    ids: list[str]
    counts: list[float]
    rewards: list[float]
    mean: bytes
    factor: bytes
    rows: list[int] = []
    coordinates: bytes = b""


class LinearPosterior:
    """Scores a decision by x'm and its width by the norm of Rx, covariance RᵀR per action.

    Parameters
    ----------
    kind
        ``logistic``, ``gaussian``, ``diagonal`` (R holds the deviations only) or ``greedy``.
    alpha
        The factor on widths when drawing; 0 is greedy, with ``epsilon`` spread uniformly.
    ids, counts, rewards
        The K actions and their tallies.
    mean : array [K + 1, d]
    factor : array [K + 1, d, d], or [K + 1, d] when diagonal
        The last row of both is the prior, for actions that are not known.
    coordinates
        What both are about, where the slot's features are scaled.
    """

    def __init__(
        self,
        kind: str,
        alpha: float,
        ids: Sequence[str],
        tallies: tuple[Floats, Floats],
        mean: Floats,
        factor: Floats | NDArray[np.float32],
        epsilon: float = 0.0,
        coordinates: Coordinates | None = None,
    ) -> None:
        if not (np.isfinite(mean).all() and np.isfinite(factor).all()):
            raise PolicyError("the posterior is not finite: check the slot's features and rewards")
        self.kind = kind
        self.action_ids = tuple(ids)
        self.mean = mean
        self._alpha = alpha
        self._epsilon = epsilon
        self._tallies = tallies
        self._coordinates = coordinates
        self._factor = factor.astype(np.float32)
        self._columns = {action_id: i for i, action_id in enumerate(ids)}
        self._places = np.arange(len(self.action_ids))
        self._all = self._stack(self._places)

    def columns(self, ids: Sequence[str]) -> Indices:
        """Give the column of each id; -1 for an action that is not known, which gets the prior."""
        return columns_of(self._columns, ids)

    def score(self, x: Floats, columns: Indices | None = None) -> tuple[Floats, Floats]:
        """Give mean and width of the linear predictors of logged vectors, [n, K] each."""
        if x.shape[1:] == (0,) and self.mean.shape[1] == 1:
            x = np.ones((len(x), 1))
        if x.ndim != 2 or x.shape[1] != self.mean.shape[1]:
            raise PolicyError(f"x has shape {x.shape}, expected (n, {self.mean.shape[1]})")
        if not np.isfinite(x).all():
            raise PolicyError("x is not finite")
        x = self.scaled(x)
        if columns is None or np.array_equal(columns, self._places):
            mean, stacked = self._all
        else:
            mean, stacked = self._stack(columns)
        eta = x @ mean
        single = x.astype(np.float32)
        if self._factor.ndim == 2:
            return eta, np.sqrt((single * single) @ stacked, dtype=np.float64)
        half = single @ stacked
        half *= half
        squares = half.reshape(*eta.shape, x.shape[1]).sum(axis=2)
        return eta, np.sqrt(squares, dtype=np.float64)

    def scaled(self, x: Floats) -> Floats:
        """Give the vectors that ``mean`` multiplies, for logged ones [..., d]."""
        return x if self._coordinates is None else self._coordinates.transform(x)

    def _stack(self, columns: Indices) -> tuple[Floats, NDArray[np.float32]]:
        mean = np.ascontiguousarray(self.mean[columns].T)
        factor = self._factor[columns]
        if factor.ndim == 2:
            return mean, np.ascontiguousarray((factor * factor).T)
        d = self.mean.shape[1]
        return mean, np.ascontiguousarray(factor.transpose(2, 0, 1)).reshape(d, len(columns) * d)

    def weigh(self, x: Floats, columns: Indices | None = None, mask: Mask | None = None) -> Weights:
        """Give the Thompson probabilities of the eligible actions, their scores and widths."""
        eta, width = self.score(x, columns)
        if self._alpha > 0.0:
            return Weights(gaussian_probabilities(eta, self._alpha * width, mask), eta, width)
        return Weights(greedy_probabilities(eta, mask, self._epsilon), eta, width)

    def greedily(self, epsilon: float) -> "LinearPosterior":
        """Give the posterior that chooses epsilon-greedily by its means."""
        return LinearPosterior(
            "greedy",
            0.0,
            self.action_ids,
            self._tallies,
            self.mean,
            self._factor,
            epsilon,
            self._coordinates,
        )

    def summary(self, context: Floats | None = None) -> list[ActionSummary]:
        """Describe each action by what was observed, and what is believed of it in a context.

        Without one, in that of which nothing but the intercept is known. The belief is the
        posterior's own, whatever ``alpha`` makes of its width when drawing.
        """
        counts, rewards = self._tallies
        x = np.eye(1, self.mean.shape[1]) if context is None else context[None]
        eta, width = (column[0] for column in self.score(x, self._places))
        mean, deviation = (eta, width) if self.kind == "gaussian" else logit_normal(eta, width)
        columns = (counts, rewards, mean, deviation)
        return [
            ActionSummary(
                action_id=a,
                count=n,
                reward=r,
                mean=mean,
                deviation=deviation,
                observed=observed_mean(r, n),
            )
            for a, n, r, mean, deviation in zip(
                self.action_ids, *(column.tolist() for column in columns), strict=True
            )
        ]

    def dump(self) -> bytes:
        """Write the posterior."""
        d = self.mean.shape[1]
        factor = self._factor
        if factor.ndim == 3:
            factor = factor[(slice(None), *np.tril_indices(d))]
        state = LinearPosteriorState(
            kind=self.kind,
            dim=d,
            alpha=self._alpha,
            epsilon=self._epsilon,
            ids=list(self.action_ids),
            counts=self._tallies[0].tolist(),
            rewards=self._tallies[1].tolist(),
            mean=pack_array(self.mean),
            factor=np.ascontiguousarray(factor, dtype="<f4").tobytes(),
        )
        if self._coordinates is not None:
            state.rows = self._coordinates.rows.tolist()
            state.coordinates = pack_array(self._coordinates.matrix)
        return pack("posterior-linear", _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read a posterior."""
        state = unpack("posterior-linear", _VERSION, LinearPosteriorState, snapshot)
        k, d = len(state.ids) + 1, state.dim
        values = np.frombuffer(state.factor, dtype="<f4").reshape(k, -1).astype(np.float64)
        factor = values
        if values.shape[1] != d or (state.kind != "diagonal" and d == 1):
            factor = np.zeros((k, d, d))
            factor[(slice(None), *np.tril_indices(d))] = values
        tallies = (np.array(state.counts), np.array(state.rewards))
        mean = unpack_array(state.mean, (k, d))
        coordinates = None
        if state.rows:
            matrix = unpack_array(state.coordinates, (len(state.rows), d))
            coordinates = Coordinates(np.array(state.rows, dtype=np.intp), matrix)
        return cls(
            state.kind, state.alpha, state.ids, tallies, mean, factor, state.epsilon, coordinates
        )


def logit_normal(eta: Floats, width: Floats) -> tuple[Floats, Floats]:
    """Give mean and deviation [K] of a rate whose log-odds are normal with this mean and deviation.

    By Gauss-Hermite quadrature.

    >>> [figure.round(4).tolist() for figure in logit_normal(np.array([-3.5]), np.array([0.5]))]
    [[0.0328], [0.0166]]
    """
    rates = expit(eta[:, None] + width[:, None] * _NODES)
    mean = rates @ _WEIGHTS
    return mean, np.sqrt(np.square(rates - mean[:, None]) @ _WEIGHTS)


def greedy_probabilities(score: Floats, mask: Mask | None, epsilon: float) -> Floats:
    """Give epsilon-greedy probabilities: ``epsilon`` is spread evenly, the best share the rest.

    >>> greedy_probabilities(np.array([[1.0, 3.0, 2.0, 3.0]]), None, 0.2)
    array([[0.05, 0.45, 0.05, 0.45]])
    """
    eligible = np.ones(score.shape, dtype=bool) if mask is None else mask
    masked = np.where(eligible, score, -np.inf)
    best = eligible & (masked == masked.max(axis=1, keepdims=True))
    even = eligible / np.maximum(eligible.sum(axis=1, keepdims=True), 1)
    top = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    return np.asarray((1.0 - epsilon) * top + epsilon * even)
