"""The actions that only requests list: those decided last are learned, within a bound.

A slot that takes what requests bring may meet a new id with each of them. Of those that its catalog
does not have, at most so many are learned: the ones whose last decision is the newest, by decision
time and id. That set does not depend on the order in which decisions come. An action that drops out
is forgotten, and when it comes back it begins anew: what was decided before it dropped out teaches
nothing any more, so that what is known of an action is always the sum over all of its decisions
since one time, which the registry remembers (``since``).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from operators.logic.retired import RetiredActions
from schemas.clock import NEVER

MOST_REQUEST_ACTIONS: Final = 1_000
"""So many actions that only requests list are learned in a slot, where its policy has memory."""

REQUEST_ACTION_BYTES: Final = 4 * 2**20
"""Bytes of features that are kept of them: those of the actions that were decided last."""

_ENTRY: Final = 200
"""Bytes that an action's features count for beside their text."""


class KnownContent(Struct, frozen=True, array_like=True, gc=False):
    """The features of an action's newest decision, made at ``at``: canonical JSON and its hash."""

    at: int
    hash: str
    text: bytes


class RequestActionsState(Struct, frozen=True, kw_only=True):
    """The written form of :class:`RequestActions`, but for when they were last met."""

    since: dict[str, int] = {}
    contents: dict[str, KnownContent] = {}
    forgotten_until: int = NEVER


class RequestActions(RetiredActions):
    """The actions that a slot's policy knows and its catalog does not, and what they are.

    >>> actions = RequestActions()
    >>> actions.admit(["a", "b", "c"], [1, 2, 3], most=2)
    ['a']
    >>> actions.teach(["a", "b"], np.array([1, 2]), frozenset()).tolist()
    [False, True]
    """

    def __init__(
        self, last_met: dict[str, int] | None = None, state: RequestActionsState | None = None
    ) -> None:
        super().__init__(last_met)
        state = state or RequestActionsState()
        self._since = dict(state.since)
        self._contents = dict(state.contents)
        self._size = sum(map(_size_of, self._contents.values()))
        self.forgotten_until = state.forgotten_until
        """No action that is forgotten has a decision after this time."""

    def state(self) -> RequestActionsState:
        """Give what a snapshot keeps beside ``last_met``."""
        return RequestActionsState(
            since=dict(self._since),
            contents=dict(self._contents),
            forgotten_until=self.forgotten_until,
        )

    @property
    def contents(self) -> Mapping[str, KnownContent]:
        """What is known of actions' features, by id."""
        return self._contents

    @property
    def has_forgotten(self) -> bool:
        """Tell whether an action was ever forgotten that a decision may still name."""
        return self.forgotten_until > NEVER

    def since(self, action_id: str) -> int:
        """Give the time up to which decisions of a known action teach nothing."""
        return self._since.get(action_id, NEVER)

    def admit(self, action_ids: Sequence[str], times: Sequence[int], most: int) -> list[str]:
        """Take in decisions of actions that the catalog does not have; give those to forget.

        ``times`` are theirs in microseconds; at most ``most`` actions stay.
        """
        known = self.last_met
        for action_id, at in zip(action_ids, times, strict=True):
            met = known.get(action_id)
            if met is None:
                if at <= self.forgotten_until:
                    continue
                if self.has_forgotten:
                    self._since[action_id] = self.forgotten_until
            if met is None or at > met:
                known[action_id] = at
        return self.keep_latest(most)

    def keep_latest(self, most: int) -> list[str]:
        """Drop and give the actions beyond so many, those whose last decision is the oldest."""
        excess = len(self.last_met) - max(most, 0)
        if excess <= 0:
            return []
        oldest = sorted((at, action_id) for action_id, at in self.last_met.items())[:excess]
        self.forgotten_until = max(self.forgotten_until, oldest[-1][0])
        gone = [action_id for _, action_id in oldest]
        for action_id in gone:
            del self.last_met[action_id]
            self._drop(action_id)
        return gone

    def forget(self, before: int, most: int) -> list[str]:
        """Drop and give actions last met before this time while there are more than ``most``."""
        gone = super().forget(before, most)
        for action_id in gone:
            self._drop(action_id)
        return gone

    def list_new(self, action_ids: Collection[str]) -> None:
        """Note that the catalog has actions that it did not have: what was forgotten stays so."""
        if self.has_forgotten:
            for action_id in action_ids:
                if action_id not in self.last_met:
                    self._since[action_id] = self.forgotten_until
        self.come_back(action_ids)

    def teach(
        self, action_ids: Sequence[str], times: NDArray[np.int64], listed: frozenset[str]
    ) -> NDArray[np.bool_]:
        """Tell which decisions [n] teach: of known actions, made after each began."""
        known, since = self.last_met, self._since
        return np.array(
            [
                (action_id in known or action_id in listed) and at > since.get(action_id, NEVER)
                for action_id, at in zip(action_ids, times.tolist(), strict=True)
            ],
            dtype=np.bool_,
        )

    def describe(self, action_id: str, content: KnownContent) -> None:
        """Keep the features of a known action's newest decision, of two at one time the later hash.

        Where there is no room for all, those of the actions that were decided last stay.
        """
        before = self._contents.get(action_id)
        if action_id not in self.last_met:
            return
        if before is not None:
            if (content.at, content.hash) <= (before.at, before.hash):
                return
            self._size -= _size_of(before)
        self._contents[action_id] = content
        self._size += _size_of(content)
        while self._size > REQUEST_ACTION_BYTES:
            oldest = min(self._contents, key=lambda name: (self._contents[name].at, name))
            self._size -= _size_of(self._contents.pop(oldest))

    def lower(self, to: int) -> None:
        """Lower what is known of times to that of a watermark.

        A correction of a decision between it and the times before, of an action that was forgotten,
        would count where the decision no longer does; otherwise new actions would wait for the
        clock to come back to where it was.
        """
        self.last_met = {name: min(at, to) for name, at in self.last_met.items()}
        self._since = {name: min(at, to) for name, at in self._since.items()}
        self.forgotten_until = min(self.forgotten_until, to)

    def _drop(self, action_id: str) -> None:
        self._since.pop(action_id, None)
        content = self._contents.pop(action_id, None)
        if content is not None:
            self._size -= _size_of(content)


def _size_of(content: KnownContent) -> int:
    return _ENTRY + len(content.text)
