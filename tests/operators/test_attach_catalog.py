"""Batches wait for the catalog and carry the one that holds at their events' time."""

import random
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from flows.runtime.clock import system_clock
from operators.attach_catalog import HOLD_STATE, AttachLogic, _resume, unpack_attach
from operators.decode import reader
from operators.envelope import Batch, CatalogUpdate, Event, Origin, Rejected
from operators.gathering import LARGEST, Gathered, Gathering
from operators.io.metrics.records import RecordMetrics
from operators.logic.catalog import CatalogHistory
from operators.logic.murmur2 import partition_of
from schemas.catalog import CatalogEntry, Slot
from schemas.clock import ALWAYS, NEVER, micros
from schemas.codec import encode
from schemas.events import Click, DecisionRequest
from schemas.settings import EventTimeSettings, load
from schemas.state import pack
from schemas.topics import Topic
from tests.support import records as make

READ = reader(load({}, secret="sixteen letters!", partitions=1))
WAIT = 0.025
COMPLETE = CatalogUpdate([make.slot("home")], [], complete=True)
NOTHING_NEW = CatalogUpdate(complete=True)


def click(number: int, seconds: float) -> Event:
    time = make.START + timedelta(seconds=seconds)
    body = Click(id=f"c{number}", time=time, subject="s", decision_id=f"d{number}", slot_id="home")
    assert partition_of(b"s", 1) == 0
    event = READ(Topic.CLICKS, 0, b"s", encode(body), number, micros(time))
    assert isinstance(event, Event)
    return event


def clicks(*seconds: float) -> list[Event]:
    return [click(number, second) for number, second in enumerate(seconds)]


Out = list[Batch | Gathered | list[Rejected]]


def feed(logic: AttachLogic, *values: Batch | CatalogUpdate) -> Out:
    out, over = logic.on_batch(list(values))
    assert not over
    return list(out)


def batches(out: Out) -> list[Batch]:
    return [item for item in out if isinstance(item, Batch)]


def gathered(out: Out) -> list[Batch]:
    return [item.batch for item in out if isinstance(item, Gathered)]


def woken(logic: AttachLogic) -> Out:
    due = logic.notify_at()
    if due is None:
        return []
    while datetime.now(UTC) < due:
        pass
    out, _ = logic.on_notify()
    return list(out)


def resume(snapshot: bytes | None) -> AttachLogic:
    gathering = Gathering(WAIT, system_clock)
    return _resume(READ, gathering, EventTimeSettings(), snapshot, RecordMetrics())


def offsets(out: list[Batch]) -> list[list[int]]:
    return [[event.origin.offset for event in batch.events] for batch in out]


def test_nothing_passes_before_the_catalog_is_loaded_and_then_all_in_order() -> None:
    logic = resume(None)
    assert feed(logic, Batch(0, 5, clicks(1.0, 2.0))) == []
    assert feed(logic, CatalogUpdate([make.slot("home")], [], complete=False)) == []
    assert feed(logic, Batch(0, 9, clicks(3.0))) == []
    out = batches(feed(logic, CatalogUpdate([], [], complete=True), Batch(0, 11, [])))
    assert [batch.watermark for batch in out] == [5, 9, 11]
    assert offsets(out) == [[0, 1], [0], []]
    assert all(set(batch.catalog.slots) == {"home"} for batch in out)
    assert len(batches(feed(logic, Batch(0, 12, clicks(4.0))))) == 1


def test_what_could_not_be_read_does_not_wait() -> None:
    logic = resume(None)
    bad = Rejected("malformed", Origin("clicks", 0, 3, 0), b"x")
    assert feed(logic, Batch(0, NEVER, [], [bad])) == [[bad]]


def test_a_restart_while_waiting_loses_nothing_and_reads_the_same_events() -> None:
    logic = resume(None)
    held = Batch(0, 77, clicks(1.0, 2.0), at_end=False)
    feed(logic, CatalogUpdate([make.slot("side")], [], complete=False), held)
    logic = resume(resume(logic.snapshot()).snapshot())
    (batch,) = batches(feed(logic, COMPLETE))
    assert (batch.watermark, batch.at_end, batch.events) == (77, False, held.events)
    assert set(batch.catalog.slots) == {"home", "side"}


def test_a_held_record_that_this_release_reads_otherwise_is_refused_once() -> None:
    logic = resume(None)
    feed(logic, Batch(0, 77, clicks(1.0, 2.0), at_end=False))
    state = unpack_attach(logic.snapshot())
    topic, _, offset, time = state.held[0].records[0]
    state.held[0].records[0] = (topic, b'{"id": "c-1"}', offset, time)
    logic = resume(resume(pack(*HOLD_STATE, state)).snapshot())
    out = feed(logic, COMPLETE)
    (refused,) = [item for item in out if isinstance(item, list)]
    assert [(each.reason, each.origin.offset) for each in refused] == [("missing_field", offset)]
    assert offsets(batches(out)) == [[1]]


