"""Attribution against a from-scratch recomputation, for histories in any order of arrival."""

from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from operators.envelope import Event
from operators.logic.attribution import chunks, decision_classes, key_index, pending, settlement
from operators.logic.recount import recount
from schemas.clock import ALWAYS
from tests.support.histories import (
    LATENESS,
    SECOND,
    SLOTS,
    START,
    TOLERANCE,
    WINDOW,
    Driver,
    Visitors,
)

SUBJECTS = ["11" * 16, "22" * 16, "visitor-3", None]
VALUES = [0.0, 0.25, 0.5, 1.0, 2.0, 3.75, -0.5, 9.0]
EDGES = [
    -TOLERANCE - 1,
    -TOLERANCE,
    -1,
    0,
    1,
    1000,
    3 * SECOND,
    3 * SECOND + 1000,
    WINDOW - 1,
    WINDOW,
    WINDOW + 1000,
]
AGES = st.one_of(st.sampled_from(EDGES), st.integers(-TOLERANCE - SECOND, WINDOW + SECOND))


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """Let a handful of decisions fill a chunk, and two be many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 3)
        for module in (key_index, pending, settlement):
            patch.setattr(module, "_FEW", 1)
        patch.setattr(decision_classes, "_FEW", 0)
        yield


def agree(driver: Driver, events: list[Event], visitors: Visitors) -> None:
    """Final reports and all that was taught equal the recomputation."""
    expected = recount(events, SLOTS, TOLERANCE)
    assert driver.final.keys() == expected.keys()
    for decision in visitors.decisions:
        if decision.key not in expected:
            continue
        verdict, outcome = expected[decision.key], driver.final[decision.key]
        judged = verdict.outcome()
        number = int(decision.body.eta)
        contributed = (driver.counts[number], driver.rewards[number])
        assert outcome.status == judged.status, (outcome, verdict)
        assert outcome.reason in (verdict.withdrawals or (judged.reason,))
        assert outcome.reward == judged.reward
        assert outcome.delay == judged.delay
        assert contributed == ((1.0, judged.reward) if judged.status == "settled" else (0.0, 0.0))
        assert outcome.subject == (decision.subject or None if contributed[0] else None)
        assert outcome.features == (decision.body.features if contributed[0] else None)
        assert outcome.decision_id == decision.body.decision_id
    order = [(outcome.settled_at, outcome.key) for outcome in driver.settled]
    assert order == sorted(order)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Visitors, list[Event]]:
    """Decisions in every kind of slot, and all that may happen to them, right or wrong."""
    visitors, events = Visitors(), []
    keys = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6, unique=True))
    for key in keys:
        at = START + draw(st.integers(0, 2 * WINDOW))
        subject = draw(st.sampled_from(SUBJECTS))
        slot_id = draw(st.sampled_from([*SLOTS, "nowhere"]))
        decision = visitors.decision(slot_id, subject, at, key, deferred=draw(st.booleans()))
        events.append(decision)
        for age in draw(st.lists(AGES, max_size=4)):
            name = draw(st.sampled_from([slot_id, slot_id, slot_id, "plain"]))
            what = draw(st.sampled_from(["impression", "impression", "click", "reward"]))
            if what == "impression":
                action, viewable = draw(
                    st.sampled_from([(None, None), ("a", True), ("b", True), ("a", False)])
                )
                event = visitors.impression(
                    decision, at + age, slot_id=name, action_id=action, viewable=viewable
                )
            elif what == "click":
                event = visitors.click(decision, at + age, slot_id=name)
            else:
                value = draw(st.sampled_from(VALUES))
                event = visitors.reward(decision, at + age, value, slot_id=name)
            events += [event] * draw(st.sampled_from([1, 1, 1, 2]))
        if draw(st.integers(0, 5)) == 0:
            events.append(visitors.erasure(draw(st.sampled_from(SUBJECTS[:3])), at + draw(AGES)))
        if draw(st.integers(0, 3)) == 0:
            who, what = (
                draw(st.sampled_from(SUBJECTS[:3])),
                draw(st.sampled_from([(), (5,), (5, 6)])),
            )
            events.append(visitors.consent(who, at + draw(AGES), what))
    return visitors, events


def arrivals(draw: st.DrawFn, events: list[Event], size: int) -> list[tuple[list[Event], int]]:
    """The events in batches, each up to the allowed lateness late, and watermarks to match."""
    delays = draw(
        st.lists(
            st.one_of(st.just(0), st.just(LATENESS), st.integers(0, LATENESS)),
            min_size=len(events),
            max_size=len(events),
        )
    )
    arriving = sorted(zip(events, delays, strict=True), key=lambda each: each[0].at + each[1])
    batches = []
    for start in range(0, len(arriving), size):
        part = arriving[start : start + size]
        batches.append(([event for event, _ in part], part[-1][0].at + part[-1][1]))
    return batches


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_order_within_the_allowed_lateness_gives_the_recomputed_outcomes(
    data: st.DataObject,
) -> None:
    visitors, events = data.draw(histories())
    restarts = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    driver = Driver()
    for batch, watermark in arrivals(data.draw, events, data.draw(st.sampled_from([1, 2, 5, 100]))):
        driver.step(batch, watermark)
        if data.draw(st.floats(0.0, 1.0)) < restarts:
            driver.restart()
    driver.finish()
    agree(driver, events, visitors)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(sorted(SLOTS)))
def test_a_click_counts_up_to_the_end_of_the_window_and_not_a_millisecond_after(
    data: st.DataObject, slot_id: str
) -> None:
    visitors = Visitors()
    window = round(SLOTS[slot_id].reward_window * 1e6)
    first = visitors.decision(slot_id, None, START, 1)
    second = visitors.decision(slot_id, None, START, 2)
    events = [
        first,
        second,
        visitors.impression(first, START + 1, viewable=True),
        visitors.impression(second, START + 1, viewable=True),
        visitors.click(first, START + window),
        visitors.click(second, START + window + 1000),
    ]
    driver = Driver()
    for batch, watermark in arrivals(data.draw, events, data.draw(st.integers(1, 6))):
        driver.step(batch, watermark)
    driver.finish()
    agree(driver, events, visitors)
    assert driver.final[1].delay == window / 1e6
    assert driver.final[2].delay is None
    assert "outside_window" in driver.reasons


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    slot_id=st.sampled_from(["plain", "sum", "at-once", "strict", "exposed", "wait"]),
    tolerance=st.sampled_from([0, 1, TOLERANCE, LATENESS, 3 * LATENESS]),
)
def test_a_reward_counts_from_the_tolerance_before_its_decision_to_the_end_of_the_window(
    data: st.DataObject, slot_id: str, tolerance: int
) -> None:
    """Whatever comes first, twice, or after a restart; written out, not by the shared rule."""
    window = round(SLOTS[slot_id].reward_window * 1e6)
    edges = [-tolerance - 1, -tolerance, 1 - tolerance, -1, 0, 1, window - 1, window, window + 1]
    ages = data.draw(
        st.lists(
            st.one_of(st.sampled_from(edges), st.integers(-2 * tolerance - 9, 2 * window)),
            min_size=1,
            max_size=5,
        )
    )
    visitors, events = Visitors(), []
    for key, age in enumerate(ages, 1):
        decision = visitors.decision(slot_id, None, START + 10 * key, key)
        events += [decision, visitors.impression(decision, decision.at, viewable=True)]
        click = visitors.click(decision, decision.at + age)
        events += [click, visitors.again(click)][: data.draw(st.integers(1, 2))]
    driver = Driver(tolerance=tolerance)
    for batch, watermark in arrivals(data.draw, events, data.draw(st.sampled_from([1, 2, 5]))):
        driver.step(batch, watermark)
        if data.draw(st.booleans()):
            driver.restart()
    driver.finish()
    for key, age in enumerate(ages, 1):
        counts = -tolerance <= age <= window
        assert driver.final[key].delay == (max(age, 0) / 1e6 if counts else None)
    ignored = {"duplicate", "duplicate_waiting", "late"}
    refused = [reason for reason in driver.reasons if reason not in ignored]
    early, beyond = sum(age < -tolerance for age in ages), sum(age > window for age in ages)
    assert set(refused) <= {"before_decision", "outside_window", "no_decision"}
    repeats = {"duplicate", "duplicate_waiting"}
    assert bool(early + beyond) == bool(set(driver.reasons) - repeats)


class Life(RuleBasedStateMachine):
    """A shard over time: each event is at most the allowed lateness behind the watermark."""

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.visitors = Visitors()
        self.driver = Driver()
        self.events: list[Event] = []
        self.batch: list[Event] = []

    def _take(self, event: Event) -> None:
        if event.at >= self.now - LATENESS:
            self.events.append(event)
            self.batch.append(event)

    @rule(
        slot_id=st.sampled_from(sorted(SLOTS)),
        subject=st.sampled_from(SUBJECTS),
        behind=st.integers(0, LATENESS),
        low=st.integers(0, 3),
    )
    def decide(self, slot_id: str, subject: str | None, behind: int, low: int) -> None:
        key = (len(self.visitors.decisions) << 20) | low
        self._take(self.visitors.decision(slot_id, subject, self.now - behind, key))
        if not self.events or self.events[-1] is not self.visitors.decisions[-1]:
            self.visitors.decisions.pop()

    @precondition(lambda self: self.visitors.decisions)
    @rule(data=st.data(), age=AGES)
    def happen(self, data: st.DataObject, age: int) -> None:
        decision = data.draw(st.sampled_from(self.visitors.decisions))
        at = decision.at + age
        event = data.draw(
            st.sampled_from(
                [
                    self.visitors.impression(decision, at, viewable=True),
                    self.visitors.impression(decision, at, action_id="b"),
                    self.visitors.click(decision, at),
                    self.visitors.reward(decision, at, 0.5),
                ]
            )
        )
        self._take(event)
        if data.draw(st.integers(0, 4)) == 0:
            self._take(event)

    @rule(subject=st.sampled_from(SUBJECTS[:3]), behind=st.integers(0, LATENESS))
    def withdraw(self, subject: str, behind: int) -> None:
        self._take(self.visitors.consent(subject, self.now - behind, []))

    @rule(forward=st.one_of(st.integers(0, SECOND), st.integers(0, WINDOW)))
    def advance(self, forward: int) -> None:
        self.now += forward
        self.driver.step(self.batch, self.now)
        self.batch = []
        expected = recount(self.events, SLOTS, TOLERANCE)
        for decision in self.visitors.decisions:
            closes = decision.at + round(SLOTS[decision.body.slot_id].reward_window * 1e6)
            if closes < self.driver.horizon:
                judged = expected[decision.key].outcome()
                assert self.driver.final[decision.key].status == judged.status
                assert self.driver.final[decision.key].reward == judged.reward

    @rule()
    def restart(self) -> None:
        self.driver.step(self.batch, self.now)
        self.batch = []
        self.driver.restart()

    def teardown(self) -> None:
        if hasattr(self, "driver"):
            self.driver.step(self.batch, self.now)
            self.driver.step([], ALWAYS)
            agree(self.driver, self.events, self.visitors)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
