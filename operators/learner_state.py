"""What is kept of a learner: its snapshot in the recovery store, and checkpoints for the store."""

import base64
from collections.abc import Iterable, Sequence

from msgspec import Struct, structs

from operators.logic.models import CanonicalOrder
from operators.logic.policies import load_policy
from operators.logic.policies.mean_context import MeanContext
from operators.logic.policies.settled import SettledPolicy
from operators.logic.request_actions import RequestActions, RequestActionsState
from operators.logic.slot_policy import learned_rows, worth_of_no_answer
from operators.logic.slot_views import PolicyView, SlotViews
from schemas.catalog import Action, Slot
from schemas.clock import NEVER, moment
from schemas.results import PolicyCheckpoint
from schemas.state import StateFormat, pack, unpack

LEARNER_STATE = StateFormat("learner", 4)
OLDER_LEARNERS = (2, 3)
"""Versions of checkpoints that are still read; the store and ``checkpoints`` outlive a release."""

CHECKPOINT_INTERVAL = 30_000_000
"""Microseconds of event time between the checkpoints of settled decisions."""

CHECKPOINT_BYTES = 4_000_000
"""Characters of checkpoints that a slot writes in an interval: a larger one waits for several."""

_PART = 30_000
"""Characters of a checkpoint in one record: a text of this size is bound like any other."""


class OlderViewState(Struct, kw_only=True):
    """The view that decides until the present one has learned ``needed`` decisions.

    The fields are those of :class:`LearnerState`, of which it has its own.
    """

    slot: Slot
    policy: bytes
    decisions: float
    rewards: float
    settled: bytes
    settled_decisions: float
    settled_rewards: float
    context: list[float]
    settled_context: list[float]
    learns_from: int
    needed: float


class LearnerState(Struct, kw_only=True):
    """A learner's snapshot; ``newest`` and what follows are event times and counts.

    ``policy`` holds ``decisions`` and ``rewards``, those of pending decisions included; ``settled``
    holds ``settled_decisions`` and ``settled_rewards``, of decisions whose reward window has
    closed, and is empty in a checkpoint, whose ``policy`` holds nothing else. ``fresh`` rewards
    were learned since the policy was ``published``; the next checkpoint of what is settled is due
    at ``checkpoint_due``, as this ``generation``. Of ``actions`` only what policies use is kept.
    ``retired`` are the actions that the slot's catalog does not have, by when they were last met,
    and ``request_actions`` what else is known of them. ``longest_window`` is the longest reward
    window that the slot has had, in seconds, and ``newest_decision`` the time of the newest
    decision learned from. ``departed`` are the shards that say that the slot is no more.
    ``context`` and ``settled_context`` are the sums of the features of the decisions that the
    policy and the settled one hold; of a state without them those that it has learned since.
    Decisions made before ``learns_from`` are those of another policy, whose contributions this one
    never had; ``model_from`` is the same of the click model (None: it began with the policy).
    ``older`` is the view of an earlier record of the slot that still decides, if there is one.
    """

    slot: Slot
    actions: list[Action]
    policy: bytes
    model: bytes
    order: bytes
    version: int
    newest: int
    decisions: float
    rewards: float
    fresh: int
    published: int
    settled: bytes
    settled_decisions: float
    settled_rewards: float
    checkpoint_due: int = NEVER
    generation: int = 0
    retired: dict[str, int] = {}
    request_actions: RequestActionsState = RequestActionsState()
    longest_window: float = 0.0
    newest_decision: int = NEVER
    departed: list[int] = []
    context: list[float] = []
    settled_context: list[float] = []
    learns_from: int = NEVER
    model_from: int | None = None
    older: OlderViewState | None = None


def views_of(state: LearnerState) -> SlotViews:
    """Read the slot's views."""
    present = _view_of(state.slot, state)
    if state.older is None:
        return SlotViews(present=present)
    older = _view_of(state.older.slot, state.older)
    return SlotViews(present=present, older=older, needed=state.older.needed)


