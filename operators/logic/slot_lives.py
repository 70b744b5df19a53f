"""Which slots a shard has told the learners of, and when one that left the catalog is forgotten."""

from collections.abc import Collection, Iterable
from typing import Final

from msgspec import Struct

from operators.logic.policy_versions import GENERATION, HIGHEST_BELIEVED

SLOTS_KEPT: Final = 86_400_000_000
"""So many microseconds after it left the catalog a slot's learner is forgotten."""

_RETRY: Final = 60_000_000
"""How long to wait for the reward windows of a slot that is to be forgotten."""


class SlotLife(Struct, array_like=True):
    """A slot's policy versions, and when it left the catalog, in microseconds (None: it is there).

    Its versions are above ``base``. None that was published is more than a generation above
    ``newest``, the highest that made a decision or what restarts made of it.
    """

    base: int
    newest: int
    left: int | None = None


class SlotLivesState(Struct):
    """What a snapshot keeps; versions of slots that are forgotten are up to ``floor``."""

    floor: int = 0
    lives: dict[str, SlotLife] = {}


class SlotLives:
    """The slots of a shard's catalog, and those that left it within :data:`SLOTS_KEPT`.

    A slot that comes back in that time goes on. One that was forgotten begins anew, with versions
    above all that it had before: readers outside take no version that is below the one they have.

    >>> lives = SlotLives()
    >>> lives.follow(["home", "side"], at=0)
    >>> lives.follow(["home"], at=5)
    >>> lives.forget(5 + SLOTS_KEPT, busy=()), lives.forget(5 + SLOTS_KEPT, busy=())
    (['side'], [])
    """

    def __init__(self, state: SlotLivesState | None = None) -> None:
        self._state = state or SlotLivesState()
        for life in self._state.lives.values():
            life.newest += GENERATION  # learners go on a generation higher after a restart

    def __len__(self) -> int:
        """Count the slots."""
        return len(self._state.lives)

    def state(self) -> SlotLivesState:
        """Collect what a snapshot keeps."""
        return self._state

    def follow(self, slot_ids: Iterable[str], at: int) -> None:
        """Take in which slots the catalog has at a time, which never falls."""
        lives, floor = self._state.lives, self._state.floor
        gone = {slot_id for slot_id, life in lives.items() if life.left is None}
        for slot_id in slot_ids:
            gone.discard(slot_id)
            lives.setdefault(slot_id, SlotLife(floor, floor)).left = None
        for slot_id in gone:
            lives[slot_id].left = at

    def earlier(self, slot_id: str, versions: Collection[int] = ()) -> int:
        """Find the version that a slot's earlier lives did not pass; take in those of decisions."""
        life = self._state.lives.get(slot_id)
        if life is None:
            return 0
        believed = [version for version in versions if version < HIGHEST_BELIEVED]
        life.newest = max([life.newest, *believed])
        return life.base

    def leaving(self, at: int) -> bool:
        """Say whether a slot may be forgotten at this time."""
        return any(
            life.left is not None and life.left + SLOTS_KEPT <= at
            for life in self._state.lives.values()
        )

    def forget(self, at: int, busy: Collection[str]) -> list[str]:
        """Drop and give the slots that left long ago, but for those with pending decisions."""
        lives, forgotten = self._state.lives, []
        for slot_id, life in list(lives.items()):
            if life.left is None or life.left + SLOTS_KEPT > at:
                continue
            if slot_id in busy:
                life.left += _RETRY
            else:
                del lives[slot_id]
                self._state.floor = max(self._state.floor, life.newest + GENERATION)
                forgotten.append(slot_id)
        return forgotten
