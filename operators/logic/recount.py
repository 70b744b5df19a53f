"""What attribution should have learned, recomputed from the whole set of events.

It knows nothing of batches, watermarks, order of arrival or state: each decision is judged by all
that is known of it. The verdicts of an unfinished log are those of learning without waiting.
"""

from binascii import a2b_base64, b2a_base64
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import fsum
from typing import NamedTuple

import numpy as np
from msgspec.json import encode as encode_json

from operators.envelope import Event
from operators.logic.attribution import reasons
from operators.logic.attribution.outcomes import SETTLED_REVISION, VOID_REVISION
from operators.logic.attribution.rules import on_grid
from operators.logic.attribution.window import delay, outside
from operators.logic.deciding.contents import ActionContent, read_content
from operators.logic.deciding.positions import positions_of
from operators.logic.features import FeatureError, packed_dim, unpack_rows
from operators.logic.policies import Deltas
from operators.logic.policies.base import squared
from operators.logic.subject_windows import name_span
from schemas.catalog import RobotRate, Slot, SubjectLimit
from schemas.clock import micros, moment
from schemas.consent import allows_profile
from schemas.events import Click, Consent, DecisionBack, Erasure, Impression, Reward
from schemas.results import Outcome


class Verdict(NamedTuple):
    """What a decision contributes: whether it counts, and its reward in [0, 1].

    ``decision`` is of one position of those that the record shows. ``rewards`` is how many rewards
    count and ``first_at`` the time of the earliest, in microseconds; ``copies`` is how many
    different clicks and rewards named any of the positions, those included that others with their
    id displace; ``withdrawals`` are the reasons that make it void, the earliest first.
    ``not_learned`` is why it teaches nothing, where it does not though it may count.
    """

    decision: Event
    counts: bool
    reward: float
    rewards: int = 0
    first_at: int | None = None
    copies: int = 0
    withdrawals: tuple[str, ...] = ()
    not_learned: str = ""

    @property
    def teaches(self) -> bool:
        """Whether policies and models learn from the decision."""
        return self.counts and not self.not_learned

    @property
    def closes(self) -> int:
        """When the decision's window ends, in microseconds since 1970."""
        return micros(self.decision.body.expires_at)

    def outcome(self) -> Outcome:
        """Give the outcome that it settles with; the earliest withdrawal is its reason."""
        body: DecisionBack = self.decision.body
        final = Outcome(
            time=body.time,
            subject=None,
            decision_id=body.decision_id,
            key=f"{self.decision.key:016x}",
            slot_id=body.slot_id,
            action_id=body.action_id,
            propensity=body.propensity,
            reward=self.reward,
            status="settled" if self.counts else "void",
            revision=SETTLED_REVISION if self.counts else VOID_REVISION,
            activated=self.counts,
            policy_version=body.policy_version,
            policy=body.policy,
            experiment_id=body.experiment_id,
            variation_id=body.variation_id,
            settled_at=moment(self.closes),
        )
        if not self.counts:
            final.reason = next(iter(self.withdrawals), reasons.NOT_ACTIVATED)
            return final
        final.subject, final.features, final.eta = body.subject, _kept(body.features), body.eta
        final.mapping, final.not_learned = body.mapping, self.not_learned
        if self.first_at is not None:
            final.delay = delay(self.first_at - self.decision.at) / 1e6
        return final


def _kept(features: str | None) -> str | None:
    """Give features as they come out of what is kept: base64 may be written in several ways."""
    return None if features is None else b2a_base64(a2b_base64(features), newline=False).decode()


SlotsAt = Callable[[int], Mapping[str, Slot]]
"""The slots as they stand at an event time in microseconds."""


class _SubjectWindow(NamedTuple):
    """One subject's decisions in one window of a slot, by the rules that hold in it."""

    slot_id: str
    limit: SubjectLimit | None
    robots: RobotRate | None
    length: int
    number: int
    visitor: int


