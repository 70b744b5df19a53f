"""Profiles against a recomputation from the whole history."""

from dataclasses import dataclass, field, replace
from math import log1p
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.logic.subjects import profile_record
from operators.logic.subjects.profile_record import SIZE
from operators.logic.subjects.profiles import Profiles

HOUR = 3_600_000_000
NOON = 1_767_268_800_000_000
HALF_LIFE = 2 * HOUR
TTL = 30 * 24 * HOUR
CATEGORIES = {"a0": "news", "a1": "sport"}


@dataclass
class Event:
    kind: str
    at: int
    subject: str = "ann"
    key: int = 0
    body: Any = field(default_factory=lambda: SimpleNamespace(position=None))


def consent(at, purposes=(1, 5, 6), subject="ann"):
    body = SimpleNamespace(purposes=list(purposes), basis="consent", version="1")
    return Event("consent", at, subject, body=body)


def decision(at, key, action_id, subject="ann"):
    return Event("decision", at, subject, key, SimpleNamespace(action_id=action_id, slate=None))


def slate(at, key, action_ids, subject="ann"):
    placed = [SimpleNamespace(action_id=action_id) for action_id in action_ids]
    body = SimpleNamespace(action_id=action_ids[0], slate=placed)
    return Event("decision", at, subject, key, body)


def click_at(at, key, position, subject="ann"):
    return Event("click", at, subject, key, SimpleNamespace(position=position))


def reward(at, value, subject="ann"):
    return Event("reward", at, subject, body=SimpleNamespace(value=value))


def empty(ttl=TTL):
    kept = Profiles(ttl / 1e6, HALF_LIFE / 1e6)
    kept.categorise(CATEGORIES)
    return kept


def play(kept, events):
    for event in events:
        getattr(kept, event.kind)(event)
    return kept


PLAIN = st.builds(
    Event, st.sampled_from(["request", "impression", "click"]), st.integers(NOON, NOON + 9 * HOUR)
)
REWARDS = st.builds(reward, st.integers(NOON, NOON + 9 * HOUR), st.floats(0, 1))
HISTORIES = st.lists(st.one_of(PLAIN, REWARDS), max_size=30)


def recomputed(events):
    """The features of a consenting subject, from all its events at once."""
    times = [event.at for event in events]
    last = max(times, default=NOON)

    def decayed(kind):
        ages = [last - event.at for event in events if event.kind == kind]
        return sum(0.5 ** (age / HALF_LIFE) for age in ages)

    def count(kind):
        return float(sum(event.kind == kind for event in events))

    return {
        "requests": count("request"),
        "impressions": count("impression"),
        "clicks": count("click"),
        "rewards": sum(event.body.value for event in events if event.kind == "reward"),
        "log_requests": log1p(count("request")),
        "log_impressions": log1p(count("impression")),
        "log_clicks": log1p(count("click")),
        "click_rate": (decayed("click") + 1) / (decayed("impression") + 20),
    }


@settings(max_examples=200, deadline=None)
@given(HISTORIES)
def test_features_agree_with_a_recomputation_in_any_order(events):
    kept = play(empty(), [consent(NOON), *events])
    assert kept.features_of("ann") == pytest.approx(recomputed(events), rel=1e-9)
    (profile,) = kept.changed()
    assert profile.version == NOON // 1000 + len(events)
    assert profile.purposes == [1, 5, 6]
    assert kept.changed() == []


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.integers(0, 30))
def test_a_restored_state_goes_on_alike(events, cut):
    whole = play(empty(), [consent(NOON), decision(NOON, 7, "a0"), *events])
    first = play(empty(), [consent(NOON), decision(NOON, 7, "a0"), *events[:cut]])
    again = Profiles.load(first.dump(), TTL / 1e6, HALF_LIFE / 1e6)
    again.categorise(CATEGORIES)
    play(again, events[cut:])
    click = [Event("click", NOON + 9 * HOUR, key=7)]
    assert play(again, click).changed() == play(whole, click).changed()
    assert again.dump() == whole.dump()


@pytest.mark.parametrize("purposes", [[], [1], [5], [1, 6, 8]])
def test_nothing_is_kept_without_purposes_five_and_six(purposes):
    events = [Event("request", NOON + 2), Event("click", NOON + 3)]
    for first in ([], [consent(NOON, purposes)]):
        kept = play(empty(), [*first, *events])
        assert not kept.allows_profile("ann")
        assert (kept.features_of("ann"), kept.changed(), len(kept)) == ({}, [], 0)
        kept.embed("ann", [1.0], NOON, 1)
        assert kept.embedding_of("ann") is None


@pytest.mark.parametrize("end", [consent(NOON + HOUR, []), Event("erasure", NOON + HOUR)])
def test_withdrawal_and_erasure_forget_everything(end):
    kept = play(empty(), [consent(NOON), decision(NOON, 7, "a0"), Event("click", NOON, key=7)])
    kept.embed("ann", [1.0, 2.0], NOON, 1)
    kept.changed()
    play(kept, [end, Event("click", NOON + 1), consent(NOON + 2)])
    assert not kept.allows_profile("ann")
    (profile,) = kept.changed()
    assert profile.deleted
    assert profile.features == {}
    kept.expire(NOON + 90 * 24 * HOUR)
    assert b"ann" not in kept.dump()


