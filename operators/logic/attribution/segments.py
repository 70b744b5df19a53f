"""What attribution asks of the place that keeps full chunks outside the snapshot."""

from collections.abc import Collection
from typing import Protocol


class Segments(Protocol):
    """Where full chunks are kept outside the snapshot: they are written once and never change."""

    def write(self, name: int, block: bytes) -> None:
        """Begin to write a segment."""
        ...

    def settle(self, names: Collection[int]) -> None:
        """Return once all is durable; ``names`` are the segments that the snapshot needs."""
        ...

    def read(self, name: int) -> bytes:
        """Give a segment's block."""
        ...
