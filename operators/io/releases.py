"""What the sources of a process may release: all, or the suspects of a search part by part."""

from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from operators.envelope import Origin, Rejected
from operators.logic.quarantine import InFlight, Offsets, Search

PROCESSING_ERROR: Final = "processing_error"
"""The reason of the dead letter of a record that a step failed on."""

LARGEST_PART: Final = 500
"""The most records that are released at a time while a search passes by the unsuspected."""


class Notes(Protocol):
    """Where a process notes what it does, so that its end can be explained."""

    def release(self, offsets: Offsets) -> None:
        """Note the next offsets to release of some places."""

    def note_in_flight(self, part: InFlight) -> None:
        """Note what is in flight."""

    def clear_in_flight(self) -> None:
        """Note that nothing is in flight."""

    def note_unreadable(self, place: str, offset: int, step: str, error: str) -> None:
        """Note a record that a source could not read because of a fault of this release."""


class Unnoted(Notes):
    """Notes of a process that keeps nothing over a stop."""

    def release(self, offsets: Offsets) -> None:
        """Forget it."""

    def note_in_flight(self, part: InFlight) -> None:
        """Forget it."""

    def clear_in_flight(self) -> None:
        """Forget it."""

    def note_unreadable(self, place: str, offset: int, step: str, error: str) -> None:
        """Forget it."""


class SearchTurns:
    """Lets one source partition at a time release one part, and no other before its epoch is over.

    Bytewax must run with epochs of no length: then a partition is asked again only once the epoch
    of what it released is complete in every step and sink. Partitions that come ``first`` (the
    catalog) pass all their suspects before the others begin. ``finished`` is called once all have.
    """

    def __init__(self, search: Search, notes: Notes, finished: Callable[[], None]) -> None:
        self.search = search
        self._notes = notes
        self._finished = finished
        self._waiting: dict[str, bool] = {}
        self._holder = ""
        self._grown = search.size
        self._alone = frozenset(search.alone)

    def join(self, source: str, *, first: bool = False) -> None:
        """Add a source partition."""
        self._waiting[source] = first

    def begin(self, source: str) -> bool:
        """Tell whether this partition may release something now."""
        if self._holder == source:
            self._holder = ""
            self._notes.clear_in_flight()
            self._grown = min(2 * self._grown, max(LARGEST_PART, self.search.size))
        first = any(self._waiting.values()) and not self._waiting.get(source, False)
        return not self._holder and source in self._waiting and not first

    def size(self, offsets: Offsets) -> int:
        """Say how many records may be released from there."""
        narrow = self.search.narrow
        if any(offset < narrow.get(place, 0) for place, offset in offsets.items()):
            return self.search.size
        return self._grown

    def is_suspect(self, place: str, offset: int) -> bool:
        """Tell whether a record is to be released alone, wherever it comes."""
        return (place, offset) in self._alone

    def note_in_flight(self, part: InFlight) -> None:
        """Note what the partition releases now; nobody else does until it is asked again."""
        self._holder = part.source
        self._notes.note_in_flight(part)

    def read(self, part: InFlight) -> None:
        """Note what a partition is about to read, while nothing else is in flight."""
        self._notes.note_in_flight(part)

    def clear_in_flight(self) -> None:
        """Note that nothing is in flight, where what was read led to nothing."""
        self._notes.clear_in_flight()

    def passed(self, source: str, offsets: Offsets, *, at_end: bool) -> bool:
        """Tell whether a partition has released all its suspects; the last one ends the search.

        ``at_end`` says that it has released all that there is.
        """
        until = self.search.until
        behind = any(offset < until.get(place, 0) for place, offset in offsets.items())
        if behind and not at_end:
            return False
        self._waiting.pop(source, None)
        if not self._waiting:
            self._finished()
        return True


class Releases:
    """What the sources of a process may release, and where they note what they have released.

    ``quarantined`` are records that a step failed on, by place and offset: such a record is
    rejected with the step and the error, or, where its dead letter is what failed, passed over.
    """

    def __init__(
        self,
        notes: Notes | None = None,
        quarantined: Mapping[tuple[str, int], str] | None = None,
        unreported: Collection[tuple[str, int]] = (),
        turns: SearchTurns | None = None,
    ) -> None:
        self.notes = notes or Unnoted()
        self.turns = turns
        self._quarantined = quarantined or {}
        self._unreported = unreported
        self._places = {place for place, _ in self._quarantined}
        self._dropped: list[str] = []

    def drop(self, what: str) -> None:
        """Note that a step has dropped a piece of what it was given, and why."""
        self._dropped.append(what)

    def dropped(self, origin: Origin) -> list[Rejected]:
        """Reject what was dropped since, beside the record that comes next; it is not at fault."""
        dropped, self._dropped = self._dropped, []
        return [
            Rejected(PROCESSING_ERROR, origin, b"", None, f"{what}, before this record")
            for what in dropped
        ]

    @property
    def has_dropped(self) -> bool:
        """Tell whether any step has dropped anything since it was last said."""
        return bool(self._dropped)

    def holds(self, place: str) -> bool:
        """Tell whether any record of a place is quarantined."""
        return place in self._places

    def rejected(self, place: str, origin: Origin, payload: bytes) -> Rejected | None:
        """Reject a record if it is quarantined."""
        detail = self._quarantined.get((place, origin.offset))
        if detail is None:
            return None
        return Rejected(PROCESSING_ERROR, origin, payload, None, detail)

    def is_unreported(self, place: str, offset: int) -> bool:
        """Tell whether a record is to be passed over without a dead letter."""
        return (place, offset) in self._unreported
