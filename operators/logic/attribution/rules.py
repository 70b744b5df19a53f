"""What a slot's configuration says about attribution, kept with each decision that it governed."""

from typing import Final

from msgspec import Struct

from schemas.catalog import Slot
from schemas.events import LearningMode

GRID: Final = 2.0**32
"""Rewards are multiples of 1/GRID, so that corrections cancel exactly in binary arithmetic."""


def on_grid(value: float) -> float:
    """Round to the nearest multiple of 1/GRID.

    >>> on_grid(0.25), abs(on_grid(0.3) - 0.3) < 2.0**-32
    (0.25, True)
    """
    return round(value * GRID) / GRID


class Rules(Struct, frozen=True, array_like=True):
    """The attribution settings of a slot as they stood when a decision was made."""

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

        >>> Rules("sum", 1, 0, 0, 4, True, False, False, False).rescaled(6)
        1.0
        """
        return on_grid(min(1.0, max(0.0, (value - self.low) / (self.high - self.low))))

    @property
    def unanswered(self) -> float:
        """The rescaled reward of a decision that earned nothing."""
        return self.rescaled(self.default)


def rules_of(slot: Slot) -> Rules:
    """Read the rules from a slot's catalog record."""
    low, high = slot.reward_range
    return Rules(
        slot.reward_aggregation,
        slot.click_reward,
        slot.default_reward,
        low,
        high,
        slot.needs_impression,
        slot.viewable_only,
        slot.click_without_impression == "quarantine",
        slot.slate_size > 1,
    )


class Kind(Struct, frozen=True, array_like=True):
    """What many decisions have in common; ``window`` is in microseconds."""

    slot_id: str
    action_id: str
    policy: str
    experiment_id: str | None
    variation_id: str | None
    learning_mode: LearningMode
    deferred: bool
    window: int
    rules: Rules
    mapping: str = ""

    @property
    def waits(self) -> bool:
        """Whether the decision counts only once its impression has come."""
        return self.deferred or self.rules.needs_impression
