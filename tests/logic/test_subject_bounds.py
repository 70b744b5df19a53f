"""What one subject, or a robot, can teach: bounded, and the same whatever came when."""

from collections import Counter
from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from msgspec import structs

from operators.envelope import Event
from operators.logic.attribution import (
    Attribution,
    AttributionState,
    chunks,
    pending,
    settlement,
    subject_bounds,
    subject_counts,
)
from operators.logic.attribution.rules import SubjectRules
from operators.logic.attribution.subject_counts import (
    SlotWindow,
    SubjectCounts,
    SubjectCountsState,
)
from operators.logic.recount import Verdict, recount
from schemas.catalog import RobotRate, Slot, SubjectLimit
from schemas.clock import ALWAYS, moment
from schemas.codec import decode
from schemas.events import Consent, Placed
from schemas.state import pack, unpack
from schemas.topics import Topic
from tests.support.histories import (
    LATENESS,
    SECOND,
    START,
    TOLERANCE,
    WINDOW,
    Driver,
    Visitors,
    slot,
)

LIMIT = SubjectLimit(decisions=2, window=30.0)
ROBOTS = RobotRate(decisions=3, window=4.0)
NO_LIMIT, NO_ROBOTS = SubjectLimit(enabled=False), RobotRate(enabled=False)
SLOTS: dict[str, Slot] = {
    each.slot_id: each
    for each in (
        slot("limited", subject_limit=LIMIT, robot_rate=NO_ROBOTS, default_reward=0.25),
        slot("robots", subject_limit=NO_LIMIT, robot_rate=ROBOTS, needs_impression=False),
        slot("both", subject_limit=LIMIT, robot_rate=ROBOTS, learning_mode="wait"),
        slot(
            "exposed",
            subject_limit=SubjectLimit(decisions=1, window=5.0),
            robot_rate=RobotRate(decisions=2, window=60.0),
            learning_mode="exposure",
            reward_window=3.0,
            reward_aggregation="sum",
            reward_range=(0.0, 4.0),
        ),
        slot("free", subject_limit=NO_LIMIT, robot_rate=NO_ROBOTS),
    )
}


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Let a handful of decisions fill chunks and parts, and two visitors be many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 3)
        for module in (pending, settlement, subject_bounds):
            patch.setattr(module, "_FEW", 1)
        patch.setattr(subject_counts, "PART", 2)
        patch.setattr(subject_counts, "_FEWEST", 1)
        patch.setattr(subject_counts, "_SCANNED", 8)
        yield


def agree(
    driver: Driver,
    events: list[Event],
    visitors: Visitors,
    slots: dict[str, Slot] = SLOTS,
) -> dict[int, Verdict]:
    """Final reports and all that was taught equal the recomputation."""
    late = {offset for reason, offset in driver.rejected if reason in ("late", "no_decision")}
    taken = [event for event in events if event.origin.offset not in late]
    expected = recount(taken, slots, TOLERANCE)
    assert driver.final.keys() == expected.keys()
    for decision in visitors.decisions:
        if decision.key not in expected:
            continue
        verdict, outcome = expected[decision.key], driver.final[decision.key]
        judged = verdict.outcome()
        assert (outcome.status, outcome.reward) == (judged.status, judged.reward)
        assert outcome.not_learned == judged.not_learned
        number = int(decision.body.eta)
        taught = (driver.counts[number], driver.rewards[number])
        assert taught == ((1.0, judged.reward) if verdict.teaches else (0.0, 0.0))
    return expected


BOTH_WINDOWS = st.sampled_from([1.0, 1.5, 2.5, 3.0, 4.0, 4.000001, 7.0, 10.0, 30.0])


@st.composite
def drawn_slots(draw: st.DrawFn) -> dict[str, Slot]:
    """The slots above, and one whose windows divide each other or do not."""
    drawn = slot(
        "drawn",
        subject_limit=SubjectLimit(decisions=draw(st.integers(1, 4)), window=draw(BOTH_WINDOWS)),
        robot_rate=RobotRate(decisions=draw(st.integers(1, 5)), window=draw(BOTH_WINDOWS)),
        reward_window=draw(st.sampled_from([2.7, 20.0])),
    )
    return SLOTS | {"drawn": drawn}


