"""Consents: the newest counts, whatever the order; what is kept of whom, and for how long."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.subjects.consents import Consents, StandingConsent
from operators.logic.subjects.profiles import Profiles
from schemas.consent import Purpose, allows_profile

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOON = 1_767_268_800_000_000
LATE, TTL = DAY, 30 * DAY

SAID = st.tuples(
    st.just("consent"),
    st.integers(NOON, NOON + 3),
    st.frozensets(st.sampled_from([*Purpose, 3, 99])),
    st.sampled_from(["consent", "contract"]),
    st.sampled_from(["", "1", "2"]),
)
ERASED = st.tuples(st.just("erasure"), st.integers(NOON, NOON + 3))
HISTORIES = st.lists(st.one_of(SAID, SAID, ERASED), min_size=1, max_size=8)


def said(at, purposes, basis="consent", version="1"):
    return ("consent", at, frozenset(purposes), basis, version)


def erased(at):
    return ("erasure", at)


def take(profiles, event, subject="ann"):
    kind, at, *rest = event
    body = None
    if rest:
        purposes, basis, version = rest
        body = SimpleNamespace(purposes=[*purposes], basis=basis, version=version)
    getattr(profiles, kind)(SimpleNamespace(at=at, subject=subject, key=0, body=body))


def after(events):
    profiles = Profiles(TTL / 1e6)
    for event in events:
        take(profiles, event)
    return profiles


def recomputed(events):
    """The consent that stands after all the events, judged at once."""
    over = max((event[1] for event in events if event[0] == "erasure"), default=NOON - 1)
    valid = [event for event in events if event[0] == "consent" and event[1] > over]
    if not valid:
        return None
    newest = max(event[1] for event in valid)
    last = [event for event in valid if event[1] == newest]
    purposes = set.intersection(*({p for p in event[2] if p < 16} for event in last))
    version, basis = max((event[4], event[3]) for event in last)
    return StandingConsent(newest, tuple(sorted(purposes)), basis, version)


@settings(max_examples=400, deadline=None)
@given(HISTORIES.flatmap(lambda each: st.tuples(st.just(each), st.permutations(each * 2))))
def test_shuffled_and_repeated_events_end_in_the_same_consent(case):
    events, shuffled = case
    expected = recomputed(events)
    for order in (events, shuffled):
        profiles = after(order)
        assert profiles.consent_of("ann") == expected
        allowed = expected is not None and allows_profile(expected.purposes)
        assert profiles.allows_profile("ann") == allowed
        again = Profiles.load(profiles.dump(), TTL / 1e6)
        assert again.consent_of("ann") == expected


def test_a_repeated_consent_changes_nothing():
    profiles = after([said(NOON, [5, 6])])
    assert len(profiles.changed()) == 1
    take(profiles, said(NOON, [6, 5]))
    assert profiles.changed() == []


def test_of_two_at_the_same_time_only_what_both_allow_counts():
    for order in ((0, 1), (1, 0)):
        both = [said(NOON, [1, 5, 6], version="1"), said(NOON, [1, 8], "contract", "2")]
        profiles = after([both[place] for place in order])
        assert profiles.consent_of("ann") == StandingConsent(NOON, (1,), "contract", "2")
        assert not profiles.allows_profile("ann")


def test_an_erasure_counts_before_a_consent_of_the_same_time():
    for events in ([said(NOON, [5, 6]), erased(NOON)], [erased(NOON), said(NOON, [5, 6])]):
        assert after(events).consent_of("ann") is None


def test_a_withdrawal_stays_known_with_its_version_and_time():
    profiles = after([said(NOON, [5, 6], version="1"), said(NOON + HOUR, [], version="2")])
    assert profiles.consent_of("ann") == StandingConsent(NOON + HOUR, (), "consent", "2")
    assert len(profiles) == 0
    (gone,) = profiles.changed()
    assert gone.deleted
    assert gone.purposes == []


def test_a_consent_that_allows_no_profile_is_kept_by_itself():
    profiles = after([said(NOON, [1, 8, 10], version="7")])
    assert profiles.consent_of("ann") == StandingConsent(NOON, (1, 8, 10), "consent", "7")
    assert (len(profiles), profiles.features_of("ann"), profiles.changed()) == (0, {}, [])


def test_a_profile_states_the_purposes_of_the_consent_in_force():
    profiles = after([said(NOON, [6, 5, 1]), said(NOON + 1, [5, 6, 11])])
    assert profiles.changed()[0].purposes == [5, 6, 11]


@pytest.mark.parametrize("purposes", [[], [1, 8], [5, 6]])
@pytest.mark.parametrize("restart", [False, True])
def test_no_consent_is_known_longer_than_a_profile(purposes, restart):
    profiles = after([said(NOON, purposes)])
    if restart:
        profiles = Profiles.load(profiles.dump(), TTL / 1e6)
    profiles.expire(NOON + TTL - HOUR)
    assert profiles.consent_of("ann") is not None
    profiles.expire(NOON + TTL + TTL // 8)
    assert profiles.consent_of("ann") is None
    profiles.changed()
    assert b"ann" not in profiles.dump()


def test_of_an_erased_subject_only_the_time_is_kept_as_long_as_an_older_consent_may_come():
    profiles = after([said(NOON, [5, 6]), erased(NOON + HOUR)])
    assert profiles.consent_of("ann") is None
    assert len(profiles.changed()) == 1
    assert b"ann" in profiles.dump()
    profiles.expire(NOON + HOUR + LATE)
    take(profiles, said(NOON + 1, [5, 6]))
    assert not profiles.allows_profile("ann")
    profiles.expire(NOON + HOUR + LATE + 1)
    assert b"ann" not in profiles.dump()


def test_a_withdrawal_holds_for_the_lateness_even_where_profiles_live_shorter():
    profiles = Profiles(HOUR / 1e6)
    take(profiles, said(NOON, []))
    profiles.expire(NOON + LATE)
    assert profiles.consent_of("ann") is None
    take(profiles, said(NOON - 1, [5, 6]))
    assert not profiles.allows_profile("ann")
    profiles.expire(NOON + LATE + 1)
    assert b"ann" not in profiles.dump()


def test_a_consent_that_expired_does_not_come_back_with_the_unseen_profile():
    profiles = after([said(NOON, [5, 6])])
    profiles.expire(NOON + 2 * TTL)
    assert [profile.deleted for profile in profiles.changed()] == [True]
    take(profiles, said(NOON + 2 * TTL, [5, 6]))
    assert profiles.allows_profile("ann")


def test_consents_are_small():
    consents = Consents()
    consents.add("ann", NOON, SimpleNamespace(purposes=[*Purpose], basis="consent", version="1"))
    assert len(consents.packed("ann")) < 40
