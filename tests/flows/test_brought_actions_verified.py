"""New actions with every request, late, repeated and through kills: what is learned is verified."""

from pathlib import Path
from typing import Any

import msgspec

from flows.devkit.embedded import Server
from flows.devkit.verify_replay.simulated_log import simulated_log
from flows.personalize import Steps
from flows.registry import PERSONALIZE
from flows.runtime.snapshots import states_of
from flows.verification.log import Logged, copied
from operators.io.store.open import open_store
from operators.learner_state import unpack_learner
from operators.logic.deciding.contents import canonical, content_hash
from operators.logic.request_actions import MOST_REQUEST_ACTIONS
from schemas.catalog import Slot
from schemas.codec import decode, encode
from schemas.events import DecisionBack, DecisionRequest
from schemas.topics import Topic
from tests.support.verified_run import play

REQUESTS, RATE = 2_200, 500.0
BROUGHT = ("side", "wall")
"""One slot whose requests bring new actions each time, and one of slates whose actions repeat."""


def features(name: str) -> dict[str, Any]:
    """What every request says of an action."""
    return {"topic": f"t{len(name) % 3}", "n": [len(name), 0.5], "of": {"name": name}}


def candidates(request: DecisionRequest) -> list[Any]:
    """What a request brings: the same again where it comes twice."""
    number = int(request.id.removeprefix("r"))
    if request.slot_id == "wall":
        names = [f"old-{(number + step) % 9}" for step in range(5)]
    else:
        names = [f"new-{number}-{step}" for step in range(5)]
        if number % 10 == 0:
            names[0] = f"old-{number % 5}"
    brought = [{"id": name, "features": features(name)} for name in names]
    return brought if number % 4 else [*brought, "bare"]


def with_actions(log: list[Logged]) -> list[Logged]:
    """The log, where all but the slates' slot is one slot, and requests bring their actions."""
    changed = []
    for each in log:
        value = each.value
        for name in (b"home", b"hero", b"strip", b"foot"):
            if each.topic is not Topic.CATALOG:
                value = value.replace(b'"slot_id":"%b"' % name, b'"slot_id":"side"')
        body = decode(each.topic, value)
        if isinstance(body, Slot) and body.slot_id in BROUGHT:
            body.candidates, body.log_candidates = "request", body.slot_id == "wall"
            value = encode(body)
        elif isinstance(body, DecisionRequest) and body.slot_id in BROUGHT and body.id[0] == "r":
            record = msgspec.json.decode(value) | {"actions": candidates(body)}
            value = msgspec.json.encode(record)
        changed.append(msgspec.structs.replace(each, value=value))
    return changed


def test_what_requests_bring_is_decided_logged_learned_and_stored(
    broker: Server, valkey: Server, tmp_path: Path
) -> None:
    log = with_actions(simulated_log(REQUESTS, RATE, partitions=2, seed=8))
    settings, run = play("brought", log, broker, valkey, tmp_path, kills=3, seed=1, speed=1.0)
    found = run.verification
    assert found.holds, found
    assert found.forgotten > 0
    learner = unpack_learner(states_of(settings, PERSONALIZE)[Steps.LEARNERS]["side"])
    known = learner.request_actions
    assert len(learner.retired) == MOST_REQUEST_ACTIONS
    assert known.contents.keys() <= learner.retired.keys()
    assert len(known.contents) > 900
    for name, content in known.contents.items():
        assert content.text == canonical(features(name))
    made = [
        body
        for each in copied(settings)
        if each.topic is Topic.DECISIONS
        and isinstance(body := decode(each.topic, each.value), DecisionBack)
        and body.slot_id in BROUGHT
    ]
    named: dict[str, dict[str, Any]] = {}
    for body in made:
        shown = [placed.action_id for placed in body.slate or ()] or [body.action_id]
        logged = {
            each.action_id: msgspec.json.decode(each.features) for each in body.contents or ()
        }
        assert logged == {name: features(name) for name in logged}
        assert {name for name in shown if name != "bare"} <= logged.keys()
        assert len(logged) == (5 if body.slot_id == "wall" else len(set(shown) - {"bare"}))
        named |= logged
    store = open_store(settings.store)
    assert store.counts()["action_contents"] == len(named)
    (row,) = store.decision(made[0].decision_id)
    hashes = {name: content_hash(canonical(each)) for name, each in named.items()}
    names = [each.action_id for each in made[0].contents or ()]
    assert (row["contents"] or {}) == {name: hashes[name] for name in names}
    store.close()