@pytest.mark.parametrize(
    ("position", "tastes"),
    [(None, {"news"}), (0, {"news"}), (1, {"sport"}), (2, set()), (3, {"sport"}), (4, set())],
)
def test_a_click_on_a_slate_is_a_taste_for_what_lies_at_its_position(position, tastes):
    """Of the actions shown the first four are remembered."""
    shown = slate(NOON, 7, ["a0", "a1", "a2", "a1", "a0"])
    kept = play(empty(), [consent(NOON), shown, click_at(NOON, 7, position)])
    features = kept.features_of("ann")
    assert features["clicks"] == 1.0
    assert {name for name in features if name.startswith("affinity.")} == {
        f"affinity.{name}" for name in tastes
    }


def test_a_later_consent_starts_anew_with_a_higher_version():
    kept = play(empty(), [consent(NOON), *[Event("request", NOON)] * 5])
    (first,) = kept.changed()
    play(kept, [Event("erasure", NOON + 10)])
    (gone,) = kept.changed()
    play(kept, [consent(NOON + HOUR), Event("request", NOON + HOUR)])
    (second,) = kept.changed()
    assert first.version < gone.version < second.version
    assert second.features["requests"] == 1.0


def test_deleting_and_consenting_between_two_reports_reports_the_new_life():
    kept = play(empty(), [consent(NOON), *[Event("request", NOON)] * 5])
    (first,) = kept.changed()
    play(kept, [Event("erasure", NOON + 1), consent(NOON + 2)])
    (second,) = kept.changed()
    assert not second.deleted
    assert second.version > first.version
    assert second.features["requests"] == 0.0


def test_a_late_erasure_clears_what_is_older_and_keeps_the_newer_consent():
    kept = play(empty(), [consent(NOON), Event("request", NOON), consent(NOON + HOUR)])
    play(kept, [Event("erasure", NOON + 10)])
    assert kept.allows_profile("ann")
    assert kept.features_of("ann")["requests"] == 0.0


def test_the_newest_consent_holds_whatever_the_order():
    for events in ([consent(NOON + 2, [1]), consent(NOON)], [consent(NOON), consent(NOON + 2, [])]):
        assert not play(empty(), events).allows_profile("ann")
    kept = play(empty(), [consent(NOON + 2, [5, 6, 10]), consent(NOON, [])])
    assert kept.changed()[0].purposes == [5, 6, 10]


def test_clicks_count_towards_the_category_that_was_shown():
    events = [
        consent(NOON),
        decision(NOON, 1, "a0"),
        decision(NOON, 2, "a1"),
        decision(NOON, 3, "unknown"),
        Event("click", NOON, key=2),
        Event("click", NOON + HALF_LIFE, key=1),
        Event("click", NOON, key=3),
        Event("click", NOON, key=99),
    ]
    features = play(empty(), events).features_of("ann")
    affinities = {name: v for name, v in features.items() if name.startswith("affinity.")}
    # The click on news is one half-life newer than the one on sport.
    assert affinities == pytest.approx({"affinity.news": 1 / 2.5, "affinity.sport": 0.5 / 2.5})
    assert features["clicks"] == 4.0


def test_only_the_last_four_decisions_are_remembered():
    kept = play(empty(), [consent(NOON), *[decision(NOON, key, "a0") for key in range(1, 6)]])
    play(kept, [Event("click", NOON, key=1)])
    assert "affinity.news" not in kept.features_of("ann")
    play(kept, [Event("click", NOON, key=2)])
    assert "affinity.news" in kept.features_of("ann")


def test_the_unseen_are_forgotten_and_the_seen_are_not():
    kept = play(empty(), [consent(NOON), consent(NOON, subject="bob")])
    play(kept, [Event("request", NOON + TTL // 2, "bob")])
    kept.changed()
    for hour in range(0, 24 * 32, 6):
        kept.expire(NOON + hour * HOUR)
        assert kept.allows_profile("ann") or hour * HOUR >= TTL
    assert [(p.subject, p.deleted) for p in kept.changed()] == [("ann", True)]
    assert kept.allows_profile("bob")
    kept.expire(NOON + 2 * TTL)
    assert len(kept) == 0


def test_expiry_survives_a_restart():
    kept = Profiles.load(play(empty(), [consent(NOON)]).dump(), TTL / 1e6)
    kept.expire(NOON + TTL // 2)
    assert len(kept) == 1
    kept.expire(NOON + 2 * TTL)
    assert len(kept) == 0


def test_embeddings_are_float32():
    kept = play(empty(), [consent(NOON)])
    kept.embed("ann", [0.5, 0.1], NOON, 1)
    assert kept.embedding_of("ann") == pytest.approx([0.5, 0.1], abs=1e-8)
    assert kept.changed()[0].embedding == kept.embedding_of("ann")


def test_what_was_learned_before_the_consent_in_force_is_not_kept():
    kept = play(empty(), [consent(NOON)])
    (first,) = kept.changed()
    kept.embed("ann", [0.5], NOON + 1, 3)
    (second,) = kept.changed()
    assert (second.embedding, second.version) == ([0.5], first.version + 3)
    play(kept, [Event("erasure", NOON + 2), consent(NOON + 3)])
    kept.embed("ann", [0.5], NOON + 2, 1)
    assert kept.embedding_of("ann") is None


def test_a_record_is_small():
    assert SIZE <= 100


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.one_of(PLAIN, REWARDS)), max_size=40))
def test_how_many_records_may_be_open_changes_nothing(events):
    """Records packed and opened again at every step, and records that stay open, end alike."""

    def kept_with(most):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(profile_record, "MOST_OPEN", most)
            kept = play(empty(), [consent(NOON, subject=name) for name in "abcde"])
            for name, event in events:
                play(kept, [replace(event, subject=name), decision(event.at, event.at, "a1", name)])
            play(kept, [Event("erasure", NOON + 10 * HOUR, "a")])
            return kept.dump(), kept.changed()

    assert kept_with(1) == kept_with(2) == kept_with(1000)
