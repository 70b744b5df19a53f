"""A slot's policy under its present settings, and the one before, which decides until then.

Where features are not declared, another way of crossing, hashing or scaling them, or other
parameters of the same policy, are another view of the same log. A new view starts from statistics
of its own: it learns the decisions made since. Until it has learned enough of them, the view that
decided when it came goes on learning and deciding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from operators.logic.features.auto_rows import AutoRows
from operators.logic.policies import Deltas, Policy
from operators.logic.policies.mean_context import MeanContext
from operators.logic.policies.micro_batches import made_since, with_rows
from operators.logic.policies.settled import SettledPolicy
from operators.logic.policies.shared import Shared
from operators.logic.settlements import Settlements
from operators.logic.slot_policy import learned_rows, name_actions, new_policy, policy_shape
from schemas.catalog import Action, Slot
from schemas.clock import NEVER, moment
from schemas.results import FeaturesView, SucceedingView

MOST_AWAITED = 1_000.0
"""So many decisions are enough for a view to decide, whatever the one before knows."""


def awaited(policy: Policy) -> float:
    """Say how many decisions a new view is to learn before it decides in place of this policy.

    As many as the policy knows, weighted by age where it forgets, and at most
    :data:`MOST_AWAITED`. Those of the new view are counted as they come, without their ages: of a
    short half-life it may never remember so many.
    """
    return min(policy.remembered, MOST_AWAITED) if isinstance(policy, Shared) else 0.0


@dataclass(kw_only=True)
class PolicyView:
    """What is learned under one ``slot`` record's settings, of all decisions and of settled ones.

    ``rows`` make what it learns from, where that is logged JSON. Decisions made before
    ``learns_from`` teach it nothing: they were another policy's, so it never counted them, and
    rewards that still come for them would be rewards of no decision.
    """

    slot: Slot
    policy: Policy
    settled: SettledPolicy
    rows: AutoRows | None
    context: MeanContext
    decisions: float = 0.0
    rewards: float = 0.0
    learns_from: int = NEVER

    @classmethod
    def begin(
        cls, slot: Slot, actions: tuple[Action, ...], dim: int, learns_from: int
    ) -> "PolicyView":
        """Make one that has learned nothing, of ``dim`` features."""
        return cls(
            slot=slot,
            policy=new_policy(slot, actions, dim),
            settled=SettledPolicy(new_policy(slot, actions, dim)),
            rows=learned_rows(slot),
            context=MeanContext(dim),
            learns_from=learns_from,
        )

    def learn(self, deltas: Deltas) -> None:
        """Learn what changes of decisions, but for those made before it began."""
        deltas = made_since(deltas, self.learns_from)
        if not len(deltas):
            return
        for part in with_rows(deltas, self.rows):
            self.policy.learn(part)
        self.context.learn(deltas)
        self.decisions += float(deltas.count_delta.sum())
        self.rewards += float(deltas.reward_delta.sum())

    def learn_settled(self, settled: Settlements) -> None:
        """Learn final rewards, but for those of decisions made before it began."""
        settled = settled.since(self.learns_from)
        if len(settled):
            self.settled.learn(settled, self.rows)


@dataclass(kw_only=True)
class SlotViews:
    """The view of a slot's present settings, and the older one that decides until then.

    ``needed`` is how many decisions the present one is to have learned before it does.
    """

    present: PolicyView
    older: PolicyView | None = None
    needed: float = 0.0

    def __iter__(self) -> Iterator[PolicyView]:
        """Give the views that learn."""
        yield self.present
        if self.older is not None:
            yield self.older

    @property
    def deciding(self) -> PolicyView:
        """The view whose posterior decides: it has learned since before the other one began."""
        return self.older or self.present

    def follow(self, slot: Slot, actions: tuple[Action, ...], begins: int) -> None:
        """Take the slot's record, of the same family; a new view learns from ``begins`` on.

        While one is awaited, a further change starts that one instead, and the one that decides
        stays. A change back to it makes it the present one again.
        """
        shape = policy_shape(slot)
        if self.older is not None and shape == policy_shape(self.older.slot):
            self.present, self.older, self.needed = self.older, None, 0.0
        elif shape != policy_shape(self.present.slot):
            self.older = self.deciding
            self.needed = awaited(self.older.policy)
            dim = self.older.policy.dim
            self.present = PolicyView.begin(slot, actions, dim, begins)
            self.end_succession()
        self.present.slot = slot
        for view in self:
            name_actions(view.policy, slot, actions)

    def learn(self, deltas: Deltas) -> None:
        """Teach every view, and drop the older one once the present one knows enough."""
        for view in self:
            view.learn(deltas)
        self.end_succession()

    def end_succession(self) -> None:
        """Drop the older view where the present one has learned as many decisions as needed."""
        if self.older is not None and self.present.decisions >= self.needed:
            self.older, self.needed = None, 0.0

    def learn_settled(self, settled: Settlements) -> None:
        """Teach every view final rewards."""
        for view in self:
            view.learn_settled(settled)

    def forget(self, action_ids: Sequence[str]) -> None:
        """Drop what is known of actions, in all that is learned."""
        for view in self if action_ids else ():
            view.policy.forget(action_ids)
            view.settled.policy.forget(action_ids)


def described_view(views: SlotViews) -> FeaturesView | None:
    """Describe the view that decides, and how far the next one is; None where there is no view."""
    auto = views.deciding.slot.features.auto
    if auto is None or views.deciding.rows is None:
        return None
    successor = None
    if views.older is not None:
        present = views.present
        successor = SucceedingView(
            since=moment(present.learns_from), decisions=present.decisions, needed=views.needed
        )
    return FeaturesView(auto=auto, successor=successor)