def recount(
    events: Iterable[Event], slots: Mapping[str, Slot] | SlotsAt, tolerance: int = 0
) -> dict[int, Verdict]:
    """Judge every position of every decision by its key; the first of two decisions is the answer.

    ``slots`` rule each decision as they stand at its time, where they are given as a function.
    ``tolerance`` is how many microseconds earlier than its decision an event may be.
    """
    decisions: dict[int, Event] = {}
    rules: dict[int, Slot] = {}
    histories: dict[int, list[Event]] = defaultdict(list)
    withdrawals: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for event in events:
        match event.body:
            case DecisionBack():
                known = slots if isinstance(slots, Mapping) else slots(event.at)
                if event.key not in decisions and event.body.slot_id in known:
                    decisions[event.key] = event
                    rules[event.key] = known[event.body.slot_id]
            case Impression() | Click() | Reward():
                histories[event.key].append(event)
            case Erasure():
                withdrawals[event.subject].append((event.at, reasons.ERASED))
            case Consent() if not allows_profile(event.body.purposes):
                withdrawals[event.subject].append((event.at, reasons.CONSENT_WITHDRAWN))
    not_learned = _not_learned(decisions, rules)
    return {
        verdict.decision.key: verdict._replace(not_learned=not_learned.get(key, ""))
        for key, decision in decisions.items()
        for verdict in _judge(decision, histories.get(key, ()), withdrawals, rules[key], tolerance)
    }


