"""What a catalog costs, and that the order of its records does not matter."""

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.catalog import TOMBSTONES_KEPT, Catalog, CatalogHistory
from schemas.catalog import CatalogEntry
from schemas.clock import micros
from tests.support import records as make
from tests.support.operations import count_operations


def loaded(entries: list[CatalogEntry]) -> CatalogHistory:
    history = CatalogHistory()
    for entry in entries:
        history.add(entry)
    return history


def versions(actions: int, seed: int) -> list[CatalogEntry]:
    """Ten slots, and three versions of each action, every one at a time of its own."""
    names = [f"slot{number}" for number in range(10)]
    entries: list[CatalogEntry] = [make.slot(name) for name in names]
    entries += [
        make.action(f"a{number}", 3 * number + version, slots=names)
        for number in range(actions)
        for version in range(3)
    ]
    random.Random(seed).shuffle(entries)
    return entries


@pytest.mark.parametrize("seed", range(3))
def test_loading_costs_as_much_as_there_are_records(seed: int) -> None:
    costs = []
    for actions in (50, 400):
        entries = versions(actions, seed)
        costs.append(count_operations(lambda entries=entries: loaded(entries).as_of(2**62)))  # type: ignore[misc]
    assert costs[1] < 1.3 * 8 * costs[0]


def content(catalog: Catalog) -> object:
    return catalog.slots, catalog.actions, catalog.experiments


KINDS = st.tuples(
    st.sampled_from(["slot", "action", "experiment"]),
    st.sampled_from(["home", "side"]),
    st.integers(0, 6),
    st.booleans(),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(KINDS, max_size=25, unique_by=lambda each: each[:3]), st.randoms())
def test_the_catalog_of_a_time_depends_on_no_order_and_survives_a_snapshot(
    kinds: list[tuple[str, str, int, bool, bool]], shuffler: random.Random
) -> None:
    made = {"slot": make.slot, "action": make.action, "experiment": make.experiment}
    entries: list[CatalogEntry] = []
    for kind, name, seconds, deleted, enabled in kinds:
        changes = {"deleted": deleted}
        if kind == "action":
            changes["enabled"] = enabled
        entries.append(made[kind](name, seconds, **changes))  # type: ignore[operator]
    history = loaded(entries)
    restored = CatalogHistory(history.state())
    shuffler.shuffle(entries)
    shuffled = loaded(entries)
    for seconds in range(-1, 8):
        at = micros(make.START + timedelta(seconds=seconds))
        assert content(history.as_of(at)) == content(shuffled.as_of(at))
        assert content(history.as_of(at)) == content(restored.as_of(at))
        assert history.next_change(at) == shuffled.next_change(at)


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["slot", "action", "experiment"]),
        st.sampled_from(["home", "side", "other"]),
        st.integers(-3, 6),
        st.booleans(),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=40,
)


@given(EDITS)
def test_forgetting_changes_no_catalog_that_can_still_be_asked_for(
    edits: list[tuple[str, str, int, bool, int, bool]],
) -> None:
    made = {"slot": make.slot, "action": make.action, "experiment": make.experiment}
    whole, pruned, now = CatalogHistory(), CatalogHistory(), 0
    before = micros(make.START)
    for number, (kind, name, ahead, deleted, passes, restart) in enumerate(edits):
        now += passes
        entry = made[kind](name, now + ahead, id=f"{number}", deleted=deleted)  # type: ignore[operator]
        whole.add(entry)
        pruned.add(entry)
        before = micros(make.START + timedelta(seconds=now - 2))
        pruned.forget(before)
        assert pruned.due > before
        if restart:
            pruned = CatalogHistory(pruned.state())
        for seconds in range(now - 2, now + 8):
            at = micros(make.START + timedelta(seconds=seconds))
            assert content(pruned.as_of(at)) == content(whole.as_of(at))
            assert pruned.next_change(at) == whole.next_change(at)
        late = micros(make.START + timedelta(seconds=now - 9))
        assert content(pruned.as_of(late)) == content(whole.as_of(before))
    may_hold = {
        place(entry)
        for seconds in range(now - 2, now + 8)
        for entry in held(whole, micros(make.START + timedelta(seconds=seconds)))
    }
    remaining = {place(entry) for entry in pruned.state().entries if not entry.deleted}
    assert remaining <= may_hold | {place(each) for each in pruned.state().entries if each.deleted}
    assert may_hold <= remaining


def place(entry: CatalogEntry) -> object:
    """An entry's kind, name and time; of versions at one time only the last holds."""
    name = [getattr(entry, f"{kind}_id", None) for kind in ("action", "experiment", "slot")]
    return type(entry), *name, entry.time


