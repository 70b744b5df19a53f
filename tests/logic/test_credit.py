"""Events of slates are credited to what the decision showed, once, in any order, or refused."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec.structs import astuple, replace

from flows.verification.unused import without_unused
from operators.envelope import Event
from operators.logic.attribution import (
    chunks,
    decision_classes,
    key_index,
    pending,
    settlement,
    waiting,
)
from operators.logic.deciding.positions import position_key
from operators.publish import REPEATS
from schemas.events import Click, DecisionBack, Impression, Reward
from tests.support.histories import LATENESS, SECOND, START, TOLERANCE, WINDOW, Visitors, features
from tests.support.slates import (
    RULES,
    Catalogs,
    Shard,
    by_action,
    catalog_of,
    decide,
    settled,
    slate_of,
)

THREE = Catalogs((0, catalog_of(dict.fromkeys(RULES, 3))))
LATER = START + SECOND


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Any:
    """Let a handful of positions fill a chunk, and two be many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 3)
        for module in (key_index, pending, settlement):
            patch.setattr(module, "_FEW", 1)
        patch.setattr(decision_classes, "_FEW", 0)
        yield


@pytest.fixture(params=["in order", "events first", "restarts"])
def attribute(request: pytest.FixtureRequest) -> Callable[..., Shard]:
    """Takes in a decision and its events: the events after it, before it, or after restarts."""

    def run(events: list[Event], catalogs: Catalogs = THREE) -> Shard:
        if request.param == "events first":
            events = [*events[1:], events[0]]
        together = request.param == "in order"
        shard = settled(events, catalogs, batches=1 if together else 100, restarts=not together)
        shard.agree(events)
        return shard

    return run


@pytest.mark.parametrize("actions", ["abc", "a"])
@pytest.mark.parametrize("kind", ["impression", "click", "reward"])
def test_what_names_a_position_that_was_not_shown_is_one_dead_letter(
    attribute: Callable[..., Shard], actions: str, kind: str
) -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", actions, START, key=1)
    value = [1.0] if kind == "reward" else []
    event = getattr(visitors, kind)(decision, LATER, *value, position=len(actions))
    shard = attribute([decision, event])
    assert shard.reasons() == [("wrong_position", event.origin.offset)]
    assert by_action(shard) == dict.fromkeys(actions, ("void", 0.0))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_slate_stays_as_it_was_shown_whatever_its_slot_shows_by_now(
    attribute: Callable[..., Shard], size: int
) -> None:
    visitors = Visitors(RULES)
    changed = catalog_of({"first": size})
    catalogs = Catalogs((0, catalog_of({"first": 3})), (LATER, changed))
    decision = decide(visitors, "first", "abc", START, key=1)
    events = [
        decision,
        visitors.impression(decision, LATER),
        visitors.click(decision, LATER + 1, position=2),
        visitors.reward(decision, LATER + 2, 0.5, position=1),
    ]
    shard = attribute(events, catalogs)
    assert shard.reasons() == []
    assert by_action(shard) == {"a": ("settled", 0.0), "b": ("settled", 0.5), "c": ("settled", 1.0)}


def test_a_reward_and_a_click_without_a_position_are_the_first_ones(
    attribute: Callable[..., Shard],
) -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "sum", "abc", START, key=1)
    events = [decision, visitors.click(decision, LATER), visitors.reward(decision, LATER, 2.0)]
    shard = attribute(events)
    assert by_action(shard) == {"a": ("settled", 0.75), "b": ("void", 0.0), "c": ("void", 0.0)}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "abc"),
        ({"position": 0}, "a"),
        ({"position": 2}, "c"),
        ({"action_id": "b"}, "b"),
        ({"action_id": "c", "position": 2}, "c"),
    ],
)
def test_an_impression_shows_what_it_names(
    attribute: Callable[..., Shard], fields: dict[str, Any], shown: str
) -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", "abc", START, key=1)
    shard = attribute([decision, visitors.impression(decision, LATER, **fields)])
    assert shard.reasons() == []
    assert {name for name, (status, _) in by_action(shard).items() if status == "settled"} == set(
        shown
    )


