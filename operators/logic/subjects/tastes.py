"""Which categories of content a subject clicks."""

from collections.abc import Iterator

from msgspec import Struct


class Tastes(Struct, gc=False):
    """Clicks by category code, decayed to the time ``at`` (microseconds since 1970)."""

    at: int
    clicks: dict[int, float]

    def add(self, at: int, code: int, decay: float) -> None:
        """Count a click; ``decay`` is in halvings per microsecond, negative.

        >>> tastes = Tastes(0, {})
        >>> for at in (0, 10):
        ...     tastes.add(at, 3, decay=-0.1)
        >>> tastes.clicks
        {3: 1.5}
        """
        if at > self.at:
            fade = 2.0 ** ((at - self.at) * decay)
            self.clicks = {kept: weight * fade for kept, weight in self.clicks.items()}
            self.at = at
        weight = 2.0 ** ((self.at - at) * decay)
        self.clicks[code] = self.clicks.get(code, 0.0) + weight

    def shares(self) -> Iterator[tuple[int, float]]:
        """Give each category's share of the clicks, shrunk to 0 by one click of no category."""
        total = 1.0 + sum(self.clicks.values())
        return ((code, weight / total) for code, weight in sorted(self.clicks.items()))
