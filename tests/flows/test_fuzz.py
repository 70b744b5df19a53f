"""Twenty thousand spoiled records among good ones: each is a dead letter, and nothing else happens.

Records are made from the schemas (``tests/support/fuzz``). A file with the fewest records that the
flow dies of is written where it does; ``python -m tests.support.fuzz.failing FILE`` plays it.
"""

import math
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest

from operators.decode import pseudonym_of
from operators.publish import REPEATS
from schemas.results import DeadLetter
from schemas.settings import Settings
from schemas.topics import STORED, Topic
from tests.support.fuzz import failing
from tests.support.fuzz.playing import (
    NAMES,
    Outputs,
    Stream,
    outputs,
    play,
    reasons_of,
    settings_for,
)
from tests.support.fuzz.records import WILD_SUBJECTS, Fuzzer, FuzzRecord, Surroundings
from tests.support.fuzz.recounted import recounted
from tests.support.fuzz.storing import alone, events_of, refused, rows_by_table, store
from tests.support.fuzz.turns import FencedSink, Place, TurnLog, time_of
from tests.support.fuzz.visitors import SLOTS

SEED, TURNS, SPOILED = 1, 58, 20_000
STORED_SPOILED = 5_000
PACKED = {"posterior", "state"}
"""Fields that hold floats in base64: what they hold is compared as decisions and statistics."""

WRITTEN = {"decisions", "outcomes", "user_profiles", "policy_snapshots", "dead_letters", "slots"}
STOPS = [("ends", 20), ("dies", 33)]
"""It is ended with a snapshot, and dies at some time after it."""


class Played(NamedTuple):
    log: TurnLog
    stream: Stream
    made: Outputs
    settings: Settings
    letters: dict[Place, DeadLetter]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("fuzz")
    settings = settings_for(folder / "recovery")
    made, log = outputs(settings.kafka.partitions), TurnLog()
    stream = Stream(settings, SEED, TURNS, SPOILED, made)
    try:
        play(log, settings, made, stream, stops=STOPS)
    except BaseException as error:
        failing.write(log, folder / "all.json")
        failing.write(failing.reduced(log), folder / "fewest.json")
        pytest.fail(f"the flow died of {folder / 'fewest.json'}: {error!r}")
    letters = made.letters()
    places = [(letter.topic, letter.partition, letter.offset) for letter in letters]
    assert len(set(places)) == len(places), "two dead letters of one record"
    return Played(log, stream, made, settings, dict(zip(places, letters, strict=True)))


def test_it_was_played_in_full(played: Played) -> None:
    assert played.stream.made >= SPOILED
    assert len(played.stream.visitors.asked) >= 900
    assert len(reasons_of(played.letters.values())) >= 12
    assert {topic for topic, _, _ in played.letters} >= {
        topic.value for topic in played.stream.topics
    }


def test_every_good_request_is_answered_once(played: Played) -> None:
    keys: Counter[int] = Counter()
    for messages in played.made.decisions.written.values():
        keys.update(int(msgspec.json.decode(message.value)["key"], 16) for message in messages)
    asked = played.stream.visitors.asked
    assert {key: keys[key] for key in asked} == dict.fromkeys(asked, 1)


def test_no_good_record_is_refused_and_every_unreadable_one_is(played: Played) -> None:
    good = {place for place, record in played.log.records() if not record.spoiled}
    assert not good & played.letters.keys()
    refused = {place for place, record in played.log.records() if record.refused}
    assert len(refused) > SPOILED // 20
    assert refused <= played.letters.keys()
    assert "processing_error" not in reasons_of(played.letters.values())
    assert not set(reasons_of(played.letters.values())) & REPEATS


def test_what_is_written_again_after_a_crash_says_the_same(played: Played) -> None:
    made = played.made
    for sink in (made.decisions, made.outcomes, made.dead_letters, made.policies):
        assert sink.again > 0
        assert not sink.other


def test_learner_and_outcomes_are_what_the_other_records_imply(played: Played) -> None:
    report = recounted(played.log, played.settings, played.made, played.letters.keys())
    assert report.holds, report
    assert len(report.actions) >= 20
    assert report.outcomes.settled > 500
    assert report.outcomes.not_learned.keys() == {"subject_limit", "robot_rate", "robot"}
    assert report.pending.decisions > 0


def test_without_the_bad_records_the_same_is_decided(played: Played, tmp_path: Path) -> None:
    """But for what wild visitors' profiles count: also what a later step could not use."""
    settings = settings_for(tmp_path)
    alone = outputs(settings.kafka.partitions)
    play(played.log, settings, alone, without=played.letters.keys(), stops=STOPS)
    assert alone.letters() == []
    assert _answered(alone) == _answered(played.made)
    profiled = {pseudonym_of(settings.secret.encode(), name) for name in WILD_SUBJECTS}
    for topic, sink in alone.of_topics().items():
        if topic is not Topic.DEAD_LETTERS:
            mixed = _of_others(topic, played.made.of_topics()[topic], profiled)
            without = _of_others(topic, sink, profiled)
            assert len(mixed) == len(without)
            different = [pair for pair in zip(mixed, without, strict=True) if not alike(*pair)]
            assert not different, (topic, different[:1])


def _answered(made: Outputs) -> set[int]:
    written = made.decisions.written.values()
    return {message.id for messages in written for message in messages}


def _of_others(topic: Topic, sink: FencedSink, subjects: set[str]) -> list[Any]:
    """Collect what was written, but for what may know of records that a later step refused.

    These are the profiles of some subjects and the decisions by them; and the wild slots, whose
    policies are published when an event comes to them, refused or not, and whose slates may take an
    impression for one position and refuse it for another.
    """
    values = [message.value for messages in sink.written.values() for message in messages]
    records = [msgspec.json.decode(value) for value in sorted(values, key=_identity)]
    if topic in (Topic.DECISIONS, Topic.PROFILES):
        records = [record for record in records if record["subject"] not in subjects]
    return [record for record in records if record.get("slot_id", "hero") in SLOTS]


def _identity(value: bytes) -> tuple[Any, ...]:
    record = msgspec.json.decode(value)
    names = ("key", "status", "revision", "subject", "slot_id", "version", "generation", "part")
    return tuple(str(record.get(name)) for name in names)


def alike(left: Any, right: Any) -> bool:
    """Say whether two records are the same but for the order in which floats were added."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(
            alike(value, right[name]) for name, value in left.items() if name not in PACKED
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(alike, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9, abs_tol=1e-9)
    return bool(left == right)


def test_the_store_holds_what_the_good_records_say(played: Played, tmp_path: Path) -> None:
    made = [
        FuzzRecord(topic, partition, message.key, message.value, 0, False)
        for topic, sink in played.made.of_topics().items()
        for partition, messages in sink.written.items()
        for message in messages
    ]
    about = Surroundings(time_of(TURNS), list(SLOTS), NAMES, played.stream.decided)
    fuzzer = Fuzzer(SEED, played.settings.kafka.partitions, STORED)
    spoiled = [fuzzer.make(number, about) for number in range(STORED_SPOILED)]
    mixed = [*made, *spoiled]
    Random(SEED).shuffle(mixed)
    events = events_of(mixed, played.settings.kafka.partitions)
    bad = refused(events)
    assert sum(map(len, bad.values())) > STORED_SPOILED // 4
    stored, fresh = store(events, tmp_path), alone(events, bad, tmp_path)
    assert rows_by_table(stored) == rows_by_table(fresh)
    assert all(count > 0 for table, count in stored.counts().items() if table in WRITTEN)
