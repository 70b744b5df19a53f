"""A slot's reward range changes in live traffic: each decision keeps its own, learning begins anew.

A policy sees rewards in [0, 1] of the range, so what it learned on one scale says nothing on
another.
"""

from datetime import datetime
from typing import Any

from flows.verification.learning import Learners
from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_limits import take_in
from tests.support.scripted import SLOT, Flow, Record, catalog_of, merged

CHANGED = "2026-03-01T12:00:07Z"
"""Between the second turn of the script and the third: some decisions of both are pending then."""

CHANGE: tuple[Record, ...] = (
    merged(SLOT, {"id": "t", "time": CHANGED, "reward_range": [0.0, 2.0]}),
)


def at(record: Record) -> datetime:
    return datetime.fromisoformat(record["time"])


def final(written: dict[str, list[Record]]) -> dict[str, Record]:
    return {
        each["decision_id"]: each for each in written["outcomes"] if each["status"] != "pending"
    }


def test_decisions_keep_the_range_that_they_were_made_under() -> None:
    flow, change = Flow(), datetime.fromisoformat(CHANGED)
    same, changed = (final(flow.written({}, {}, further)) for further in ((), CHANGE))
    before = [name for name, each in same.items() if at(each) < change]
    rewarded = [name for name, each in same.items() if name not in before and each["reward"]]
    assert any(same[name]["reward"] for name in before)
    assert [changed[name]["reward"] for name in before] == [same[name]["reward"] for name in before]
    assert rewarded
    assert [changed[name]["reward"] for name in rewarded] == [
        same[name]["reward"] / 2 for name in rewarded
    ]


def test_what_is_reported_after_the_change_is_of_decisions_made_since() -> None:
    written: Any = Flow().written({}, {}, CHANGE)
    made = [
        each["reward"] * 2
        for each in final(written).values()
        if at(each) >= datetime.fromisoformat(CHANGED) and not each.get("not_learned")
    ]
    last = written["policies"][-1]
    assert last["decisions"] == len(made)
    assert last["rewards"] == sum(made)


def test_the_comparison_with_a_recount_leaves_the_slot_out_as_after_any_other_change() -> None:
    history = CatalogHistory()
    take_in(history, catalog_of({}, {}, CHANGE))
    assert Learners(history).skipped == ["home"]
