"""The policies that a slot's learner has, with nothing learned: one for each of its views."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from operators.learner_state import LearnerState
from operators.logic.catalog import Catalog
from operators.logic.features import FeatureMap
from operators.logic.features.auto_rows import AutoRows
from operators.logic.policies import Policy
from operators.logic.slot_policy import (
    has_views,
    learned_rows,
    new_policy,
    policy_dim,
    policy_family,
    policy_shape,
)
from schemas.catalog import Action, Slot
from schemas.clock import NEVER


class FreshView(NamedTuple):
    """A policy to learn as one of a slot's views does; ``is_older``: the one that decides yet."""

    policy: Policy
    rows: AutoRows | None
    learns_from: int = NEVER
    is_older: bool = False

    def name(self, slot_id: str) -> str:
        """Name the view in a finding."""
        return f"{slot_id} (older view)" if self.is_older else slot_id

    def of(self, state: LearnerState) -> bytes | None:
        """Give what the learner has learned under the view."""
        if not self.is_older:
            return state.policy
        return None if state.older is None else state.older.policy


def fresh_views(
    slot: Slot, actions: tuple[Action, ...], kept: LearnerState | None
) -> list[FreshView]:
    """Make the policies that a slot's learner has, with nothing learned."""
    if kept is None or not has_views(slot):
        return [_fresh_view(slot, actions)]
    views = [_fresh_view(kept.slot, actions, kept.learns_from)]
    if (older := kept.older) is not None:
        views.append(_fresh_view(older.slot, actions, older.learns_from, is_older=True))
    return views


def _fresh_view(
    slot: Slot, actions: tuple[Action, ...], learns_from: int = NEVER, *, is_older: bool = False
) -> FreshView:
    dim = policy_dim(slot, FeatureMap(slot.features))
    return FreshView(new_policy(slot, actions, dim), learned_rows(slot), learns_from, is_older)


def changed_slots(catalogs: Iterable[Catalog], kept: Mapping[str, LearnerState]) -> set[str]:
    """Name the slots whose policy began anew, or went away, within the log.

    A changed view begins as well, at a time that the learner's state says, where there is one.
    """
    policies: dict[str, set[str]] = {}
    gone: set[str] = set()
    for catalog in catalogs:
        for slot_id, slot in catalog.slots.items():
            same = policy_family(slot) if slot_id in kept else policy_shape(slot)
            policies.setdefault(slot_id, set()).add(same)
        gone |= policies.keys() - catalog.slots.keys()
    return gone | {slot_id for slot_id, known in policies.items() if len(known) > 1}
