"""Events of made-up visitors for the attribution tests, and a driver that collects its answers."""

import base64
import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from operators.envelope import Event, Origin
from operators.logic.attribution import Attribution, AttributionState, StepResult
from schemas.catalog import FeatureSpec, Slot
from schemas.clock import ALWAYS, micros, moment
from schemas.codec import decode
from schemas.events import Click, Consent, DecisionBack, Erasure, Impression, Reward
from schemas.results import Outcome
from schemas.state import pack, unpack
from schemas.topics import Topic
from tests.support.settled import learned_fields, rows

START = micros(datetime(2026, 3, 1, tzinfo=UTC))
SECOND = 1_000_000
WINDOW = 20 * SECOND
LATENESS = 5 * SECOND
TOLERANCE = 2 * SECOND


def slot(slot_id: str, **fields: Any) -> Slot:
    """A slot with a window of 20 seconds."""
    fields = {"reward_window": WINDOW / 1e6, **fields}
    return Slot(id=slot_id, time=moment(0), slot_id=slot_id, **fields)


SLOTS: dict[str, Slot] = {
    each.slot_id: each
    for each in (
        slot("plain"),
        slot(
            "sum",
            reward_aggregation="sum",
            reward_range=(0.0, 4.0),
            default_reward=1.0,
            features=FeatureSpec(profile_embedding=2),
        ),
        slot("max", reward_aggregation="max", reward_range=(-1.0, 1.0), click_reward=0.5),
        slot("at-once", needs_impression=False, learning_mode="exposure", default_reward=0.25),
        slot("strict", click_without_impression="quarantine", learning_mode="wait"),
        slot("viewable", viewable_only=True, click_without_impression="quarantine"),
        slot("exposed", learning_mode="exposure", reward_window=3.0),
        slot("wait", reward_aggregation="sum", learning_mode="wait"),
    )
}


def features(number: int) -> str:
    """Two features that name the decision."""
    return base64.b64encode(struct.pack("<2f", 1.0, number)).decode()


class Visitors:
    """Makes events; every record gets an id of its own."""

    def __init__(self, slots: Mapping[str, Slot] = SLOTS, shard: int = 0) -> None:
        self.slots = slots
        self.shard = shard
        self.made = 0
        self.decisions: list[Event] = []

    def _event(self, topic: str, at: int, body: Any, subject: str, key: int) -> Event:
        self.made += 1
        origin = Origin(topic, self.shard, self.made, at)
        return Event(at, body, subject, key, origin, msgspec.json.encode(body))

    def decision(
        self, slot_id: str, subject: str | None, at: int, key: int, **fields: Any
    ) -> Event:
        """A decision; ``eta`` is its number, so that its deltas can be told from others."""
        number = len(self.decisions)
        slot = self.slots.get(slot_id)
        body = DecisionBack(
            **{
                "id": f"decision-{self.made}",
                "time": moment(at),
                "subject": subject,
                "decision_id": f"request-{number}",
                "key": f"{key:016x}",
                "slot_id": slot_id,
                "action_id": "a",
                "propensity": 0.5,
                "policy": "beta",
                "policy_version": 3,
                "expires_at": moment(at + round((slot.reward_window if slot else 1.0) * 1e6)),
                "learning_mode": slot.learning_mode if slot else "immediate",
                "features": features(number),
                "eta": float(number),
                **fields,
            }
        )
        event = self._event("decisions", at, body, subject or "", key)
        self.decisions.append(event)
        return event

    def again(self, event: Event) -> Event:
        """The same record a second time."""
        return self._event(event.origin.topic, event.at, event.body, event.subject, event.key)

    def impression(self, decision: Event, at: int, **fields: Any) -> Event:
        """An impression of a decision."""
        return self._event("impressions", at, Impression(**self._common(decision, at, fields)),
                           decision.subject, decision.key)  # fmt: skip

    def click(self, decision: Event, at: int, **fields: Any) -> Event:
        """A click on a decision."""
        return self._event("clicks", at, Click(**self._common(decision, at, fields)),
                           decision.subject, decision.key)  # fmt: skip

    def reward(self, decision: Event, at: int, value: float, **fields: Any) -> Event:
        """A reward of a decision."""
        fields = {**self._common(decision, at, fields), "value": value}
        return self._event("rewards", at, Reward(**fields), decision.subject, decision.key)

    def consent(self, subject: str, at: int, purposes: Iterable[int]) -> Event:
        """A visitor's consent."""
        body = Consent(
            id=f"e{self.made}", time=moment(at), subject=subject, purposes=list(purposes)
        )
        return self._event("consents", at, body, subject, 0)

    def erasure(self, subject: str, at: int) -> Event:
        """A visitor's wish to be forgotten."""
        body = Erasure(id=f"e{self.made}", time=moment(at), subject=subject)
        return self._event("consents", at, body, subject, 0)

    def _common(self, decision: Event, at: int, fields: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": f"e{self.made}",
            "time": moment(at),
            "subject": decision.subject or "visitor",
            "decision_id": decision.body.decision_id,
            "slot_id": decision.body.slot_id,
            **fields,
        }


