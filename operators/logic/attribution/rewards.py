"""The rewards that count for one decision: each by its id, aggregated whatever their order."""

from typing import Final

from msgspec import Struct

from operators.logic.attribution.rules import GRID, AttributionRules, on_grid
from schemas.events import Click, Reward

CARRY: Final = 2**62
"""What a sum of rewards carries over, so that both of its parts fit into 64 bits."""

Content = tuple[int, float]
"""What tells two records with one id apart: event time in microseconds, and value.

The least counts, whichever came first.
"""


def reward_id(body: Click | Reward) -> str:
    """Name a click or reward within its decision: which of the two it is, and the record's id."""
    return f"click/{body.id}" if type(body) is Click else f"reward/{body.id}"


def reward_value(body: Click | Reward, rules: AttributionRules) -> float:
    """Read the value of a reward; a click is worth what the slot says."""
    return rules.click_reward if type(body) is Click else body.value  # type: ignore[union-attr]


class Rewards(Struct, array_like=True, gc=False, kw_only=True):
    """The rewards that count for one decision, aggregated so that their order does not matter.

    Where all were taken back, none counts (``bool``): what is left is ``revision``.

    ``first_at`` and ``first_id`` name the earliest reward (by event time, then id) and ``first``
    its value; ``total`` is the sum in units of 1/GRID, an integer, so that it is exact in any
    order, less ``carried`` times CARRY; ``learned_reward`` is the reward that the learner has been
    given so far; ``several`` has all rewards by id once there are several; ``revision`` counts the
    changes.
    """

    first_at: int
    first_id: str
    first: float
    highest: float
    total: int
    learned_reward: float = 0.0
    several: dict[str, Content] | None = None
    carried: int = 0
    revision: int = 1

    @property
    def count(self) -> int:
        """How many rewards count."""
        return 1 if self.several is None else len(self.several)

    def __bool__(self) -> bool:
        """Say whether any reward counts."""
        return self.count > 0

    def learned_square(self, weight: float, default: float) -> float:
        """Give the squared reward that the learner has been given of a decision of this weight.

        Below a weight of 1 that was the ``default`` reward's.
        """
        reward = default if weight < 1.0 else self.learned_reward
        return weight * on_grid(reward**2)

    def get(self, id_: str) -> Content | None:
        """Find the reward with this id among those that count."""
        if self.several is not None:
            return self.several.get(id_)
        return (self.first_at, self.first) if id_ == self.first_id else None

    def add(self, at: int, id_: str, value: float) -> None:
        """Count a reward whose id is new."""
        first = not self
        self._by_id()[id_] = at, value
        self.revision += 1
        self._sum(round(value * GRID))
        self.highest = value if first else max(self.highest, value)
        if first or (at, id_) < (self.first_at, self.first_id):
            self.first_at, self.first_id, self.first = at, id_, value

    def replace(self, at: int, id_: str, value: float) -> None:
        """Count a reward in place of a greater one with its id."""
        rewards = self._by_id()
        _, before = rewards[id_]
        rewards[id_] = at, value
        self.revision += 1
        self._sum(round(value * GRID) - round(before * GRID))
        if value >= self.highest:
            self.highest = value
        elif before == self.highest:
            self._find_highest()
        if id_ == self.first_id or (at, id_) < (self.first_at, self.first_id):
            self.first_at, self.first_id, self.first = at, id_, value

    def remove(self, id_: str) -> None:
        """Let a reward count no more."""
        rewards = self._by_id()
        _, before = rewards.pop(id_)
        self.revision += 1
        self._sum(-round(before * GRID))
        if not rewards:
            return
        self._find_highest()
        if id_ == self.first_id:
            self.first_at, self.first_id = min((at, each) for each, (at, _) in rewards.items())
            self.first = rewards[self.first_id][1]

    def reward(self, rules: AttributionRules) -> float:
        """Aggregate the rewards to one in [0, 1]; the default reward where none counts.

        >>> from operators.logic.attribution.rules import rules_of
        >>> from schemas.catalog import Slot
        >>> from schemas.clock import moment
        >>> rewards = first_reward(5, "b", 2.0)
        >>> rewards.add(4, "a", 1.0)
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
        if not self:
            return rules.default_reward
        if rules.aggregation == "first":
            return rules.rescaled(self.first)
        if rules.aggregation == "max":
            return rules.rescaled(self.highest)
        return rules.rescaled((self.carried * CARRY + self.total) / GRID)

    def _by_id(self) -> dict[str, Content]:
        if self.several is None:
            self.several = {self.first_id: (self.first_at, self.first)}
        return self.several

    def _find_highest(self) -> None:
        self.highest = max(value for _, value in self._by_id().values())

    def _sum(self, more: int) -> None:
        """Add to the sum, cut into two parts in one way only whatever the order was."""
        self.total += more
        if self.carried or not -CARRY < self.total < CARRY:
            whole = self.carried * CARRY + self.total
            fits = -CARRY < whole < CARRY
            self.carried, self.total = (0, whole) if fits else divmod(whole, CARRY)


def first_reward(at: int, id_: str, value: float) -> Rewards:
    """Start the rewards of a decision with the first that arrives."""
    return Rewards(first_at=at, first_id=id_, first=value, highest=value, total=round(value * GRID))
