"""A script of visitors through the personalize flow in memory: what it writes is all that counts.

The flow is built once and run for each variant of the catalog, the records or the settings; what
one variant makes it write can be compared with what another does. Its clock stands still.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink, run_main
from msgspec import Struct
from prometheus_client import CollectorRegistry

from flows.personalize import Sinks, Sources, build
from operators.decode import reader
from operators.envelope import Batch, Event, Rejected
from operators.io.memory import MemoryCatalogSource, MemorySink
from operators.io.metrics.root import Metrics
from operators.logic.catalog_check import read_entry
from operators.logic.placement import shard_key
from schemas.catalog import CatalogEntry
from schemas.clock import ALWAYS, micros
from schemas.codec import Flaw
from schemas.settings import Settings, load
from schemas.topics import Topic

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TURN = 5.0
"""Seconds of event time from one turn to the next."""

TURNS, VISITORS = 4, 9
ENDS = ("decisions", "outcomes", "profiles", "policies", "checkpoints", "dead_letters")

Record = dict[str, Any]

TIME = "2026-01-01T00:00:00Z"
"""Before the script begins."""

SLOT: Record = {
    "type": "slot",
    "id": "s",
    "time": TIME,
    "slot_id": "home",
    "policy": {"kind": "beta", "publish_rewards": 1},
    "reward_window": 8.0,
}
ACTIONS: list[Record] = [
    {"type": "action", "id": name, "time": TIME, "action_id": name, "slots": ["home"]}
    for name in "abc"
]

Edit = Callable[[Topic, dict[str, Any]], None]
"""Changes a record before it is written."""


def nothing(topic: Topic, record: dict[str, Any]) -> None:
    """Leave records as the script has them."""


class Script:
    """The flow, and what its visitors do: ask, see, click, earn, agree and withdraw."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.catalog: list[CatalogEntry] = []
        self.edit: Edit = nothing
        self.runs = 0
        self.read = reader(settings)
        self.sinks = {name: MemorySink(1) for name in ENDS}
        self.copies: list[Any] = []
        """What was written to Redis."""
        sinks: Any = {"cache": TestingSink(self.copies)} | self.sinks
        self._flow = build(
            Sources(_Visitors(self), MemoryCatalogSource(self.catalog)),
            Sinks(**sinks),
            settings,
            lambda: START + timedelta(hours=1),
            Metrics(CollectorRegistry()),
        )

    def play(
        self, catalog: Sequence[CatalogEntry], edit: Edit = nothing
    ) -> dict[str, list[Record]]:
        """Run the flow, and give the records that it wrote, by topic.

        What a process has made of a catalog's records is kept by their ids: each run's are new.
        """
        self.runs += 1
        self.catalog[:] = [
            msgspec.structs.replace(entry, id=f"{entry.id}~{self.runs}") for entry in catalog
        ]
        self.edit = edit
        for sink in self.sinks.values():
            sink.written[0].clear()
        self.copies.clear()
        run_main(self._flow)
        written = {
            name: [msgspec.json.decode(message.value) for message in sink.written[0]]
            for name, sink in self.sinks.items()
        }
        return _without_echoes(written)


