"""What a simulation does wrong on purpose, and how often."""

from typing import Annotated

from msgspec import Meta, Struct

Rate = Annotated[float, Meta(ge=0.0, le=1.0)]


class Injection(Struct, frozen=True, kw_only=True):
    """The share of records that are spoiled, each drawn by itself.

    ``duplicates``: the same record again, up to a second later. ``disorder``: a record is produced
    up to ``disorder_seconds`` after the time that it bears. ``late``: with a request comes a click
    that is older than ``late_seconds``, which is to lie beyond the reward window and the allowed
    lateness. ``malformed``: with a request comes a record that nothing can be done with.
    """

    duplicates: Rate = 0.0
    disorder: Rate = 0.0
    late: Rate = 0.0
    malformed: Rate = 0.0
    disorder_seconds: float = 1.0
    late_seconds: float = 600.0

    @property
    def any(self) -> bool:
        """Whether anything is injected."""
        return max(self.duplicates, self.disorder, self.late, self.malformed) > 0.0
