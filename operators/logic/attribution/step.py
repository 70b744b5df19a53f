"""What a batch of events led to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from operators.envelope import Event, Message, Rejected
from operators.logic.attribution.reports import message
from operators.logic.attribution.teaching import Taught
from operators.logic.settlements import Settlements
from schemas.clock import NEVER
from schemas.results import Outcome


@dataclass(slots=True)
class Step:
    """What a batch of events led to.

    ``messages`` are all outcome records; ``final`` are the decisions whose rewards became final,
    with their slot, complete before ``horizon``; ``counts`` counts outcomes by slot and status.
    """

    horizon: int = NEVER
    taught: Sequence[Taught] = ()
    messages: list[Message] = field(default_factory=list)
    final: list[tuple[str, Settlements]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    def report(self, key: int, outcome: Outcome) -> None:
        """Report an outcome."""
        self.messages.append(message(key, outcome))
        self.count(outcome.slot_id, outcome.status, 1)

    def count(self, slot_id: str, status: str, more: int) -> None:
        """Count outcomes."""
        self.counts[slot_id, status] = self.counts.get((slot_id, status), 0) + more

    def reject(self, event: Event, reason: str, field: str | None = None) -> None:
        """Count an event out."""
        self.rejected.append(Rejected(reason, event.origin, event.payload, field))
