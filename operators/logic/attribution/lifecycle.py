"""The life of every decision of a shard: decided, activated, rewarded, settled or void.

Within a step the order of events does not matter, and across steps only whether they come within
the allowed lateness, so that a settled outcome is a function of the set of events alone.
"""

from binascii import crc32
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from operators.batches import ALWAYS, NEVER, Event, Rejected, moment
from operators.logic.attribution import reasons, reports, texts
from operators.logic.attribution.delays import WHOLE, unknown
from operators.logic.attribution.kinds import EXPOSURE, IMMEDIATE, Kinds
from operators.logic.attribution.orphans import Orphans
from operators.logic.attribution.pending import ACTIVE, LIVE, SHOWN, VOID, Pending, Rows, Segments
from operators.logic.attribution.rewards import Rewards, begin
from operators.logic.attribution.rules import Kind
from operators.logic.attribution.snapshots import AttributionState, waiting
from operators.logic.attribution.teaching import Taught, Teaching
from operators.logic.attribution.withdrawals import Withdrawal, Withdrawals
from schemas.catalog import Slot
from schemas.events import Click, Consent, DecisionBack, Erasure, Impression, Reward
from schemas.results import Outcome

SETTLE_EVERY = 250_000
"""Decisions settle in steps of this many microseconds of event time."""

_FINEST = 4
"""An exposure weight changes by at least this many 128ths."""
_LOOKS = 64
"""How often in a window exposure weights are brought up to date."""

Record = tuple[Any, ...]
"""A new decision: key, at, kind, propensity, eta, version, tag, blob."""


@dataclass(slots=True)
class Step:
    """What a batch of events led to.

    ``outcomes`` are all reports in the order made; ``settled`` the final ones among them, by
    (end of window, key), complete up to ``horizon``.
    """

    horizon: int = NEVER
    taught: Sequence[Taught] = ()
    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def reject(self, event: Event, reason: str, field: str | None = None) -> None:
        """Count an event out."""
        self.rejected.append(Rejected(reason, event.origin, event.payload, field))


