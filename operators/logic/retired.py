"""Actions that a slot's catalog does not have, and when what is known of them may be forgotten."""

from collections.abc import Collection, Iterable
from typing import Final

MOST_RETIRED: Final = 200
"""So many actions that are in the catalog no more stay in a policy beyond those still pending."""


class RetiredActions:
    """The actions that a slot's policy knows and its catalog does not, by when they were last met.

    They have left the catalog; or the slot takes what requests list, and they never were in it.

    What was learned of an action that comes back soon is still there, and actions that are gone
    still say what the slot's actions have in common. Those met the longest time ago are forgotten,
    but none that a decision whose reward window is open may name.

    >>> retired = RetiredActions()
    >>> retired.meet(["a", "b"], at=5)
    >>> retired.meet(["c"], at=9)
    >>> retired.forget(before=9, most=0), sorted(retired.last_met)
    (['a', 'b'], ['c'])
    """

    def __init__(self, last_met: dict[str, int] | None = None) -> None:
        self.last_met = last_met or {}
        """Microseconds of event time by action, at or after the last decision that named it."""

    def __len__(self) -> int:
        """Count the actions."""
        return len(self.last_met)

    def meet(self, action_ids: Iterable[str], at: int) -> None:
        """Note that actions are not in the catalog, and that decisions up to ``at`` name them."""
        known = self.last_met
        for action_id in action_ids:
            known[action_id] = max(at, known.get(action_id, at))

    def come_back(self, action_ids: Collection[str]) -> None:
        """Note that actions are in the catalog again."""
        if self.last_met:
            for action_id in action_ids:
                self.last_met.pop(action_id, None)

    def latest(self, most: int) -> list[str]:
        """Name the actions met last, at most so many, in the order of their names.

        >>> RetiredActions({"a": 9, "b": 5, "c": 7}).latest(2)
        ['a', 'c']
        """
        by_time = sorted((-at, action_id) for action_id, at in self.last_met.items())
        return sorted(action_id for _, action_id in by_time[: max(most, 0)])

    def forget(self, before: int, most: int) -> list[str]:
        """Drop and give actions last met before this time while there are more than ``most``."""
        excess = len(self.last_met) - most
        if excess <= 0:
            return []
        oldest = sorted((at, action_id) for action_id, at in self.last_met.items() if at < before)
        gone = [action_id for _, action_id in oldest[:excess]]
        for action_id in gone:
            del self.last_met[action_id]
        return gone
