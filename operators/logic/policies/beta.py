"""Beta-Bernoulli Thompson sampling: no context, exact counts."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import msgspec
import numpy as np
from msgspec import Struct

from operators.logic.deciding.quadrature import beta_probabilities
from operators.logic.policies.additive import Additive
from operators.logic.policies.base import Deltas, Floats, Indices, Mask, Weights
from operators.logic.policies.level import ACTION_VARIANCE, OPTIMISM
from operators.logic.policies.neighbours import Neighbours, neighbour_shift, similarities
from operators.logic.policies.packing import learned_params, read_params
from operators.logic.policies.parameters import (
    HalfLife,
    Optimism,
    Share,
    Sharpen,
    Variance,
    Weight,
)
from operators.logic.policies.rate_prior import HEADROOM, RatePrior, fit_rates
from operators.logic.policies.reward_variation import (
    RewardVariation,
    first_reward,
    reward_variation,
)
from operators.logic.policies.statistics import Statistics, StatisticsState
from operators.logic.policies.tally import (
    SQUARES_LIKE,
    TALLIES,
    add_totals,
    aligned_rows,
    columns_of,
    mean_and_deviation,
    observed_mean,
)
from schemas.results import ActionSummary
from schemas.state import pack, unpack

_VERSION = 2
_WRITTEN = {"prior_reward": 1.0, "prior_failure": 20.0, "sharpen": 1.0}
"""The defaults of version 1."""

_FIRST = (1.0 / 21.0, 21.0)
"""The rate of answers and the weight of the prior before anything is known: Beta(1, 20)."""

_KEPT = 512
"""Probability vectors kept per posterior, one per eligible set."""

_LEAST = 1e-6
"""A Beta parameter is not let below this, whatever was subtracted or weighted."""


class BetaParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``beta``.

    ``prior_reward`` and ``prior_failure`` are the prior's pseudo-counts, for every action alike
    where one of them is given (the other is then 1 or 20); without, the prior is learned.
    ``action_variance`` is the variance of actions' log-odds around their common rate as far as
    the data does not say, and ``optimism`` how many such deviations above it a new action is
    expected. ``half_life`` is in seconds of decision time (None: nothing is forgotten); ``sharpen``
    multiplies both Beta parameters before drawing, so that values above 1 explore less (None: 2
    where the prior is learned and nothing forgotten, else 1).
    ``neighbours`` is the share of what an action's neighbours lend that its prior rate takes; the
    prior's weight stays.
    """

    prior_reward: Weight | None = None
    prior_failure: Weight | None = None
    action_variance: Variance = ACTION_VARIANCE
    optimism: Optimism = OPTIMISM
    half_life: HalfLife | None = None
    sharpen: Sharpen | None = None
    neighbours: Share = 0.0


def given_prior(params: BetaParams) -> tuple[float, float] | None:
    """Give the rate and weight of the prior that the parameters state; None where they do not."""
    if params.prior_reward is None and params.prior_failure is None:
        return None
    won = 1.0 if params.prior_reward is None else params.prior_reward
    lost = 20.0 if params.prior_failure is None else params.prior_failure
    return won / (won + lost), won + lost


def sharpening(params: BetaParams) -> float:
    """Give what multiplies the parameters of a Beta distribution before drawing."""
    if params.sharpen is not None:
        return params.sharpen
    return 2.0 if given_prior(params) is None and params.half_life is None else 1.0


class BetaPosteriorState(Struct):
    """The written form of a :class:`BetaPosterior`; ``lent`` moves the prior rates.

    ``rate`` and ``weight`` are the prior's (None: what ``params`` say), ``dispersion`` divides what
    was observed.
    """

    params: BetaParams
    ids: list[str]
    counts: list[float]
    rewards: list[float]
    lent: list[float] = []
    rate: float | None = None
    weight: float | None = None
    dispersion: float = 1.0


