"""What every policy takes, keeps and gives: deltas, statistics, posteriors, weights."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from operators.logic.features.rows import Rows
from schemas.results import ActionSummary

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]


_GRID = 2.0**32


def squared(reward: Floats) -> Floats:
    """Square rewards, to the nearest multiple of 2**-32: their sums are exact in any order.

    >>> squared(np.array([0.0, 0.5, 1.0]))
    array([0.  , 0.25, 1.  ])
    """
    return np.asarray(np.round(reward * reward * _GRID) / _GRID)


class PolicyError(ValueError):
    """A policy was given what it cannot use; the message names the parameter or the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deltas:
    """A micro-batch of contribution changes of one slot.

    A decision contributes a count and a reward to its action; each delta changes them by
    ``count_delta`` and ``reward_delta``, and the contribution is the sum over the decision's
    deltas. The rest comes from the decision's record, the same in each of its deltas.

    Attributes
    ----------
    action_ids : list of str, n
    x : array [n, d]
        The features of the decision; d is 0 without context.
    eta : array [n]
        The chosen action's mean linear predictor when it was chosen.
    time : array [n]
        The decision's time in seconds since 1970.
    count_delta : array [n]
        +1 when the decision starts to count, 0 for a correction, -1 when it is voided.
    reward_delta : array [n]
        The change of its reward, on the scale of [0, 1].
    square_delta : array [n]
        The change of its reward's square; left out where rewards are 0 or 1, when it is that of the
        reward.
    contents : list of bytes or None, n
        The features that came with the decision's request of the action: canonical JSON, None
        where there are none. Left out where no decision has any.
    rows : Rows of n rows, or None
        The chosen actions' features with their decisions', for policies that learn from both.
    contexts : list of bytes or None, n
        The contexts of the decisions' requests, likewise, in slots whose features are not declared.
    """

    action_ids: list[str]
    x: Floats
    eta: Floats
    time: Floats
    count_delta: Floats
    reward_delta: Floats
    square_delta: Floats | None = None
    contents: Sequence[bytes | None] | None = None
    rows: Rows | None = None
    contexts: Sequence[bytes | None] | None = None

    def __len__(self) -> int:
        """Give the number of deltas."""
        return len(self.action_ids)

    @property
    def squares(self) -> Floats:
        """Give the changes of squared rewards."""
        return self.reward_delta if self.square_delta is None else self.square_delta

    def check(self, dim: int) -> None:
        """Refuse shapes that do not fit and values that are not finite, by field."""
        n = len(self.action_ids)
        if self.x.shape != (n, dim) and dim:
            raise PolicyError(f"deltas.x has shape {self.x.shape}, expected ({n}, {dim})")
        for name in ("eta", "time", "count_delta", "reward_delta", "squares"):
            values: Floats = getattr(self, name)
            if values.shape != (n,):
                raise PolicyError(f"deltas.{name} has shape {values.shape}, expected ({n},)")
            if not np.isfinite(values).all():
                raise PolicyError(f"deltas.{name} is not finite")
        if dim and not np.isfinite(self.x).all():
            raise PolicyError("deltas.x is not finite")

    def __neg__(self) -> "Deltas":
        """Give the deltas that undo these."""
        return Deltas(
            action_ids=self.action_ids,
            x=self.x,
            eta=self.eta,
            time=self.time,
            count_delta=-self.count_delta,
            reward_delta=-self.reward_delta,
            square_delta=None if self.square_delta is None else -self.square_delta,
            contents=self.contents,
            rows=self.rows,
            contexts=self.contexts,
        )

    def take(self, rows: Sequence[int] | Indices) -> "Deltas":
        """Give some of the deltas, in the order of ``rows``."""
        return Deltas(
            action_ids=[self.action_ids[i] for i in rows],
            x=self.x[rows],
            eta=self.eta[rows],
            time=self.time[rows],
            count_delta=self.count_delta[rows],
            reward_delta=self.reward_delta[rows],
            square_delta=None if self.square_delta is None else self.square_delta[rows],
            contents=None if self.contents is None else [self.contents[i] for i in rows],
            rows=None if self.rows is None else self.rows.take(rows),
            contexts=None if self.contexts is None else [self.contexts[i] for i in rows],
        )


@dataclass(frozen=True, slots=True)
class Weights:
    """What a posterior says of n decisions over K actions.

    Attributes
    ----------
    p : array [n, K]
        The probability of choosing each action; rows sum to 1, masked actions have exactly 0, and
        a row without any eligible action is all zeros.
    eta : array [n, K]
        The mean linear predictor (log-odds for the policies without context).
    width : array [n, K] or None
        The posterior standard deviation of the linear predictor, None where there is none.
    """

    p: Floats
    eta: Floats
    width: Floats | None = None


class Posterior(Protocol):
    """What a policy publishes: immutable, and all that a scoring shard needs."""

    @property
    def kind(self) -> str:
        """The policy's kind."""
        ...

    @property
    def action_ids(self) -> tuple[str, ...]:
        """The actions it knows, sorted; a column of a weights' array each."""
        ...

    def columns(self, ids: Sequence[str]) -> Indices:
        """Give the column of each id; -1 for an action that is not known, which gets the prior."""
        ...

    def weigh(self, x: Floats, columns: Indices | None = None, mask: Mask | None = None) -> Weights:
        """Weigh the actions of ``columns`` (all known ones when None) for each row of ``x``.

        ``mask`` [n, K] says which of them are eligible in each row.
        """
        ...

    def summary(self, context: Floats | None = None) -> list[ActionSummary]:
        """Describe each known action in numbers that people read, with rewards in [0, 1].

        Policies that see features believe what they do of a decision with ``context`` [d].
        """
        ...

    def dump(self) -> bytes:
        """Write the posterior; ``load_posterior`` reads it."""
        ...


class Policy(Protocol):
    """Sufficient statistics that add, merge and subtract, and the posterior they imply."""

    @property
    def kind(self) -> str:
        """The policy's kind."""
        ...

    @property
    def dim(self) -> int:
        """The number of features that it learns from."""
        ...

    default_reward: float
    """What a decision without a reward is worth in its slot, in [0, 1]."""

    def set_actions(
        self,
        ids: Sequence[str],
        item_features: Floats | None = None,
        neighbours: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Name the actions to publish, with a row of features and the neighbours of each.

        Statistics are kept.
        """
        ...

    def learn(self, deltas: Deltas) -> None:
        """Add the contributions of a micro-batch."""
        ...

    def forget(self, action_ids: Collection[str]) -> None:
        """Drop all that is known of actions that are not published: they are as if never seen."""
        ...

    def merge(self, other: Self) -> None:
        """Add the statistics of another replica of the same policy."""
        ...

    def subtract(self, other: Self | Deltas) -> None:
        """Remove contributions, given as the replica or the deltas that hold them."""
        ...

    def publish(self, now: float | None = None) -> Posterior:
        """Give the posterior as of ``now``: by default the newest decision time learned from."""
        ...

    def dump(self) -> bytes:
        """Write parameters and statistics; ``load_policy`` reads them."""
        ...
