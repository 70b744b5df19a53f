"""A catalog record that comes too late to hold is named, and the same record again is not."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from operators.logic.catalog import CatalogHistory
from operators.logic.catalog_limits import take_in
from operators.logic.stale_versions import MARKS_KEPT, ForgottenVersions
from schemas.catalog import Action, CatalogEntry
from schemas.clock import micros
from tests.support import records as make


def at(seconds: float) -> int:
    return micros(make.START + timedelta(seconds=seconds))


def version(seconds: int, id_: str = "a", **changes: Any) -> Action:
    return make.action("a", seconds, id=id_, **changes)


def reasons(
    history: CatalogHistory, *entries: CatalogEntry, appended: Sequence[int] | None = None
) -> list[tuple[int, str]]:
    """The places and reasons of what is named, where all came 100 seconds after the start."""
    times = [at(seconds) for seconds in appended or [100] * len(entries)]
    return [(place, flaw.reason) for place, flaw in take_in(history, entries, times)]


STALE = "stale_version"


@pytest.mark.parametrize(
    "late",
    [
        version(10, enabled=False),
        version(10, deleted=True),
        version(20, "A", enabled=False),
        version(10, content="older"),
    ],
    ids=["disables", "deletes", "the same time and a lower id", "says something else"],
)
def test_a_change_that_a_later_version_forestalled_is_named(late: Action) -> None:
    history = CatalogHistory()
    assert reasons(history, version(20), late) == [(1, STALE)]
    assert reasons(history, late, version(20)) == []
    assert history.as_of(at(100)) == CatalogHistory(history.state()).as_of(at(100))


def test_what_says_no_more_than_what_holds_is_not_named() -> None:
    history = CatalogHistory()
    assert reasons(history, version(20), version(10, "other"), version(20, "A")) == []


def test_what_is_to_hold_later_does_not_stand_in_the_way() -> None:
    history = CatalogHistory()
    off = version(200, enabled=False)
    assert reasons(history, off, version(50, content="until then")) == []
    assert reasons(history, version(60, content="later"), appended=[199]) == []
    assert reasons(history, version(60, "b"), appended=[201]) == [(0, STALE)]
    at_once = version(200, "A", content="never")
    assert reasons(history, at_once, appended=[100]) == [(0, STALE)]


def test_the_same_records_again_are_silent_also_after_a_restart_and_when_they_are_forgotten() -> (
    None
):
    history = CatalogHistory()
    all_of_them = [version(n, enabled=n % 2 == 0) for n in range(50)]
    assert reasons(history, *all_of_them) == []
    for _ in range(3):
        assert reasons(history, *all_of_them) == []
        history.forget(at(200))
        history = CatalogHistory(history.state())
    assert reasons(history, version(7, content="new", enabled=False)) == [(0, STALE)]


def test_marks_are_kept_of_the_versions_forgotten_last() -> None:
    forgotten = ForgottenVersions()
    for number in range(MARKS_KEPT + 1):
        forgotten.note(version(number))
    assert version(0) not in forgotten
    assert version(1) in forgotten
    assert len(forgotten.state()) == 8 * MARKS_KEPT


def test_a_record_is_named_once() -> None:
    history = CatalogHistory()
    entries = [make.slot("home"), version(20), version(20, content="other"), version(10, "b")]
    named = [place for place, _ in reasons(history, *entries)]
    assert sorted(named) == sorted(set(named))
