"""The reports say the same on SQLite and through Oracle's protocol, and what a recount says."""

from pathlib import Path
from typing import Any

import oracledb
import pytest

from flows.runtime.clock import system_clock
from operators.io.store.oracle import OracleStore
from operators.io.store.sqlite import SqliteStore
from tests.support import records as make
from tests.support.mirror import PASSWORD, USER, Mirror

COUNT = 200
QUERIES = {
    "slot_daily": "slot_id, decisions, impressions, reward, inverse_propensity, not_learned",
    "action_funnel": (
        "action_id, decisions, impressions, rewarded, reward, mean_propensity, not_learned"
    ),
    "learning_curve": "slot_id, decisions, reward, mean_reward_so_far",
    "experiment_summary": "experiment_id, decisions, reward, mean_reward, weighted_mean_reward",
    "consents": "subject, version",
    "current_content": "action_id, probability",
}


def winners() -> list[Any]:
    return [
        make.winner("home", 60, action_id="a2", probability=0.75),
        make.winner("home", 0),
        make.winner("home", 30, action_id="a1", segment="all", probability=0.5),
    ]


def records() -> list[Any]:
    made: list[Any] = [make.decision(number) for number in range(COUNT)]
    for number in range(0, COUNT, 2):
        status = "void" if number % 10 == 0 else "settled"
        loud = "robot" if number % 7 == 0 and status == "settled" else ""
        activated = number % 3 > 0
        outcome = make.outcome(number + 1, 2, status=status, activated=activated, not_learned=loud)
        made.append(outcome)
    return [*made, make.profile("s1", 1), make.profile("s2", 3), *winners()]


def ordered(view: str) -> str:
    return f"SELECT {QUERIES[view]} FROM {view} ORDER BY 1"


@pytest.fixture
def sqlite(tmp_path: Path) -> Any:
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(system_clock())
    store.apply(make.writes(*records()))
    return store._connection


def test_the_daily_report_is_what_a_recount_says(sqlite: Any) -> None:
    outcomes = [made for made in records() if hasattr(made, "settled_at")]
    shown = [made for made in outcomes if made.status == "settled" and made.activated]
    learned = [made for made in shown if not made.not_learned]
    ((slot, count, impressions, reward, inverse, left_out),) = sqlite.execute(ordered("slot_daily"))
    assert (slot, count) == ("home", COUNT)
    assert (impressions, left_out) == (len(learned), len(shown) - len(learned))
    assert reward == sum(made.reward for made in learned)
    assert inverse == pytest.approx(sum(1 / made.propensity for made in learned))


def open_decisions(store: SqliteStore) -> None:
    """Store decisions whose windows are open: only a rewarded one has an outcome yet."""
    made: list[Any] = [make.decision(number) for number in range(COUNT, COUNT + 50)]
    made += [
        make.outcome(number, 1, status="pending", reward=1.0, delay=2.0)
        for number in range(COUNT, COUNT + 50, 10)
    ]
    store.apply(make.writes(*made))


def test_means_leave_out_decisions_whose_answers_may_still_come(tmp_path: Path) -> None:
    """With them the last hours earned 1 for each decision."""
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(system_clock())
    store.apply(make.writes(*records()))
    views = ("learning_curve", "experiment_summary")
    before = [store._connection.execute(ordered(view)).fetchall() for view in views]
    open_decisions(store)
    assert [store._connection.execute(ordered(view)).fetchall() for view in views] == before
    settled = [each for each in records() if getattr(each, "status", "") == "settled"]
    shown = [each.reward for each in settled if each.activated and not each.not_learned]
    (curve,) = before[0]
    assert curve[1:] == (len(shown), sum(shown), pytest.approx(sum(shown) / len(shown)))


def test_a_decision_is_rewarded_once_a_reward_came(tmp_path: Path) -> None:
    """Where no answer is worth more than the least reward, every decision was counted."""
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(system_clock())
    made: list[Any] = [make.decision(number, action_id="a") for number in range(10)]
    made += [
        make.outcome(number, 2, status="settled", reward=0.5, action_id="a") for number in range(8)
    ]
    made += [
        make.outcome(number, 2, status="settled", reward=1.0, action_id="a", delay=3.0)
        for number in (8, 9)
    ]
    store.apply(make.writes(*made))
    query = "SELECT decisions, rewarded, reward FROM action_funnel"
    assert store._connection.execute(query).fetchall() == [(10, 2, 6.0)]


def test_the_newest_winner_of_each_segment_is_the_current_one(sqlite: Any) -> None:
    assert sqlite.execute(ordered("current_content")).fetchall() == [("a1", 0.5), ("a2", 0.75)]


def test_an_experiment_is_summed_up_by_inverse_propensity(sqlite: Any) -> None:
    made = [made for made in records() if hasattr(made, "settled_at")]
    shown = [
        each
        for each in made
        if each.status == "settled" and each.activated and not each.not_learned
    ]
    weight = sum(1 / each.propensity for each in shown)
    expected = sum(each.reward / each.propensity for each in shown) / weight
    ((_, count, _, _, weighted),) = sqlite.execute(ordered("experiment_summary"))
    assert count == len(shown)
    assert weighted == pytest.approx(expected)


@pytest.mark.mirror
@pytest.mark.parametrize("view", QUERIES)
def test_views_agree(view: str, sqlite: Any, mirror: Mirror) -> None:
    store = OracleStore(mirror.access())
    store.apply(make.writes(*records()))
    store.close()
    connection = oracledb.connect(user=USER, password=PASSWORD, dsn=mirror.dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(ordered(view))
        got = cursor.fetchall()
    expected = sqlite.execute(ordered(view)).fetchall()
    assert len(got) == len(expected) > 0
    for left, right in zip(got, expected, strict=True):
        assert left[0] == right[0]
        assert [float(value) for value in left[1:]] == pytest.approx(right[1:])
