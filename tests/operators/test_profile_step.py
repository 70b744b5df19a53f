"""The profile step publishes changes within its interval, a few at a time, each once."""

from collections import Counter
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from operators import profile
from operators.envelope import Event, Origin
from operators.io.metrics.subjects import ProfileMetrics
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.logic.subjects.profiles import Profiles
from operators.profile import ProfileLogic
from operators.updates import FactorVectors
from schemas.catalog import FeatureSpec
from schemas.clock import ALWAYS, micros
from schemas.events import Click, Consent, DecisionRequest, Erasure, Impression, Reward
from schemas.results import Profile
from schemas.settings import load
from tests.support import records as make

START = micros(make.START)
INTERVAL = 16_000_000
TURN = 100_000


def consent(subject: str, at: int) -> Event:
    time = make.START + timedelta(microseconds=at - START)
    body = Consent(id=subject, time=time, subject=subject, purposes=[5, 6])
    return Event(at, body, subject, 0, Origin("consents", 0, 0, at))


def seen(subject: str, at: int) -> Event:
    time = make.START + timedelta(microseconds=at - START)
    body = Impression(id=f"{at}", time=time, subject=subject, decision_id="d", slot_id="home")
    return Event(at, body, subject, 1, Origin("impressions", 0, 0, at))


def play(logic: ProfileLogic, events: list[Event], watermark: int) -> list[Profile]:
    out, _ = logic.on_batch([CatalogedBatch(0, watermark, events)])
    return [profile for item in out if isinstance(item, list) for profile in item]


def resumed(logic: ProfileLogic) -> ProfileLogic:
    fields = {"profile_interval": INTERVAL / 1e6, "profile_ttl": 1e9}
    loaded = load({}, secret="sixteen letters!", **fields)
    return profile.resumed(loaded.state, logic.folder, logic.snapshot(), ProfileMetrics())


def test_each_change_is_published_once_within_the_interval_and_never_all_at_once() -> None:
    logic = ProfileLogic(Profiles(1e9), INTERVAL)
    changed: dict[str, int] = {}
    given: Counter[str] = Counter()
    most = 0
    for turn in range(400):
        at = START + turn * TURN
        events = [consent(f"s{turn}", at)] if turn < 200 else []
        changed |= {event.subject: at for event in events}
        profiles = play(logic, events, at)
        for each in profiles:
            assert at - changed[each.subject] <= INTERVAL
        given.update(profile.subject for profile in profiles)
        most = max(most, len(profiles))
        if turn % 37 == 0:
            logic = resumed(logic)
    assert given == Counter(list(changed))
    assert most <= INTERVAL // TURN // 16 + 1


def test_changes_of_one_subject_are_gathered_and_a_removal_does_not_wait_for_them() -> None:
    logic = ProfileLogic(Profiles(1e9), INTERVAL)
    play(logic, [consent("ann", START), consent("bob", START)], START)
    given: list[Profile] = []
    for turn in range(1, 150):
        at = START + turn * TURN
        given += play(logic, [seen("ann", at)], at)
    assert given == []
    at = START + 150 * TURN
    erasure = Erasure(id="e", time=make.START, subject="bob")
    event = Event(at, erasure, "bob", 0, Origin("consents", 0, 0, at))
    given += play(logic, [event], at)
    given += play(logic, [], at + INTERVAL // 8)
    assert [(profile.subject, profile.deleted) for profile in given] == [
        ("bob", True),
        ("ann", False),
    ]
    assert given[1].features["impressions"] == 149.0


def test_a_profile_counts_records_and_not_what_they_come_to() -> None:
    """Repeats, and what admission or attribution refuses, count as the reference says."""
    logic, about = ProfileLogic(Profiles(1e9), INTERVAL), {"time": make.START, "slot_id": "nowhere"}
    bodies = [
        DecisionRequest(id="r", subject="ann", **about),
        Impression(id="i", subject="ann", decision_id="never made", **about),
        Click(id="c", subject="ann", decision_id="never made", **about),
        Reward(id="w", subject="ann", decision_id="never made", value=1e6, **about),
    ]
    events = [
        Event(START + 1, body, "ann", 7, Origin("any", 0, place, START))
        for place, body in enumerate([*bodies, *bodies])
    ]
    play(logic, [consent("ann", START), consent("bob", START), *events], START + 1)
    counted = logic.profiles.features_of("ann")
    assert [counted[name] for name in ("requests", "impressions", "clicks", "rewards")] == [
        2.0,
        2.0,
        2.0,
        2e6,
    ]
    assert not any(logic.profiles.features_of("bob")[name] for name in ("requests", "clicks"))
    assert [event.profile for event in events if event.profile] == []


def test_a_request_sees_what_was_counted_before_it_and_not_itself() -> None:
    slot = make.slot("home", features=FeatureSpec(profile=["requests"]))
    logic, catalog = ProfileLogic(Profiles(1e9), INTERVAL), Catalog({"home": slot}, {"home": ()})
    body = DecisionRequest(id="r", time=make.START, subject="ann", slot_id="home")
    asked = [Event(START, body, "ann", 7, Origin("any", 0, place, START)) for place in range(3)]
    logic.on_batch([CatalogedBatch(0, START, [consent("ann", START), *asked], catalog=catalog)])
    assert [each.profile["requests"] for each in asked if each.profile] == [0.0, 1.0, 2.0]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["consent", "seen", "erase", "factors", "quiet", "restart"]),
        st.sampled_from(["ann", "bob"]),
        st.integers(0, INTERVAL // 4),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_a_reader_has_every_change_an_interval_after_the_last(
    steps: list[tuple[str, str, int]],
) -> None:
    logic, at, newest = ProfileLogic(Profiles(1e9), INTERVAL), START, dict[str, Profile]()

    def note(profiles: list[Profile]) -> None:
        for each in profiles:
            if each.subject not in newest or newest[each.subject].version < each.version:
                newest[each.subject] = each

    for name, subject, wait in steps:
        at += wait
        if name == "restart":
            logic = resumed(logic)
        elif name == "factors":
            vectors = FactorVectors(at, {subject: (2, [0.5, float(wait)])})
            logic.on_batch([vectors])
        else:
            erased = Erasure(id="e", time=make.START, subject=subject)
            events = {
                "consent": [consent(subject, at)],
                "seen": [seen(subject, at)],
                "erase": [Event(at, erased, subject, 0, Origin("consents", 0, 0, at))],
            }
            note(play(logic, events.get(name, []), at))
    for turn in range(1, 20):  # nothing happens but time
        note(play(logic, [], at + turn * INTERVAL // 16))
    held = {profile.subject: profile for profile in logic.profiles.all_profiles()}
    assert {name: each for name, each in newest.items() if not each.deleted} == held


def test_the_end_of_a_log_gives_everything() -> None:
    logic = ProfileLogic(Profiles(1e9), INTERVAL)
    play(logic, [consent("bob", START)], START)
    assert play(logic, [consent("ann", START + 1)], START + 1) == []
    assert [profile.subject for profile in play(logic, [], ALWAYS)] == ["ann"]
