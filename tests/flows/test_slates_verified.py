"""A slot shows more and fewer actions while decisions are out: each event follows its own slate."""

from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from flows.devkit.embedded import Server
from flows.devkit.verify_replay.simulated_log import START, simulated_log
from flows.verification.log import Logged, copied, sort_log
from flows.verification.reading import dead_letters_of
from operators.io.kafka.partition import read_partition
from schemas.catalog import Slot
from schemas.codec import decode, encode
from schemas.events import DecisionBack
from schemas.results import Outcome
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.verified_run import play

REQUESTS, RATE = 400, 100.0
SIZES = {1.5: 1, 2.5: 5, 3.5: 2}
"""How many actions the slot shows from so many seconds on; three before."""


def with_changes(log: list[Logged]) -> list[Logged]:
    """The log, and catalog records that change the size of the slate."""
    (wall,) = [
        slot
        for each in log
        if each.topic is Topic.CATALOG
        and isinstance(slot := decode(each.topic, each.value), Slot)
        and slot.slot_id == "wall"
    ]
    changes = [
        replace(wall, id=f"wall-{size}", time=START + timedelta(seconds=at), slate_size=size)
        for at, size in SIZES.items()
    ]
    return sort_log([*log, *(replace(log[0], value=encode(change)) for change in changes)])


def final_outcomes(settings: Settings) -> dict[str, list[str]]:
    """The actions of each decision's final outcomes, by its id."""
    actions: dict[str, list[str]] = defaultdict(list)
    for shard in range(settings.kafka.partitions):
        for payload, *_ in read_partition(settings.kafka, Topic.OUTCOMES, shard, lambda: START):
            outcome = decode(Topic.OUTCOMES, payload)
            assert isinstance(outcome, Outcome)
            if outcome.status != "pending":
                actions[outcome.decision_id].append(outcome.action_id)
    return actions


def test_each_event_follows_the_slate_that_its_decision_showed(
    broker: Server, valkey: Server, tmp_path: Path
) -> None:
    log = with_changes(simulated_log(REQUESTS, RATE, partitions=2, seed=4))
    settings, run = play("slates", log, broker, valkey, tmp_path, kills=0, seed=0, speed=4.0)
    found = run.verification
    assert found.holds, found
    assert found.skipped == ["wall"]
    decisions = [
        decision
        for each in copied(settings)
        if each.topic is Topic.DECISIONS
        and isinstance(decision := decode(each.topic, each.value), DecisionBack)
    ]
    shown = {
        each.decision_id: [placed.action_id for placed in each.slate or ()] or [each.action_id]
        for each in decisions
    }
    lengths = Counter(len(shown[each.decision_id]) for each in decisions if each.slot_id == "wall")
    assert lengths.keys() == {1, 2, 3, 5}
    outcomes = final_outcomes(settings)
    assert {name: sorted(actions) for name, actions in outcomes.items()} == {
        name: sorted(actions) for name, actions in shown.items()
    }
    reasons = Counter(
        reason
        for shard in range(settings.kafka.partitions)
        for reason in dead_letters_of(settings, shard).reasons.values()
    )
    assert reasons["wrong_position"] > 0
    assert not reasons["no_decision"]
