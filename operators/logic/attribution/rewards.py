"""The rewards that count for one decision, aggregated so that their order does not matter."""

from msgspec import Struct

from operators.logic.attribution.rules import GRID, Rules


class Rewards(Struct, array_like=True, gc=False):
    """What a decision has earned so far.

    ``first_at`` and ``first_id`` name the earliest reward (by event time, then id) and ``first``
    its value; ``total`` is the sum in units of 1/GRID, an integer, so that it is exact in any
    order; ``told`` is the reward that the learner has been told; ``seen`` are the ids of all
    rewards once there are several.
    """

    first_at: int
    first_id: str
    first: float
    highest: float
    total: int
    told: float = 0.0
    seen: set[str] | None = None

    @property
    def count(self) -> int:
        """How many rewards count."""
        return len(self.seen) if self.seen else 1

    def add(self, at: int, id_: str, value: float) -> bool:
        """Count a reward; False when its id was counted before."""
        seen = self.seen or {self.first_id}
        if id_ in seen:
            return False
        seen.add(id_)
        self.seen = seen
        self.total += round(value * GRID)
        self.highest = max(self.highest, value)
        if (at, id_) < (self.first_at, self.first_id):
            self.first_at, self.first_id, self.first = at, id_, value
        return True

    def reward(self, rules: Rules) -> float:
        """Give the aggregated reward in [0, 1].

        >>> rewards = begin(5, "b", 2.0)
        >>> rewards.add(4, "a", 1.0), rewards.add(5, "b", 2.0)
        (True, False)
        >>> for aggregation in ("first", "max", "sum"):
        ...     rules = Rules(aggregation, 1, 0, 0, 4, True, False, False, False)
        ...     print(aggregation, rewards.reward(rules))
        first 0.25
        max 0.5
        sum 0.75
        """
        if rules.aggregation == "first":
            return rules.rescaled(self.first)
        if rules.aggregation == "max":
            return rules.rescaled(self.highest)
        return rules.rescaled(self.total / GRID)


def begin(at: int, id_: str, value: float) -> Rewards:
    """Start with a decision's first reward to arrive."""
    return Rewards(at, id_, value, value, round(value * GRID))
