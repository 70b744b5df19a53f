"""The life of every decision of a shard: decided, activated, rewarded, settled or void.

Within a step the order of events does not matter, and across steps only whether they come within
the allowed lateness, so that a settled outcome is a function of the set of events alone.
"""

from collections.abc import Callable, Iterable, Mapping

from operators.envelope import Event
from operators.logic.attribution import reasons
from operators.logic.attribution.crediting import apply_rewards
from operators.logic.attribution.ledger import (
    SETTLE_EVERY,
    AttributionState,
    Ledger,
    StepResult,
)
from operators.logic.attribution.matching import with_decisions
from operators.logic.attribution.settlement import settle, update_exposure
from operators.logic.attribution.subject_counts import SubjectCounts
from operators.logic.attribution.transitions import (
    add_decisions,
    apply_impressions,
    apply_withdrawals,
    evict,
)
from operators.logic.deciding.positions import by_position
from operators.logic.state.segments import SegmentFiles
from schemas.catalog import Slot
from schemas.clock import ALWAYS
from schemas.events import Click, Consent, DecisionBack, Erasure, Impression, Reward


class Attribution:
    """The state machine of one shard.

    ``lateness`` and ``tolerance``, how much earlier than its decision an event may be, are in
    microseconds. At most ``max_pending`` decisions are kept (those that expire
    first become void) and ``max_orphans`` events each that wait for their decision or, quarantined,
    for its impression (the oldest are rejected).
    """

    def __init__(
        self,
        lateness: int,
        max_pending: int,
        max_orphans: int,
        state: AttributionState | None = None,
        segments: SegmentFiles | None = None,
        tolerance: int = 0,
        subject_segments: SegmentFiles | None = None,
    ) -> None:
        self._lateness = lateness
        self._max_pending = max_pending
        state = state or AttributionState()
        counts = SubjectCounts(state.subjects, subject_segments)
        self._ledger = Ledger(max_orphans, state, segments, tolerance, counts)

    @property
    def pending(self) -> int:
        """How many decisions are pending."""
        return len(self._ledger.pending)

    @property
    def pending_slots(self) -> set[str]:
        """The slots of the pending decisions."""
        return {each.slot_id for each in self._ledger.classes.in_use().values()}

    @property
    def waiting(self) -> int:
        """How many events wait for their decision or its impression."""
        return len(self._ledger.orphans) + len(self._ledger.quarantine)

    def use(self, segments: SegmentFiles) -> None:
        """Keep most of the pending decisions in these segment files from now on."""
        self._ledger.pending.use(segments)

    def use_for_subjects(self, segments: SegmentFiles) -> None:
        """Keep most of the counts of subjects' decisions in these segment files from now on."""
        self._ledger.counts.use(segments)

    def state(self) -> AttributionState:
        """Give what a snapshot keeps."""
        return self._ledger.state()

    def step(
        self, events: Iterable[Event], watermark: int, slots: Mapping[str, Slot]
    ) -> StepResult:
        """Take in events, then settle what the watermark has passed."""
        ledger = self._ledger
        ledger.begin()
        ledger.classes.use(slots)
        decisions: list[Event] = []
        impressions: list[Event] = []
        rewards: list[Event] = []
        withdrawals: list[Event] = []
        collect: dict[type, Callable[[Event], None]] = {
            DecisionBack: decisions.append,
            Impression: impressions.append,
            Click: rewards.append,
            Reward: rewards.append,
            Consent: withdrawals.append,
            Erasure: withdrawals.append,
        }
        for event in events:
            append = collect.get(type(event.body))
            if append is not None:
                append(event)
        for event in add_decisions(ledger, by_position(decisions, slots)):
            (impressions if type(event.body) is Impression else rewards).append(event)
        released = apply_impressions(ledger, with_decisions(ledger, impressions))
        apply_rewards(ledger, [*with_decisions(ledger, rewards), *released])
        apply_withdrawals(ledger, withdrawals)
        evict(ledger, self._max_pending)
        self._advance(watermark)
        return ledger.end()

    def _advance(self, watermark: int) -> None:
        """Settle what the watermark has passed by the allowed lateness."""
        ledger, reject = self._ledger, self._ledger.result.reject
        if watermark < ALWAYS:
            update_exposure(ledger, watermark)
            horizon = watermark - self._lateness
            horizon = max(ledger.horizon, horizon - horizon % SETTLE_EVERY)
        else:
            horizon = ALWAYS
        if horizon > ledger.horizon:
            settle(ledger, ledger.pending.due(horizon, ledger.classes.window))
            for event in ledger.orphans.before(horizon - ledger.tolerance):
                if not ledger.is_counted(event.body.slot_id, event.at):
                    reject(event, reasons.NO_DECISION)
            ledger.withdrawals.forget(horizon - ledger.classes.longest_window, horizon)
            ledger.counts.forget(horizon)
            ledger.settle_until(horizon)
            if ledger.counted and horizon > max(ledger.counted.values()):
                ledger.counted = {}
        for waiting in (ledger.orphans, ledger.quarantine):
            for event in waiting.overflow():
                reject(event, reasons.ORPHAN_OVERFLOW)
