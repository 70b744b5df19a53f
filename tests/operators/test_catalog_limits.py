"""What a catalog has no room for is left out by order of arrival, named once, whatever restarts."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cli.main import main
from flows.runtime.clock import system_clock
from operators.attach_catalog import AttachLogic, _resume
from operators.decode import reader
from operators.envelope import Batch, CatalogPlace, CatalogUpdate, Origin, Rejected
from operators.gathering import Gathering
from operators.io.metrics.records import RecordMetrics
from operators.logic.catalog import CatalogedBatch, CatalogHistory
from operators.logic.catalog_limits import take_in
from operators.logic.policy_memory import most_actions
from schemas import bounds
from schemas.catalog import CatalogEntry, FeatureSpec, PolicySettings
from schemas.clock import micros
from schemas.codec import encode
from schemas.settings import EventTimeSettings, load
from schemas.state import StateError
from schemas.topics import Topic
from tests.support import records as make

WIDE = make.slot(
    "home", policy=PolicySettings(kind="logistic"), features=FeatureSpec(hashed={"page": 511})
)
READ = reader(load({}, secret="sixteen letters!", partitions=2))
MOST = 3


def attach(snapshot: bytes | None = None) -> AttachLogic:
    return _resume(
        READ, Gathering(0.0, system_clock), EventTimeSettings(), snapshot, RecordMetrics()
    )


def update(entries: Sequence[CatalogEntry], first: int = 0, *, reports: bool) -> CatalogUpdate:
    places = [
        CatalogPlace(Origin("catalog", 0, first + at, 0), encode(entry), 0)
        for at, entry in enumerate(entries)
    ]
    return CatalogUpdate(entries, [], True, places if reports else ())


def test_no_more_actions_are_shown_than_the_policy_has_memory_for() -> None:
    most = most_actions(WIDE)
    names = [f"a{number:03}" for number in range(most + 5)][::-1]
    history = CatalogHistory()
    entries = [WIDE, *(make.action(name) for name in names)]
    no_room = take_in(history, entries)
    catalog = history.as_of(0)
    assert [action.action_id for action in catalog.actions["home"]] == sorted(names[:most])
    assert catalog.not_shown == {"home": tuple(sorted(names[most:]))}
    assert [(each.place, each.flaw.field) for each in no_room] == [
        (0, "policy"),
        *((place, "slots") for place in range(most + 1, most + 6)),
    ]
    history.add(make.action(names[0], 5, enabled=False))
    later = history.as_of(micros(make.START + timedelta(seconds=5)))
    assert [a.action_id for a in later.actions["home"]] == sorted(names[1 : most + 1])


def test_a_slot_has_ten_thousand_actions_and_no_more() -> None:
    history = CatalogHistory()
    history.add(make.slot("home", policy=PolicySettings(kind="beta")))
    for number in range(bounds.MOST_ACTIONS + 1):
        history.add(make.action(f"a{number}", features={}, embedding=None, content=None))
    assert len(history.as_of(0).actions["home"]) == bounds.MOST_ACTIONS
    assert history.as_of(0).not_shown == {"home": (f"a{bounds.MOST_ACTIONS}",)}


KINDS = st.tuples(
    st.sampled_from(["slot", "action"]),
    st.integers(0, 7),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)


def made(kinds: Sequence[tuple[str, int, int, bool, bool]]) -> list[CatalogEntry]:
    entries: list[CatalogEntry] = []
    for number, (kind, name, seconds, enabled, deleted) in enumerate(kinds):
        id_ = f"r{number}"
        if kind == "slot":
            entries.append(make.slot("home", seconds, id=id_, deleted=deleted))
        else:
            changes = {"id": id_, "enabled": enabled, "deleted": deleted and not enabled}
            entries.append(make.action(f"a{name}", seconds, **changes))
    return entries


def shown(logic: AttachLogic, at: int) -> Any:
    out, _ = logic.on_batch([Batch(0, at, [])])
    (batch,) = [item for item in out if isinstance(item, CatalogedBatch)]
    return batch.catalog.slots, batch.catalog.actions, batch.catalog.not_shown


@settings(deadline=None)
@given(st.lists(KINDS, max_size=25), st.lists(st.integers(0, 25), max_size=4))
def test_every_shard_shows_the_same_whenever_it_was_restarted(
    kinds: list[tuple[str, int, int, bool, bool]], restarts: list[int]
) -> None:
    entries = made(kinds)
    with patch("operators.logic.catalog.most_actions", lambda _: MOST):
        at_once, restarted = attach(), attach()
        at_once.on_batch([update(entries, reports=True)])
        reported: list[Rejected] = []
        for place, entry in enumerate(entries):
            if place in restarts:
                restarted = attach(restarted.snapshot())
            out, _ = restarted.on_batch([update([entry], place, reports=True)])
            reported += [each for item in out if isinstance(item, list) for each in item]
        restarted.on_batch([update([], reports=False)])
        at_once.on_batch([update([], reports=False)])
        for seconds in range(-1, 5):
            at = micros(make.START + timedelta(seconds=seconds))
            catalog = shown(at_once, at)
            assert catalog == shown(restarted, at)
            assert all(len(actions) <= MOST for actions in catalog[1].values())
    offsets = [each.origin.offset for each in reported]
    assert len(set(offsets)) == len(offsets)
    assert {each.field for each in reported} <= {"slots", "policy", "time"}


def test_one_shard_reports_what_has_no_room_and_the_others_do_the_same_in_silence() -> None:
    entries = [WIDE, *(make.action(f"a{number}") for number in range(most_actions(WIDE) + 1))]
    first, second = attach(), attach()
    out, _ = first.on_batch([update(entries, reports=True)])
    (letters,) = out
    assert isinstance(letters, list)
    assert [each.origin.offset for each in letters] == [0, len(entries) - 1]
    assert letters[0].payload == encode(WIDE)
    assert list(second.on_batch([update(entries, reports=False)])[0]) == []
    assert shown(first, 0) == shown(second, 0)


def test_a_record_that_comes_too_late_to_hold_is_reported_once_whatever_restarts() -> None:
    first, off = make.action("a", 20, id="1"), make.action("a", 10, id="2", enabled=False)
    appended = micros(make.START + timedelta(seconds=60))
    place = CatalogPlace(Origin(Topic.CATALOG, 0, 1, 0), encode(off), appended)
    logic = attach()
    logic.on_batch([update([make.slot("home"), first], reports=True)])
    reported = []
    for offset in range(1, 4):
        again = place._replace(origin=Origin(Topic.CATALOG, 0, offset, 0))
        out, _ = logic.on_batch([CatalogUpdate([off], [], True, [again])])
        reported += [(each.reason, each.origin.offset) for letters in out for each in letters]  # type: ignore[union-attr]
        logic.on_batch([Batch(0, appended + 10**12, [])])  # nothing asks for it any more
        logic = attach(logic.snapshot())
    assert [len(versions) for versions in logic.history.versions.values()] == [1, 1]
    assert reported == [("stale_version", 1)]


def test_a_full_catalog_takes_no_more_but_what_makes_it_smaller() -> None:
    actions = [make.action(f"a{number}", content="x" * 1000) for number in range(8)]
    with patch("operators.logic.catalog.CATALOG_BYTES", 5 * (1024 + len(encode(actions[0])))):
        history = CatalogHistory()
        no_room = take_in(history, [make.slot("home"), *actions])
        assert [(each.place, each.flaw.field) for each in no_room] == [
            (n, None) for n in (5, 6, 7, 8)
        ]
        assert len(history.as_of(0).actions["home"]) == 4
        assert not history.add(make.action("a0", 1, content="x" * 3000))
        assert history.add(make.action("a0", 2, content=None))
        assert history.add(make.action("a4", 2, content=None))
        restored = CatalogHistory(history.state())
        assert not restored.add(actions[7])
        assert restored.as_of(2**62).actions == history.as_of(2**62).actions


def test_a_full_catalog_takes_what_disables_and_what_deletes_and_has_it_after_a_restart() -> None:
    actions = [make.action(f"a{number}", content="x" * 1000) for number in range(4)]
    with patch("operators.logic.catalog.CATALOG_BYTES", 5 * (1024 + len(encode(actions[0])))):
        history = CatalogHistory()
        assert take_in(history, [make.slot("home"), *actions]) == []
        off = [
            make.action("a0", 1, content="x" * 1000, enabled=False, source="x" * 200),
            make.action("a1", 1, content="x" * 1000, deleted=True, source="x" * 200),
        ]
        assert not history.add(make.action("a4", 1, content="x" * 1000))
        assert take_in(history, off) == []
        history.forget(micros(make.START) + 2_000_000)
        for each in (history, CatalogHistory(history.state())):
            shown = each.as_of(2**62).actions["home"]
            assert [action.action_id for action in shown] == ["a2", "a3"]
            assert not each.add(make.action("a4", 1, content="x" * 1000))


def test_a_full_catalog_takes_what_disables_an_id_of_which_no_record_spoke() -> None:
    """A slot that takes candidates from requests shows it until then."""
    named = make.slot("home", candidates="request")
    room = 2 * 1024 + len(encode(named)) + len(encode(make.action("a")))
    with patch("operators.logic.catalog.CATALOG_BYTES", room):
        history = CatalogHistory()
        assert take_in(history, [named, make.action("a")]) == []
        assert not history.add(make.action("late"))
        off = [make.action("off", enabled=False), make.action("gone", deleted=True)]
        assert take_in(history, off) == []
        for each in (history, CatalogHistory(history.state())):
            assert {"off", "gone"} <= each.as_of(2**62).known_actions
            assert not each.add(make.action("late"))


def test_state_that_holds_what_is_refused_by_now_is_refused_in_a_sentence() -> None:
    logic = attach()
    logic.on_batch([update([make.slot("home", reward_window=1e12)], reports=False)])
    with pytest.raises(StateError, match=r"'admit'.*reward_window"):
        attach(logic.snapshot())


def test_the_command_says_what_has_no_room_by_its_line(tmp_path: Path, capsys: Any) -> None:
    most = most_actions(WIDE)
    entries = [WIDE, *(make.action(f"a{number}") for number in range(most + 1))]
    file = tmp_path / "wide.jsonl"
    file.write_text("\n".join(msgspec.json.encode(entry).decode() for entry in entries))
    assert main(["catalog", "check", str(file)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert f"wide.jsonl:1: policy: its policy has memory for {most} actions" in said[0]
    assert f"wide.jsonl:{most + 2}: slots: slot 'home' has {most} actions already" in said[1]
