"""A log that comes in turns, read in memory: one worker, and nothing that depends on the clock.

A turn is what arrived in a few seconds of event time. The next one comes when the flow has
nothing more to do, so two runs over the same turns differ only where the records do.
"""

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax.inputs import AbortExecution, FixedPartitionedSource, StatefulSourcePartition
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.decode import RecordReader
from operators.envelope import Batch, CatalogUpdate, Event, Message, Origin, Rejected
from operators.logic.catalog_check import read_entry
from operators.logic.placement import shard_key, shard_of
from schemas.catalog import CatalogEntry
from schemas.clock import micros
from schemas.codec import Flaw
from schemas.topics import Topic
from tests.support.fuzz.records import FuzzRecord
from tests.support.fuzz.shapes import START

TURN = timedelta(seconds=5)
_QUIET = 12
"""Looks without a change after which nothing goes on: the flow has fewer steps in a row."""

Place = tuple[str, int, int]
"""Topic, partition and offset of a record."""


@dataclass
class TurnLog:
    """The records of every turn that has been, with their offsets."""

    turns: list[list[tuple[Place, FuzzRecord]]] = field(default_factory=list)
    _next: dict[tuple[str, int], int] = field(default_factory=dict)

    def add(self, records: Iterable[FuzzRecord]) -> None:
        """Append a turn."""
        turn = []
        for record in records:
            partition = (record.topic.value, record.partition)
            offset = self._next.get(partition, 0)
            self._next[partition] = offset + 1
            turn.append(((*partition, offset), record))
        self.turns.append(turn)

    def records(self) -> Iterable[tuple[Place, FuzzRecord]]:
        """Go through all records, turn by turn."""
        return (each for turn in self.turns for each in turn)


def time_of(turn: int) -> datetime:
    """Compute the event time at which a turn begins."""
    return START + turn * TURN


@dataclass
class Run:
    """One run over a log of turns, in which ``without`` are left out.

    ``more`` makes the next turn where the log has no more of them, or says that it is over.
    """

    log: TurnLog
    read: RecordReader
    shards: int
    limit: int
    activity: Callable[[], int]
    more: Callable[[int], list[FuzzRecord] | None] = lambda _: None
    without: Container[Place] = frozenset()
    ends: int | None = None
    dies: int | None = None
    turn: int = -1
    opened: int = -1
    """The turn that has begun: the clock is in it, and its catalog records may be read.

    All others of it come when nothing follows from these any more.
    """
    given: int = -1
    """The turn whose catalog records were read last."""
    over: bool = False

    def clock(self) -> datetime:
        """Read the time of the turn: the flow's clock."""
        return time_of(max(self.opened, 0)) + TURN

    def records_of(self, turn: int) -> list[tuple[Place, FuzzRecord]] | None:
        """Read a turn's records, made now if nobody has asked for them; None at the end."""
        if turn == self.ends:
            return None
        if turn == self.dies:
            raise AbortExecution
        if turn == len(self.log.turns):
            made = self.more(turn)
            if made is None:
                return None
            self.log.add(made)
        return [each for each in self.log.turns[turn] if each[0] not in self.without]


