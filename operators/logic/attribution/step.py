"""What a batch of events led to."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import overload

from operators.batches import NEVER, Event, Message, Rejected
from operators.logic.attribution.reports import message
from operators.logic.attribution.teaching import Taught
from schemas.codec import decode
from schemas.results import Outcome
from schemas.topics import Topic


class Outcomes(Sequence[Outcome]):
    """Encoded outcomes, read when they are looked at."""

    def __init__(self, values: list[bytes]) -> None:
        self._values = values

    def __len__(self) -> int:
        """Count the outcomes."""
        return len(self._values)

    @overload
    def __getitem__(self, place: int) -> Outcome: ...

    @overload
    def __getitem__(self, place: slice) -> "Outcomes": ...

    def __getitem__(self, place: int | slice) -> "Outcome | Outcomes":
        """Read one outcome, or take some."""
        if isinstance(place, slice):
            return Outcomes(self._values[place])
        outcome: Outcome = decode(Topic.OUTCOMES, self._values[place])
        return outcome

    def __iter__(self) -> Iterator[Outcome]:
        """Read each outcome."""
        return (decode(Topic.OUTCOMES, value) for value in self._values)


@dataclass(slots=True)
class Step:
    """What a batch of events led to.

    ``messages`` are all outcome records; ``final`` are the settled ones among them, each with its
    slot, by (end of window, key), complete up to ``horizon``; ``counts`` counts outcomes by slot
    and status.
    """

    horizon: int = NEVER
    taught: Sequence[Taught] = ()
    messages: list[Message] = field(default_factory=list)
    final: list[tuple[str, bytes]] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def outcomes(self) -> Outcomes:
        """Give all reports."""
        return Outcomes([each.value for each in self.messages])

    @property
    def settled(self) -> Outcomes:
        """Give the final reports on decisions that count, by (end of window, key)."""
        return Outcomes([value for _, value in self.final])

    def settled_by_slot(self) -> dict[str, Outcomes]:
        """Give the same for each slot."""
        values: dict[str, list[bytes]] = {}
        for slot_id, value in self.final:
            values.setdefault(slot_id, []).append(value)
        return {slot_id: Outcomes(mine) for slot_id, mine in values.items()}

    def settled_of(self, slot_ids: AbstractSet[str]) -> Outcomes:
        """Give the final reports of some slots."""
        return Outcomes([value for slot_id, value in self.final if slot_id in slot_ids])

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