@pytest.mark.parametrize("fields", [{"action_id": "x"}, {"action_id": "a", "position": 1}])
def test_an_impression_of_another_action_than_the_one_there_is_one_dead_letter(
    attribute: Callable[..., Shard], fields: dict[str, Any]
) -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", "abc", START, key=1)
    impression = visitors.impression(decision, LATER, **fields)
    shard = attribute([decision, impression])
    assert shard.reasons() == [("wrong_action", impression.origin.offset)]
    assert {status for status, _ in by_action(shard).values()} == {"void"}


@pytest.mark.parametrize("kind", ["impression", "click"])
def test_what_names_another_slot_than_its_decision_is_one_dead_letter(
    attribute: Callable[..., Shard], kind: str
) -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", "abc", START, key=1)
    event = getattr(visitors, kind)(decision, LATER, slot_id="sum")
    shard = attribute([decision, event])
    assert shard.reasons() == [("wrong_slot", event.origin.offset)]
    assert [each.reason for each in shard.rejected] == ["wrong_slot"]
    assert {status for status, _ in by_action(shard).values()} == {"void"}


def test_an_impression_of_a_slate_that_never_comes_is_one_dead_letter() -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", "abc", START, key=1)
    impression = visitors.impression(decision, LATER)
    shard = settled([impression], THREE)
    assert [(each.reason, each.origin.offset) for each in shard.rejected] == [
        ("no_decision", impression.origin.offset)
    ]


def test_a_second_slate_for_one_request_adds_no_position() -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", "ab", START, key=1)
    longer = decide(visitors, "first", "abc", START, key=1)
    longer = replace(
        longer, body=replace(longer.body, eta=0.0, slate=slate_of("abc"), features=None)
    )
    decision = replace(decision, body=replace(decision.body, features=None))
    shard = settled([decision, longer, visitors.impression(decision, LATER)], THREE)
    assert shard.reasons() == [("conflicting_decision", longer.origin.offset)]
    assert by_action(shard).keys() == {"a", "b"}


def test_one_action_left_to_show_is_learned_as_the_first_position() -> None:
    """Its features have the columns of positions, too, which are zero there."""
    visitors = Visitors(RULES)
    decision = decide(visitors, "at-once", "a", START, key=1, features=features(7))
    shard = settled([decision], THREE)
    (slot_deltas,) = shard.deltas
    assert slot_deltas.deltas.x.tolist() == [[1.0, 7.0, 0.0, 0.0]]


CONFLICTS: dict[str, tuple[str, list[tuple[int, float, int]]]] = {
    "another time": ("first", [(LATER + 5, 1.0, 0), (LATER, 1.0, 0)]),
    "another value": ("first", [(LATER, 0.75, 0), (LATER, 0.25, 0)]),
    "another value, summed": ("sum", [(LATER, 3.0, 0), (LATER, 1.0, 0)]),
    "another value, the highest": ("max", [(LATER, 1.0, 0), (LATER, 0.0, 0)]),
    "another position": ("sum", [(LATER, 2.0, 2), (LATER, 2.0, 0)]),
    "another position, waiting": ("strict", [(LATER, 1.0, 2), (LATER, 1.0, 0)]),
    "waiting": ("strict", [(LATER, 1.0, 0), (LATER, 0.5, 0)]),
    "three": ("first", [(LATER, 1.0, 0), (LATER, 0.5, 1), (LATER, 0.25, 0)]),
}


@pytest.mark.parametrize("name", CONFLICTS)
@pytest.mark.parametrize("restarts", [False, True])
def test_of_two_rewards_with_one_id_the_least_counts_in_any_order(
    name: str, *, restarts: bool
) -> None:
    slot_id, contents = CONFLICTS[name]
    ends = set()
    for order in permutations(range(len(contents))):
        visitors = Visitors(RULES)
        decision = decide(visitors, slot_id, "abc", START, key=1)
        rewards = [
            visitors.reward(decision, at, value, id="same", position=position)
            for at, value, position in contents
        ]
        seen = visitors.impression(decision, LATER, position=0, viewable=True)
        events = [decision, *[rewards[place] for place in order], seen]
        shard = settled(events, THREE, batches=len(events), restarts=restarts)
        shard.agree(events)
        assert shard.conflicts == len(contents) - 1
        assert {reason for reason, _ in shard.reasons()} <= {"conflicting_reward"}
        ends.add(tuple(sorted(by_action(shard).items())))
    assert len(ends) == 1


