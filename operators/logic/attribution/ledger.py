"""The state of one shard's attribution, and what the current step changes and reports."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from msgspec import Struct
from msgspec import field as stored
from msgspec.structs import replace
from numpy.typing import NDArray

from operators.envelope import Event, Message, Origin, Rejected
from operators.logic.attribution import reasons
from operators.logic.attribution.chunks import Rows
from operators.logic.attribution.decision_classes import DecisionClass, DecisionClasses
from operators.logic.attribution.outcomes import OutcomeEncoder, encode_outcome
from operators.logic.attribution.pending import LIVE, NOT_LEARNED, Pending, places_by_value
from operators.logic.attribution.rewards import reward_id
from operators.logic.attribution.rules import DelayHistogram, prior_delays
from operators.logic.attribution.subject_counts import SubjectCounts, SubjectCountsState
from operators.logic.attribution.waiting import (
    WaitingEvents,
    WaitingEventState,
    Withdrawal,
    Withdrawals,
    content_of,
    waiting_state,
)
from operators.logic.deciding.contents import ActionContents
from operators.logic.policies.base import Deltas
from operators.logic.settlements import Settlements
from operators.logic.state.segmented import SegmentedSnapshot
from operators.logic.state.segments import SegmentFiles
from schemas.clock import NEVER
from schemas.results import Outcome

Floats = NDArray[np.float64]

SETTLE_EVERY = 250_000
"""Decisions settle in steps of this many microseconds of event time."""


class SettledAhead(Struct, frozen=True, array_like=True):
    """Decisions that were settled before their time, by a watermark that was lowered since.

    They are those made up to ``decided`` whose windows end before ``horizon``.
    """

    decided: int
    horizon: int


class AttributionState(Struct, kw_only=True):
    """The snapshot of one shard's attribution.

    ``classes`` are the decision classes that pending rows name, by number. After a start from the
    store, ``counted`` says by slot up to which end of their window decisions
    are in the learner already: they are read once more, for the sake of younger ones. ``decided``
    is the newest time of a decision that was read.
    """

    horizon: int = NEVER
    decided: int = NEVER
    settled_ahead: list[SettledAhead] = []
    exposed: int = NEVER
    classes: dict[int, DecisionClass] = stored(name="kinds", default_factory=dict)
    pending: SegmentedSnapshot = stored(default_factory=SegmentedSnapshot)
    orphans: list[WaitingEventState] = []
    quarantined: list[WaitingEventState] = []
    withdrawals: list[Withdrawal] = []
    delays: dict[str, DelayHistogram] = {}
    counted: dict[str, int] = {}
    subjects: SubjectCountsState = stored(default_factory=SubjectCountsState)


def lower_attribution(state: AttributionState, to: int, lateness: int) -> AttributionState:
    """Lower the watermark to ``to``; what is settled stays settled.

    Decisions are settled up to ``lateness`` behind the watermark.
    """
    horizon = to - lateness
    if state.horizon <= horizon:
        return state
    ahead = SettledAhead(min(state.decided, to), state.horizon)
    return replace(
        state,
        horizon=horizon - horizon % SETTLE_EVERY,
        exposed=min(state.exposed, to),
        settled_ahead=[*state.settled_ahead, ahead],
    )


@dataclass(slots=True, kw_only=True)
class PosteriorDeltas:
    """What a step changes in one slot's statistics, by decisions with the same features.

    ``rewards`` counts the rewards among the changes and ``newest`` is the event time of the newest
    one; ``versions`` are the policy versions that made the decisions.
    """

    slot_id: str
    fingerprint: str
    deltas: Deltas
    versions: Collection[int]
    rewards: int = 0
    newest: int = NEVER


class ContributionChanges:
    """Collects how much the count and the reward of decisions change in one step, by row.

    Those of decisions that do not teach are left out.
    """

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._blocks: list[tuple[Rows, Floats, Floats, Floats]] = []
        self._rows: list[int] = []
        self._values: list[tuple[float, float, float]] = []
        self._rewarded: dict[str, tuple[int, int]] = {}

    def add(self, row: int, count_delta: float, reward_delta: float, square_delta: float) -> None:
        """Change one decision's contribution: its count, its reward and the square of that."""
        if (count_delta or reward_delta) and not self._pending.flags[row] & NOT_LEARNED:
            self._rows.append(row)
            self._values.append((count_delta, reward_delta, square_delta))

    def add_many(
        self, rows: Rows, count_delta: Floats, reward_delta: Floats, square_delta: Floats
    ) -> None:
        """Change many decisions' contributions."""
        taught = self._pending.flags[rows] & NOT_LEARNED == 0
        if not taught.all():
            rows, count_delta, reward_delta, square_delta = (
                rows[taught],
                count_delta[taught],
                reward_delta[taught],
                square_delta[taught],
            )
        if len(rows):
            self._blocks.append((rows, count_delta, reward_delta, square_delta))

    def count_reward(self, slot_id: str, at: int) -> None:
        """Count a reward among the changes."""
        count, newest = self._rewarded.get(slot_id, (0, NEVER))
        self._rewarded[slot_id] = (count + 1, max(newest, at))

    def deltas(self, pending: Pending, classes: DecisionClasses) -> list[PosteriorDeltas]:
        """Give the changes by slot and features; call it before the rows are removed."""
        blocks = self._blocks
        if self._rows:
            rows = np.array(self._rows, dtype=np.int64)
            counts, rewards, squares = np.array(self._values).T
            blocks.append((rows, counts, rewards, squares))
        if not blocks:
            return []
        rows, *values = blocks[0]
        if len(blocks) > 1:
            rows, *values = (np.concatenate(part) for part in zip(*blocks, strict=True))
        groups: list[PosteriorDeltas] = []
        for some in places_by_value(classes.feature_group[pending.decision_class[rows]]):
            chosen = [each[some] for each in values]
            groups += _posterior_deltas(pending, classes, rows[some], chosen)
        counted: set[str] = set()
        for group in groups:
            if group.slot_id not in counted:
                group.rewards, group.newest = self._rewarded.get(group.slot_id, (0, NEVER))
                counted.add(group.slot_id)
        return groups