@st.composite
def histories(draw: st.DrawFn, slots: dict[str, Slot]) -> tuple[Visitors, list[Event]]:
    """Decisions of few visitors within few windows, and what became of them."""
    visitors, events = Visitors(slots), []
    keys = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=14, unique=True))
    one_slot = st.one_of(st.just("drawn"), st.sampled_from(sorted(slots)))
    slot_ids = draw(st.lists(one_slot, min_size=1, max_size=2))
    length = draw(st.sampled_from([10, 120])) * SECOND
    names = draw(st.sampled_from([["0000000a"], ["0000000a", "0000000b", None]]))
    seconds = draw(st.sampled_from([3, 9, 40]))
    for key in keys:
        at = START + draw(st.integers(0, seconds)) * SECOND
        at += draw(st.sampled_from([0, 0, 1, SECOND // 2]))
        slot_id, name = draw(st.sampled_from(slot_ids)), draw(st.sampled_from(names))
        window = at // length if name else 0  # any name will do, that differs between windows
        fields = {"subject_window": f"{window % 3}{name[1:]}" if name else None}
        if draw(st.integers(0, 9)) == 0:
            fields["robot"] = True
        if draw(st.integers(0, 5)) == 0:  # the slot's window was another when it was decided
            fields["expires_at"] = moment(at + draw(st.sampled_from([1, 40])) * SECOND)
        decision = visitors.decision(slot_id, draw(st.sampled_from(["s", None])), at, key, **fields)
        events.append(decision)
        if draw(st.integers(0, 3)) == 0:
            events.append(visitors.again(decision))
        for age in draw(st.lists(st.integers(0, WINDOW), max_size=2)):
            events.append(visitors.impression(decision, at + age, viewable=True))
            events.append(visitors.reward(decision, at + age, 1.0))
        if draw(st.integers(0, 9)) == 0:
            events.append(visitors.consent("s", at + draw(st.integers(0, WINDOW)), []))
    return visitors, events


def arrivals(
    draw: st.DrawFn, events: list[Event], size: int, latest: int
) -> list[tuple[list[Event], int]]:
    """The events in batches, each up to ``latest`` late, and watermarks to match."""
    delays = draw(
        st.lists(
            st.one_of(st.just(0), st.just(latest), st.integers(0, latest)),
            min_size=len(events),
            max_size=len(events),
        )
    )
    arriving = sorted(zip(events, delays, strict=True), key=lambda each: each[0].at + each[1])
    batches, watermark = [], 0
    for start in range(0, len(arriving), size):
        part = arriving[start : start + size]
        watermark = max(watermark, part[-1][0].at + part[-1][1])
        batches.append(([event for event, _ in part], watermark))
    return batches


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_which_decisions_teach_follows_from_those_that_came_whatever_came_when(
    data: st.DataObject,
) -> None:
    """Late by any time: what is later than allowed is refused, or counts like all others."""
    slots = data.draw(drawn_slots())
    visitors, events = data.draw(histories(slots))
    latest = data.draw(st.sampled_from([LATENESS, LATENESS, 12 * LATENESS]))
    restarts = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    size = data.draw(st.sampled_from([1, 2, 5, 100]))
    if latest > LATENESS:  # a withdrawal that is later than allowed is not remembered
        events = [event for event in events if not isinstance(event.body, Consent)]
    driver = Driver(slots)
    for batch, watermark in arrivals(data.draw, events, size, latest):
        driver.step(batch, watermark)
        if data.draw(st.floats(0.0, 1.0)) < restarts:
            driver.restart()
    driver.finish()
    if latest == LATENESS:
        assert "late" not in driver.reasons
    agree(driver, events, visitors, slots)


def at_watermark(driver: Driver, events: list[Event], at: int) -> None:
    driver.step(events, START + at)


def test_a_late_decision_takes_its_place_and_what_it_displaces_is_subtracted() -> None:
    """And the learner gets a delta that takes back both the decision and its reward."""
    visitors, driver = Visitors(SLOTS), Driver(SLOTS)
    first, third, second = (
        visitors.decision("limited", None, START + at * SECOND, key, subject_window="0000000a")
        for key, at in ((3, 0), (2, 9), (1, 5))
    )
    seen = [visitors.reward(decision, decision.at + SECOND, 1.0) for decision in (first, third)]
    at_watermark(driver, [first, third, *seen], 10 * SECOND)
    assert (driver.counts[0], driver.counts[1]) == (1.0, 1.0)
    assert (driver.rewards[0], driver.rewards[1]) == (1.0, 1.0)
    seen.append(visitors.reward(second, second.at, 0.5))
    at_watermark(driver, [second, seen[-1]], 10 * SECOND)
    assert [driver.counts[number] for number in range(3)] == [1.0, 0.0, 1.0]
    assert [driver.rewards[number] for number in range(3)] == [1.0, 0.0, 0.5]
    driver.finish()
    final = agree(driver, [first, third, second, *seen], visitors)
    assert [final[key].not_learned for key in (3, 1, 2)] == ["", "", "subject_limit"]
    assert driver.final[2].reward == 1.0


def test_decisions_that_have_settled_keep_their_places() -> None:
    visitors, driver = Visitors(SLOTS), Driver(SLOTS)
    made = [
        visitors.decision(
            "limited", None, START + at * SECOND, key, subject_window="0000000a", deferred=False
        )
        for key, at in ((9, 0), (8, 0), (7, 28), (6, 31))
    ]
    seen = [visitors.impression(decision, decision.at) for decision in made]
    at_watermark(driver, [*made[:2], *seen[:2]], 27 * SECOND)
    assert len(driver.final) == 2, "both have settled"
    driver.restart()
    at_watermark(driver, [*made[2:], *seen[2:]], 31 * SECOND)
    driver.finish()
    final = agree(driver, [*made, *seen], visitors)
    assert [final[key].not_learned for key in (9, 8, 7, 6)] == ["", "", "subject_limit", ""]


def test_a_decision_that_would_make_robots_of_settled_ones_is_late() -> None:
    """One of another visitor, as late, is not."""
    visitors, driver = Visitors(SLOTS), Driver(SLOTS)
    made = [
        visitors.decision("robots", None, START + at, key, subject_window="0000000a")
        for key, at in ((1, 0), (2, SECOND), (3, 2 * SECOND))
    ]
    at_watermark(driver, made, 28 * SECOND + SECOND // 2)
    assert len(driver.final) == 3, "they have settled"
    late, other = (
        visitors.decision("robots", None, START + 4 * SECOND - 1, key, subject_window=name)
        for key, name in ((4, "0000000a"), (5, "0000000b"))
    )
    at_watermark(driver, [late, other], 28 * SECOND + SECOND // 2)
    assert driver.rejected == [("late", late.origin.offset)]
    driver.finish()
    assert set(agree(driver, [*made, late, other], visitors)) == {1, 2, 3, 5}


def test_a_decision_of_a_forgotten_window_is_late() -> None:
    visitors, driver = Visitors(SLOTS), Driver(SLOTS)
    first = visitors.decision("limited", None, START, 1, subject_window="0000000a")
    at_watermark(driver, [first], 0)
    at_watermark(driver, [], 60 * SECOND)
    late, another = (
        visitors.decision(
            slot_id,
            None,
            START + 29 * SECOND,
            key,
            subject_window="0000000a",
            expires_at=moment(START + 90 * SECOND),
        )
        for key, slot_id in ((2, "limited"), (3, "free"))
    )
    at_watermark(driver, [late, another], 60 * SECOND)
    assert ("late", late.origin.offset) in driver.rejected
    assert ("late", another.origin.offset) not in driver.rejected


@pytest.mark.parametrize("slot_id", ["limited", "robots"])
def test_the_positions_of_a_slate_are_one_decision(slot_id: str) -> None:
    visitors, events = Visitors(SLOTS), list[Event]()
    slate = [Placed(action_id, 0.5, 0.0) for action_id in "abc"]
    for number in range(4):
        at = START + number * SECOND // 2
        decision = visitors.decision(
            slot_id, None, at, 99 - number, subject_window="0000000a", slate=slate
        )
        events += [decision, visitors.impression(decision, at)]
    wide = {slot_id: structs.replace(SLOTS[slot_id], slate_size=3)}
    outcomes, state = dict[int, str](), AttributionState()
    not_learned = Counter[tuple[str, str]]()
    for part, watermark in ((events[:6], START), (events[6:], START), ([], ALWAYS)):
        attribution = Attribution(LATENESS, 10**6, 10**6, state)
        result = attribution.step(part, watermark, wide)
        assert not result.rejected
        for message in result.messages:
            outcome = decode(Topic.OUTCOMES, message.value)
            outcomes[int(outcome.key, 16)] = outcome.not_learned
        not_learned.update(result.not_learned)
        state = unpack(
            "attribution", 1, AttributionState, pack("attribution", 1, attribution.state())
        )
    expected = recount(events, wide)
    assert outcomes == {key: verdict.not_learned for key, verdict in expected.items()}
    taught, reason = (2, "subject_limit") if slot_id == "limited" else (0, "robot_rate")
    assert Counter(outcomes.values()) == Counter({"": 3 * taught, reason: 3 * (4 - taught)})
    assert not_learned == {(slot_id, reason): 4 - taught}, "decisions are counted, not positions"


@pytest.mark.parametrize("size", [1, 2, 12])
def test_how_many_late_slates_are_taken_in_does_not_depend_on_batches(size: int) -> None:
    """Twelve slates with five positions each are twelve decisions, and fewer than make a robot."""
    robots = RobotRate(decisions=10, window=1.0)
    rules = slot("slates", subject_limit=NO_LIMIT, robot_rate=robots, slate_size=5)
    slots = {"slates": rules}
    visitors, attribution = Visitors(slots), Attribution(LATENESS, 10**6, 10**6)
    slate = [Placed(action_id, 0.5, 0.0) for action_id in "abcde"]
    made = [
        visitors.decision(
            "slates", None, START + at, 99 - at, subject_window="0000000a", slate=slate
        )
        for at in range(12)
    ]
    now = START + WINDOW + LATENESS - SECOND // 2  # they are pending; the robots' window is not all
    steps = [attribution.step([], now, slots)]
    steps += [attribution.step(made[at : at + size], now, slots) for at in range(0, 12, size)]
    refused = [(each.reason, each.origin) for step in steps for each in step.rejected]
    assert refused == [("late", decision.origin) for decision in made[10:]]


def test_visitors_who_come_once_are_not_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a limit of one decision half of them share a cell; their names are all that is kept."""
    monkeypatch.setattr(subject_counts, "PART", 8192)
    rules = SubjectRules(window=10, most=1, most_of_robots=None, robot_window=0)
    counts, window = SubjectCounts(), SlotWindow("home", rules, 0)
    names = np.random.default_rng(1).permutation(np.arange(1, 30_001, dtype=np.uint32) * 7919)
    for part in np.split(names, 300):
        assert not counts.add(window, part, until=20)
    assert len(pack("counts", 1, counts.state())) < 5 * len(names)
    assert sorted(counts.add(window, names[:100], until=20)) == sorted(names[:100].tolist())


def test_what_a_robot_declares_to_be_teaches_nothing_whatever_the_slot_says() -> None:
    visitors, driver = Visitors(SLOTS), Driver(SLOTS)
    decision = visitors.decision("free", None, START, 1, robot=True)
    events = [decision, visitors.reward(decision, START + 1, 1.0)]
    result = driver.step(events, START + SECOND)
    assert result.not_learned == {("free", "robot"): 1}
    assert not result.posterior_deltas
    driver.finish()
    assert agree(driver, events, visitors)[1].not_learned == "robot"


def test_a_visitors_name_that_cannot_be_read_refuses_the_decision() -> None:
    visitors, driver = Visitors(SLOTS), Driver(SLOTS)
    decision = visitors.decision("limited", None, START, 1, subject_window="no name!")
    driver.step([decision], START)
    assert driver.reasons == ["invalid_decision"]


NAMED = st.lists(st.integers(1, 9), max_size=40)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.tuples(st.integers(0, 2), NAMED), max_size=8), most=st.integers(1, 300))
def test_counts_are_exact_whatever_shares_a_cell_and_after_a_restart(
    batches: list[tuple[int, list[int]]], most: int
) -> None:
    rules = SubjectRules(window=10, most=most, most_of_robots=None, robot_window=0)
    counts, expected = SubjectCounts(), Counter[tuple[int, int]]()
    for number, names in batches:
        window = SlotWindow("home", rules, number)
        loud = counts.add(window, np.array(names, dtype=np.uint32), until=window.end + 5)
        expected.update((number, name) for name in names)
        assert sorted(loud) == sorted(n for n in set(names) if expected[number, n] > most)
        state = unpack("counts", 1, SubjectCountsState, pack("counts", 1, counts.state()))
        counts = SubjectCounts(state)
    for number in range(3):
        window = SlotWindow("home", rules, number)
        for name in range(10):
            assert counts.total(window, name) == expected[number, name]
    assert not counts.is_forgotten(SlotWindow("home", rules, 0))
    counts.forget(100)
    used = {number for number, _ in batches}
    assert all(counts.is_forgotten(SlotWindow("home", rules, number)) for number in used)
    assert not counts.state().windows.blocks