def test_the_same_reward_again_is_no_conflict() -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "sum", "abc", START, key=1)
    reward = visitors.reward(decision, LATER, 1.0, position=1)
    shard = settled([decision, reward, reward], THREE, batches=3)
    assert (shard.conflicts, [each.reason for each in shard.rejected]) == (0, ["duplicate"])


def test_a_displaced_reward_is_taken_back_from_the_learner() -> None:
    """Both the reward and, where nothing else showed the action, that it counted."""
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", "abc", START, key=1)
    shard = Shard(THREE)
    shard.step([decision, visitors.reward(decision, LATER + 1, 1.0, id="r", position=2)], START)
    assert shard.taught[2.0] == (1.0, 1.0)
    shard.step([visitors.reward(decision, LATER, 0.5, id="r", position=1)], START)
    assert (shard.taught[1.0], shard.taught[2.0]) == ((1.0, 0.5), (0.0, 0.0))
    shard.step([visitors.reward(decision, LATER, 0.25, id="r", position=1)], START)
    assert shard.taught[1.0] == (1.0, 0.25)


def test_a_slate_is_evicted_whole() -> None:
    visitors = Visitors(RULES)
    decisions = [decide(visitors, "at-once", "abcd", START, key=key) for key in range(1, 40)]
    shard = Shard(THREE, max_pending=50)
    for decision in decisions:
        shard.step([decision], START)
    evicted = {key for key, outcome in shard.final.items() if outcome.reason == "evicted"}
    for decision in decisions:
        keys = {position_key(decision.key, position) for position in range(4)}
        assert keys <= evicted or not keys & evicted
    assert len(evicted) == 4 * (39 - 12)


AGES = st.sampled_from([-SECOND, 0, 1, SECOND, SECOND, 3 * SECOND, WINDOW, WINDOW + 1])
POSITIONS = st.one_of(st.none(), st.integers(0, 4))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Catalogs, list[Event]]:
    """Slates of any size under a catalog that changes, and what names them rightly or not."""
    times = draw(st.lists(st.integers(0, 3 * WINDOW), max_size=3))
    sizes = st.fixed_dictionaries({name: st.integers(1, 5) for name in RULES})
    catalogs = Catalogs(
        *((START + time if time else 0, catalog_of(draw(sizes))) for time in [0, *times])
    )
    visitors, events = Visitors(RULES), []
    for key in draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4, unique=True)):
        at = START + draw(st.integers(0, 2 * WINDOW))
        slot_id = draw(st.sampled_from(sorted(RULES)))
        actions = "abcde"[: draw(st.integers(1, 5))]
        subject = draw(st.sampled_from(["11" * 16, None]))
        logged = draw(st.sampled_from([None, features(1)]))
        decision = decide(
            visitors, slot_id, actions, at, key, subject=subject, features=logged,
            deferred=draw(st.booleans()),
        )  # fmt: skip
        events.append(decision)
        for age in draw(st.lists(AGES, max_size=6)):
            about = {
                "position": draw(POSITIONS),
                "id": f"e{draw(st.integers(0, 2))}",
                "type": draw(st.sampled_from(["click", "reward"])),
                "slot_id": draw(st.sampled_from([slot_id] * 5 + ["sum"])),
            }
            what = draw(st.sampled_from(["impression", "click", "reward", "reward"]))
            if what == "impression":
                action_id = draw(st.sampled_from([None, None, "a", "c", "x"]))
                viewable = draw(st.sampled_from([True, True, None, False]))
                event = visitors.impression(
                    decision, at + age, action_id=action_id, viewable=viewable, **about
                )
            elif what == "click":
                event = visitors.click(decision, at + age, **about)
            else:
                value = draw(st.sampled_from([0.25, 0.5, 1.0, 3.0, -0.5]))
                event = visitors.reward(decision, at + age, value, **about)
            events += [event] * draw(st.sampled_from([1, 1, 2]))
        if draw(st.integers(0, 5)) == 0:
            events.append(visitors.erasure("11" * 16, at + draw(AGES)))
    return catalogs, events


