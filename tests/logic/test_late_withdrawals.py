"""A withdrawal that comes after decisions have settled is known, counted and recounted."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.verification.late_withdrawals import closed_keys, judge_with_late_withdrawals
from operators.envelope import Event
from operators.logic.recount import Verdict
from schemas.codec import encode
from tests.support.histories import LATENESS, SECOND, START, WINDOW, Visitors
from tests.support.slates import RULES, Catalogs, Shard, catalog_of, decide

CATALOGS = Catalogs((0, catalog_of({})))


def judged(shard: Shard, events: Sequence[Event]) -> dict[int, Verdict]:
    """What a verification makes of a shard's records, its dead letters and its outcomes."""
    return judge_with_late_withdrawals(
        shard.expected,
        events,
        {(each.origin.topic, each.origin.offset): each.reason for each in shard.rejected},
        closed_keys(encode(outcome) for outcome in shard.reported.values()),
    )


@pytest.mark.parametrize("kind", ["consent", "erasure"])
@pytest.mark.parametrize("restart", [False, True])
def test_what_has_settled_stays_and_the_withdrawal_is_a_dead_letter(
    kind: str, restart: bool
) -> None:
    visitors, shard = Visitors(RULES), Shard(CATALOGS)
    settled = decide(visitors, "first", "abc", START, key=1, subject="ann")
    pending = decide(visitors, "first", "abc", START + WINDOW // 2, key=2, subject="ann")
    shown = [visitors.impression(each, each.at + SECOND) for each in (settled, pending)]
    at = START + WINDOW - SECOND
    late = visitors.erasure("ann", at) if kind == "erasure" else visitors.consent("ann", at, [])
    for events in ([settled, pending, *shown], [], [late]):
        shard.step(events, START + WINDOW + LATENESS + SECOND)
        if restart:
            shard.restart()
    shard.finish()
    assert shard.reasons() == [("late_withdrawal", late.origin.offset)]
    events = [settled, pending, *shown, late]
    by_decision = {(outcome.decision_id, outcome.status) for outcome in shard.final.values()}
    assert by_decision == {("request-0", "settled"), ("request-1", "void")}
    shard.agree(events, judged(shard, events))


def test_a_withdrawal_in_time_and_a_consent_are_no_dead_letters() -> None:
    visitors, shard = Visitors(RULES), Shard(CATALOGS)
    now = START + WINDOW
    shard.step([], now)
    in_time, given = visitors.erasure("ann", now - LATENESS), visitors.consent("bob", START, [5, 6])
    shard.step([in_time, given], now)
    shard.finish()
    assert not shard.rejected


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_however_late_withdrawals_come_the_recount_agrees(data: st.DataObject) -> None:
    visitors, seconds = Visitors(RULES), st.integers(0, 60)
    events: list[Event] = []
    for key in range(data.draw(st.integers(1, 6))):
        at = START + data.draw(seconds) * SECOND
        actions = data.draw(st.sampled_from(["a", "abc"]))
        slot_id = data.draw(st.sampled_from(sorted(RULES)))
        decision = decide(visitors, slot_id, actions, at, key=key + 1, subject="ann")
        events += [decision, visitors.impression(decision, at + SECOND)]
    for make in (visitors.erasure, lambda subject, at: visitors.consent(subject, at, [])):
        if data.draw(st.booleans()):
            at = START + data.draw(seconds) * SECOND
            events += [make("ann", at)] * data.draw(st.integers(1, 2))
    lateness = [0 if each.origin.topic != "consents" else data.draw(seconds) for each in events]
    arriving = sorted(range(len(events)), key=lambda n: (events[n].at + lateness[n] * SECOND, n))
    shard, size = Shard(CATALOGS), data.draw(st.sampled_from([1, 3, 100]))
    for start in range(0, len(arriving), size):
        part = arriving[start : start + size]
        watermark = max(events[n].at + lateness[n] * SECOND for n in part)
        shard.step([events[n] for n in part], watermark)
        if data.draw(st.booleans()):
            shard.restart()
    shard.finish()
    shard.agree(events, judged(shard, events))
