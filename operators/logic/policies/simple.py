"""Policies that do not learn: uniform and fixed split."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
from msgspec import Meta, Struct

from operators.logic.policies.additive import Additive
from operators.logic.policies.base import Deltas, Floats, Indices, Mask, Weights
from operators.logic.policies.packing import read_params
from operators.logic.policies.statistics import Statistics, StatisticsState
from operators.logic.policies.tally import add_totals, columns_of, observed_mean, published_ids
from schemas.bounds import MOST_SHARES
from schemas.results import ActionSummary
from schemas.state import pack, unpack

_VERSION = 1


class SplitParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of ``split``: the share of each action; one that is not named has none.

    The shares of the eligible actions are rescaled to sum to 1; where they sum to 0 every eligible
    action has the same.
    """

    shares: Annotated[
        dict[str, Annotated[float, Meta(ge=0.0, le=1e9)]], Meta(max_length=MOST_SHARES)
    ] = {}


class UniformParams(Struct, frozen=True, forbid_unknown_fields=True):
    """``uniform`` has no parameters."""


class SplitPosteriorState(Struct):
    """The written form of a :class:`SplitPosterior`."""

    kind: str
    ids: list[str]
    shares: list[float]
    counts: list[float]
    rewards: list[float]


class SplitPosterior:
    """Fixed shares; ``uniform`` is the split of equal shares."""

    def __init__(self, state: SplitPosteriorState) -> None:
        self._state = state
        self.kind = state.kind
        self.action_ids = tuple(state.ids)
        self._columns = {action_id: i for i, action_id in enumerate(state.ids)}
        unknown = 1.0 if state.kind == "uniform" else 0.0
        self._shares = np.array([*state.shares, unknown])

    def columns(self, ids: Sequence[str]) -> Indices:
        """Give the column of each id; -1 for an action that is not known."""
        return columns_of(self._columns, ids)

    def weigh(self, x: Floats, columns: Indices | None = None, mask: Mask | None = None) -> Weights:
        """Give every row the shares of its eligible actions."""
        shares = self._shares[:-1] if columns is None else self._shares[columns]
        p = np.broadcast_to(shares, (len(x), len(shares)))
        eligible = np.ones(p.shape, dtype=bool) if mask is None else mask
        p = np.where(eligible, p, 0.0)
        empty = p.sum(axis=1) <= 0.0
        p[empty] = eligible[empty]
        total = p.sum(axis=1, keepdims=True)
        p = np.divide(p, total, out=np.zeros_like(p), where=total > 0.0)
        return Weights(p, np.zeros_like(p))

    def summary(self, context: Floats | None = None) -> list[ActionSummary]:  # noqa: ARG002
        """Describe each action by what was observed: shares believe nothing."""
        state = self._state
        return [
            ActionSummary(
                action_id=a,
                count=n,
                reward=r,
                mean=None,
                deviation=None,
                observed=observed_mean(r, n),
            )
            for a, n, r in zip(state.ids, state.counts, state.rewards, strict=True)
        ]

    def dump(self) -> bytes:
        """Write the posterior."""
        return pack("posterior-split", _VERSION, self._state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read a posterior."""
        return cls(unpack("posterior-split", _VERSION, SplitPosteriorState, snapshot))


class SplitState(Struct):
    """The written form of a :class:`Split`."""

    kind: str
    dim: int
    shares: dict[str, float]
    ids: list[str] | None
    statistics: StatisticsState


class Split(Additive):
    """Chooses with fixed shares and only counts what happened."""

    def __init__(self, kind: str, params: Mapping[str, Any] | None, dim: int) -> None:
        self.kind = kind
        self.dim = dim
        self.default_reward = 0.0
        self._shares: dict[str, float] = {}
        if kind == "split":
            self._shares = dict(read_params(kind, SplitParams, params).shares)
        else:
            read_params(kind, UniformParams, params)
        self._active: list[str] | None = None
        self._statistics = Statistics({"counts": (), "rewards": ()})

    def set_actions(
        self,
        ids: Sequence[str],
        item_features: Floats | None = None,  # noqa: ARG002
        neighbours: Mapping[str, Mapping[str, float]] | None = None,  # noqa: ARG002
    ) -> None:
        """Name the actions to publish."""
        self._active = sorted(set(ids))

    def learn(self, deltas: Deltas) -> None:
        """Count."""
        deltas.check(0)
        add_totals(self._statistics, deltas)

    def publish(self, now: float | None = None) -> SplitPosterior:
        """Give the shares and the counts so far."""
        ids, (counts, rewards) = published_ids(
            self._statistics, self._active, now, "counts", "rewards"
        )
        if self.kind == "uniform":
            shares = [1.0] * len(ids)
        else:
            shares = [self._shares.get(action_id, 0.0) for action_id in ids]
        return SplitPosterior(
            SplitPosteriorState(self.kind, ids, shares, counts.tolist(), rewards.tolist())
        )

    def dump(self) -> bytes:
        """Write parameters and counts."""
        state = SplitState(self.kind, self.dim, self._shares, self._active, self._statistics.dump())
        return pack("policy-split", _VERSION, state)

    @classmethod
    def load(cls, snapshot: bytes) -> Self:
        """Read parameters and counts."""
        state = unpack("policy-split", _VERSION, SplitState, snapshot)
        params = {"shares": state.shares} if state.kind == "split" else None
        policy = cls(state.kind, params, state.dim)
        policy._active = state.ids
        policy._statistics = Statistics.load(state.statistics)
        return policy
