"""What policies with additive statistics share: replicas merge, contributions are removable."""

from collections.abc import Collection
from typing import Self

from operators.logic.policies.base import Deltas
from operators.logic.policies.statistics import Statistics


class Additive:
    """A policy whose whole state is additive statistics."""

    _statistics: Statistics

    def learn(self, deltas: Deltas) -> None:
        """Add the contributions of a micro-batch."""
        raise NotImplementedError

    def forget(self, action_ids: Collection[str]) -> None:
        """Drop the statistics of actions."""
        self._statistics.drop(action_ids)

    def merge(self, other: Self) -> None:
        """Add the statistics of another replica."""
        self._statistics.add(other._statistics)

    def subtract(self, other: Self | Deltas) -> None:
        """Remove contributions, given as the replica or the deltas that hold them."""
        if isinstance(other, Deltas):
            self.learn(-other)
        else:
            self._statistics.add(other._statistics, -1.0)
