"""What one shard knows of its decisions, and the step that is being taken."""

from operators.logic.attribution.delays import Delays, unknown
from operators.logic.attribution.kinds import Kinds
from operators.logic.attribution.orphans import Orphans
from operators.logic.attribution.pending import Pending, Rows
from operators.logic.attribution.snapshots import AttributionState, waiting
from operators.logic.attribution.step import Step
from operators.logic.attribution.teaching import Teaching
from operators.logic.attribution.withdrawals import Withdrawals
from operators.logic.state.segments import Segments
from schemas.clock import NEVER


class Ledger:
    """The state that the parts of the life-cycle share.

    Times are in microseconds. ``horizon`` is the time up to which decisions are settled, and
    ``exposed`` when exposure weights were brought up to date. ``leaving`` are the rows that the
    current step is done with: they stay readable until its end.
    """

    horizon: int
    exposed: int

    def __init__(
        self, max_orphans: int, state: AttributionState, segments: Segments | None
    ) -> None:
        self.horizon, self.exposed = state.horizon, state.exposed
        self.kinds = Kinds(state.kinds)
        self.pending = Pending(segments)
        self.pending.restore(state.chunks, self.kinds.window)
        self.orphans = Orphans(max_orphans)
        self.quarantine = Orphans(max_orphans)
        for kept in state.orphans:
            self.orphans.add(kept.event())
        for kept in state.quarantined:
            self.quarantine.add(kept.event())
        self.withdrawals = Withdrawals()
        for withdrawal in state.withdrawals:
            self.withdrawals.add(withdrawal)
        self.delays = dict(state.delays)
        self.counted = dict(state.counted)
        self.begin()

    def begin(self) -> None:
        """Begin a step."""
        self.step = Step()
        self.teaching = Teaching()
        self.leaving: list[Rows] = []

    def leave(self, rows: Rows) -> None:
        """Be done with rows: they are removed when the step ends."""
        self.pending.flags[rows] = 0
        self.leaving.append(rows)

    def is_counted(self, slot_id: str, time: int) -> bool:
        """Say whether a start from the store had the slot's decisions that closed by ``time``."""
        return time <= self.counted.get(slot_id, NEVER)

    def delays_of(self, slot_id: str) -> Delays:
        """Give a slot's delay distribution."""
        if slot_id not in self.delays:
            self.delays[slot_id] = unknown()
        return self.delays[slot_id]

    def end(self) -> Step:
        """End the step."""
        step = self.step
        step.horizon = self.horizon
        step.taught = self.teaching.gather(self.pending, self.kinds)
        for rows in self.leaving:
            self.pending.remove(rows)
        return step

    def state(self) -> AttributionState:
        """Give what a snapshot keeps."""
        return AttributionState(
            self.horizon,
            self.exposed,
            self.kinds.all,
            self.pending.state(),
            [waiting(event) for event in self.orphans],
            [waiting(event) for event in self.quarantine],
            self.withdrawals.state(),
            self.delays,
            self.counted,
        )