def _not_learned(decisions: Mapping[int, Event], rules: Mapping[int, Slot]) -> dict[int, str]:
    """Say which decisions teach nothing, and why."""
    not_learned: dict[int, str] = {}
    windows: dict[_SubjectWindow, dict[int, tuple[int, int, int]]] = defaultdict(dict)
    for key, decision in decisions.items():
        body: DecisionBack = decision.body
        slot = rules[key]
        for limit, robots, length in _bounds(slot):
            if body.subject_window is not None:
                identity = _SubjectWindow(
                    slot_id=slot.slot_id,
                    limit=limit,
                    robots=robots,
                    length=length,
                    number=decision.at // length,
                    visitor=max(int(body.subject_window, 16), 1),  # 0 stands for none
                )
                windows[identity][key] = (micros(body.expires_at), key, decision.at)
    by_strictness = sorted(windows.items(), key=lambda each: each[0].robots is not None)
    for (_, limit, robots, length, _, _), window in by_strictness:
        if limit is not None:
            ranked = sorted(window, key=window.__getitem__)
            not_learned |= dict.fromkeys(ranked[limit.decisions :], reasons.SUBJECT_LIMIT)
        if robots is not None:
            spans: dict[tuple[int, int], list[int]] = defaultdict(list)
            for key, (closes, _, at) in window.items():
                span = max(min(round(robots.window * 1e6), closes - at), 1)
                spans[span, at % length // span].append(key)
            for within in spans.values():
                if len(within) > robots.decisions:
                    not_learned |= dict.fromkeys(within, reasons.ROBOT_RATE)
    declared = (key for key, decision in decisions.items() if decision.body.robot)
    return not_learned | dict.fromkeys(declared, reasons.ROBOT)


def _bounds(slot: Slot) -> list[tuple[SubjectLimit | None, RobotRate | None, int]]:
    """Give the rules on one subject, and the length of the windows that they are counted in."""
    limit = slot.subject_limit if slot.subject_limit.enabled else None
    robots = slot.robot_rate if slot.robot_rate.enabled else None
    span = name_span(slot)
    if span is None:
        return []
    if limit is None or robots is None or round(limit.window * 1e6) == span:
        return [(limit, robots, span)]
    return [(limit, None, round(limit.window * 1e6)), (None, robots, span)]


def contributions(
    verdicts: Iterable[Verdict], dim: int, weights: Mapping[int, float] | None = None
) -> Deltas:
    """Give the contributions of one slot's decisions that teach, in one batch by key.

    Decisions whose features are not ``dim`` numbers contribute nothing. ``weights`` holds, by key,
    how much of a decision its learner counts where that is not all of it.
    """
    counting = sorted(
        (v for v in verdicts if v.teaches and _fits(v, dim)), key=lambda v: v.decision.key
    )
    bodies = [verdict.decision.body for verdict in counting]
    shares = weights or {}
    reward = np.array([verdict.reward for verdict in counting])
    weight = np.array([shares.get(verdict.decision.key, 1.0) for verdict in counting])
    x = unpack_rows([body.features for body in bodies], dim) if dim else np.zeros((len(bodies), 0))
    return Deltas(
        action_ids=[body.action_id for body in bodies],
        x=x,
        eta=np.array([body.eta for body in bodies]),
        time=np.array([verdict.decision.at / 1e6 for verdict in counting]),
        count_delta=weight,
        reward_delta=weight * reward,
        square_delta=weight * squared(reward),
        contents=_contents(bodies),
        contexts=_contexts(bodies),
    )


def _contents(bodies: Sequence[DecisionBack]) -> list[bytes | None] | None:
    """Give the features that requests gave to the actions of single positions, as JSON."""
    if not any(body.contents for body in bodies):
        return None
    found: list[bytes | None] = []
    for body in bodies:
        given = {each.action_id: each.features for each in reversed(body.contents or [])}
        raw = given.get(body.action_id)
        content = None if raw is None else read_content(bytes(raw))
        found.append(content.text if isinstance(content, ActionContent) else None)
    return found


def _contexts(bodies: Sequence[DecisionBack]) -> list[bytes | None] | None:
    """Give the contexts that decisions hold, as JSON."""
    if not any(body.context for body in bodies):
        return None
    read = [read_content(encode_json(body.context)) if body.context else None for body in bodies]
    return [each.text if isinstance(each, ActionContent) else None for each in read]


def _fits(verdict: Verdict, dim: int) -> bool:
    features = verdict.decision.body.features
    try:
        return features is None or packed_dim(features) == dim
    except FeatureError:
        return False


def _judge(
    decision: Event,
    history: Sequence[Event],
    withdrawals: Mapping[str, list[tuple[int, str]]],
    slot: Slot,
    tolerance: int,
) -> list[Verdict]:
    """Judge each position of a decision by the events that belong to it."""
    body: DecisionBack = decision.body
    closes = micros(body.expires_at)
    singles = positions_of(decision, slot)
    withdrawn = tuple(
        reason
        for at, reason in sorted(withdrawals.get(body.subject or "", ()))
        if decision.at <= at <= closes
    )
    if withdrawn:
        return [
            Verdict(single, counts=False, reward=0.0, withdrawals=withdrawn) for single in singles
        ]
    inside = [
        event
        for event in history
        if outside(event.at - decision.at, closes - decision.at, tolerance) is None
        and event.body.slot_id == body.slot_id
    ]
    actions = [single.body.action_id for single in singles]
    shown = {position for event in inside for position in _shown(event.body, actions, slot)}
    copies = {_earning(event, slot) for event in inside if _earns(event.body, len(singles), slot)}
    earned = _distinct(copies)
    return [
        _verdict(
            single,
            slot,
            shown=position in shown,
            earned=[(at, value) for at, value, place, _ in earned if place == position],
            copies=len(copies),
        )
        for position, single in enumerate(singles)
    ]


def _verdict(
    single: Event, slot: Slot, *, shown: bool, earned: Sequence[tuple[int, float]], copies: int
) -> Verdict:
    counts = shown or not (slot.needs_impression or single.body.deferred)
    if earned and slot.click_without_impression == "count":
        counts = True
    if not counts:
        return Verdict(single, counts=False, reward=0.0, copies=copies)
    values = [value for _, value in earned] or [slot.default_reward]
    total = {
        "first": values[0],
        "max": max(values),
        "sum": fsum(map(on_grid, values)) if earned else values[0],
    }[slot.reward_aggregation]
    low, high = slot.reward_range
    return Verdict(
        decision=single,
        counts=True,
        reward=on_grid(min(1.0, max(0.0, (total - low) / (high - low)))),
        rewards=len(earned),
        first_at=earned[0][0] if earned else None,
        copies=copies,
    )


def _shown(body: object, actions: Sequence[str], slot: Slot) -> Iterable[int]:
    """Say which positions an event shows; none where it names what is not there."""
    if not isinstance(body, Impression) or (slot.viewable_only and not body.viewable):
        return ()
    named = range(len(actions)) if body.position is None else [body.position]
    right = [
        position
        for position in named
        if position < len(actions) and body.action_id in (None, actions[position])
    ]
    return right if body.action_id is None else right[:1]


def _earns(body: Impression | Click | Reward, positions: int, slot: Slot) -> bool:
    low, high = slot.reward_range
    if isinstance(body, Impression) or (body.position or 0) >= positions:
        return False
    return isinstance(body, Click) or low <= body.value <= high


_Earning = tuple[int, float, int, str]
"""A click or reward: its time, value, position and id."""


def _earning(event: Event, slot: Slot) -> _Earning:
    body, click = event.body, isinstance(event.body, Click)
    value = slot.click_reward if click else body.value
    return event.at, value, body.position or 0, f"{'click' if click else 'reward'}/{body.id}"


def _distinct(earnings: Iterable[_Earning]) -> list[_Earning]:
    """Give the rewards by time, then by id; of those with one id the least."""
    by_id: dict[str, _Earning] = {}
    for earning in sorted(earnings):
        by_id.setdefault(earning[3], earning)
    return sorted(by_id.values(), key=lambda earning: (earning[0], earning[3]))
