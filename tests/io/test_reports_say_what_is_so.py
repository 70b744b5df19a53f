"""Who reads the reports of the store concludes what a recount of the events says."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from operators.envelope import Event
from operators.io.store.sqlite import SqliteStore
from operators.logic.catalog import Catalog
from operators.logic.recount import Verdict
from schemas.catalog import SubjectLimit
from schemas.clock import moment
from tests.support import records as make
from tests.support.histories import SECOND, START, WINDOW, Visitors
from tests.support.slates import RULES, Catalogs, Shard, decide

SLOTS = {
    slot_id: replace(
        RULES[slot_id], slate_size=size, subject_limit=SubjectLimit(decisions=3, window=3600.0)
    )
    for slot_id, size in (("first", 3), ("sum", 1))
}
NAME = "0000000a"
"""What one loud visitor is called in every slot; the others have a name for each decision."""


def visit(visitors: Visitors, number: int) -> Iterator[Event]:
    """A decision, its impression, and what a quiet visitor, the loud one or a robot does.

    The quiet ones like the action "c", which comes last; the loud one and robots click the first.
    """
    slot_id, actions = ("first", "abc") if number % 2 else ("sum", "abc"[number % 3])
    at = START + number * SECOND // 2
    loud, robot = number % 5 < 2, number % 11 == 0
    decision = decide(
        visitors, slot_id, actions, at, key=7919 * (number + 1), robot=robot,
        subject_window=NAME if loud else f"{number + 1:08x}",
    )  # fmt: skip
    yield decision
    if number % 7:
        yield visitors.impression(decision, at + SECOND)
    if loud or robot:
        yield visitors.click(decision, at + SECOND, position=0)
    elif number % 3 == 0 and "c" in actions:
        yield visitors.click(decision, at + 2 * SECOND, position=actions.index("c"))


@pytest.fixture
def read(tmp_path: Path) -> Iterator[tuple[SqliteStore, list[Verdict], list[Verdict]]]:
    """A store of a shard's decisions, the verdicts on closed windows, and those on open ones."""
    visitors = Visitors(SLOTS)
    shard = Shard(Catalogs((0, Catalog(SLOTS))))
    events = [event for number in range(200) for event in visit(visitors, number)]
    shard.step(events, events[-1].at)
    settled_until = shard.attribution.state().horizon
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(make.START)
    made: list[Any] = [
        make.decision(
            number, key=f"{event.key:016x}", slot_id=event.body.slot_id, time=event.body.time,
            decision_id=event.body.decision_id, action_id=event.body.action_id, propensity=0.125,
        )
        for number, event in enumerate(visitors.decisions)
    ]  # fmt: skip
    store.apply(make.writes(*made, *shard.reported.values()))
    verdicts = shard.expected(events).values()
    closed = [each for each in verdicts if each.closes < settled_until]
    opened = [each for each in verdicts if each.closes >= settled_until]
    assert closed
    assert {each.reward > 0 for each in opened} == {True, False}
    yield store, closed, opened
    store.close()


def rows(store: SqliteStore, query: str) -> list[tuple[Any, ...]]:
    return store._connection.execute(query).fetchall()


Read = tuple[SqliteStore, list[Verdict], list[Verdict]]


def test_each_action_is_counted_at_every_position_and_by_those_who_teach(read: Read) -> None:
    store, closed, _ = read
    by_action: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    for verdict in closed:
        body = verdict.decision.body
        by_action[body.slot_id, body.action_id].append(verdict)
    expected = []
    for names, verdicts in sorted(by_action.items()):
        teach = [each for each in verdicts if each.teaches]
        expected.append(
            (
                *names,
                len(verdicts),
                len(teach),
                sum(each.rewards > 0 for each in teach),
                pytest.approx(sum(each.reward for each in teach)),
                sum(each.counts and not each.teaches for each in verdicts),
            )
        )
    columns = "slot_id, action_id, decisions, impressions, rewarded, reward, not_learned"
    found = rows(store, f"SELECT {columns} FROM action_funnel ORDER BY slot_id, action_id")
    assert found == expected
    assert all(row[-1] for row in found)


def test_the_best_action_is_the_one_that_people_like_not_the_one_that_is_clicked_most(
    read: Read,
) -> None:
    store, *_ = read
    query = "SELECT action_id FROM action_funnel WHERE slot_id = 'first' ORDER BY reward DESC"
    assert rows(store, query)[0] == ("c",)


def test_a_day_is_all_that_was_answered_and_what_was_learned_of_what_has_settled(
    read: Read,
) -> None:
    store, closed, opened = read
    query = "SELECT * FROM slot_daily ORDER BY slot_id"
    for slot_id, found in zip(sorted(SLOTS), rows(store, query), strict=True):
        of_slot = [each for each in closed if each.decision.body.slot_id == slot_id]
        teach = [each for each in of_slot if each.teaches]
        answered = {
            each.decision.body.decision_id
            for each in [*closed, *opened]
            if each.decision.body.slot_id == slot_id
        }
        day = str(moment(START).date())
        assert found == (
            day,
            slot_id,
            len(answered),
            len(teach),
            pytest.approx(sum(each.reward for each in teach)),
            pytest.approx(sum(1 / each.decision.body.propensity for each in teach)),
            sum(each.counts and not each.teaches for each in of_slot),
        )


def test_the_curve_ends_at_the_mean_of_what_was_learned(read: Read) -> None:
    store, closed, _ = read
    for slot_id in SLOTS:
        of_slot = [e for e in closed if e.teaches and e.decision.body.slot_id == slot_id]
        query = f"SELECT * FROM learning_curve WHERE slot_id = '{slot_id}' ORDER BY hour"
        found = rows(store, query)
        assert sum(row[2] for row in found) == len(of_slot)
        mean = sum(each.reward for each in of_slot) / len(of_slot)
        assert found[-1][-1] == pytest.approx(mean)


def test_the_traffic_is_what_it_says(read: Read) -> None:
    """Windows close within the log, and one visitor in two fifths of it is too loud."""
    _, closed, opened = read
    assert timedelta(microseconds=WINDOW).total_seconds() == SLOTS["first"].reward_window
    reasons = {each.not_learned for each in [*closed, *opened]}
    assert reasons == {"", "subject_limit", "robot"}
