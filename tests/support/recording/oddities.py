"""Records of the recorded log that are refused, each for a reason of its own."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import numpy as np
from numpy.random import Generator

from flows.devkit.simulation.malformed import KINDS, OF_REQUESTS, malformed
from flows.verification.log import Logged
from schemas.codec import encode
from schemas.events import Click, DecisionRequest, Impression, Reward
from schemas.topics import Topic
from tests.support.recording.catalog import BURST, BURSTS, GAP, START, WINDOW, begins
from tests.support.recording.sending import home, ms, sent
from tests.support.recording.visits import USERS

LARGEST = 100_000
"""Bytes of a record that are read."""

_TOPICS = (Topic.CLICKS, Topic.IMPRESSIONS, Topic.REWARDS, Topic.CONSENTS)
_TYPES = {"consents": "consent"}
_UNSENT = ("oversize", "deep_nesting")
"""Kinds that no broker takes, or that depend on the depth of the stack."""


def awkward(number: int, start: datetime) -> Iterator[Logged]:
    """Give events that attribution or admission refuses, each for a reason of its own."""
    at = start + timedelta(seconds=5)
    for user in (1, 2, 3):
        subject, name = f"visitor-{user}", f"odd-{number}-{user}"
        base: dict[str, Any] = {"subject": subject, "slot_id": "hero"}
        about_it: dict[str, Any] = {**base, "decision_id": name}

        def request(id_: str, time: datetime = at, **changes: Any) -> Logged:
            asked = DecisionRequest(**{"id": id_, "time": time, **base, **changes})  # noqa: B023
            return sent(Topic.DECISION_REQUESTS, asked, ms(at))

        yield request(name)
        yield request(f"{name}-again", decision_id=name, context={"age": 7})
        yield request(f"{name}-nowhere", slot_id="nowhere")
        yield request(f"{name}-nothing", actions=["a-9"])
        yield request(f"{name}-stale", at - timedelta(hours=2))
        later = at + timedelta(seconds=2)
        yield sent(
            Topic.IMPRESSIONS, Impression(id=f"{name}-1", time=later, action_id="a-9", **about_it)
        )
        yield sent(Topic.IMPRESSIONS, Impression(id=f"{name}-2", time=later, **about_it))
        wrong = {**about_it, "slot_id": "side"}
        yield sent(Topic.CLICKS, Click(id=f"{name}-3", time=later, **wrong))
        before = Click(id=f"{name}-4", time=at - timedelta(seconds=3), **about_it)
        yield sent(Topic.CLICKS, before, ms(later))
        beyond = Click(id=f"{name}-5", time=at + timedelta(seconds=40), **about_it)
        yield sent(Topic.CLICKS, beyond)
        yield sent(Topic.REWARDS, Reward(id=f"{name}-6", time=later, value=7.5, **about_it))
        nobody = {**about_it, "decision_id": f"{name}-unheard-of"}
        yield sent(Topic.CLICKS, Click(id=f"{name}-7", time=later, **nobody))
        if number == BURSTS - 1 and home(subject) == 0:  # where much came since the first burst
            old = {**about_it, "decision_id": f"odd-0-{user}"}
            aged = Click(id=f"{name}-8", time=later - timedelta(seconds=2 * GAP - 5), **old)
            yield sent(Topic.CLICKS, aged, ms(later))
        elsewhere = Click(id=f"{name}-9", time=later, **about_it)
        there = 1 - home(subject)
        yield Logged(ms(later), Topic.CLICKS, there, subject.encode(), encode(elsewhere))
        yield Logged(ms(later), Topic.CLICKS, home(subject), b"another", encode(elsewhere))


def spoiled(rng: Generator, number: int, start: datetime) -> Iterator[Logged]:
    """Give records that are wrong in every way, on all topics in turn."""
    kinds = sorted(KINDS.keys() - set(_UNSENT))
    for place, kind in enumerate(kinds):
        at = start + timedelta(seconds=2.0 + 0.5 * place)
        topic = Topic.DECISION_REQUESTS
        if kind not in OF_REQUESTS:
            topic = (topic, *_TOPICS)[(place + number) % 5]
        subject = f"visitor-{int(rng.integers(USERS))}"
        good = {
            "id": f"m-{number}-{place}",
            "time": at.isoformat(),
            "subject": subject,
            "slot_id": "hero",
            "decision_id": f"m-{number}-{place}",
            "value": 1.0,
            "purposes": [1],
            **({"type": _TYPES[topic]} if topic in _TYPES else {}),
        }
        key = subject.encode()
        yield Logged(ms(at), topic, home(subject), key, malformed(kind, rng, good))
    subject = "visitor-1"
    large = b'{"id": "' + b"x" * LARGEST + b'"}'
    yield Logged(ms(start), Topic.CLICKS, home(subject), subject.encode(), large)
    entry = {"id": f"broken-{number}", "type": "slot", "time": start.isoformat(), "slot_id": "odd"}
    for wrong in ({"floor": 2}, {"slot_id": ""}, {"features": {"hashed": {"a": 1}}}):
        value = msgspec.json.encode({**entry, **wrong})
        yield Logged(ms(start), Topic.CATALOG, 0, b"broken", value)


def contradicted(number: int, decisions: Sequence[Logged]) -> list[Logged]:
    """Give decisions again: the same, another one, and some that nobody can use."""
    rng = np.random.default_rng([number, 99])
    now = ms(begins(number)) + round(1000 * (BURST + 5.0))
    log: list[Logged] = []
    for place in rng.permutation(len(decisions))[:12].tolist():
        each = decisions[place]
        body: dict[str, Any] = msgspec.json.decode(each.value)
        nameless = {**body, "subject": None}  # so that no copy in Redis depends on which is last
        other = {**nameless, "action_id": "a-0" if body["action_id"] != "a-0" else "a-1"}
        broken = {**nameless, "key": f"{place:016x}", "features": "not base64"}
        unknown = {**nameless, "key": f"{place + 10**6:016x}", "slot_id": "nowhere"}
        late = {**nameless, "key": f"{place + 10**7:016x}", "time": START.isoformat()}
        late["expires_at"] = (START + timedelta(seconds=WINDOW)).isoformat()
        said = [body, other, broken, unknown]
        if number == BURSTS - 1 and each.partition == 0:
            said.append(late)
        for one in said:
            value = msgspec.json.encode(one)
            log.append(Logged(now, Topic.DECISIONS, each.partition, each.key, value))
    return log