def _without_echoes(written: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Leave out what only repeats the slot's settings."""
    del written["checkpoints"]
    for policy in written["policies"]:
        del policy["posterior"]
    for record in written["decisions"] + written["outcomes"]:
        record.pop("mapping", None)
        record.pop("policy", None)
        record.pop("subject_window", None)
    return written


def catalog_of(
    slot: Record | None = None, action: Record | None = None, further: Sequence[Record] = ()
) -> list[CatalogEntry]:
    """Make the slot and three actions, with changes of the slot and of the first action."""
    of_slot = merged(SLOT, slot or {})
    actions = [merged(ACTIONS[0], action or {}), *ACTIONS[1:]]
    for number, each in enumerate(actions):
        if of_slot.get("item_features"):
            given = {"features": {"price": number - 1.0}, "embedding": [number, -1.0]}
            actions[number] = merged(given, each)
    entries: list[CatalogEntry] = []
    for record in (*further, of_slot, *actions):
        entry = read_entry(msgspec.json.encode(record))
        assert not isinstance(entry, Flaw), (record, entry)
        entries.append(entry)
    return entries


def merged(left: Record, right: Record) -> Record:
    """Put one record's fields into another's, nested ones into those nested there."""
    result = dict(left)
    for name, value in right.items():
        both = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merged(result[name], value) if both else value
    return result


class Changed(Struct, frozen=True, kw_only=True):
    """Changes of the slot or of action a that differ in one field, and what both have beside it.

    ``request`` is what all requests have in both.
    """

    to: Any
    slot: Record = {}
    action: Record = {}
    further: tuple[Record, ...] = ()
    request: Record = {}


class Flow:
    """The flow, and what it wrote for each catalog."""

    def __init__(self) -> None:
        settings = load({}, secret="a secret of the tests", partitions=1, gather=0)
        self.script = Script(settings)
        self._written: dict[bytes, Any] = {}

    def differs(self, changed: Changed, slot: Record, action: Record) -> bool:
        """Tell whether the flow writes something else for the changed value."""
        before = (changed.slot, changed.action, changed.further)
        after = (merged(changed.slot, slot), merged(changed.action, action), changed.further)
        written = [self.written(*each, request=changed.request) for each in (before, after)]
        return bool(written[0] != written[1])

    def written(self, *catalog: Any, request: Record | None = None) -> Any:
        """Give what the flow writes for a catalog and what requests ask beside, run once."""
        known = msgspec.json.encode((catalog, request or {}))

        def edit(topic: Topic, record: Record) -> None:
            if topic is Topic.DECISION_REQUESTS:
                record |= request or {}

        if known not in self._written:
            self._written[known] = self.script.play(catalog_of(*catalog), edit)
        return self._written[known]


class _Visitors(FixedPartitionedSource[tuple[str, Batch], None]):
    """One shard of visitors; the next turn comes when all have been answered or refused."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def list_parts(self) -> list[str]:
        """Give the only partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> "_Turns":
        """Begin the first turn."""
        return _Turns(self._script)


class _Turns(StatefulSourcePartition[tuple[str, Batch], None]):
    def __init__(self, script: Script) -> None:
        self.script = script
        self.turn = self.asked = self.answered = 0
        self.seen = 0
        self.offsets: dict[Topic, int] = defaultdict(int)

    def next_batch(self) -> list[tuple[str, Batch]]:
        if self.turn > TURNS:
            raise StopIteration
        script = self.script
        refused = sum(
            b'"decision-requests"' in each.value for each in script.sinks["dead_letters"].written[0]
        )
        answers = script.sinks["decisions"].written[0]
        if len(answers) + refused < self.asked:
            return []
        events: list[Event] = []
        rejected: list[Rejected] = []
        new = [message.value for message in answers[self.seen :]]
        self.seen = len(answers)
        for topic, record in self._records(new):
            at = micros(datetime.fromisoformat(record["time"]))
            value = msgspec.json.encode(record)
            if topic is not Topic.DECISIONS:
                script.edit(topic, record)
                value = msgspec.json.encode(record)
                self.asked += topic is Topic.DECISION_REQUESTS
            key = None if topic is Topic.DECISIONS else str(record.get("subject")).encode()
            read = script.read(topic, 0, key, value, self.offsets[topic], at)
            self.offsets[topic] += 1
            (events if isinstance(read, Event) else rejected).append(read)  # type: ignore[arg-type]
        self.turn += 1
        watermark = micros(START + timedelta(seconds=self.turn * TURN))
        over = self.turn > TURNS
        events.sort(key=lambda event: event.at)
        return [(shard_key(0), Batch(0, ALWAYS if over else watermark, events, rejected, over))]

    def snapshot(self) -> None:
        return None

    def _records(self, answers: Sequence[bytes]) -> Iterator[tuple[Topic, dict[str, Any]]]:
        for value in answers:
            yield from _reactions(msgspec.json.decode(value))
        if self.turn < TURNS:
            yield from _requests(self.turn)


def _record(topic: Topic, visitor: int, at: float, **fields: Any) -> tuple[Topic, dict[str, Any]]:
    time = (START + timedelta(seconds=at)).isoformat()
    return topic, {
        "id": f"{topic}-{visitor}-{at}",
        "time": time,
        "subject": f"visitor-{visitor}",
        **fields,
    }


def _requests(turn: int) -> Iterator[tuple[Topic, dict[str, Any]]]:
    start = turn * TURN
    for visitor in range(VISITORS):
        if turn == 0 and visitor < 6:
            yield _record(Topic.CONSENTS, visitor, 0.0, type="consent", purposes=[1, 5, 6])
        if turn == 2 and visitor == 4:
            yield _record(Topic.CONSENTS, visitor, start, type="consent", purposes=[1])
        if turn == 2 and visitor == 5:
            yield _record(Topic.CONSENTS, visitor, start, type="erasure")
        yield _record(
            Topic.DECISION_REQUESTS,
            visitor,
            start + 0.1 + 0.01 * visitor,
            id=f"q{visitor}-{turn}",
            slot_id="home",
            decision_id=f"d{visitor}-{turn}",
            context={
                "age": visitor - 3.5 + turn,
                "height": 1.0 + (visitor * 7 + turn) % 5,
                "device": ["phone", "desktop", "watch"][visitor % 3],
                "page": f"page-{(visitor + turn) % 5}",
                "v": [0.5 * visitor, -0.25 * turn, 1.0],
            },
        )


def _reactions(decision: dict[str, Any]) -> Iterator[tuple[Topic, dict[str, Any]]]:
    """Read the decision back, and do what its visitor does about it."""
    visitor, turn = map(int, re.findall(r"\d+", decision["decision_id"])[-2:])
    yield Topic.DECISIONS, decision
    at = (msgspec.convert(decision["time"], datetime) - START).total_seconds()
    about = {"decision_id": decision["decision_id"], "slot_id": "home"}
    if visitor != 3:
        viewable = visitor % 2 == 0
        shown = at + 0.5
        yield _record(Topic.IMPRESSIONS, visitor, shown, **about, viewable=viewable)
    if (visitor + turn) % 3 == 0:
        yield _record(Topic.CLICKS, visitor, at + 1.0, **about, position=0)
    if (visitor + turn) % 4 == 1:
        for number, value in enumerate((0.25, 0.5)):
            yield _record(Topic.REWARDS, visitor, at + 1.5 + number, **about, value=value)
    if visitor == 0:
        yield _record(Topic.CLICKS, visitor, at + 4.0, **about)
