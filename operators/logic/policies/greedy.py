"""The greedy baseline: the best mean, with an optional uniform share."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from msgspec import Struct

from operators.logic.features.scaling import Scaled
from operators.logic.policies.base import Deltas, Floats
from operators.logic.policies.level import OPTIMISM
from operators.logic.policies.linear import Linear
from operators.logic.policies.linear_posterior import LinearPosterior
from operators.logic.policies.packing import read_params
from operators.logic.policies.parameters import HalfLife, Share
from schemas.state import pack, unpack

_VERSION = 1


class GreedyParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``greedy``: ``epsilon`` is spread uniformly over the eligible actions.

    The means are those of ``logistic``, over an intercept alone without context; a new action's
    begins as high as where there is no context, for nothing else makes ``greedy`` try it
    (optimistic initial values: Sutton and Barto, Reinforcement Learning, section 2.6).
    """

    epsilon: Share = 0.0
    half_life: HalfLife | None = None


class GreedyState(Struct):
    """The written form of a :class:`Greedy` policy."""

    params: GreedyParams
    dim: int
    model: bytes


class Greedy:
    """Chooses the highest posterior mean of a logistic regression."""

    kind = "greedy"

    def __init__(
        self, params: Mapping[str, Any] | None, dim: int, scaled: Scaled | None = None
    ) -> None:
        self.dim = dim
        self._params = read_params("greedy", GreedyParams, params)
        self._model = Linear(
            "logistic",
            {"half_life": self._params.half_life, "optimism": OPTIMISM},
            max(dim, 1),
            scaled,
        )

    @property
    def default_reward(self) -> float:
        """What a decision without a reward is worth."""
        return self._model.default_reward

    @default_reward.setter
    def default_reward(self, value: float) -> None:
        self._model.default_reward = value

    def set_actions(
        self,
        ids: Sequence[str],
        item_features: Floats | None = None,
        neighbours: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Name the actions to publish."""
        self._model.set_actions(ids, item_features, neighbours)

    def learn(self, deltas: Deltas) -> None:
        """Add the contributions of a micro-batch."""
        self._model.learn(self._with_intercept(deltas))

    def _with_intercept(self, deltas: Deltas) -> Deltas:
        if self.dim:
            return deltas
        return replace(deltas, x=np.ones((len(deltas), 1)))

    def forget(self, action_ids: Collection[str]) -> None:
        """Drop the statistics of actions."""
        self._model.forget(action_ids)

    def merge(self, other: Self) -> None:
        """Add the statistics of another replica."""
        self._model.merge(other._model)

    def subtract(self, other: Self | Deltas) -> None:
        """Remove contributions, given as the replica or the deltas that hold them."""
        if isinstance(other, Deltas):
            self.learn(-other)
        else:
            self._model.subtract(other._model)

    def publish(self, now: float | None = None) -> LinearPosterior:
        """Give the posterior as of ``now``; it chooses by its means alone."""
        return self._model.publish(now).greedily(self._params.epsilon)

    def dump(self) -> bytes:
        """Write parameters and statistics."""
        return pack(
            "policy-greedy", _VERSION, GreedyState(self._params, self.dim, self._model.dump())
        )

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read parameters and statistics."""
        state = unpack("policy-greedy", _VERSION, GreedyState, snapshot)
        policy = cls(
            {"epsilon": state.params.epsilon, "half_life": state.params.half_life}, state.dim
        )
        policy._model = Linear.load(state.model)
        return policy
