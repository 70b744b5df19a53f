"""Whole records, spoiled: a valid one of any topic, changed in its fields, its bytes or its place.

The same seed and number make the same record, given the same surroundings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple
from zlib import crc32

import msgspec

from operators.decode import join_key, pseudonym_of
from operators.logic.murmur2 import partition_of
from operators.logic.policies import KINDS
from operators.logic.policies.beta import BetaParams
from operators.logic.policies.diagonal import DiagonalParams
from operators.logic.policies.greedy import GreedyParams
from operators.logic.policies.linear import GaussianParams, LogisticParams
from operators.logic.policies.simple import SplitParams
from schemas.catalog import Action, Slot
from schemas.clock import micros
from schemas.topics import TOPICS, Subject, Topic
from tests.support.fuzz.damage import BYTES, encoded, unreadable
from tests.support.fuzz.extremes import extreme, extreme_like
from tests.support.fuzz.shapes import START, Shapes, Tree, places, put, value_at, written

WILD_SLOTS = tuple(f"wild-{n}" for n in range(12))
WILD_ACTIONS = tuple(f"wild-action-{n}" for n in range(24))
WILD_SUBJECTS = tuple(f"wild-visitor-{n}" for n in range(40))
WILD_DECISIONS = tuple(f"d-{n}" for n in range(500))

_ABOUT_ALL = (Topic.OUTCOMES, Topic.PROFILES, Topic.DEAD_LETTERS)
_ABOUT_GOOD = (Topic.DECISIONS,)
_SOON = timedelta(seconds=12)
"""Good visitors' decisions are contradicted, in time: who contradicts later is the first again."""

_PARAMS = (
    BetaParams, DiagonalParams, GreedyParams, GaussianParams, LogisticParams, SplitParams
)  # fmt: skip


class FuzzRecord(NamedTuple):
    """A record on its way to a topic.

    ``time`` is the producer's timestamp in microseconds. ``refused`` says that nothing can be done
    with such a record: it must become a dead letter, whatever else holds; ``spoiled`` that it is
    none of the good ones.
    """

    topic: Topic
    partition: int
    key: bytes | None
    value: bytes | None
    time: int
    refused: bool
    spoiled: bool = True


class Decided(NamedTuple):
    """A decision that records may be about."""

    subject: str
    decision_id: str
    slot_id: str
    action_id: str
    key: str
    partition: int
    time: datetime = START


def wild_keys(secret: bytes) -> dict[int, str]:
    """Name the wild visitors by the keys of their decisions: a decision names a pseudonym only."""
    return {
        join_key(pseudonym, decision_id): subject
        for subject in WILD_SUBJECTS
        for pseudonym in (pseudonym_of(secret, subject),)
        for decision_id in WILD_DECISIONS
    }


@dataclass(frozen=True)
class Surroundings:
    """What is going on while records are made: the time, and whom they may be about.

    ``visitors`` are good ones: only what must be refused is said in their name. Wild actions may
    come to the ``shared`` slots.
    """

    now: datetime
    slots: Sequence[str]
    visitors: Sequence[str]
    decided: Sequence[Decided] = ()
    shared: Sequence[str] = ()


