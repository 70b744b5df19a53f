"""What the logic asks of the place that keeps finished parts of its state outside snapshots."""

from collections.abc import Collection
from typing import Protocol


class Segments(Protocol):
    """Where blocks that never change are kept outside the snapshot: each is written once."""

    def write(self, name: int, block: bytes) -> None:
        """Begin to write a segment."""
        ...

    def settle(self, names: Collection[int]) -> None:
        """Return once all is durable; ``names`` are the segments that the snapshot needs."""
        ...

    def read(self, name: int) -> bytes:
        """Give a segment's block."""
        ...