def named_beyond(events: list[Event]) -> dict[int, object]:
    """What names a position that its decision did not show, by offset."""
    shown = {event.key: event for event in events if isinstance(event.body, DecisionBack)}
    return {
        event.origin.offset: (type(event.body), astuple(event.body))
        for event in events
        if isinstance(event.body, Impression | Click | Reward)
        and event.body.slot_id == shown[event.key].body.slot_id
        and (event.body.position or 0) >= len(shown[event.key].body.slate or "a")
        and -TOLERANCE <= event.at - shown[event.key].at <= WINDOW
    }


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_slates_of_any_size_agree_with_the_recount_in_any_order(data: st.DataObject) -> None:
    catalogs, events = data.draw(histories())
    delays = st.sampled_from([0, 1, SECOND, 4 * SECOND])
    arriving = sorted(
        ((event.at + data.draw(delays), number) for number, event in enumerate(events))
    )
    size = data.draw(st.sampled_from([1, 2, 5, 100]))
    restarts = data.draw(st.booleans())
    shard = Shard(catalogs)
    for start in range(0, len(arriving), size):
        part = arriving[start : start + size]
        shard.step([events[number] for _, number in part], part[-1][0])
        if restarts:
            shard.restart()
    shard.finish()
    shard.agree(events)
    refused = {offset for reason, offset in shard.reasons() if reason == "wrong_position"}
    beyond = named_beyond(events)
    assert refused <= beyond.keys()
    assert {beyond[offset] for offset in refused} == set(beyond.values())  # repeats are dropped


def usable(shard: Shard, events: list[Event]) -> list[Event]:
    """What a verification judges: the events but for those that a dead letter says are unused."""
    letters = {
        (each.origin.topic, each.origin.offset): each.reason
        for each in shard.rejected
        if each.reason not in REPEATS
    }
    return without_unused(events, letters)


def test_no_copy_counts_of_a_click_that_was_given_up_before_its_decision_came() -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", "a", START, key=1)
    click = visitors.click(decision, LATER)
    copy = visitors.again(click)
    shard = Shard(THREE)
    shard.step([click], LATER)
    shard.step([copy], LATER)
    shard.step([], START + LATENESS + TOLERANCE + 2 * SECOND)
    shard.step([decision], shard.watermark)
    shard.finish()
    assert shard.reasons() == [
        ("duplicate_waiting", copy.origin.offset),
        ("no_decision", click.origin.offset),
    ]
    assert by_action(shard) == {"a": ("void", 0.0)}
    shard.agree(usable(shard, [decision, click, copy]))


@pytest.mark.parametrize("age", [1, 2])
def test_no_copy_counts_of_a_quarantined_click_that_had_to_go(age: int) -> None:
    """Nor one with its id and other content, which had given way to it."""
    visitors = Visitors(RULES)
    decision = decide(visitors, "strict", "a", START, key=1)
    click = visitors.click(decision, LATER)
    other = visitors.click(decision, START + age * SECOND, id=click.body.id)
    newer = visitors.click(decision, START + 3 * SECOND)
    impression = visitors.impression(decision, LATER)
    shard = Shard(THREE, max_orphans=1)
    for event in (decision, click, other, newer, impression):
        shard.step([event], START)
    shard.finish()
    assert ("orphan_overflow", click.origin.offset) in shard.reasons()
    shard.agree(usable(shard, [decision, click, other, newer, impression]))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_is_repeated_and_given_up_the_recount_agrees(data: st.DataObject) -> None:
    visitors = Visitors(RULES)
    slot_id = data.draw(st.sampled_from(["first", "sum", "strict", "viewable", "at-once"]))
    decision = decide(visitors, slot_id, data.draw(st.sampled_from(["a", "abc"])), START, key=1)
    events: list[Event] = []
    ages, ids = st.integers(0, 3), st.sampled_from(["x", "y"])
    for _ in range(data.draw(st.integers(1, 5))):
        kind = data.draw(st.sampled_from([visitors.click, visitors.click, visitors.impression]))
        at = START + data.draw(ages) * SECOND
        events.append(kind(decision, at, id=data.draw(ids), position=data.draw(st.integers(0, 1))))
    events += [visitors.again(event) for event in events if data.draw(st.booleans())]
    events = [*data.draw(st.permutations(events))]
    events.insert(data.draw(st.integers(0, len(events))), decision)
    shard = Shard(THREE, max_orphans=data.draw(st.sampled_from([1, 2, 100])))
    for event in events:
        late = data.draw(st.sampled_from([0, 0, LATENESS + TOLERANCE + SECOND, 11 * SECOND]))
        shard.step([event], START + late)
        if data.draw(st.booleans()):
            shard.restart()
    shard.finish()
    shard.agree(usable(shard, events))


