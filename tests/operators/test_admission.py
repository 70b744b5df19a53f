"""Request admission lets each request in once, and waits for its slot's policy after a restart."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.runtime.clock import system_clock
from operators.decide import admission
from operators.decide.admission import RequestAdmission, RequestGroup, unpack_admission
from operators.decide.scoring import Scorer
from operators.envelope import Event, Origin, Rejected
from operators.io.metrics.decisions import DecisionMetrics
from operators.io.segments import SEEN
from operators.logic.answer_window import AnswerProgress
from operators.logic.catalog import Catalog, CatalogedBatch, CatalogHistory
from operators.logic.deciding import seen_requests as dedup
from operators.logic.deciding.eligibility import eligible_actions
from operators.logic.placement import shard_key
from operators.logic.policies import make_policy
from operators.logic.policies.published import PublishedPolicy
from schemas.catalog import CatalogEntry
from schemas.clock import NEVER, micros
from schemas.codec import encode
from schemas.events import DecisionRequest
from schemas.settings import EventTimeSettings, load
from schemas.state import StateError, pack
from tests.support import records as make

HORIZON = 3_600_000_000
SLOT = make.slot("home")
ACTIONS = tuple(make.action(name) for name in ("a", "b", "c"))
CATALOG = Catalog({"home": SLOT}, {"home": ACTIONS}, {}, 1)


def request(number: int, seconds: float = 0.0, **asked: Any) -> Event:
    time = make.START + timedelta(seconds=seconds)
    name = f"d{number}"
    body = DecisionRequest(
        id=f"e{number}",
        time=time,
        subject="s",
        decision_id=name,
        **({"slot_id": "home"} | asked),
    )
    at = micros(time)
    return Event(at, body, "s", number, Origin("decision-requests", 1, number, at), encode(body))


def history_of(*entries: CatalogEntry) -> CatalogHistory:
    history = CatalogHistory()
    for entry in entries:
        history.add(entry)
    return history


HISTORY = history_of(SLOT, *ACTIONS)


def batch(
    *events: Event,
    watermark: int = NEVER,
    catalog: Catalog = CATALOG,
    history: CatalogHistory = HISTORY,
) -> CatalogedBatch:
    return CatalogedBatch(1, watermark, list(events), catalog=catalog, history=history)


def published(version: int) -> PublishedPolicy:
    policy = make_policy("beta", None, 0)
    policy.set_actions(["a", "b", "c"], None)
    return PublishedPolicy(
        slot_id="home", kind="beta", version=version, newest=1, posterior=policy.publish()
    )


def resumed(logic: RequestAdmission) -> RequestAdmission:
    """What a restart makes of a shard's snapshot."""
    settings = load({}, secret="sixteen letters!", dedup_horizon=logic.horizon / 1e6)
    return admission.resumed(
        settings.time, logic.folder, logic.snapshot(), AnswerProgress(), DecisionMetrics()
    )


def feed(
    logic: RequestAdmission, *values: CatalogedBatch | PublishedPolicy
) -> tuple[list[RequestGroup], list[Rejected]]:
    out, over = logic.on_batch(list(values))
    assert not over
    ready, refused = [], []
    for item in out:
        if isinstance(item, RequestGroup):
            ready.append(item)
        else:
            refused += item
    return ready, refused


def keys(ready: list[RequestGroup]) -> list[int]:
    return [event.key for group in ready for event in group.events]


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=40), st.data())
def test_each_request_is_admitted_once_however_often_it_comes_and_the_shard_dies(
    arrivals: list[tuple[int, bool]], data: st.DataObject
) -> None:
    logic = RequestAdmission(horizon=HORIZON)
    admitted: Counter[int] = Counter()
    refused: list[Rejected] = []
    for number, other in arrivals:
        context = {"other": 1} if other else {}
        ready, rejected = feed(logic, batch(request(number, context=context)))
        admitted.update(keys(ready))
        refused += rejected
        if data.draw(st.booleans()):
            logic = resumed(logic)
    first: dict[int, bool] = {}
    conflicts = sum(first.setdefault(number, other) != other for number, other in arrivals)
    assert admitted == Counter({number: 1 for number, _ in arrivals})
    assert [rejected.reason for rejected in refused] == ["conflicting_request"] * conflicts


def test_a_repetition_within_one_batch_is_noticed_too() -> None:
    ready, refused = feed(
        RequestAdmission(horizon=HORIZON), batch(request(1), request(1), request(2))
    )
    assert keys(ready) == [1, 2]
    assert refused == []