def _posterior_deltas(
    pending: Pending, classes: DecisionClasses, rows: Rows, values: Sequence[Floats]
) -> list[PosteriorDeltas]:
    """Look up what each decision says; apart by the number of features, which a slate changes."""
    groups, action_ids = [], classes.action_ids
    counts, rewards, squares = values
    for part, x in pending.features(rows):
        some = rows[part]
        numbers = pending.decision_class[some].tolist()
        first = classes.all[numbers[0]]
        deltas = Deltas(
            action_ids=[action_ids[number] for number in numbers],
            x=x,
            eta=pending.eta[some],
            time=pending.at[some] / 1e6,
            count_delta=counts[part],
            reward_delta=rewards[part],
            square_delta=squares[part],
            contents=pending.contents(some),
            contexts=pending.contexts(some),
        )
        groups.append(
            PosteriorDeltas(
                slot_id=first.slot_id,
                fingerprint=first.fingerprint,
                deltas=deltas,
                versions=set(pending.version[some].tolist()),
            )
        )
    return groups


@dataclass(slots=True)
class StepResult:
    """What a batch of events led to.

    ``messages`` are all outcome records; ``settled`` are the decisions whose rewards became final,
    with their slot, complete before ``horizon``; ``counts`` counts outcomes by slot and status;
    ``conflicts`` counts the clicks and rewards that had the id, but not the content, of another,
    ``not_learned`` the decisions that teach nothing from now on by slot and reason.
    """

    horizon: int = NEVER
    posterior_deltas: Sequence[PosteriorDeltas] = ()
    messages: list[Message] = field(default_factory=list)
    settled: list[tuple[str, Settlements]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    conflicts: int = 0
    not_learned: dict[tuple[str, str], int] = field(default_factory=dict)
    _refused: set[Origin] = field(default_factory=set)

    def report(self, key: int, outcome: Outcome) -> None:
        """Report an outcome."""
        self.messages.append(encode_outcome(key, outcome))
        self.count(outcome.slot_id, outcome.status, 1)

    def count(self, slot_id: str, status: str, more: int) -> None:
        """Count outcomes."""
        self.counts[slot_id, status] = self.counts.get((slot_id, status), 0) + more

    def count_not_learned(self, slot_id: str, reason: str) -> None:
        """Count a decision that teaches nothing from now on."""
        self.not_learned[slot_id, reason] = self.not_learned.get((slot_id, reason), 0) + 1

    def reject(self, event: Event, reason: str, field: str | None = None) -> None:
        """Refuse an event: it is counted by reason and dead-lettered, once for its record."""
        if event.origin not in self._refused:
            if reason not in (reasons.DUPLICATE, reasons.DUPLICATE_DECISION):
                self._refused.add(event.origin)
            self.rejected.append(Rejected(reason, event.origin, event.payload, field))

    def is_refused(self, event: Event) -> bool:
        """Say whether another event of the same record was refused in this step."""
        return event.further and event.origin in self._refused


class Ledger:
    """The state of one shard that the parts of the life-cycle share, and the step they take.

    Times are in microseconds. ``horizon`` is the time up to which decisions are settled, and
    ``exposed`` when exposure weights were brought up to date. ``result`` is what the current step
    leads to, and ``changes`` what it changes in contributions. The rows that it is done with stay
    readable until it ends. ``tolerance`` is how much earlier than its decision an event may be.
    ``counts`` are of each subject's decisions, ``contents`` what was read of features.
    """

    def __init__(
        self,
        max_orphans: int,
        state: AttributionState,
        segments: SegmentFiles | None,
        tolerance: int = 0,
        counts: SubjectCounts | None = None,
    ) -> None:
        self.counts = counts or SubjectCounts()
        self.contents = ActionContents()
        self.tolerance = tolerance
        self.horizon, self.exposed, self.decided = state.horizon, state.exposed, state.decided
        self.settled_ahead = state.settled_ahead
        self.classes = DecisionClasses(state.classes)
        self.pending = Pending()
        self.pending.restore(state.pending, segments, self.classes.window)
        self.classes.hold(self.pending.decision_class[self.pending.flags & LIVE != 0].tolist())
        self.encoder = OutcomeEncoder(self.pending, self.classes)
        self.orphans = WaitingEvents(max_orphans, content_of)
        self.quarantine = WaitingEvents(max_orphans, lambda event: reward_id(event.body))
        for waiting in state.orphans:
            self.orphans.add(waiting.event())
        for waiting in state.quarantined:
            self.quarantine.add(waiting.event())
        self.withdrawals = Withdrawals()
        for withdrawal in state.withdrawals:
            self.withdrawals.add(withdrawal)
        self.counted = dict(state.counted)
        self._delays = dict(state.delays)
        self.begin()

    def begin(self) -> None:
        """Begin a step."""
        self.result = StepResult()
        self.changes = ContributionChanges(self.pending)
        self._leaving: list[Rows] = []

    def remove_at_end(self, rows: Rows) -> None:
        """Free rows of settled or evicted decisions; they stay readable until the step ends."""
        self.pending.flags[rows] = 0
        self._leaving.append(rows)

    def is_counted(self, slot_id: str, time: int) -> bool:
        """Say whether the slot's decisions closed by ``time`` came with a start from the store."""
        return time <= self.counted.get(slot_id, NEVER)

    def is_settled(self, made: int, closes: int) -> bool:
        """Say whether a decision made and closing at these times was settled, if it ever came."""
        return closes < self.horizon or any(
            made <= ahead.decided and closes < ahead.horizon for ahead in self.settled_ahead
        )

    def settled_before(self, made: int) -> int:
        """Give the time before which windows have closed of decisions made at this time."""
        ahead = (each.horizon for each in self.settled_ahead if made <= each.decided)
        return max(self.horizon, *ahead) if self.settled_ahead else self.horizon

    def settle_until(self, horizon: int) -> None:
        """Note that decisions are settled up to this time."""
        self.horizon = horizon
        if self.settled_ahead:
            self.settled_ahead = [each for each in self.settled_ahead if each.horizon > horizon]

    def delays_of(self, slot_id: str) -> DelayHistogram:
        """Give a slot's delay distribution."""
        if slot_id not in self._delays:
            self._delays[slot_id] = prior_delays()
        return self._delays[slot_id]

    def end(self) -> StepResult:
        """End the step."""
        result = self.result
        result.horizon = self.horizon
        result.posterior_deltas = self.changes.deltas(self.pending, self.classes)
        for rows in self._leaving:
            self.classes.release(self.pending.decision_class[rows].tolist())
            self.pending.remove(rows)
        if self.classes.sweep():
            known = self.classes.knows_slot
            self._delays = {name: each for name, each in self._delays.items() if known(name)}
            self.counts.forget_slots(known)
        self.pending.tidy()
        self.counts.tidy()
        return result

    def state(self) -> AttributionState:
        """Give what a snapshot keeps."""
        prior = prior_delays()
        return AttributionState(
            horizon=self.horizon,
            decided=self.decided,
            settled_ahead=self.settled_ahead,
            exposed=self.exposed,
            classes=self.classes.in_use(),
            pending=self.pending.snapshot(),
            orphans=list(map(waiting_state, self.orphans)),
            quarantined=list(map(waiting_state, self.quarantine)),
            withdrawals=self.withdrawals.state(),
            delays={name: each for name, each in self._delays.items() if each != prior},
            counted=self.counted,
            subjects=self.counts.state(),
        )