WITHDRAWN = [
    (lambda visitors, at: visitors.consent("ann", at, [])),
    (lambda visitors, at: visitors.erasure("ann", at)),
]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("withdraw", WITHDRAWN)
@pytest.mark.parametrize("actions", ["a", "abc"])
def test_a_withdrawal_voids_what_is_pending_however_late_it_comes(
    withdraw: Callable[..., Event], actions: str, restart: bool
) -> None:
    visitors = Visitors(RULES)
    decision = decide(visitors, "first", actions, START, key=1, subject="ann")
    later = decide(visitors, "first", actions, START + SECOND, key=2, subject="ann")
    impression = visitors.impression(decision, LATER)
    withdrawal = withdraw(visitors, START + 3 * SECOND)
    shard = Shard(THREE)
    for events in ([decision, impression], [withdrawal], [later]):
        shard.step(events, START + WINDOW - LATENESS)
        if restart:
            shard.restart()
        shard.step([], START + WINDOW)
    shard.finish()
    assert {outcome.status for outcome in shard.final.values()} == {"void"}
    shard.agree([decision, later, impression, withdrawal])


def test_no_more_withdrawals_are_remembered_than_can_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "MOST_WITHDRAWALS", 5)
    visitors, shard = Visitors(RULES), Shard(THREE)
    shard.step([visitors.erasure(f"v{n}", START + n) for n in range(20)], START)
    assert len(shard.attribution.state().withdrawals) == 20
    shard.step([], START + LATENESS + SECOND)
    assert len(shard.attribution.state().withdrawals) == 5
    shard.step([], START + LATENESS + WINDOW + SECOND)
    assert not shard.attribution.state().withdrawals
    shard.step([visitors.erasure("old", START)], shard.watermark)
    assert not shard.attribution.state().withdrawals


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("slot_id", ["first", "sum", "max", "exposed", "at-once"])
def test_a_position_whose_only_reward_is_taken_back_reports_that(
    slot_id: str, restart: bool, shown: bool
) -> None:
    """Its revision goes on, so that a later reward is another report."""
    visitors = Visitors(RULES)
    decision = decide(visitors, slot_id, "abc", START, key=1)
    impressions = [visitors.impression(decision, LATER)] if shown else []
    rewards = [
        visitors.reward(decision, START + 5 * SECOND, 0.75, id="x", position=1),
        visitors.reward(decision, START + 4 * SECOND, 0.25, id="x", position=0),
        visitors.reward(decision, START + 6 * SECOND, 0.5, id="y", position=1),
    ]
    for count in (2, 3):
        shard = Shard(THREE)
        events = [decision, *impressions, *rewards[:count]]
        for event in events:
            shard.step([event], START)
            if restart:
                shard.restart()
        key = position_key(1, 1)
        reports = [each for (of, *_), each in shard.reported.items() if of == key]
        assert [each.revision for each in reports] == list(range(1, count + 1))
        counts = shown or slot_id == "at-once"
        assert reports[1].activated == counts
        assert reports[1].delay is None
        assert not reports[1].reward or counts
        shard.finish()
        shard.agree(events)
