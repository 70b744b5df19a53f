"""A watermark that ran ahead and was lowered: what is settled stays so, and nothing is twice."""

import hypothesis.strategies as st
from hypothesis import given, settings

from operators.envelope import Event
from operators.logic.attribution import Attribution, reasons
from operators.logic.attribution.ledger import lower_attribution
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

AHEAD = 2 * 86_400 * SECOND
SLOT_IDS = ["plain", "sum", "at-once", "strict", "exposed", "wait"]


def lower(driver: Driver, to: int) -> None:
    """Go on from a snapshot whose watermark was lowered."""
    state = lower_attribution(driver.attribution.state(), to, LATENESS)
    driver.horizon = state.horizon
    driver.attribution = Attribution(*driver.limits, state, tolerance=driver.tolerance)


@st.composite
def lives(draw: st.DrawFn, visitors: Visitors, begin: int, first: int) -> list[Event]:
    """Decisions and what became of them within 30 seconds from ``begin``."""
    events = []
    for number in range(draw(st.integers(1, 4))):
        at = begin + draw(st.integers(0, 10 * SECOND))
        decision = visitors.decision(draw(st.sampled_from(SLOT_IDS)), None, at, first + number)
        events.append(decision)
        if draw(st.booleans()):
            events.append(visitors.impression(decision, at, viewable=True))
        ages = draw(st.lists(st.integers(-TOLERANCE, WINDOW), max_size=3))
        events += [visitors.click(decision, at + age) for age in ages]
    return events


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_nothing_is_settled_twice_and_what_is_new_is_as_recomputed(data: st.DataObject) -> None:
    visitors, driver = Visitors(), Driver()
    before = data.draw(lives(visitors, START, 1))
    taken = data.draw(st.permutations(before))[: data.draw(st.integers(0, len(before)))]
    driver.step(taken, START + 10 * SECOND)
    driver.step([], START + AHEAD)  # somebody's clock
    settled = dict(driver.final)
    now = START + 40 * SECOND
    lower(driver, now)
    if data.draw(st.booleans()):  # once more ahead, and lowered again
        driver.step([], START + 2 * AHEAD)
        lower(driver, now)
    after = data.draw(lives(visitors, now, 100))
    batch = data.draw(st.permutations([*before, *after]))
    middle = data.draw(st.integers(0, len(batch)))
    driver.step(batch[:middle], now)
    driver.restart()
    driver.step(batch[middle:], now)
    for passed in range(0, 60, 5):
        driver.step([], now + passed * SECOND)
    driver.step([], START + 2 * AHEAD + LATENESS + SECOND)
    driver.step([], ALWAYS)
    assert {key: driver.final[key] for key in settled} == settled
    wanted = recount(after, SLOTS, TOLERANCE)
    for key, verdict in wanted.items():
        judged = verdict.outcome()
        made = driver.final[key]
        assert (made.status, made.reward, made.delay) == (
            judged.status, judged.reward, judged.delay,
        )  # fmt: skip
    assert not driver.attribution.pending
    assert not driver.attribution.state().settled_ahead, "it is forgotten in time"


def test_a_decision_that_lies_twice_on_its_topic_is_not_settled_again() -> None:
    visitors, driver = Visitors(), Driver()
    decision = visitors.decision("at-once", None, START, key=1)
    driver.step([decision], START)
    driver.step([], START + AHEAD)
    assert list(driver.final) == [1]
    lower(driver, START + SECOND)
    driver.step([decision], START + SECOND)
    assert driver.reasons == [reasons.LATE]
    newer = visitors.decision("at-once", None, START + 1, key=2)
    driver.step([newer], START + SECOND)
    assert driver.attribution.pending == 1
