"""Decisions that show slates, under a catalog that changes, and what attribution makes of them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from operators.envelope import Event, Rejected
from operators.logic.attribution import Attribution, AttributionState, PosteriorDeltas
from operators.logic.catalog import Catalog
from operators.logic.recount import Verdict, recount
from schemas.catalog import Slot
from schemas.clock import ALWAYS
from schemas.codec import decode
from schemas.events import Placed
from schemas.results import Outcome
from schemas.state import pack, unpack
from schemas.topics import Topic
from tests.support.histories import LATENESS, START, TOLERANCE, WINDOW, Visitors, slot

RULES: dict[str, Slot] = {
    each.slot_id: each
    for each in (
        slot("first"),
        slot("sum", reward_aggregation="sum", reward_range=(0.0, 4.0), default_reward=1.0),
        slot("max", reward_aggregation="max", reward_range=(-1.0, 1.0), click_reward=0.5),
        slot("at-once", needs_impression=False, learning_mode="exposure", default_reward=0.25),
        slot("strict", click_without_impression="quarantine", learning_mode="wait"),
        slot(
            "viewable",
            viewable_only=True,
            click_without_impression="quarantine",
            reward_aggregation="sum",
            reward_range=(0.0, 4.0),
        ),
        slot("exposed", learning_mode="exposure", reward_aggregation="max"),
    )
}
"""Every rule by which rewards count, but for the number of actions shown."""


def catalog_of(sizes: Mapping[str, int]) -> Catalog:
    """The slots, those named with their present number of actions shown."""
    return Catalog(
        {name: replace(each, slate_size=sizes.get(name, 1)) for name, each in RULES.items()}
    )


class Catalogs:
    """A catalog that changes from time to time; ``changes`` are times and what holds from then."""

    def __init__(self, *changes: tuple[int, Catalog]) -> None:
        self.changes = sorted(changes, key=lambda change: change[0])

    def at(self, time: int) -> Catalog:
        """The catalog as of a time."""
        holding = [catalog for since, catalog in self.changes if since <= time]
        return holding[-1] if holding else self.changes[0][1]


def slate_of(actions: str, number: int = 0) -> list[Placed]:
    """A slate that shows an action for each letter; its ``eta`` tells every position apart."""
    return [Placed(name, 0.5, 100.0 * number + place) for place, name in enumerate(actions)]


def decide(
    visitors: Visitors, slot_id: str, actions: str, at: int, key: int, **fields: Any
) -> Event:
    """A decision that shows these actions; one alone is no slate."""
    number = len(visitors.decisions)
    shown = {"slate": slate_of(actions, number)} if len(actions) > 1 else {}
    fields = {"action_id": actions[0], "eta": 100.0 * number, **shown, **fields}
    return visitors.decision(slot_id, fields.pop("subject", None), at, key, **fields)


class Shard:
    """An attribution under a changing catalog; what it taught is added up by ``eta``."""

    def __init__(
        self, catalogs: Catalogs, max_pending: int = 10**6, max_orphans: int = 10**6
    ) -> None:
        self.catalogs = catalogs
        self.limits = (LATENESS, max_pending, max_orphans)
        self.attribution = Attribution(*self.limits, tolerance=TOLERANCE)
        self.watermark = START - WINDOW
        self.final: dict[int, Outcome] = {}
        self.reported: dict[tuple[int, str, int], Outcome] = {}
        self.rejected: list[Rejected] = []
        self.conflicts = 0
        self.deltas: list[PosteriorDeltas] = []
        self.taught: dict[float, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))

    def step(self, events: Iterable[Event], watermark: int) -> None:
        """Take in events, each with the catalog of its time; then the watermark moves on."""
        ordered = sorted(events, key=lambda event: event.at)
        parts = groupby(ordered, key=lambda event: id(self.catalogs.at(event.at)))
        for _, part in parts:
            some = list(part)
            self._step(some, self.watermark, self.catalogs.at(some[0].at))
        self.watermark = max(self.watermark, watermark)
        self._step([], self.watermark, self.catalogs.at(self.watermark))

    def _step(self, events: Sequence[Event], watermark: int, catalog: Catalog) -> None:
        result = self.attribution.step(events, watermark, catalog.slots)
        self.rejected += result.rejected
        self.conflicts += result.conflicts
        for message in result.messages:
            outcome = decode(Topic.OUTCOMES, message.value)
            assert isinstance(outcome, Outcome)
            identity = (int(outcome.key, 16), outcome.status, outcome.revision)
            assert identity not in self.reported, "two reports with one identity"
            self.reported[identity] = outcome
            if outcome.status != "pending":
                assert self.final.setdefault(int(outcome.key, 16), outcome) is outcome
        self.deltas += result.posterior_deltas
        for slot_deltas in result.posterior_deltas:
            deltas = slot_deltas.deltas
            for eta, count, reward in zip(
                deltas.eta.tolist(),
                deltas.count_delta.tolist(),
                deltas.reward_delta.tolist(),
                strict=True,
            ):
                before = self.taught[eta]
                self.taught[eta] = before[0] + count, before[1] + reward

    def restart(self) -> None:
        """Go on from a snapshot."""
        snapshot = pack("attribution", 1, self.attribution.state())
        state = unpack("attribution", 1, AttributionState, snapshot)
        self.attribution = Attribution(*self.limits, state, tolerance=TOLERANCE)

    def finish(self) -> None:
        """End the input."""
        self.step([], ALWAYS)
        assert (self.attribution.pending, self.attribution.waiting) == (0, 0)

    def reasons(self) -> list[tuple[str, int]]:
        """Why which records were refused, by their offsets; repeats left out."""
        return sorted(
            {
                (rejected.reason, rejected.origin.offset)
                for rejected in self.rejected
                if rejected.reason != "duplicate"
            }
        )

    def expected(self, events: Iterable[Event]) -> dict[int, Verdict]:
        """What the events imply, from scratch."""
        return recount(events, lambda at: self.catalogs.at(at).slots, TOLERANCE)

    def agree(self, events: Iterable[Event], expected: Mapping[int, Verdict] | None = None) -> None:
        """Compare outcomes and all that was taught with what the events imply."""
        expected = self.expected(events) if expected is None else expected
        assert self.final.keys() == expected.keys()
        for key, verdict in expected.items():
            outcome, wanted = self.final[key], verdict.outcome()
            assert (outcome.action_id, outcome.status) == (wanted.action_id, wanted.status)
            assert (outcome.reward, outcome.delay) == (wanted.reward, wanted.delay), verdict
            assert outcome.reason in (verdict.withdrawals or (wanted.reason,))
            counted = (1.0, wanted.reward) if wanted.status == "settled" else (0.0, 0.0)
            assert self.taught[verdict.decision.body.eta] == counted, (verdict, outcome)


def settled(
    events: Sequence[Event],
    catalogs: Catalogs,
    *,
    batches: int = 1,
    restarts: bool = False,
) -> Shard:
    """Take in events in the order given, in so many batches at one watermark, and end."""
    shard = Shard(catalogs)
    size = -(-len(events) // batches)
    for start in range(0, len(events), size):
        shard.step(events[start : start + size], START)
        if restarts:
            shard.restart()
    shard.finish()
    return shard


def by_action(shard: Shard) -> dict[str, tuple[str, float]]:
    """The status and reward of each action's outcome."""
    return {each.action_id: (each.status, each.reward) for each in shard.final.values()}
