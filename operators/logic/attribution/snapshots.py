"""What a snapshot of attribution keeps."""

from msgspec import Raw, Struct

from operators.envelope import Event, Origin
from operators.logic.attribution.delays import Delays
from operators.logic.attribution.rules import Kind
from operators.logic.attribution.withdrawals import Withdrawal
from schemas.clock import NEVER
from schemas.events import Click, Impression, Reward


class Waiting(Struct, array_like=True):
    """A waiting event; its body is in the field of its type."""

    at: int
    subject: str
    key: int
    origin: Origin
    payload: bytes
    impression: Impression | None = None
    click: Click | None = None
    reward: Reward | None = None

    def event(self) -> Event:
        """Give the event again."""
        body = self.impression or self.click or self.reward
        return Event(self.at, body, self.subject, self.key, self.origin, self.payload)


def waiting(event: Event) -> Waiting:
    """Keep an event."""
    body = event.body
    kept = Waiting(event.at, event.subject, event.key, event.origin, event.payload)
    if isinstance(body, Impression):
        kept.impression = body
    elif isinstance(body, Click):
        kept.click = body
    else:
        kept.reward = body
    return kept


class AttributionState(Struct):
    """One shard's attribution; ``chunks`` hold what :meth:`Pending.state` gives.

    After a start from the store, ``counted`` says by slot up to which end of their window decisions
    are in the learner already: they are read once more, for the sake of younger ones.
    """

    horizon: int = NEVER
    exposed: int = NEVER
    kinds: list[Kind] = []
    chunks: list[Raw] = []
    orphans: list[Waiting] = []
    quarantined: list[Waiting] = []
    withdrawals: list[Withdrawal] = []
    delays: dict[str, Delays] = {}
    counted: dict[str, int] = {}