@dataclass
class Fuzzer:
    """Makes spoiled records of some topics; ``large`` is the share of values that cost something.

    ``skew`` is the share of records with a producer's timestamp that is none.
    """

    seed: int
    partitions: int
    topics: Sequence[Topic]
    large: float = 0.0005
    skew: float = 0.02
    _types: dict[Topic, list[type[msgspec.Struct]]] = field(init=False)

    def __post_init__(self) -> None:
        """Look up what lies on each topic."""
        self._types = {topic: list(TOPICS[topic].records()) for topic in self.topics}

    def make(self, number: int, about: Surroundings) -> FuzzRecord:
        """Make one record."""
        rng = Random(f"{self.seed}/{number}")
        topic = rng.choice(self.topics)
        good_name = TOPICS[topic].subject is Subject.RAW and rng.random() < 0.1
        if good_name:
            known = self._unknown(rng, topic, rng.choice(about.visitors), about)
        else:
            known = self.known(rng, topic, about)
        tree = self.valid(rng, number, topic, known, about)
        if good_name:
            value, refused = unreadable(rng, tree)
            return self._in_its_place(rng, topic, known, about, value, refused)
        time = tree.get("time")
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 3))):
            tree = self._changed(rng, tree)
        if topic in _ABOUT_GOOD and known in about.decided and isinstance(tree, dict):
            tree = {**tree, "time": time}  # whoever contradicts does so later
        value, refused = encoded(rng, tree), False
        if rng.random() < 0.15:
            value = rng.choice(BYTES)(rng, value)
        elif rng.random() < 0.05:
            value, refused = unreadable(rng, tree)
        return self._in_its_place(rng, topic, known, about, value, refused)

    def known(self, rng: Random, topic: Topic, about: Surroundings) -> Decided:
        """Choose a decision to be about: one that was made, or one that never was."""
        if about.decided and rng.random() < 0.5:
            known = rng.choice(about.decided)
            subjects = about.visitors if topic in _ABOUT_GOOD else WILD_SUBJECTS
            new = about.now - _SOON < known.time <= about.now + _SOON
            known_here = known.subject in subjects and (new or topic not in _ABOUT_GOOD)
            if topic in _ABOUT_ALL or known_here:
                return known
        return self._unknown(rng, topic, rng.choice(WILD_SUBJECTS), about)

    def _unknown(self, rng: Random, topic: Topic, subject: str, about: Surroundings) -> Decided:
        return Decided(
            subject=subject,
            decision_id=rng.choice(WILD_DECISIONS),
            slot_id=self._slot(rng, topic, about),
            action_id="a0",
            key=f"{rng.getrandbits(64):016x}",
            partition=partition_of(subject.encode(), self.partitions),
        )

    def valid(
        self, rng: Random, number: int, topic: Topic, known: Decided, about: Surroundings
    ) -> dict[str, Tree]:
        """Make a record that decodes; ``known`` is the decision that it is about."""
        type_ = rng.choice(self._types[topic])
        subject = known.subject
        if TOPICS[topic].subject is not Subject.RAW:
            subject = f"{crc32(subject.encode()):032x}"
        late = () if topic is Topic.CONSENTS else (-30, -120)  # none that comes in vain
        at = about.now + timedelta(seconds=rng.choice((0, 0, -0.5, -1, -5, 0.2, *late)))
        if topic is Topic.DECISIONS and known in about.decided:
            at = about.now + timedelta(seconds=0.2)  # whoever contradicts comes later
        names: dict[str, Callable[[Random], Tree]] = {
            "id": lambda r: f"z-{number}" if r.random() < 0.9 else f"z-{r.randrange(100)}",
            "subject": lambda _: subject,
            "slot_id": lambda _: known.slot_id,
            "decision_id": lambda _: known.decision_id,
            "action_id": lambda _: known.action_id,
            "key": lambda _: known.key,
            "subject_window": lambda r: r.choice((None, f"{r.randrange(3):08x}")),
            "time": lambda _: written(at),
            "expires_at": lambda r: written(at + timedelta(seconds=r.choice((0.0, 5.0, 20.0)))),
            "purposes": lambda r: r.choice(([], [1, 5, 6, 8, 10, 11], [1, 10])),
            "features": lambda r: r.choice((None, "AACAPwAAAAA=", "AACAPw==")),
            "type": lambda _: topic.value.removesuffix("s"),
        }
        if topic is Topic.DECISION_REQUESTS:
            names["context"] = _context
        if topic is Topic.CATALOG:
            del names["features"]
            names |= _catalog_names(rng, type_, about)
        if topic is Topic.PROFILES:
            del names["features"]
        return Shapes(names).record(rng, type_)

    def _slot(self, rng: Random, topic: Topic, about: Surroundings) -> str:
        if topic is Topic.CATALOG or rng.random() < 0.5:
            return rng.choice(WILD_SLOTS)
        return rng.choice(about.slots) if rng.random() < 0.9 else "no-such-slot"

    def _changed(self, rng: Random, tree: Tree) -> Tree:
        """Change a record in one place."""
        what, paths = rng.random(), list(places(tree))
        if not paths:
            return tree
        path = rng.choice(paths)
        if what < 0.55:
            return put(tree, path, extreme_like(rng, value_at(tree, path), self.large))
        if what < 0.72:
            return put(tree, path, extreme(rng, self.large))
        if what < 0.82:
            return {name: value for name, value in tree.items() if name != path[0]}
        if what < 0.9:
            return put(tree, (rng.choice(("extra", "context", "__class__", "")),), 1)
        if what < 0.95:
            return dict.fromkeys(tree, None)
        return {name: value if rng.random() < 0.5 else None for name, value in tree.items()}

    def _in_its_place(
        self,
        rng: Random,
        topic: Topic,
        known: Decided,
        about: Surroundings,
        value: bytes | None,
        refused: bool,
    ) -> FuzzRecord:
        spec = TOPICS[topic]
        key: bytes | None = known.subject.encode()
        partition = known.partition if spec.shared else 0
        time = micros(about.now)
        if spec.subject is Subject.PSEUDONYM:
            partition = self._home(value, known)
        if spec.subject is not Subject.RAW:
            key = rng.choice((None, key, b"\xff"))
        elif rng.random() < 0.05:
            key = rng.choice((None, b"", b"\xff\xfe", b"another", b"x" * 5000))
        elif rng.random() < 0.03:
            partition = (partition + 1) % self.partitions
        if rng.random() < self.skew:
            time = rng.choice(
                (0, -1000, 1_000_000, time - 86_400_000_000, 2**53, 2**62, 2**63 * 1000 - 1000)
            )
        return FuzzRecord(topic, partition, key, value, time, refused)

    def _home(self, value: bytes | None, known: Decided) -> int:
        """Find the partition of one of our own records: that of what it says that it is about.

        Records about one thing are in one partition, or nothing says which of two comes first.
        """
        try:
            tree = msgspec.json.decode(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return known.partition
        about = tree.get("key", tree.get("subject")) if isinstance(tree, dict) else known.key
        return (
            known.partition if about == known.key else crc32(repr(about).encode()) % self.partitions
        )


def _context(rng: Random) -> Tree:
    return {
        "age": rng.randrange(90),
        "device": rng.choice(("phone", "desktop")),
        "taste": [rng.random(), rng.random()],
        "page": f"p{rng.randrange(7)}",
    }


def _catalog_names(
    rng: Random, type_: type, about: Surroundings
) -> dict[str, Callable[[Random], Tree]]:
    """Say what catalog records hold: wild slots and actions, which may come again and go again."""
    slot_id, action_id = rng.choice(WILD_SLOTS), rng.choice(WILD_ACTIONS)
    names: dict[str, Callable[[Random], Tree]] = {
        "slot_id": lambda _: slot_id,
        "action_id": lambda _: action_id,
        "kind": lambda r: r.choice(KINDS),
        "params": lambda r: Shapes({}).record(r, r.choice(_PARAMS)) if r.random() < 0.5 else {},
        "reward_range": lambda r: r.choice(([0.0, 1.0], [-1.0, 1e6], [0, 3], [-1e300, 1e300])),
        "default_reward": lambda _: 0.0,
        "deleted": lambda r: r.random() < 0.1,
        "slots": lambda r: [*r.sample(WILD_SLOTS, 3), *(about.shared if r.random() < 0.05 else ())],
        "neighbours": lambda r: [{"action_id": r.choice(WILD_ACTIONS), "similarity": 0.5}],
        "reward_window": lambda r: r.choice((1.0, 10.0, 60.0)),
        "publish_interval": lambda r: r.choice((0.25, 1.0)),
        "content": _content,
    }  # fmt: skip
    if type_ is Action:
        names["features"] = lambda r: r.choice(({}, {"style": "s"}, {"x": 1.5, "v": [1, 2]}))
    elif type_ is Slot and rng.random() < 0.5:
        names["features"] = lambda _: {
            "numeric": ["age"], "categories": {"device": ["phone", "desktop"]},
            "vectors": {"taste": 2}, "hashed": {"page": 8},
        }  # fmt: skip
    return names


def _content(rng: Random) -> Tree:
    return rng.choice((None, "text", {"title": "a", "price": 9.5}, [1, 2]))
