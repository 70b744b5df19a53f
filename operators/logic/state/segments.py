"""What the logic asks of the files that keep parts of its state beside the recovery store."""

from collections.abc import Collection, Mapping
from typing import Protocol

from schemas.state import StateError


class SegmentFiles(Protocol):
    """The segment files of one shard of a step: each is written once, and never changed."""

    def write(self, data: bytes) -> int:
        """Begin to write a segment and give its number, above those of all segments before."""
        ...

    def sync(self, needed: Collection[int]) -> Mapping[int, int]:
        """Wait until all segments are durable; give the check sums of those that are new.

        ``needed`` are the segments that the snapshot names; others are deleted in time.
        """
        ...

    def read(self, number: int, checksum: int) -> bytes:
        """Give a segment; refuse when it is missing, or not the one that was written."""
        ...


class SegmentError(StateError):
    """A recovery store and its segment files are not together; the message says what to do."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: set BANDITFLOW_RECOVERY to the folder that holds the recovery store and its "
            "segment files, restore that folder as a whole, or start with an empty one"
        )
