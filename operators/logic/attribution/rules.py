"""How rewards count: a slot's settings, the sum of a decision's rewards, and how long they take."""

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from schemas.catalog import Slot

GRID: Final = 2.0**32
"""Rewards are multiples of 1/GRID, so that corrections cancel exactly in binary arithmetic."""

CARRY: Final = 2**62
"""What a sum of rewards carries over, so that both of its parts fit into 64 bits."""

WHOLE: Final = 128
"""A decision's weight is in steps of 1/128, which binary arithmetic adds exactly."""

BINS: Final = 24
_PRIOR: Final = 1.0 / BINS


def on_grid(value: float) -> float:
    """Round to the nearest multiple of 1/GRID.

    >>> on_grid(0.25), abs(on_grid(0.3) - 0.3) < 2.0**-32
    (0.25, True)
    """
    return round(value * GRID) / GRID


class AttributionRules(Struct, frozen=True, array_like=True, kw_only=True):
    """The attribution settings of a slot as they stood when a decision was made.

    ``low`` and ``high`` are the declared reward range, ``default`` on that scale the reward of a
    decision without any, ``quarantine`` says that a click waits for its impression, and ``slate``
    that a decision shows several actions.
    """

    aggregation: str
    click_reward: float
    default: float
    low: float
    high: float
    needs_impression: bool
    viewable_only: bool
    quarantine: bool
    slate: bool

    def rescaled(self, value: float) -> float:
        """Bring an aggregated value from the declared range to [0, 1]; a sum may exceed it.

        >>> from schemas.clock import moment
        >>> slot = Slot(id="s", time=moment(0), slot_id="s", reward_range=(0.0, 4.0))
        >>> rules_of(slot).rescaled(1.0), rules_of(slot).rescaled(6.0)
        (0.25, 1.0)
        """
        return on_grid(min(1.0, max(0.0, (value - self.low) / (self.high - self.low))))

    @property
    def default_reward(self) -> float:
        """The reward in [0, 1] of a decision without any."""
        return self.rescaled(self.default)


def rules_of(slot: Slot) -> AttributionRules:
    """Read the rules from a slot's catalog record."""
    low, high = slot.reward_range
    return AttributionRules(
        aggregation=slot.reward_aggregation,
        click_reward=slot.click_reward,
        default=slot.default_reward,
        low=low,
        high=high,
        needs_impression=slot.needs_impression,
        viewable_only=slot.viewable_only,
        quarantine=slot.click_without_impression == "quarantine",
        slate=slot.slate_size > 1,
    )


class Rewards(Struct, array_like=True, gc=False, kw_only=True):
    """The rewards that count for one decision, aggregated so that their order does not matter.

    ``first_at`` and ``first_id`` name the earliest reward (by event time, then id) and ``first``
    its value; ``total`` is the sum in units of 1/GRID, an integer, so that it is exact in any
    order, less ``carried`` times CARRY; ``learned_reward`` is the reward that the learner has been
    given so far; ``ids`` are those of all rewards once there are several.
    """

    first_at: int
    first_id: str
    first: float
    highest: float
    total: int
    learned_reward: float = 0.0
    ids: set[str] | None = None
    carried: int = 0

    @property
    def count(self) -> int:
        """How many rewards count."""
        return len(self.ids) if self.ids else 1

    def add(self, at: int, id_: str, value: float) -> bool:
        """Count a reward; False when its id was counted before."""
        ids = self.ids or {self.first_id}
        if id_ in ids:
            return False
        ids.add(id_)
        self.ids = ids
        self.total += round(value * GRID)
        if self.carried or not -CARRY < self.total < CARRY:
            self._carry()
        self.highest = max(self.highest, value)
        if (at, id_) < (self.first_at, self.first_id):
            self.first_at, self.first_id, self.first = at, id_, value
        return True

    def reward(self, rules: AttributionRules) -> float:
        """Give the aggregated reward in [0, 1].

        >>> from schemas.clock import moment
        >>> rewards = first_reward(5, "b", 2.0)
        >>> rewards.add(4, "a", 1.0), rewards.add(5, "b", 2.0)
        (True, False)
        >>> for aggregation in ("first", "max", "sum"):
        ...     slot = Slot(
        ...         id="s",
        ...         time=moment(0),
        ...         slot_id="s",
        ...         reward_range=(0.0, 4.0),
        ...         reward_aggregation=aggregation,
        ...     )
        ...     print(aggregation, rewards.reward(rules_of(slot)))
        first 0.25
        max 0.5
        sum 0.75
        """
        if rules.aggregation == "first":
            return rules.rescaled(self.first)
        if rules.aggregation == "max":
            return rules.rescaled(self.highest)
        return rules.rescaled((self.carried * CARRY + self.total) / GRID)

    def _carry(self) -> None:
        """Cut the sum into two parts, in one way only whatever the order of its rewards was."""
        whole = self.carried * CARRY + self.total
        self.carried, self.total = (0, whole) if -CARRY < whole < CARRY else divmod(whole, CARRY)


def first_reward(at: int, id_: str, value: float) -> Rewards:
    """Start the rewards of a decision with the first that arrives."""
    return Rewards(first_at=at, first_id=id_, first=value, highest=value, total=round(value * GRID))


class DelayHistogram(Struct):
    """How long rewards take in a slot: delays as shares of the window, finer where they are short.

    Bin k covers the shares from (k/BINS)³ to ((k+1)/BINS)³. It is learned from settled decisions
    only, whose delays are complete, so that short delays are not over-represented.
    """

    counts: list[float]

    def learn(self, shares: NDArray[np.float64]) -> None:
        """Count delays, given as shares of their windows."""
        bins = np.minimum((np.cbrt(shares) * BINS).astype(np.int64), BINS - 1)
        self.counts = (np.array(self.counts) + np.bincount(bins, minlength=BINS)).tolist()

    def weights(self, shares: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Give how much a decision without a reward counts at each age, in steps of 1/WHOLE.

        That is the share of rewards that would have come by that age.

        >>> delays = prior_delays()
        >>> delays.learn(np.full(1000, 0.01))
        >>> delays.weights(np.array([0.0, 0.5, 1.0])).tolist()
        [0, 127, 128]
        """
        come = np.concatenate([[0.0], np.cumsum(self.counts)])
        position = np.cbrt(np.clip(shares, 0.0, 1.0)) * BINS
        share = np.interp(position, np.arange(BINS + 1), come / come[-1])
        weights: NDArray[np.uint8] = np.floor(share * WHOLE).astype(np.uint8)
        return weights


def prior_delays() -> DelayHistogram:
    """Make the histogram of a slot without observations: one, spread over the bins."""
    return DelayHistogram([_PRIOR] * BINS)