class BetaPosterior:
    """A Beta distribution of the mean reward per action.

    The probability vector of an eligible set is computed once and broadcast.
    """

    kind = "beta"

    def __init__(self, state: BetaPosteriorState) -> None:
        self._state = state
        self.action_ids = tuple(state.ids)
        self._columns = {action_id: i for i, action_id in enumerate(state.ids)}
        rate, weight = state.rate, state.weight
        if rate is None or weight is None:
            rate, weight = given_prior(state.params) or _FIRST
        rewards = np.array([*state.rewards, 0.0])
        failures = np.maximum(np.array([*state.counts, 0.0]) - rewards, 0.0) / state.dispersion
        rewards = np.maximum(rewards, 0.0) / state.dispersion
        moved = np.zeros(len(rewards))
        if state.lent:
            moved[:-1] = state.lent
        start = np.clip(rate + moved, 0.0, 1.0)
        self._a = np.maximum(weight * start + rewards, _LEAST)
        self._b = np.maximum(weight * (1.0 - start) + failures, _LEAST)
        self._eta = np.log(self._a / self._b)
        self._vectors: OrderedDict[bytes, Floats] = OrderedDict()

    def columns(self, ids: Sequence[str]) -> Indices:
        """Give the column of each id; -1 for an action that is not known, which gets the prior."""
        return columns_of(self._columns, ids)

    def weigh(self, x: Floats, columns: Indices | None = None, mask: Mask | None = None) -> Weights:
        """Give every row the Thompson probabilities of its eligible actions."""
        chosen = np.arange(len(self.action_ids)) if columns is None else columns
        shape = (len(x), len(chosen))
        eta = np.broadcast_to(self._eta[chosen], shape)
        if mask is None or mask.all():
            p = self._vector(chosen, np.ones(len(chosen), dtype=bool))
            return Weights(np.broadcast_to(p, shape), eta)
        sets, rows = np.unique(mask, axis=0, return_inverse=True)
        vectors = np.array([self._vector(chosen, eligible) for eligible in sets])
        return Weights(vectors[rows.reshape(-1)], eta)

    def _vector(self, columns: Indices, eligible: Mask) -> Floats:
        key = columns.tobytes() + eligible.tobytes()
        p = self._vectors.get(key)
        if p is None:
            p = np.zeros(len(columns))
            rows = columns[eligible]
            sharpen = sharpening(self._state.params)
            p[eligible] = beta_probabilities(sharpen * self._a[rows], sharpen * self._b[rows])
            self._vectors[key] = p
            if len(self._vectors) > _KEPT:
                self._vectors.popitem(last=False)
        return p

    def summary(self, context: Floats | None = None) -> list[ActionSummary]:  # noqa: ARG002
        """Describe each action by its counts and its posterior's mean and deviation."""
        state = self._state
        return [
            ActionSummary(
                action_id=a,
                count=n,
                reward=r,
                mean=mean,
                deviation=deviation,
                observed=observed_mean(r, n),
            )
            for i, (a, n, r) in enumerate(zip(state.ids, state.counts, state.rewards, strict=True))
            for mean, deviation in [mean_and_deviation(float(self._a[i]), float(self._b[i]))]
        ]

    def dump(self) -> bytes:
        """Write the posterior."""
        return pack("posterior-beta", _VERSION, self._state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read a posterior."""
        return cls(unpack("posterior-beta", _VERSION, BetaPosteriorState, snapshot, older=(1,)))


class BetaState(Struct):
    """The written form of a :class:`Beta` policy."""

    params: BetaParams
    dim: int
    ids: list[str] | None
    statistics: StatisticsState
    neighbours: dict[str, dict[str, float]] = {}
    default_reward: float = 0.0


class Beta(Additive):
    """Counts decisions and rewards per action.

    Examples
    --------
    >>> policy = Beta({"prior_failure": 1.0})
    >>> two = np.zeros(2)
    >>> clicked = np.array([1.0, 0.0])
    >>> policy.learn(
    ...     Deltas(
    ...         action_ids=["a", "b"],
    ...         x=np.zeros((2, 0)),
    ...         eta=two,
    ...         time=two,
    ...         count_delta=two + 1,
    ...         reward_delta=clicked,
    ...     )
    ... )
    >>> policy.publish().weigh(np.zeros((1, 0))).p.round(4)
    array([[0.8333, 0.1667]])
    """

    kind = "beta"

    def __init__(self, params: Mapping[str, Any] | None = None, dim: int = 0) -> None:
        self.dim = dim
        self.default_reward = 0.0
        self._params = read_params("beta", BetaParams, params)
        self._active: list[str] | None = None
        self._neighbours: dict[str, Mapping[str, float]] = {}
        self._statistics = Statistics(dict.fromkeys(TALLIES, ()), self._params.half_life)

    def set_actions(
        self,
        ids: Sequence[str],
        item_features: Floats | None = None,  # noqa: ARG002
        neighbours: Neighbours | None = None,
    ) -> None:
        """Name the actions to publish."""
        self._active = sorted(set(ids))
        given = neighbours or {}
        self._neighbours |= {action_id: given.get(action_id, {}) for action_id in ids}

    def learn(self, deltas: Deltas) -> None:
        """Add the contributions of a micro-batch."""
        deltas.check(0)
        add_totals(self._statistics, deltas)

    def forget(self, action_ids: Collection[str]) -> None:
        """Drop the statistics of actions, and what was said of them."""
        super().forget(action_ids)
        for action_id in action_ids:
            self._neighbours.pop(action_id, None)

    def merge(self, other: Self) -> None:
        """Add the statistics of another replica, and what its actions resemble."""
        super().merge(other)
        self._neighbours = other._neighbours | self._neighbours

    def publish(self, now: float | None = None) -> BetaPosterior:
        """Give the posterior as of ``now``."""
        statistics = self._statistics
        ids = sorted(statistics.ids if self._active is None else self._active)
        retired = sorted(set(statistics.ids).difference(ids))
        all_ids, k = ids + retired, len(ids)
        counts, rewards, squares = aligned_rows(statistics, all_ids, now, *TALLIES)
        variation = reward_variation(counts, rewards, squares, self.default_reward)
        prior = self._prior(counts, rewards, variation)
        state = BetaPosteriorState(
            params=self._params,
            ids=ids,
            counts=counts[:k].tolist(),
            rewards=rewards[:k].tolist(),
            rate=prior.rate,
            weight=prior.weight,
            dispersion=variation.dispersion,
        )
        shift = self._prior_shift(all_ids, counts, rewards, prior, variation.dispersion)
        if shift is not None:
            state.lent = shift[:k].tolist()
        return BetaPosterior(state)

    def _prior(self, counts: Floats, rewards: Floats, variation: RewardVariation) -> RatePrior:
        params = self._params
        given = given_prior(params)
        if given is not None:
            return RatePrior(*given)
        rate, weight = _FIRST
        return fit_rates(
            np.maximum(counts, 0.0) / variation.dispersion,
            np.maximum(rewards, 0.0) / variation.dispersion,
            first_reward(self.default_reward, variation.size, rate),
            first_variance=variation.effect**2 / (weight * rate * (1.0 - rate)),
            action_variance=variation.effect**2 * params.action_variance,
            optimism=params.optimism,
            headroom=variation.effect * HEADROOM,
            steady=params.half_life is None,
        )

    def _prior_shift(
        self,
        ids: Sequence[str],
        counts: Floats,
        rewards: Floats,
        prior: RatePrior,
        dispersion: float,
    ) -> Floats | None:
        """Give what neighbours add to each action's prior rate; None where nobody has any."""
        params = self._params
        similarity = similarities(ids, self._neighbours) if params.neighbours else None
        if similarity is None:
            return None
        won = np.maximum(rewards, 0.0) / dispersion
        total = prior.weight + won + np.maximum(counts - rewards, 0.0) / dispersion
        residual = ((prior.weight * prior.rate + won) / total - prior.rate)[:, None]
        evidence = 1.0 - prior.weight / total
        return np.asarray(params.neighbours * neighbour_shift(similarity, residual, evidence)[:, 0])

    def dump(self) -> bytes:
        """Write parameters and statistics."""
        state = BetaState(
            self._params,
            self.dim,
            self._active,
            self._statistics.dump(),
            {a: dict(near) for a, near in self._neighbours.items() if near},
            self.default_reward,
        )
        return pack("policy-beta", _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read parameters and statistics."""
        state = unpack("policy-beta", _VERSION, BetaState, snapshot, older=(1,))
        params = learned_params(snapshot, msgspec.to_builtins(state.params), _WRITTEN)
        policy = cls(params, state.dim)
        policy.default_reward = state.default_reward
        policy._active = state.ids
        policy._neighbours = dict(state.neighbours)
        policy._statistics = Statistics.load(state.statistics, SQUARES_LIKE)
        return policy