class Driver:
    """Runs an attribution and adds up what it teaches, by the decision's number."""

    def __init__(
        self,
        slots: Mapping[str, Slot] = SLOTS,
        lateness: int = LATENESS,
        max_pending: int = 10**6,
        max_orphans: int = 10**6,
        tolerance: int = TOLERANCE,
    ) -> None:
        self.slots = slots
        self.limits = (lateness, max_pending, max_orphans)
        self.tolerance = tolerance
        self.attribution = Attribution(*self.limits, tolerance=tolerance)
        self.final: dict[int, Outcome] = {}
        self.settled: list[Outcome] = []
        self.outcomes: list[Outcome] = []
        self.reasons: list[str] = []
        self.rejected: list[tuple[str, int]] = []
        self.counts: dict[int, float] = defaultdict(float)
        self.rewards: dict[int, float] = defaultdict(float)
        self.horizon = -(2**62)
        self.named = {name for name, slot in slots.items() if slot.features.profile_embedding}

    def step(self, events: Iterable[Event], watermark: int) -> StepResult:
        """Take in a batch."""
        events = sorted(events, key=lambda event: event.at)
        step = self.attribution.step(events, watermark, self.slots)
        self.attribution.state()  # an unchanged chunk is kept as an earlier snapshot had it
        assert step.horizon >= self.horizon
        for _, block in step.settled:
            assert self.horizon <= block.end.min()
            assert block.end.max() < step.horizon
        self.horizon = step.horizon
        self.reasons += [rejected.reason for rejected in step.rejected]
        self.rejected += [(rejected.reason, rejected.origin.offset) for rejected in step.rejected]
        reported: list[Outcome] = [
            decode(Topic.OUTCOMES, message.value) for message in step.messages
        ]
        settled = [outcome for outcome in reported if outcome.status == "settled"]
        taught = [outcome for outcome in settled if not outcome.not_learned]
        assert sorted(map(learned_fields, taught)) == sorted(
            row for slot_id, block in step.settled for row in rows(block, slot_id in self.named)
        )
        for outcome in reported:
            key = int(outcome.key, 16)
            self.outcomes.append(outcome)
            if outcome.status != "pending":
                assert key not in self.final, "two final reports"
                self.final[key] = outcome
        self.settled += settled
        for changed in step.posterior_deltas:
            deltas = changed.deltas
            deltas.check(2)
            for eta, x, count_delta, reward_delta in zip(
                deltas.eta, deltas.x, deltas.count_delta, deltas.reward_delta, strict=True
            ):
                assert x.tolist() == [1.0, eta]
                self.counts[int(eta)] += float(count_delta)
                self.rewards[int(eta)] += float(reward_delta)
        return step

    def finish(self) -> None:
        """End the input."""
        self.step([], ALWAYS)
        assert self.attribution.pending == 0
        assert self.attribution.waiting == 0

    def restart(self) -> None:
        """Go on from a snapshot."""
        snapshot = pack("attribution", 1, self.attribution.state())
        state = unpack("attribution", 1, AttributionState, snapshot)
        self.attribution = Attribution(*self.limits, state, tolerance=self.tolerance)