def test_what_is_admitted_is_answered_when_it_is_scored() -> None:
    answers = AnswerProgress()
    logic = RequestAdmission(horizon=HORIZON, answers=answers)
    scorer = Scorer(b"a secret of tests", system_clock, DecisionMetrics(), answers=answers)
    shard, ready = shard_key(1), []
    for watermark, numbers in ((10, [1, 2]), (20, []), (30, [2, 3]), (40, [3])):
        groups, _ = feed(logic, batch(*map(request, numbers), watermark=watermark))
        ready += [(shard, group) for group in groups]
        assert answers.until(shard) == NEVER
    list(scorer.decide(ready[:1]))
    assert answers.until(shard) == 20, "request 3 is open"
    list(scorer.decide(ready[1:]))
    assert answers.until(shard) == 40


def test_what_cannot_be_asked_is_refused_by_name() -> None:
    late = micros(make.START) + HORIZON + 1_000_000
    ready, refused = feed(
        RequestAdmission(horizon=HORIZON),
        batch(
            request(1, slot_id="nowhere"),
            request(2),
            request(3, 1.0),
            request(4, 2.0, actions=["a"], excluded=["a"]),
            watermark=late,
        ),
    )
    assert keys(ready) == [3]
    assert [(found.reason, found.field, found.origin.offset) for found in refused] == [
        ("unknown_slot", "slot_id", 1),
        ("stale_request", "time", 2),
        ("no_eligible_action", "actions", 4),
    ]


def test_a_request_is_forgotten_only_when_its_repetition_would_be_stale() -> None:
    logic = RequestAdmission(horizon=HORIZON)
    feed(logic, batch(request(1)))
    edge = micros(make.START) + HORIZON
    ready, refused = feed(logic, batch(request(1), watermark=edge))
    assert (keys(ready), refused) == ([], [])
    ready, refused = feed(logic, batch(request(1), watermark=edge + 1))
    assert keys(ready) == []
    assert [found.reason for found in refused] == ["stale_request"]


def test_after_a_restart_requests_wait_for_the_policy_that_was_known() -> None:
    logic = RequestAdmission(horizon=HORIZON)
    assert feed(logic, published(7)) == ([], [])
    (group,), _ = feed(logic, batch(request(1)))
    assert group.policy is not None
    assert group.policy.version == 7

    logic = resumed(logic)
    event = request(2)
    event.personal, event.profile, event.embedding = True, {"visits": 2.0}, [0.5]
    assert feed(logic, batch(event, request(1))) == ([], [])
    logic = resumed(resumed(logic))
    assert feed(logic, batch()) == ([], [])
    (group,), refused = feed(logic, published(8))
    assert refused == []
    assert group.policy is not None
    assert group.policy.version == 8
    assert group.events == [event]


def test_a_slot_that_never_learned_is_not_waited_for() -> None:
    logic = resumed(RequestAdmission(horizon=HORIZON))
    (group,), _ = feed(logic, batch(request(1)))
    assert group.policy is None


def test_a_request_that_this_release_reads_otherwise_is_refused_once() -> None:
    logic = RequestAdmission(horizon=HORIZON)
    feed(logic, published(7))
    logic = resumed(logic)
    feed(logic, batch(request(1), request(2)))
    state = unpack_admission(logic.snapshot())
    state.waiting[0].payload = b'{"id": "r-1"}'
    settings = load({}, secret="sixteen letters!")
    packed = pack(*admission.ADMISSION_STATE, state)
    logic = admission.resumed(settings.time, None, packed, AnswerProgress(), DecisionMetrics())
    logic = resumed(logic)  # what is refused waits for the next batch, too
    (group,), refused = feed(logic, batch(), published(8))
    assert len(group.events) == 1
    assert [(each.reason, each.field) for each in refused] == [("missing_field", "time")]
    assert feed(logic, batch()) == ([], [])


def waited(at: float, *heard: CatalogEntry) -> tuple[list[RequestGroup], list[Rejected]]:
    """What becomes of a request that waits while its shard hears of these changes."""
    logic, history = RequestAdmission(horizon=HORIZON), history_of(SLOT, *ACTIONS)
    feed(logic, published(1))
    logic = resumed(logic)
    assert feed(logic, batch(request(1, at), history=history)) == ([], [])
    logic = resumed(logic)
    for entry in heard:
        history.add(entry)
    late = batch(catalog=history.as_of(micros(make.START)), history=history)
    return feed(logic, late, published(2))


def test_a_request_that_waited_is_decided_by_the_catalog_of_its_time() -> None:
    off = [make.action(name, at, enabled=False) for at, name in ((4, "a"), (5, "b"), (6, "c"))]
    for at, shown in ((3.9, "abc"), (4.0, "bc"), (5.0, "c")):
        (group,), refused = waited(at, *off)
        assert "".join(action.action_id for action in group.actions) == shown
        assert (group.eligible, refused) == ([None], [])
    ready, refused = waited(6.0, *off)
    assert (ready, [each.reason for each in refused]) == ([], ["no_eligible_action"])


