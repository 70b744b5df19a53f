"""The part of a decision that a visitor looks at."""

from datetime import datetime

from msgspec import Struct

HELD_OUT = "holdout"


class Answer(Struct, gc=False):
    """What was decided, when, and by which policy."""

    decision_id: str
    action_id: str
    time: datetime
    variation_id: str | None = None
    policy_time: datetime | None = None

    @property
    def held_out(self) -> bool:
        """Whether it was decided uniformly at random."""
        return self.variation_id == HELD_OUT