class Attribution:
    """The state machine of one shard.

    ``lateness`` is in microseconds. At most ``max_pending`` decisions are kept (those that expire
    first become void) and ``max_orphans`` events each that wait for their decision or, quarantined,
    for its impression (the oldest are rejected).
    """

    def __init__(
        self,
        lateness: int,
        max_pending: int,
        max_orphans: int,
        state: AttributionState | None = None,
        segments: Segments | None = None,
    ) -> None:
        state = state or AttributionState()
        self._lateness = lateness
        self._max_pending = max_pending
        self._horizon = state.horizon
        self._exposed = state.exposed
        self._kinds = Kinds(state.kinds)
        self._pending = Pending()
        self._pending.segments = segments
        self._pending.restore(state.chunks, self._kinds.window)
        self._orphans = Orphans(max_orphans)
        self._quarantine = Orphans(max_orphans)
        for kept in state.orphans:
            self._orphans.add(kept.event())
        for kept in state.quarantined:
            self._quarantine.add(kept.event())
        self._withdrawals = Withdrawals()
        for withdrawal in state.withdrawals:
            self._withdrawals.add(withdrawal)
        self._delays = dict(state.delays)
        self._begin()

    @property
    def pending(self) -> int:
        """How many decisions are kept."""
        return len(self._pending)

    @property
    def waiting(self) -> int:
        """How many events wait for their decision or its impression."""
        return len(self._orphans) + len(self._quarantine)

    def use(self, segments: Segments) -> None:
        """Keep full chunks of decisions there from now on."""
        self._pending.segments = segments

    def state(self) -> AttributionState:
        """Give what a snapshot keeps."""
        return AttributionState(
            self._horizon,
            self._exposed,
            self._kinds.all,
            self._pending.state(),
            [waiting(event) for event in self._orphans],
            [waiting(event) for event in self._quarantine],
            self._withdrawals.state(),
            self._delays,
        )

    def step(self, events: Iterable[Event], watermark: int, slots: Mapping[str, Slot]) -> Step:
        """Take in events, then settle what the watermark has passed."""
        self._begin()
        self._kinds.use(slots)
        decisions: list[Event] = []
        impressions: list[Event] = []
        rewards: list[Event] = []
        withdrawals: list[Event] = []
        place: dict[type, list[Event]] = {
            DecisionBack: decisions,
            Impression: impressions,
            Click: rewards,
            Reward: rewards,
            Consent: withdrawals,
            Erasure: withdrawals,
        }
        for event in events:
            found = place.get(type(event.body))
            if found is not None:
                found.append(event)
        for event in self._decide(decisions):
            (impressions if type(event.body) is Impression else rewards).append(event)
        rewards += self._show(impressions)
        self._earn(rewards)
        self._withdraw(withdrawals)
        self._evict()
        self._advance(watermark)
        self._step.taught = self._teaching.gather(self._pending, self._kinds)
        for rows in self._leaving:
            self._pending.remove(rows)
        return self._step

    def _begin(self) -> None:
        self._step = Step()
        self._teaching = Teaching()
        self._leaving: list[Rows] = []

    def _decide(self, events: list[Event]) -> list[Event]:
        """Keep new decisions; give the events that waited for them."""
        if not events:
            return []
        kinds, horizon = self._kinds, self._horizon
        fresh: dict[int, Record] = {}
        families: dict[int, list[Record]] = {}
        known = self._pending.find([event.key for event in events]).tolist()
        for event, row in zip(events, known, strict=True):
            body = event.body
            number = kinds.number(body)
            if number is None:
                self._step.reject(event, reasons.UNKNOWN_SLOT, "slot_id")
                continue
            blob = texts.pack(body.features, body.subject, body.decision_id)
            if blob is None or not 0 <= body.policy_version < 2**32:
                wrong = "features" if blob is None else "policy_version"
                self._step.reject(event, reasons.INVALID_DECISION, wrong)
                continue
            window = kinds.all[number].window
            if event.at + window < horizon:
                self._step.reject(event, reasons.LATE)
                continue
            key, subject = event.key, body.subject
            tag = crc32(subject.encode()) & 0xFFFF if subject else 0
            record = (
                key,
                event.at,
                number,
                body.propensity,
                body.eta,
                body.policy_version,
                tag,
                blob,
            )
            earlier = fresh.get(key) if row < 0 else self._record(row)
            if earlier is not None:
                same = earlier == record
                again = reasons.DUPLICATE_DECISION if same else reasons.CONFLICTING_DECISION
                self._step.reject(event, again)
                continue
            fresh[key] = record
            families.setdefault(window.bit_length(), []).append(record)
        woken: list[Event] = []
        for family, records in families.items():
            self._keep(family, records)
        if len(self._orphans):
            for key in fresh:
                if key in self._orphans:
                    woken += self._orphans.pop(key)
        return woken

    def _record(self, row: int) -> Record:
        pending = self._pending
        return (
            int(pending.key[row]),
            int(pending.at[row]),
            int(pending.kind[row]),
            float(pending.propensity[row]),
            float(pending.eta[row]),
            int(pending.version[row]),
            int(pending.tag[row]),
            bytes(pending.blob(row)),
        )

    def _keep(self, family: int, records: list[Record]) -> None:
        keys, ats, numbers, propensities, etas, versions, tags, blobs = zip(*records, strict=True)
        columns = {
            "key": keys,
            "at": ats,
            "kind": numbers,
            "propensity": propensities,
            "eta": etas,
            "version": versions,
            "tag": tags,
        }
        kind = np.array(numbers)
        soon = int((np.array(ats) + self._kinds.window[kind]).min())
        rows = self._pending.add(family, columns, list(blobs), soon)
        at_once = [not self._kinds.waits[number] for number in numbers]
        if any(at_once):
            self._activate(rows[np.array(at_once)])
        if self._withdrawals:
            for row, blob in zip(rows.tolist(), blobs, strict=True):
                self._void_if_withdrawn(row, texts.subject_of(blob))

    def _activate(self, rows: Rows) -> None:
        """Let decisions count; a learner that does not wait hears of them as failures."""
        pending, kinds = self._pending, self._kinds
        pending.touch(rows)
        pending.flags[rows] |= ACTIVE
        rows = rows[kinds.mode[pending.kind[rows]] == IMMEDIATE]
        pending.weight[rows] = WHOLE
        self._teaching.tell_all(rows, np.ones(len(rows)), kinds.unanswered[pending.kind[rows]])

    def _matched(self, events: list[Event]) -> list[tuple[Event, int, Kind]]:
        """Find the decisions of events, and reject or keep waiting the events without one."""
        if not events:
            return []
        rows = self._pending.find([event.key for event in events])
        pending, step, kinds = self._pending, self._step, self._kinds.all
        found: list[tuple[Event, int, Kind]] = []
        if not len(pending.kind):
            for event in events:
                self._orphan(event)
            return found
        facts = zip(
            events,
            rows.tolist(),
            pending.kind[rows].tolist(),
            pending.at[rows].tolist(),
            strict=True,
        )
        for event, row, number, decided in facts:
            if row < 0:
                self._orphan(event)
                continue
            kind = kinds[number]
            age = event.at - decided
            if event.body.slot_id != kind.slot_id:
                step.reject(event, reasons.WRONG_SLOT, "slot_id")
            elif age < 0:
                step.reject(event, reasons.BEFORE_DECISION, "time")
            elif age > kind.window:
                step.reject(event, reasons.OUTSIDE_WINDOW, "time")
            else:
                found.append((event, row, kind))
        return found

    def _orphan(self, event: Event) -> None:
        if event.at < self._horizon:
            self._step.reject(event, reasons.LATE)
        elif not self._orphans.add(event):
            self._step.reject(event, reasons.DUPLICATE, "id")

    def _show(self, events: list[Event]) -> list[Event]:
        """Activate the decisions that were shown; give the rewards that were quarantined."""
        flags = self._pending.flags
        shown: dict[int, int] = {}
        seen: list[int] = []
        for event, row, kind in self._matched(events):
            body = event.body
            rules = kind.rules
            if body.action_id not in (None, kind.action_id) and not rules.slate:
                self._step.reject(event, reasons.WRONG_ACTION, "action_id")
            elif flags[row] & VOID or (rules.viewable_only and not body.viewable):
                continue
            elif flags[row] & SHOWN:
                self._step.reject(event, reasons.DUPLICATE)
            else:
                flags[row] |= SHOWN
                seen.append(row)
                if not flags[row] & ACTIVE:
                    shown[row] = event.key
        if seen:
            self._pending.touch(np.array(seen))
        if not shown:
            return []
        self._activate(np.fromiter(shown, dtype=np.int64, count=len(shown)))
        if not len(self._quarantine):
            return []
        return [event for key in shown.values() for event in self._quarantine.pop(key)]

    def _earn(self, events: list[Event]) -> None:
        """Count rewards whose time lies within the window of their decision."""
        pending = self._pending
        for event, row, kind in self._matched(events):
            body, rules = event.body, kind.rules
            value = rules.click_reward if type(body) is Click else body.value
            flags = int(pending.flags[row])
            if type(body) is Reward and not rules.low <= value <= rules.high:
                self._step.reject(event, reasons.OUT_OF_RANGE, "value")
            elif flags & VOID:
                continue
            elif not flags & ACTIVE and rules.quarantine:
                if not self._quarantine.add(event):
                    self._step.reject(event, reasons.DUPLICATE, "id")
            else:
                if not flags & ACTIVE:
                    self._activate(np.array([row]))
                self._reward(event, row, kind, f"{body.type}/{body.id}", value)

    def _reward(self, event: Event, row: int, kind: Kind, id_: str, value: float) -> None:
        pending, key = self._pending, event.key
        earned = pending.rewards(row)
        rewards = earned.get(key)
        weight = int(pending.weight[row]) / WHOLE
        if rewards is None:
            before = kind.rules.unanswered
            rewards = earned[key] = begin(event.at, id_, value)
            rewards.told = weight * before
        else:
            before = rewards.reward(kind.rules)
            if not rewards.add(event.at, id_, value):
                self._step.reject(event, reasons.DUPLICATE, "id")
                return
        pending.touch(np.array([row]))
        reward = rewards.reward(kind.rules)
        if kind.learning_mode != "wait":
            self._teaching.tell(row, 1.0 - weight, reward - rewards.told)
            self._teaching.rewarded(kind.slot_id, event.at)
            pending.weight[row] = WHOLE
            rewards.told = reward
        if reward != before:
            outcome = reports.report(
                kind,
                key,
                moment(int(pending.at[row])),
                float(pending.propensity[row]),
                float(pending.eta[row]),
                int(pending.version[row]),
                pending.blob(row),
                reward,
                "pending",
                rewards.count,
                rewards.first_at - int(pending.at[row]),
            )
            self._step.outcomes.append((key, outcome))

    def _withdraw(self, events: list[Event]) -> None:
        """Void the pending decisions of subjects who withdrew consent or asked for erasure."""
        pending = self._pending
        asked: dict[int, set[str]] = {}
        for event in events:
            body = event.body
            if isinstance(body, Erasure):
                withdrawal = Withdrawal(event.at, event.subject, reasons.ERASED)
            elif {5, 6} <= set(body.purposes):
                continue
            else:
                withdrawal = Withdrawal(event.at, event.subject, reasons.CONSENT_WITHDRAWN)
            if event.at >= self._horizon and self._withdrawals.add(withdrawal):
                tag = crc32(event.subject.encode()) & 0xFFFF
                asked.setdefault(tag, set()).add(event.subject)
        if not asked:
            return
        wanted = np.zeros(2**16, dtype=bool)
        wanted[list(asked)] = True
        for row in np.flatnonzero(wanted[pending.tag]).tolist():
            if pending.flags[row] & LIVE:
                subject = texts.subject_of(pending.blob(row))
                if subject in asked[int(pending.tag[row])]:
                    self._void_if_withdrawn(row, subject)

    def _void_if_withdrawn(self, row: int, subject: str | None) -> None:
        if subject is None or self._pending.flags[row] & VOID:
            return
        at = int(self._pending.at[row])
        window = self._kinds.all[int(self._pending.kind[row])].window
        reason = self._withdrawals.voids(subject, at, at + window)
        if reason is not None:
            self._void(row, reason)

    def _void(self, row: int, reason: str) -> None:
        """Take back all that a decision has taught."""
        pending = self._pending
        key, number = int(pending.key[row]), int(pending.kind[row])
        weight = int(pending.weight[row]) / WHOLE
        pending.touch(np.array([row]))
        rewards: Rewards | None = pending.rewards(row).pop(key, None)
        told = rewards.told if rewards else weight * float(self._kinds.unanswered[number])
        self._teaching.tell(row, -weight, -told)
        pending.weight[row] = 0
        pending.flags[row] = LIVE | VOID
        for event in self._quarantine.pop(key):
            if reason in (reasons.NOT_ACTIVATED, reasons.EVICTED):
                self._step.reject(event, reasons.CLICK_WITHOUT_IMPRESSION)
        outcome = reports.void(
            self._kinds.all[number],
            key,
            int(pending.at[row]),
            float(pending.propensity[row]),
            int(pending.version[row]),
            texts.unpack(pending.blob(row))[2],
            reason,
        )
        self._step.outcomes.append((key, outcome))

    def _evict(self) -> None:
        """Void the decisions that expire first while there are more than ``max_pending``."""
        excess = len(self._pending) - self._max_pending
        if excess > 0:
            rows = self._pending.soonest(excess, self._kinds.window)
            for row in rows.tolist():
                if not self._pending.flags[row] & VOID:
                    self._void(row, reasons.EVICTED)
            self._leave(rows)

    def _leave(self, rows: Rows) -> None:
        self._pending.flags[rows] = 0
        self._leaving.append(rows)

    def _advance(self, watermark: int) -> None:
        """Settle what the watermark has passed by the allowed lateness."""
        if watermark < ALWAYS:
            self._expose(watermark)
            horizon = watermark - self._lateness
            horizon = max(self._horizon, horizon - horizon % SETTLE_EVERY)
        else:
            horizon = ALWAYS
        if horizon > self._horizon:
            self._settle(self._pending.due(horizon, self._kinds.window))
            for event in self._orphans.before(horizon):
                self._step.reject(event, reasons.NO_DECISION)
            self._withdrawals.forget(horizon)
            self._horizon = horizon
        for waiting_events in (self._orphans, self._quarantine):
            for event in waiting_events.overflow():
                self._step.reject(event, reasons.ORPHAN_OVERFLOW)
        self._step.horizon = self._horizon

    def _settle(self, rows: Rows) -> None:
        if not len(rows):
            return
        pending, step = self._pending, self._step
        unanswered = self._kinds.unanswered.tolist()
        delays: dict[str, list[float]] = {}
        facts = zip(
            rows.tolist(),
            pending.flags[rows].tolist(),
            pending.weight[rows].tolist(),
            pending.key[rows].tolist(),
            pending.at[rows].tolist(),
            pending.kind[rows].tolist(),
            pending.propensity[rows].tolist(),
            pending.eta[rows].tolist(),
            pending.version[rows].tolist(),
            pending.blobs(rows),
            strict=True,
        )
        for row, flags, weight, key, at, number, propensity, eta, version, blob in facts:
            kind = self._kinds.all[number]
            if not flags & ACTIVE:
                if not flags & VOID:
                    self._void(row, reasons.NOT_ACTIVATED)
                continue
            rewards = pending.rewards(row).pop(key, None)
            if rewards is None:
                delay, reward = None, unanswered[number]
                told = weight / WHOLE * reward
            else:
                reward, told = rewards.reward(kind.rules), rewards.told
                delay = rewards.first_at - at
                if kind.learning_mode == "wait":
                    self._teaching.rewarded(kind.slot_id, rewards.first_at)
                elif kind.learning_mode == "exposure" and kind.window > 0:
                    delays.setdefault(kind.slot_id, []).append(delay / kind.window)
            if weight < WHOLE:
                self._teaching.tell(row, 1.0 - weight / WHOLE, reward - told)
            time = moment(at)
            outcome = reports.report(
                kind,
                key,
                time,
                propensity,
                eta,
                version,
                blob,
                reward,
                "settled",
                reports.SETTLED_REVISION,
                delay,
                time + self._kinds.spans[number],
            )
            step.outcomes.append((key, outcome))
            step.settled.append(outcome)
        for slot_id, shares in delays.items():
            self._delays.setdefault(slot_id, unknown()).learn(np.array(shares))
        self._leave(rows)

    def _expose(self, now: int) -> None:
        """Let unanswered decisions count by the share of rewards that would have come by now."""
        kinds, pending = self._kinds, self._pending
        if not kinds.exposes:
            return
        exposed = kinds.mode == EXPOSURE
        if now - self._exposed < kinds.window[exposed].min() // _LOOKS:
            return
        self._exposed = now
        waiting_ = (pending.flags & (ACTIVE | VOID) == ACTIVE) & (pending.weight < WHOLE)
        rows = np.flatnonzero(waiting_ & exposed[pending.kind])
        slots = kinds.slot[pending.kind[rows]]
        for slot in np.unique(slots).tolist():
            of_slot = rows[slots == slot]
            delays = self._delays.setdefault(kinds.slot_ids[slot], unknown())
            number = pending.kind[of_slot]
            target = delays.weights(
                (now - pending.at[of_slot]) / np.maximum(kinds.window[number], 1)
            ).astype(np.int64)
            weight = pending.weight[of_slot].astype(np.int64)
            more = target >= weight + _FINEST
            of_slot, target, weight = of_slot[more], target[more], weight[more]
            share, unanswered = (target - weight) / WHOLE, kinds.unanswered[number[more]]
            self._teaching.tell_all(
                of_slot, share, target / WHOLE * unanswered - weight / WHOLE * unanswered
            )
            pending.weight[of_slot] = target
            pending.touch(of_slot)