class TurnSource(FixedPartitionedSource[tuple[str, Batch], int]):
    """The event topics, one batch of each shard per turn."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def list_parts(self) -> list[str]:
        """Name the only partition: it speaks for every shard."""
        return ["all"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_Turns":
        """Begin, or go on with the turn of the snapshot."""
        return _Turns(self._run, resume_state or 0)


class _Turns(StatefulSourcePartition[tuple[str, Batch], int]):
    def __init__(self, run: Run, turn: int) -> None:
        self._run, self._turn = run, turn
        self._quiet, self._seen = 0, -1
        run.turn = run.opened = run.given = turn - 1

    def next_batch(self) -> list[tuple[str, Batch]]:
        run = self._run
        if run.given < run.opened:
            return []
        seen = run.activity()
        self._quiet = self._quiet + 1 if seen == self._seen else 0
        self._seen = seen
        if self._quiet < _QUIET:
            return []
        records = run.records_of(self._turn)
        if records is None:
            run.over = True
            raise StopIteration
        self._quiet = 0
        if run.opened < self._turn:
            run.opened = self._turn
            return []
        run.turn = self._turn
        self._turn += 1
        return [(shard_key(shard), self._batch(shard, records)) for shard in range(run.shards)]

    def next_awake(self) -> datetime:
        return datetime.now(UTC)

    def snapshot(self) -> int:
        return self._turn

    def _batch(self, shard: int, records: list[tuple[Place, FuzzRecord]]) -> Batch:
        events: list[Event] = []
        rejected: list[Rejected] = []
        by_topic: dict[Topic, list[tuple[Place, FuzzRecord]]] = {}
        for each in records:
            if each[1].partition == shard and each[1].topic is not Topic.CATALOG:
                by_topic.setdefault(each[1].topic, []).append(each)
        for topic in Topic:
            if topic in by_topic:
                placed = by_topic[topic]
                taken, refused = self._run.read.many(
                    topic,
                    shard,
                    [record.key for _, record in placed],
                    [record.value for _, record in placed],
                    [place[2] for place, _ in placed],
                    [micros(self._run.clock())] * len(placed),
                )
                events += taken
                rejected += refused
        events.sort(key=lambda event: event.at)
        watermark = micros(time_of(self._run.turn))
        return Batch(shard, watermark, events, rejected, at_end=True)


class TurnCatalog(FixedPartitionedSource[tuple[str, CatalogUpdate], int]):
    """The catalog, whose records of a turn come before all others of it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def list_parts(self) -> list[str]:
        """Name the only partition."""
        return ["catalog"]

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "_CatalogTurns":
        """Begin, or go on with the turn of the snapshot."""
        return _CatalogTurns(self._run, resume_state or 0)


class _CatalogTurns(StatefulSourcePartition[tuple[str, CatalogUpdate], int]):
    def __init__(self, run: Run, turn: int) -> None:
        self._run, self._turn = run, turn

    def next_batch(self) -> list[tuple[str, CatalogUpdate]]:
        run = self._run
        if run.over:
            raise StopIteration
        if self._turn > run.opened:
            return []
        entries: list[CatalogEntry] = []
        rejected: list[Rejected] = []
        records = run.records_of(self._turn) or []
        run.given = self._turn
        self._turn += 1
        for place, record in records:
            if record.topic is Topic.CATALOG:
                entry = read_entry(record.value, run.limit)
                if isinstance(entry, Flaw):
                    origin = Origin(*place, micros(run.clock()))
                    payload = record.value or b""
                    rejected.append(
                        Rejected(entry.reason, origin, payload, entry.field, entry.detail)
                    )
                else:
                    entries.append(entry)
        return [("catalog", CatalogUpdate(entries, rejected, True))]

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + timedelta(milliseconds=1)

    def snapshot(self) -> int:
        return self._turn


class FencedSink(FixedPartitionedSink[list[Message], None]):
    """Collects messages as a topic with its resume fence has them: the first of each key.

    ``again`` counts what was written a second time alike, ``other`` what came with other words.
    """

    def __init__(self, partitions: int) -> None:
        self.written: dict[int, list[Message]] = {k: [] for k in range(partitions)}
        self.again = 0
        self.other: list[tuple[Message, Message]] = []
        self._first: dict[tuple[int, int], Message] = {}

    def __len__(self) -> int:
        return self.again + len(self.other) + sum(map(len, self.written.values()))

    def list_parts(self) -> list[str]:
        """Name the partitions, padded as the Kafka sink does."""
        return [f"{k:05d}" for k in self.written]

    def part_fn(self, item_key: str) -> int:
        """Route by the partition number that is the item's key."""
        return shard_of(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "_Fenced":
        """Open a partition's list."""
        return _Fenced(self, int(for_part))

    def take(self, partition: int, message: Message) -> None:
        """Keep a message, unless its key was written before."""
        if message.id:
            first = self._first.setdefault((partition, message.id), message)
            if first is not message:
                if first.value == message.value:
                    self.again += 1
                else:
                    self.other.append((first, message))
                return
        self.written[partition].append(message)


class _Fenced(StatefulSinkPartition[list[Message], None]):
    def __init__(self, sink: FencedSink, partition: int) -> None:
        self._sink, self._partition = sink, partition

    def write_batch(self, values: list[list[Message]]) -> None:
        for messages in values:
            for message in messages:
                self._sink.take(self._partition, message)

    def snapshot(self) -> None:
        return None
