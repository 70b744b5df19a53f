"""The visitors of the recorded log: ordinary ones, awkward ones and records that are spoiled."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import msgspec
import numpy as np

from flows.verification.log import Logged, sort_log
from schemas.codec import encode
from schemas.events import Click, Consent, DecisionRequest, Impression
from schemas.topics import Topic
from tests.support.recording.catalog import BURST, BURSTS, CROWD, START, begins, catalog
from tests.support.recording.oddities import awkward, contradicted, spoiled
from tests.support.recording.sending import PARTITIONS, home, ms, names, sent
from tests.support.recording.visits import PURPOSES, USERS, delivered, visit

VISITS = 170
"""Of ordinary visitors in a burst."""

CROWD_REQUESTS, CROWD_SIZE = 4_400, 1_100


def opening() -> list[Logged]:
    """Give the catalog and the first consents."""
    log = [
        Logged(ms(START), Topic.CATALOG, 0, each.id.encode(), encode(each)) for each in catalog()
    ]
    names = [*(f"visitor-{n}" for n in range(USERS) if n % 6), *crowd()]
    for name in names:
        consent = Consent(id=f"consent-{name}", time=START, subject=name, purposes=PURPOSES)
        log.append(sent(Topic.CONSENTS, consent))
    return sort_log(log)


def burst(number: int, seed: int) -> list[Logged]:
    """Give the records of a burst."""
    rng = np.random.default_rng([seed, number])
    start = begins(number)
    log: list[Logged] = []
    for place in range(VISITS):
        at = start + timedelta(seconds=1.0 + place * (BURST - 5.0) / VISITS)
        for topic, record in visit(rng, f"{number}-{place}", at):
            log += delivered(rng, topic, record)
    log += spoiled(rng, number, start)
    log += awkward(number, start)
    if number == 1:
        log += _of_the_crowd(start)
    return sort_log(log)


def ending() -> list[Logged]:
    """Let time pass in each partition, then click on what nobody decided."""
    at = begins(BURSTS)
    log = []
    for shard in range(PARTITIONS):
        name = next(name for name in names("end-of-log") if home(name) == shard)
        log.append(sent(Topic.CONSENTS, Consent(id=name, time=at, subject=name, purposes=[])))
        later = at + timedelta(seconds=1)
        orphan = Click(
            id=f"orphan-{shard}", time=later, subject=name, slot_id="hero", decision_id="never-made"
        )
        log.append(sent(Topic.CLICKS, orphan))
    return sort_log(log)


def hindsight(number: int, asked: Sequence[Logged], decisions: Sequence[Logged]) -> list[Logged]:
    """Give what can only be said once a burst was decided, in the order of time."""
    return sort_log(_named(number, asked, decisions) + contradicted(number, decisions))


def _of_the_crowd(start: datetime) -> Iterator[Logged]:
    names = crowd()
    for number in range(CROWD_REQUESTS):
        at = start + timedelta(seconds=2.0 + number * (BURST - 10.0) / CROWD_REQUESTS)
        name = names[number * 7 % len(names)]
        yield sent(
            Topic.DECISION_REQUESTS,
            DecisionRequest(id=f"q-{number}", time=at, subject=name, slot_id=CROWD),
        )


def crowd() -> list[str]:
    """Name the visitors of the crowd: all of them in partition 0."""
    found = []
    for name in names("crowd"):
        if home(name) == 0:
            found.append(name)
        if len(found) == CROWD_SIZE:
            break
    return found


def _named(number: int, asked: Sequence[Logged], decisions: Sequence[Logged]) -> list[Logged]:
    """Give impressions that name the action, later than most, for what a burst decided."""
    bodies = [msgspec.json.decode(each.value) for each in decisions]
    decided = {body["decision_id"]: body["action_id"] for body in bodies}
    at = begins(number) + timedelta(seconds=BURST)
    log: list[Logged] = []
    for each in asked:
        if each.topic is not Topic.DECISION_REQUESTS:
            continue
        try:
            request = msgspec.json.decode(each.value, type=DecisionRequest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        action = decided.get(request.decision_id or request.id)
        late = (at - request.time).total_seconds()
        if action is None or not 0.0 < late < 20.0 or request.slot_id == CROWD:
            continue
        impression = Impression(
            id=f"named-{request.id}",
            time=at,
            subject=request.subject,
            slot_id=request.slot_id,
            decision_id=request.decision_id or request.id,
            action_id=action,
            viewable=True,
        )
        log.append(sent(Topic.IMPRESSIONS, impression))
    return log
