"""The personalize flow over turns of good and of spoiled records, with a recovery store."""

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from prometheus_client import CollectorRegistry

from flows.personalize import Sinks, Sources, build
from flows.registry import PERSONALIZE
from flows.runtime.recovery import recovery_folder
from operators.decode import reader
from operators.envelope import Message
from operators.io.metrics.root import Metrics
from schemas.results import DeadLetter
from schemas.settings import Settings, load
from schemas.topics import GROUP, TOPICS, Topic
from tests.support.fuzz.records import Decided, Fuzzer, FuzzRecord, Surroundings, wild_keys
from tests.support.fuzz.turns import (
    FencedSink,
    Place,
    Run,
    TurnCatalog,
    TurnLog,
    TurnSource,
    time_of,
)
from tests.support.fuzz.visitors import SLOTS, Visitors, decided_of

NAMES = tuple(f"visitor-{n}" for n in range(60))
FUZZED = (*GROUP, Topic.CATALOG)
"""The topics that the personalize flow reads."""

_CLOSING = 8
"""Turns at the end in which nobody asks."""

_ABOUT = 60
"""How many of the newest decisions spoiled records may be about."""


def settings_for(folder: Path) -> Settings:
    """Make the settings of a flow in memory: nothing is gathered, since that takes time."""
    return load(
        {},
        secret="a secret of the tests",
        partitions=2,
        gather=0.0,
        allowed_lateness=10.0,
        dedup_horizon=100.0,
        profile_interval=5.0,
        recovery=str(folder),
    )


@dataclass
class Outputs:
    """What the flow wrote: a sink for each topic."""

    decisions: FencedSink
    outcomes: FencedSink
    profiles: FencedSink
    policies: FencedSink
    checkpoints: FencedSink
    dead_letters: FencedSink

    def of_topics(self) -> dict[Topic, FencedSink]:
        """Name the sinks by topic."""
        return {Topic(name.replace("_", "-")): sink for name, sink in vars(self).items()}

    def activity(self) -> int:
        """Count what was written."""
        return sum(map(len, vars(self).values()))

    def letters(self) -> list[DeadLetter]:
        """Read the dead letters."""
        decode = msgspec.json.Decoder(DeadLetter).decode
        written = self.dead_letters.written.values()
        return [decode(message.value) for messages in written for message in messages]


def outputs(partitions: int) -> Outputs:
    """Make empty sinks."""
    return Outputs(
        **{
            topic.value.replace("-", "_"): FencedSink(partitions if TOPICS[topic].shared else 1)
            for topic in PERSONALIZE.writes
        }
    )


@dataclass
class Stream:
    """Makes turn after turn: what visitors do, and among it so many spoiled records."""

    settings: Settings
    seed: int
    turns: int
    spoiled: int
    outputs: Outputs
    topics: Sequence[Topic] = FUZZED
    visitors: Visitors = field(init=False)
    _read: dict[int, int] = field(default_factory=dict)
    decided: list[Decided] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        """Bring the visitors and the fuzzer."""
        secret, partitions = self.settings.secret.encode(), self.settings.kafka.partitions
        self._wild = wild_keys(secret)
        self.visitors = Visitors(self.seed, partitions, secret, NAMES)
        self._fuzzer = Fuzzer(self.seed, partitions, self.topics)

    def turn(self, number: int) -> list[FuzzRecord] | None:
        """Make a turn; the last ones are quiet, so that windows close."""
        if number == self.turns:
            return None
        now = time_of(number)
        records = list(self.visitors.catalog()) if number == 0 else []
        about = Surroundings(now, list(SLOTS), NAMES, self.decided[-_ABOUT:], ["hero"])
        reactions = list(self.visitors.react(self._new_decisions()))
        first = [each for each in reactions if each.topic is Topic.DECISIONS]
        records += [each for each in reactions if each.topic is not Topic.DECISIONS]
        good = number < self.turns - _CLOSING
        if good:
            records += self.visitors.ask(number, now)
        each = -(-self.spoiled // (self.turns - _CLOSING)) if good else 0
        spoiled = [self._fuzzer.make(number * each + n, about) for n in range(each)]
        self.made += each
        mixed = [*records, *spoiled]
        Random(f"{self.seed}/mix/{number}").shuffle(mixed)
        return [*first, *mixed]

    def _new_decisions(self) -> Sequence[tuple[int, Message]]:
        decisions: list[tuple[int, Message]] = []
        for partition, messages in self.outputs.decisions.written.items():
            new = messages[self._read.get(partition, 0) :]
            self._read[partition] = len(messages)
            decisions += [(partition, message) for message in new]
            self.decided += decided_of(self._wild | self.visitors.asked, partition, new)
        return decisions


def play(
    log: TurnLog,
    settings: Settings,
    to: Outputs,
    stream: Stream | None = None,
    without: Container[Place] = frozenset(),
    stops: Sequence[tuple[str, int]] = (),
) -> None:
    """Run the flow over a log to its end; ``stream`` makes its turns where it has none yet.

    ``stops`` are turns before which it ``ends`` (with a snapshot) or ``dies`` (without one), and
    is started again on its recovery store.
    """
    folder = recovery_folder(settings, PERSONALIZE.name)
    folder.mkdir(parents=True)
    init_db_dir(folder, 1)
    partitions = settings.kafka.partitions
    for stop in [*stops, None]:
        run = Run(
            log=log,
            read=reader(settings),
            shards=partitions,
            limit=settings.kafka.max_record_bytes,
            activity=to.activity,
            without=without,
        )
        if stream is not None:
            run.more = stream.turn
        if stop is not None:
            setattr(run, *stop)
        sinks = Sinks(**vars(to), cache=TestingSink([]))
        sources = Sources(TurnSource(run), TurnCatalog(run))
        metrics = Metrics(CollectorRegistry())
        run_main(
            build(sources, sinks, settings, run.clock, metrics),
            epoch_interval=timedelta(hours=1),
            recovery_config=RecoveryConfig(str(folder)),
        )


def reasons_of(letters: Iterable[DeadLetter]) -> Counter[str]:
    """Count dead letters by reason."""
    return Counter(letter.reason for letter in letters)