def held(history: CatalogHistory, at: int) -> list[CatalogEntry]:
    """Every entry that holds at a time, whether a slot shows it or not."""
    entries = [
        max((each for each in versions if each[0] <= at), default=versions[0], key=by_time)[1]
        for versions in history._versions.values()
    ]
    return [entry for entry in entries if not entry.deleted]


def by_time(version: tuple[int, CatalogEntry]) -> tuple[int, str]:
    """What versions are ordered by."""
    return version[0], version[1].id


def test_versions_and_tombstones_go_when_nothing_can_ask_for_them() -> None:
    history, day = CatalogHistory(), TOMBSTONES_KEPT // 1_000_000
    for number in range(1000):
        history.add(make.slot("home", number, reward_window=1.0 + number % 3))
        history.add(make.action(f"a{number}", number))
        history.add(make.action(f"a{number}", number + 5, deleted=True))
        history.forget(micros(make.START + timedelta(seconds=number - 10)))
        history = CatalogHistory(history.state()) if number % 200 == 0 else history
        entries = history.state().entries
        assert sum(not entry.deleted for entry in entries) <= 11 + 16
        assert history.longest_window == 3_000_000 or number < 2
        assert len(history._due) <= 3 * len(entries)
    assert sum(entry.deleted for entry in history.state().entries) == 1000
    history.forget(micros(make.START + timedelta(seconds=1000 + 5 + day)))
    assert [entry.id for entry in history.state().entries] == ["slot-home-999"]
    assert history._times == []


def test_what_was_deleted_long_ago_is_new_when_it_comes_again() -> None:
    history, day = loaded([make.slot("home"), make.slot("home", 10, deleted=True)]), 86_400
    history.forget(micros(make.START + timedelta(seconds=day)))
    again = make.slot("home", 2 * day)
    assert not CatalogHistory(history.state()).as_of(micros(again.time) - 1).slots
    history.forget(micros(make.START + timedelta(seconds=day + 10)))
    assert history.state().entries == []
    history.add(again)
    assert history.as_of(micros(again.time) - 1).slots.keys() == {"home"}


def test_what_requests_bring_is_kept_out_for_a_day_where_deleted_and_for_good_where_disabled() -> (
    None
):
    day = 86_400
    history = loaded(
        [
            make.slot("home", candidates="request"),
            make.action("deleted", deleted=True),
            make.action("disabled", enabled=False),
        ]
    )
    for days, known in ((1, {"deleted", "disabled"}), (1.001, {"disabled"}), (400, {"disabled"})):
        at = micros(make.START + timedelta(seconds=days * day))
        history.forget(at - 1_000_000)
        assert history.as_of(at).known_actions == known


def test_records_are_told_apart_by_what_they_are_about() -> None:
    """A slot and an action of one id, keys and ids of all kinds: as the reference says."""
    history = loaded([make.slot("x", id="1"), make.action("x", id="1", slots=["x"])])
    assert [action.action_id for action in history.as_of(0).actions["x"]] == ["x"]
    history.add(make.slot("x", id="2", floor=0.2))
    history.add(make.slot("x", id="0", floor=0.1))
    assert history.as_of(2**62).slots["x"].floor == 0.2, "of one time, the later id"
    history.add(make.slot("x", id="2", floor=0.3))
    assert history.as_of(2**62).slots["x"].floor == 0.2, "the same id and time again"


def test_a_change_waits_for_its_time_and_a_first_record_holds_before() -> None:
    day = 86_400
    history = loaded([make.slot("home"), make.action("a", day), make.action("b", enabled=False)])
    history.add(make.action("b", day, enabled=True))
    for seconds, shown in ((0, ["a"]), (day, ["a", "b"])):
        catalog = history.as_of(micros(make.START + timedelta(seconds=seconds)))
        assert [action.action_id for action in catalog.actions["home"]] == shown


def test_shards_that_looked_at_other_times_name_a_catalog_alike() -> None:
    """Requests of several shards are decided together by the revision of their catalogs."""
    entries: list[CatalogEntry] = [make.slot("home"), make.action("a0", 0, slots=["home"])]
    entries += [make.action("a0", number, slots=["home"], enabled=False) for number in (10, 20)]
    busy, idle = CatalogHistory(), loaded(entries)
    for entry in entries:
        busy.add(entry)
        busy.as_of(micros(entry.time))
    times = [micros(entry.time) for entry in entries[1:]]
    revisions = [busy.as_of(time).revision for time in times]
    assert len(set(revisions)) == len(times)
    assert [idle.as_of(time).revision for time in reversed(times)] == revisions[::-1]
