"""How rewards count: a slot's settings, and how long rewards take."""

from typing import Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from operators.logic.subject_windows import name_span
from schemas.catalog import Slot

GRID: Final = 2.0**32
"""Rewards are multiples of 1/GRID, so that corrections cancel exactly in binary arithmetic."""

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


class SubjectRules(Struct, frozen=True, array_like=True, kw_only=True):
    """How much of one subject a slot learns, by its settings as they stood for a decision.

    Of each ``window`` the first ``most`` decisions teach, and none of a ``robot_window`` that has
    more than ``most_of_robots`` (None: however many). Both are in microseconds; each ``window``
    begins with a ``robot_window``, and may cut its last one short.
    """

    window: int
    most: int | None
    most_of_robots: int | None
    robot_window: int


class AttributionRules(Struct, frozen=True, array_like=True, kw_only=True):
    """The attribution settings of a slot as they stood when a decision was made.

    ``low`` and ``high`` are the declared reward range, ``default`` on that scale the reward of a
    decision without any, and ``quarantine`` says that a click waits for its impression. ``subject``
    bounds what one subject teaches; ``robots`` does so beside it where robots need to be counted
    over several of its windows.
    """

    aggregation: str
    click_reward: float
    default: float
    low: float
    high: float
    needs_impression: bool
    viewable_only: bool
    quarantine: bool
    subject: SubjectRules | None = None
    robots: SubjectRules | None = None

    @property
    def of_subjects(self) -> list[SubjectRules]:
        """The rules that bound what one subject teaches, each counted apart."""
        return [rules for rules in (self.subject, self.robots) if rules is not None]

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
    subject, robots = _subject_rules(slot)
    return AttributionRules(
        aggregation=slot.reward_aggregation,
        click_reward=slot.click_reward,
        default=slot.default_reward,
        low=low,
        high=high,
        needs_impression=slot.needs_impression,
        viewable_only=slot.viewable_only,
        quarantine=slot.click_without_impression == "quarantine",
        subject=subject,
        robots=robots,
    )


def _subject_rules(slot: Slot) -> tuple[SubjectRules | None, SubjectRules | None]:
    """Make one set of rules of both where one window does for both, otherwise one of each."""
    span, limit, robots = name_span(slot), slot.subject_limit, slot.robot_rate
    if span is None:
        return None, None
    both = SubjectRules(
        window=span,
        most=limit.decisions if limit.enabled else None,
        most_of_robots=robots.decisions if robots.enabled else None,
        robot_window=round(robots.window * 1e6),
    )
    limited = round(limit.window * 1e6)
    if both.most is None or both.most_of_robots is None or span == limited:
        return both, None
    alone = SubjectRules(window=limited, most=both.most, most_of_robots=None, robot_window=0)
    return alone, replace(both, most=None)


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
