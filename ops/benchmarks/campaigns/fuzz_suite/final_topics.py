"""The topics as they are in the end: who was answered how often, and what is left without the bad.

A spoiled record is bad where a dead letter of ours names it, by its place and its hash, and where
it repeats a request that a dead letter has answered: repeated, it gets no answer of its own. In the
copy that is verified a bad record is replaced by an empty one, so that offsets stay; so are those
of wild slots, whose catalog is changed for times that have been, as no recomputation knows it.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from flows.devkit.demo_catalog import SLOT
from flows.devkit.verify_replay.runs import Feed, prepare
from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.snapshots import states_of
from flows.verification.answers import REFUSALS
from flows.verification.log import Logged
from flows.verification.reading import ledger_of
from operators.decode import join_key, pseudonym_of
from operators.io.kafka.partition import read_partition
from operators.logic.attribution.pending import LIVE
from operators.logic.attribution.reasons import OUTSIDE_WINDOW
from schemas.codec import Flaw, decode
from schemas.results import DeadLetter
from schemas.settings import Settings
from schemas.topics import Topic

Place = tuple[str, int, int]
Offsets = Mapping[tuple[str, int], set[int]]
"""Offsets of the spoiled records by topic and partition."""

VERIFIED = (*PERSONALIZE.resumes, Topic.CATALOG, Topic.OUTCOMES, Topic.DEAD_LETTERS)
"""The topics that a verification of what was decided and learned reads."""


@dataclass
class FinalTopics:
    """What a scan of the topics final."""

    records: int = 0
    spoiled: int = 0
    bad: set[Place] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    twice: int = 0
    """Records with two dead letters."""
    good_refused: Counter[str] = field(default_factory=Counter)
    """Records of visitors, not spoiled, that were refused, by topic and reason.

    But for clicks after the reward window: on a busy machine visitors may take so long.
    """
    good_requests: int = 0
    answered: Counter[int] = field(default_factory=Counter)
    """How many requests had how many answers."""


def scan(settings: Settings, spoiled: Offsets) -> FinalTopics:
    """Read the dead letters, then the requests of visitors and their answers."""
    final = FinalTopics(spoiled=sum(map(len, spoiled.values())))
    letters: dict[Place, list[DeadLetter]] = {}
    for shard in range(settings.kafka.partitions):
        for payload, _, offset, _ in read_partition(
            settings.kafka, Topic.DEAD_LETTERS, shard, system_clock
        ):
            letter = decode(Topic.DEAD_LETTERS, payload)
            if offset not in spoiled.get((Topic.DEAD_LETTERS.value, shard), ()) and isinstance(
                letter, DeadLetter
            ):
                place = (letter.topic, letter.partition, letter.offset)
                letters.setdefault(place, []).append(letter)
    asked = _count_answers(settings, spoiled, final)
    final.twice = sum(len(same) > 1 for same in letters.values())
    repeats: dict[int, list[Place]] = defaultdict(list)
    refused: set[int] = set()
    secret = settings.secret.encode()
    for topic in (*PERSONALIZE.resumes, Topic.CATALOG):
        for shard in range(settings.kafka.partitions_of(topic)):
            for payload, _, offset, _ in read_partition(settings.kafka, topic, shard, system_clock):
                final.records += 1
                place = (topic.value, shard, offset)
                of_it = letters.get(place)
                key = request_key(secret, payload) if topic is Topic.DECISION_REQUESTS else None
                if key is not None and offset in spoiled.get(place[:2], ()):
                    repeats[key].append(place)
                if of_it and of_it[0].hash == hashlib.sha256(payload).hexdigest():
                    final.reasons[of_it[0].reason] += 1
                    if offset in spoiled.get(place[:2], ()):
                        final.bad.add(place)
                        if key is not None and of_it[0].reason in REFUSALS:
                            refused.add(key)
                    elif of_it[0].reason == OUTSIDE_WINDOW:
                        continue
                    elif topic is not Topic.DECISIONS or _key_of(payload) in asked:
                        final.good_refused[f"{topic}: {of_it[0].reason}"] += 1
    for key in refused:
        final.bad.update(repeats[key])
    return final


def request_key(secret: bytes, payload: bytes) -> int | None:
    """Compute the join key of a request; None where it cannot be read."""
    body = decode(Topic.DECISION_REQUESTS, payload)
    if isinstance(body, Flaw):
        return None
    return join_key(pseudonym_of(secret, body.subject), body.decision_id or body.id)


def _key_of(payload: bytes) -> int:
    return int(getattr(decode(Topic.DECISIONS, payload), "key", "0"), 16)


def _count_answers(settings: Settings, spoiled: Offsets, final: FinalTopics) -> set[int]:
    """Count the answers of visitors' requests; give the keys of these."""
    asked: set[int] = set()
    answers: Counter[int] = Counter()
    secret = settings.secret.encode()
    for shard in range(settings.kafka.partitions):
        for topic in (Topic.DECISION_REQUESTS, Topic.DECISIONS):
            foreign = spoiled.get((topic.value, shard), ())
            for payload, _, offset, _ in read_partition(settings.kafka, topic, shard, system_clock):
                body = decode(topic, payload)
                if offset in foreign or isinstance(body, Flaw):
                    continue
                if topic is Topic.DECISIONS:
                    answers[int(body.key, 16)] += 1
                else:
                    key = request_key(secret, payload)
                    asked |= {key} if key is not None else set()
    final.good_requests = len(asked)
    final.answered = Counter(answers[key] for key in asked)
    return asked


def without_the_bad(
    settings: Settings, folder: Path, spoiled: Offsets, bad: set[Place]
) -> Settings:
    """Copy the topics without bad records and foreign ones of ours; give the copy's settings.

    What the personalize flow kept is the original's, by links in ``folder``.
    """
    folder.mkdir()
    for entry in Path(settings.state.recovery).iterdir():
        if entry.name != "persist":
            (folder / entry.name).symlink_to(entry)
    copy = settings.replaced(
        topic_prefix=f"{settings.kafka.topic_prefix}good-",
        recovery=str(folder),
        store=f"sqlite:{folder / 'none.db'}",
    )
    prepare(copy)
    feed = Feed(copy)
    for topic in VERIFIED:
        for shard in range(settings.kafka.partitions_of(topic)):
            own = topic in (Topic.OUTCOMES, Topic.DEAD_LETTERS)
            foreign = spoiled.get((topic.value, shard), set()) if own else set()
            sorted_out = topic in (Topic.DECISION_REQUESTS, Topic.DECISIONS, Topic.OUTCOMES)
            for payload, key, offset, time in read_partition(
                settings.kafka, topic, shard, system_clock
            ):
                gone = offset in foreign or (topic.value, shard, offset) in bad
                gone |= sorted_out and slot_of(topic, payload) not in (SLOT, None)
                value = b"" if gone else payload
                feed.send(Logged(max(0, time // 1000), topic, shard, key, value))
    feed.flush()
    return copy


def slot_of(topic: Topic, payload: bytes) -> str | None:
    """Name the slot that a record is about; None where it says none, or cannot be read."""
    return getattr(decode(topic, payload), "slot_id", None)


def pending_elsewhere(settings: Settings) -> int:
    """Count the pending decisions of wild slots."""
    states, count = states_of(settings, PERSONALIZE), 0
    for shard in range(settings.kafka.partitions):
        ledger = ledger_of(settings, states, shard)
        pending, classes = ledger.pending, ledger.classes.all
        numbers = pending.decision_class[np.flatnonzero(pending.flags & LIVE)].tolist()
        count += sum(classes[number].slot_id != SLOT for number in numbers)
    return count