def older_state(views: SlotViews, *, settled_only: bool = False) -> OlderViewState | None:
    """Write the older view, for a checkpoint only what settled decisions taught it."""
    older = views.older
    if older is None:
        return None
    settled = older.settled
    return OlderViewState(
        slot=older.slot,
        policy=settled.policy.dump() if settled_only else older.policy.dump(),
        decisions=settled.decisions if settled_only else older.decisions,
        rewards=settled.rewards if settled_only else older.rewards,
        settled=b"" if settled_only else settled.policy.dump(),
        settled_decisions=settled.decisions,
        settled_rewards=settled.rewards,
        context=settled.context.sums() if settled_only else older.context.sums(),
        settled_context=settled.context.sums(),
        learns_from=older.learns_from,
        needed=views.needed,
    )


def _view_of(slot: Slot, state: LearnerState | OlderViewState) -> PolicyView:
    policy = load_policy(state.policy)
    settled = SettledPolicy(
        load_policy(state.settled or state.policy),
        state.settled_decisions,
        state.settled_rewards,
        state.settled_context,
    )
    for each in (policy, settled.policy):
        each.default_reward = worth_of_no_answer(slot)
    return PolicyView(
        slot=slot,
        policy=policy,
        settled=settled,
        rows=learned_rows(slot),
        context=MeanContext(policy.dim, state.context),
        decisions=state.decisions,
        rewards=state.rewards,
        learns_from=state.learns_from,
    )


def pack_learner(state: LearnerState) -> bytes:
    """Write a learner's snapshot."""
    return pack(*LEARNER_STATE, state)


def unpack_learner(snapshot: bytes) -> LearnerState:
    """Read what a learner's snapshot keeps, or a checkpoint of this release or the one before."""
    return unpack(*LEARNER_STATE, LearnerState, snapshot, older=OLDER_LEARNERS)


def lower_learner(snapshot: bytes, to: int, lateness: int) -> tuple[bytes, int]:
    """Lower a learner's times to those of a watermark; give the latest that it had seen, too.

    It knows what settled up to ``lateness`` behind the watermark. What it learned stays learned.
    """
    state = unpack_learner(snapshot)
    order = CanonicalOrder.load(state.order)
    latest = order.lower(to - lateness) + lateness
    state.order = order.dump()
    state.newest = min(state.newest, to)
    state.published = min(state.published, to)
    retired = RequestActions(state.retired, state.request_actions)
    retired.lower(to)
    state.retired, state.request_actions = retired.last_met, retired.state()
    state.checkpoint_due = min(state.checkpoint_due, to - lateness + CHECKPOINT_INTERVAL)
    return pack_learner(state), latest


def learned_of(actions: Iterable[Action]) -> list[Action]:
    """Strip actions of what is shown and searched of them: policies use neither."""
    return [structs.replace(action, content=None, embedding=None) for action in actions]


def next_checkpoint(time: int, parts: Sequence[PolicyCheckpoint]) -> int:
    """Say when the next checkpoint is due after one of these parts, written at ``time``.

    >>> next_checkpoint(0, []) == CHECKPOINT_INTERVAL
    True
    """
    return time + CHECKPOINT_INTERVAL * max(1, -(-len(parts) * _PART // CHECKPOINT_BYTES))


def checkpoint(state: LearnerState, time: int) -> list[PolicyCheckpoint]:
    """Write the state of the decisions settled by ``time``, in as many parts as it needs.

    Two generations take turns, so that the one before is whole while the parts of the next come.
    """
    text = base64.b64encode(pack_learner(state)).decode()
    parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
    return [
        PolicyCheckpoint(
            slot_id=state.slot.slot_id,
            time=moment(time),
            version=state.version,
            generation=state.generation,
            part=number,
            parts=len(parts),
            decisions=state.settled_decisions,
            rewards=state.settled_rewards,
            state=part,
        )
        for number, part in enumerate(parts)
    ]
