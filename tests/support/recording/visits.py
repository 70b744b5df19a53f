"""Ordinary visitors of the recorded log: what they ask, see, click, earn and withdraw."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from numpy.random import Generator

from flows.verification.log import Logged
from schemas.events import Click, Consent, DecisionRequest, Erasure, Impression, Reward
from schemas.topics import Topic
from tests.support.recording.catalog import ACTIONS, SLOTS
from tests.support.recording.sending import ms, sent

USERS = 60
PURPOSES = [1, 5, 6, 8, 10, 11]


def visit(rng: Generator, name: str, at: datetime) -> Iterator[tuple[Topic, Any]]:
    """Give all that one request leads to."""
    user = int(rng.integers(USERS))
    slots = list(SLOTS)
    slot_id = slots[int(rng.integers(len(slots)))]
    chances = rng.random(12).tolist()
    subject = f"visitor-{user}"
    common: dict[str, Any] = {"subject": subject, "slot_id": slot_id}
    request = DecisionRequest(
        id=f"r-{name}",
        time=at,
        decision_id=f"d-{name}" if chances[0] < 0.7 else None,
        context=_context(rng, user),
        actions=[*ACTIONS[:3], "a-9"] if chances[1] < 0.1 else None,
        excluded=["a-1"] if chances[2] < 0.1 else [],
        deferred=chances[3] < 0.1,
        **common,
    )
    yield Topic.DECISION_REQUESTS, request
    about_it: dict[str, Any] = {**common, "decision_id": request.decision_id or request.id}
    seen = at + timedelta(milliseconds=20)
    if chances[4] < 0.6:
        viewable = None if chances[4] < 0.1 else chances[4] < 0.5
        yield (
            Topic.IMPRESSIONS,
            Impression(id=f"i-{name}", time=seen, viewable=viewable, **about_it),
        )
    later = seen + timedelta(seconds=float(rng.exponential(1.0)))
    if chances[5] < 0.4:
        position = int(rng.integers(4)) if slot_id == "strip" else None
        yield Topic.CLICKS, Click(id=f"c-{name}", time=later, position=position, **about_it)
        if chances[5] < 0.1:
            yield Topic.CLICKS, Click(id=f"c2-{name}", time=later, **about_it)
    if chances[6] < 0.25:
        value = round(float(rng.random()) * (3.0 if slot_id == "side" else 1.0), 3)
        yield Topic.REWARDS, Reward(id=f"w-{name}", time=later, value=value, **about_it)
    who: dict[str, Any] = {"subject": subject, "time": later}
    if chances[7] < 0.03:
        yield Topic.CONSENTS, Consent(id=f"n-{name}", purposes=[1, 10], **who)
    elif chances[7] < 0.05:
        yield Topic.CONSENTS, Erasure(id=f"e-{name}", **who)
    elif chances[7] < 0.08:
        yield Topic.CONSENTS, Consent(id=f"y-{name}", purposes=PURPOSES, version="2", **who)


def delivered(rng: Generator, topic: Topic, record: Any) -> Iterator[Logged]:
    """Send a record on time or up to three seconds late, and sometimes twice."""
    late, twice, delay = rng.random(3).tolist()
    arrives = ms(record.time) + (round(3000 * delay) if late < 0.1 else 0)
    yield sent(topic, record, arrives)
    if twice < 0.05:
        yield sent(topic, record, arrives + round(1000 * delay))


def _context(rng: Generator, user: int) -> dict[str, Any]:
    context: dict[str, Any] = {
        "age": 20 + user % 50,
        "taste": [round(float(x), 2) for x in rng.normal(size=2)],
        "device": ("phone", "desktop", "watch")[user % 3],
        "page": f"p{user % 7}",
    }
    if user % 10 == 0:
        del context["age"]
    return context