def test_the_snapshot_of_a_release_without_marks_of_forgotten_versions_is_read() -> None:
    logic = resume(None)
    feed(logic, COMPLETE)
    state = msgspec.msgpack.decode(logic.snapshot().partition(b"\n")[2])
    del state["catalog"]["forgotten"]
    older = resume(b"admit/3\n" + msgspec.msgpack.encode(state))
    assert older.history.state() == logic.history.state()


def test_after_a_restart_batches_wait_for_what_was_changed_while_the_flow_was_down() -> None:
    logic = resume(None)
    action = make.action("a")
    feed(logic, CatalogUpdate([make.slot("home"), action], complete=True))
    feed(logic, Batch(0, 5, clicks(0.5)))
    logic = resume(logic.snapshot())
    assert feed(logic, Batch(0, 6, clicks(2.0))) == []
    assert logic.notify_at() is None
    assert feed(logic, CatalogUpdate([make.action("a", 1, enabled=False)])) == []
    out = feed(logic, NOTHING_NEW)
    (batch,) = batches(out)
    assert batch.catalog.actions["home"] == ()
    (once_gathered,) = gathered(out)
    assert once_gathered.catalog.actions["home"] == (action,)
    (batch,) = batches(feed(logic, Batch(0, 7, clicks(3.0))))
    assert set(batch.catalog.slots) == {"home"}


def test_a_batch_is_cut_where_the_catalog_changes() -> None:
    logic = resume(None)
    versions: list[CatalogEntry] = [make.slot("home"), make.slot("home", 10, reward_window=1.0)]
    feed(logic, CatalogUpdate(versions, [], complete=True))
    change = micros(make.START + timedelta(seconds=10))
    out = batches(feed(logic, Batch(0, change + 5_000_000, clicks(8.0, 9.999999, 10.0, 11.0))))
    assert offsets(out) == [[0, 1], [2, 3]]
    assert [batch.catalog.slots["home"].reward_window for batch in out] == [600.0, 1.0]
    assert [batch.watermark for batch in out] == [change, change + 5_000_000]
    assert [batch.at_end for batch in out] == [False, True]


def test_many_changes_between_two_events_are_one_cut() -> None:
    logic = resume(None)
    versions = [make.slot("home", at, reward_window=float(at)) for at in range(1, 1000)]
    feed(logic, CatalogUpdate(versions, [], complete=True))
    out = batches(feed(logic, Batch(0, ALWAYS, clicks(0.5, 990.5, 2000.0))))
    assert offsets(out) == [[0], [1], [2]]
    assert [batch.catalog.slots["home"].reward_window for batch in out] == [1.0, 990.0, 999.0]


@given(
    st.lists(st.integers(0, 60), max_size=30),
    st.lists(st.integers(1, 50), max_size=4, unique=True),
    st.integers(0, 2**16),
)
def test_every_event_has_the_catalog_of_its_time_in_whatever_order_the_versions_came(
    seconds: list[int], changes: list[int], seed: int
) -> None:
    events = clicks(*sorted(seconds))
    first = make.slot("home", reward_window=1000.0)
    versions = [make.slot("home", at, reward_window=float(at)) for at in changes]
    entries: list[CatalogEntry] = [first, *versions]
    random.Random(seed).shuffle(entries)
    logic = AttachLogic(READ, CatalogHistory(), Gathering(WAIT, system_clock))
    feed(logic, CatalogUpdate(entries, [], complete=True))
    out = batches(feed(logic, Batch(0, micros(make.START) + 10**9, events)))
    assert [event for batch in out for event in batch.events] == events
    for batch in out:
        window = batch.catalog.slots["home"].reward_window
        for event in batch.events:
            passed = [at for at in changes if at * 10**6 <= event.at - micros(make.START)]
            assert window == (float(max(passed)) if passed else 1000.0)
    marks = [batch.watermark for batch in out]
    assert marks == sorted(marks)
    assert marks[-1] == micros(make.START) + 10**9


def request(number: int, seconds: float) -> Event:
    time = make.START + timedelta(seconds=seconds)
    body = DecisionRequest(id=f"r{number}", time=time, subject="s", slot_id="home")
    event = READ(Topic.DECISION_REQUESTS, 0, b"s", encode(body), number, micros(time))
    assert isinstance(event, Event)
    return event


