"""Attribution remembers what is pending, however much changed before, and loses nothing by it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from operators.io.segments import ShardFiles
from operators.logic.attribution import Attribution, AttributionState, chunks
from operators.logic.attribution.decision_classes import _FEW
from operators.logic.attribution.ledger import Ledger
from operators.logic.recount import recount
from schemas.catalog import Slot
from schemas.clock import moment
from schemas.state import pack, unpack
from tests.support.histories import LATENESS, SECOND, START, WINDOW, Driver, Visitors, slot

STEPS = 300
EVERY = 40
"""Steps from one restart to the next."""

PENDING = 2 * (WINDOW + LATENESS) // SECOND + 4
"""Decisions that are pending at a time: two a second."""
MOST = 2 * PENDING + _FEW + 2


def ledger_of(driver: Driver) -> Ledger:
    """What the driven attribution keeps."""
    return driver.attribution._ledger


def slots_of(step: int) -> Mapping[str, Slot]:
    """A slot of each step, and one whose rules change with each."""
    mode = ("immediate", "wait", "exposure")[step % 3]
    return {
        each.slot_id: each
        for each in (
            slot(f"slot-{step}", learning_mode=mode, needs_impression=False),
            slot("changing", default_reward=step / STEPS, needs_impression=False),
        )
    }


@pytest.mark.parametrize("segments", [False, True])
def test_classes_are_those_of_pending_decisions_when_every_decision_brings_a_new_one(
    segments: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 8)
    visitors = Visitors({})
    driver, events, rules = Driver({}), [], {}
    if segments:
        driver.attribution.use(ShardFiles(tmp_path, 0))
    numbers, most = set[int](), 0
    for step in range(STEPS):
        now = START + step * SECOND
        driver.slots = rules[now] = slots_of(step)
        made = []
        for slot_id in driver.slots:
            decision = visitors.decision(
                slot_id, "ann", now, len(visitors.decisions) + 1,
                action_id=f"action-{step}", policy=f"policy-{step % 7}",
                learning_mode=driver.slots[slot_id].learning_mode,
                expires_at=moment(now + WINDOW - step % 5 * 1000),
            )  # fmt: skip
            made.append(decision)
            if step % 3 == 0:
                made.append(visitors.click(decision, now + SECOND))
        events += made
        driver.step(made, now)
        classes, pending = ledger_of(driver).classes, ledger_of(driver).pending
        in_use = classes.in_use()
        assert len(in_use) == len(pending) <= PENDING
        assert len(classes) <= MOST
        assert len(ledger_of(driver)._delays) <= MOST
        numbers |= in_use.keys()
        most = max(most, len(pack("attribution", 1, driver.attribution.state())))
        if step == STEPS // 5:
            early, most = most, 0
        if step % EVERY == EVERY - 1:
            state = unpack("a", 1, AttributionState, pack("a", 1, driver.attribution.state()))
            files = ShardFiles(tmp_path, 0) if segments else None
            driver.attribution = Attribution(*driver.limits, state, files)
    assert max(numbers) < MOST, "numbers are used again"
    assert most <= 1.2 * early, "snapshots level off"
    driver.slots = {}
    driver.finish()
    assert not ledger_of(driver).classes.in_use()
    expected = recount(events, lambda at: rules[at])
    assert driver.final.keys() == expected.keys()
    for decision in visitors.decisions:
        verdict, outcome = expected[decision.key], driver.final[decision.key]
        judged = verdict.outcome()
        assert (outcome.status, outcome.reward) == (judged.status, judged.reward)
        assert (outcome.slot_id, outcome.action_id) == (judged.slot_id, judged.action_id)
        assert (outcome.policy, outcome.settled_at) == (judged.policy, judged.settled_at)
        number = int(decision.body.eta)
        assert (driver.counts[number], driver.rewards[number]) == (1.0, judged.reward)


def test_events_that_have_left_the_quarantine_leave_nothing_behind() -> None:
    slots = {"strict": slot("strict", click_without_impression="quarantine", reward_window=3600.0)}
    visitors, driver = Visitors(slots), Driver(slots)
    for number in range(1000):
        now = START + number * SECOND
        decision = visitors.decision("strict", "ann", now, number + 1)
        driver.step([decision, visitors.click(decision, now)], now)
        driver.step([visitors.impression(decision, now)], now)
        quarantine = ledger_of(driver).quarantine
        assert len(quarantine) == 0
        assert len(quarantine._order) <= _FEW + 2
    driver.finish()
    assert {outcome.reward for outcome in driver.settled} == {1.0}