def test_a_slot_that_is_removed_while_its_request_waits_answers_until_it_is_gone() -> None:
    (group,), refused = waited(1.0, make.slot("home", 2, deleted=True))
    assert (keys([group]), refused) == ([1], [])
    ready, refused = waited(2.0, make.slot("home", 2, deleted=True))
    assert (ready, [each.reason for each in refused]) == ([], ["unknown_slot"])


def test_requests_of_a_slot_come_together_with_its_actions() -> None:
    catalog = Catalog(
        {"home": SLOT, "side": make.slot("side")}, {"home": ACTIONS, "side": ACTIONS[:1]}, {}, 3
    )
    events = [request(number, slot_id=("home", "side")[number % 2]) for number in range(6)]
    ready, _ = feed(RequestAdmission(horizon=HORIZON), batch(*events, catalog=catalog))
    assert {group.slot.slot_id: (keys([group]), group.revision) for group in ready} == {
        "home": ([0, 2, 4], 3),
        "side": ([1, 3, 5], 3),
    }
    assert {group.slot.slot_id: group.actions for group in ready} == catalog.actions


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({}, None),
        ({"actions": ["c", "a", "c"]}, ["c", "a"]),
        ({"actions": ["a", "unknown"]}, ["a"]),
        ({"excluded": ["b"]}, ["a", "c"]),
        ({"actions": ["a", "b"], "excluded": ["a"]}, ["b"]),
        ({"excluded": ["a", "b", "c"]}, []),
    ],
)
def test_a_request_narrows_the_catalog_and_never_widens_it(
    asked: dict[str, Any], allowed: list[str] | None
) -> None:
    assert eligible_actions(request(1, **asked).body, CATALOG) == allowed


@pytest.mark.parametrize("asked", [{}, {"actions": ["a"]}, {"actions": ["unknown"]}])
def test_a_slot_whose_last_action_is_disabled_shows_nothing(asked: dict[str, Any]) -> None:
    entries = [SLOT, *[make.action(name, enabled=False) for name in "ab"]]
    assert eligible_actions(request(1, **asked).body, history_of(*entries).as_of(0)) == []


FEED = make.slot("home", candidates="request")
KNOWN = history_of(
    FEED,
    make.action("enabled"),
    make.action("disabled", enabled=False),
    make.action("deleted", deleted=True),
    make.action("elsewhere", slots=["side"]),
    make.action("disabled elsewhere", slots=["side"], enabled=False),
)


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({}, []),
        ({"actions": []}, []),
        ({"actions": ["x", "y", "x"], "excluded": ["y"]}, ["x"]),
        ({"actions": ["enabled", "x"]}, ["enabled", "x"]),
        ({"actions": ["x", "disabled", "deleted", "enabled"]}, ["x", "enabled"]),
        ({"actions": ["elsewhere", "disabled elsewhere"]}, []),
        ({"actions": ["enabled"], "excluded": ["enabled"]}, []),
    ],
)
def test_what_a_request_brings_is_shown_but_for_what_the_catalog_keeps_from_the_slot(
    asked: dict[str, Any], allowed: list[str]
) -> None:
    assert eligible_actions(request(1, **asked).body, KNOWN.as_of(0)) == allowed


def test_a_snapshot_is_small_and_the_same_for_the_same_requests() -> None:
    numbers = np.random.default_rng(7).permutation(2_000).tolist()
    one, other = RequestAdmission(horizon=HORIZON), RequestAdmission(horizon=HORIZON)
    for logic in (one, other):
        feed(logic, batch(*(request(number) for number in numbers)))
    assert one.snapshot() == other.snapshot()
    assert len(one.snapshot()) < 2_000 * 16


def test_sealed_runs_lie_in_files_that_a_restart_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "_SEAL", 8)
    logic = RequestAdmission(horizon=HORIZON, folder=tmp_path / SEEN)
    for number in range(1, 200):
        ready, _ = feed(logic, batch(request(number)))
        assert len(keys(ready)) == 1
        if number % 23 == 0:
            logic = resumed(logic)
    assert len(logic.snapshot()) < 500, "few of 199 requests of 12 bytes each"
    names = {path.name for path in (tmp_path / SEEN).iterdir()}
    again = resumed(logic)
    ready, refused = feed(again, batch(*[request(number) for number in range(1, 200)]))
    assert (keys(ready), refused) == ([], [])
    for name in names:
        (tmp_path / SEEN / name).unlink(missing_ok=True)
    with pytest.raises(StateError, match="is missing"):
        resumed(again)


def test_files_need_the_folder_that_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup, "_SEAL", 1)
    logic = RequestAdmission(horizon=HORIZON, folder=tmp_path / SEEN)
    feed(logic, batch(request(1)))
    with pytest.raises(StateError, match="BANDITFLOW_RECOVERY"):
        admission.resumed(
            EventTimeSettings(), None, logic.snapshot(), AnswerProgress(), DecisionMetrics()
        )