def test_what_no_decision_waits_for_is_gathered_for_a_while() -> None:
    logic = resume(None)
    feed(logic, COMPLETE)
    first = clicks(1.0, 2.0)
    out = feed(logic, Batch(0, 5, [*first, request(0, 2.5)]), Batch(0, 6, clicks(3.0)))
    assert [len(batch.events) for batch in batches(out)] == [3, 1]
    assert gathered(out) == []
    due = logic.notify_at()
    assert due is not None
    assert due - datetime.now(UTC) <= timedelta(seconds=WAIT)
    (batch,) = gathered(woken(logic))
    assert [event.at for event in batch.events] == [e.at for e in clicks(1.0, 2.0, 3.0)]
    assert (batch.watermark, set(batch.catalog.slots)) == (6, {"home"})
    assert logic.notify_at() is None
    assert gathered(woken(logic)) == []


def test_nothing_is_held_back_over_the_end_of_an_epoch() -> None:
    logic = resume(None)
    feed(logic, COMPLETE)
    assert gathered(feed(logic, Batch(0, 5, clicks(1.0, 2.0)))) == []

    (batch,) = gathered(feed(logic, Batch(0, 6, clicks(3.0), ends_epoch=True)))

    assert len(batch.events) == 3
    assert unpack_attach(logic.snapshot()).gathered == []


def test_many_events_and_the_end_of_the_input_wait_for_nothing() -> None:
    logic = resume(None)
    feed(logic, COMPLETE)
    many = clicks(*range(LARGEST - 1))
    assert gathered(feed(logic, Batch(0, 5, many))) == []
    assert [len(b.events) for b in gathered(feed(logic, Batch(0, 6, clicks(300.0))))] == [LARGEST]
    (last,) = gathered(feed(logic, Batch(0, 7, clicks(301.0)), Batch(0, ALWAYS, [])))
    assert (last.watermark, len(last.events)) == (ALWAYS, 1)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from("crk")), max_size=40),
    st.lists(st.integers(1, 50), max_size=3, unique=True),
    st.integers(1, 7),
)
def test_every_event_is_gathered_once_in_order_with_its_catalog_whatever_dies(
    steps: list[tuple[int, str]], changes: list[int], size: int
) -> None:
    versions: list[CatalogEntry] = [make.slot("home", reward_window=1000.0)]
    versions += [make.slot("home", at, reward_window=float(at)) for at in changes]
    logic = resume(None)
    feed(logic, CatalogUpdate(versions, [], complete=True))
    steps = sorted(steps)
    events = [
        request(n, float(at)) if kind == "r" else click(n, float(at))
        for n, (at, kind) in enumerate(steps)
    ]
    found: list[Batch] = []
    for start in range(0, len(events), size):
        part = events[start : start + size]
        found += gathered(feed(logic, Batch(0, part[-1].at, part)))
        if any(kind == "k" for _, kind in steps[start : start + size]):
            logic = resume(logic.snapshot())
            found += gathered(feed(logic, NOTHING_NEW))
    found += gathered(feed(logic, Batch(0, ALWAYS, [])))
    assert [e.origin.offset for batch in found for e in batch.events] == [
        n for n, (_, kind) in enumerate(steps) if kind != "r"
    ]
    for batch in found:
        window = batch.catalog.slots["home"].reward_window
        for event in batch.events:
            passed = [at for at in changes if at * 10**6 <= event.at - micros(make.START)]
            assert window == (float(max(passed)) if passed else 1000.0)
    marks = [batch.watermark for batch in found]
    assert marks == sorted(marks)


def test_the_catalog_of_a_snapshot_is_what_records_in_time_can_still_ask_for() -> None:
    logic, whole, window = resume(None), CatalogHistory(), 5400.0
    late = timedelta(seconds=window + EventTimeSettings().allowed_lateness)
    for minute in range(200):
        home = make.slot("home", 60 * minute, reward_window=window, floor=minute / 1000)
        gone = make.action(f"a{minute}", 60 * minute, deleted=minute > 100)
        for entry in (home, gone):
            whole.add(entry)
        now = make.START + timedelta(minutes=minute, seconds=30)
        feed(logic, CatalogUpdate([home, gone], [], complete=True))
        (batch,) = batches(feed(logic, Batch(0, micros(now), [])))
        assert batch.catalog.slots["home"].floor == minute / 1000
        if minute % 50 == 49:
            logic = resume(logic.snapshot())
        if minute % 10:
            continue
        entries = unpack_attach(logic.snapshot()).catalog.entries
        slots = [each for each in entries if isinstance(each, Slot)]
        assert len(slots) <= window / 60 + 3
        asked = [now - late, now - late / 2, now]
        for at in map(micros, asked):
            assert logic.history.as_of(at).slots == whole.as_of(at).slots
