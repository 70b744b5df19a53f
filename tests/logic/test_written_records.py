"""Records that grow with the catalog, or with a damaged record, fit and read back at any size."""

import math
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.envelope import Origin, Rejected
from operators.logic.policies.snapshot_record import largest_posterior, snapshot_record
from operators.logic.subjects.profiles import Profiles
from operators.publish import dead_letter, dead_letter_message
from schemas import bounds
from schemas.catalog import AutoFeatures
from schemas.codec import MAX_VALUE_BYTES, Flaw, decode, encode
from schemas.events import Consent, Reward
from schemas.results import ActionSummary, DeadLetter, FeaturesView, PolicySnapshot, Profile
from schemas.topics import Topic
from tests.support import records as make

texts = st.sampled_from(["a", "\x01", "é", "\U0001f600", '"', "\\"])

LONG_VIEW = FeaturesView(
    auto=AutoFeatures(ignore=[f"{n}\x01".ljust(256, "\x01") for n in range(256)])
)
"""One whose names take 390 kB of JSON."""


@st.composite
def snapshots(draw: Any) -> PolicySnapshot:
    count, length = draw(st.sampled_from([(0, 1), (3, 256), (700, 256), (5_000, 9)]))
    character = draw(texts)
    counts = draw(st.lists(st.floats(0, 1e9), min_size=3, max_size=9))
    return make.policy(
        character * draw(st.sampled_from([1, 256])),
        7,
        actions=[
            ActionSummary(
                action_id=f"{place:05d}".ljust(length, character),
                count=counts[place % len(counts)],
                reward=0.1 + place,
                mean=1 / (place + 3),
                deviation=1e-300,
            )
            for place in range(count)
        ],
        features_view=draw(st.sampled_from([None, FeaturesView(auto=AutoFeatures()), LONG_VIEW])),
        posterior="A" * draw(st.sampled_from([0, 1_000, 279_000, 281_000, 700_000, 2_000_000])),
    )


@settings(max_examples=40, deadline=None)
@given(snapshots(), st.sampled_from([bounds.LEAST_RECORD_BYTES, MAX_VALUE_BYTES]))
def test_a_policy_fits_and_says_what_it_leaves_out(whole: PolicySnapshot, limit: int) -> None:
    record = snapshot_record(whole, limit)
    assert len(record) <= limit
    snapshot_read = decode(Topic.POLICIES, record)
    assert isinstance(snapshot_read, PolicySnapshot)
    view = None if whole.features_view is LONG_VIEW else whole.features_view
    assert snapshot_read.features_view == view
    assert snapshot_read.posterior in (whole.posterior, "")
    assert (snapshot_read.posterior == whole.posterior) == (
        len(whole.posterior) <= largest_posterior(limit)
    )
    listed = {action.action_id for action in snapshot_read.actions}
    assert snapshot_read.actions == [
        action for action in whole.actions if action.action_id in listed
    ]
    left_out = [action.count for action in whole.actions if action.action_id not in listed]
    assert snapshot_read.actions_left_out == len(left_out)
    least = min((action.count for action in snapshot_read.actions), default=math.inf)
    assert max(left_out, default=-math.inf) <= least
    if left_out:
        assert len(record) > 0.98 * limit or not snapshot_read.actions


@given(texts, st.sampled_from([0, 1, 300, 1_000_000]), st.sampled_from([None, 1, 1_000_000]))
def test_a_dead_letter_of_any_flaw_is_short(character: str, detail: int, name: int | None) -> None:
    field = None if name is None else character * name
    origin = Origin(Topic.CATALOG, 0, 2**62, 2**50)
    rejected = Rejected("invalid_value", origin, b"{}", field, character * detail)
    message = dead_letter_message(dead_letter(rejected))
    assert len(message.value) < 10_000
    letter = decode(Topic.DEAD_LETTERS, message.value)
    assert isinstance(letter, DeadLetter)
    assert (letter.field is None) == (field is None)


def event(body: Any, at: int, **fields: Any) -> Any:
    return SimpleNamespace(at=at, subject="s", key=1, body=body, **fields)


@settings(max_examples=30, deadline=None)
@given(texts, st.sampled_from([1, 60, 5_000]), st.lists(st.floats(allow_nan=False), max_size=4))
def test_a_profile_fits_and_reads_back(character: str, length: int, values: list[float]) -> None:
    names = {f"a{n}": f"{n:03d}".ljust(length, character) for n in range(300)}
    profiles = Profiles(1e9)
    profiles.categorise(names)
    consent = Consent(id="c", time=make.START, subject="s", purposes=[*range(1, 16)])
    profiles.consent(event(consent, 1))
    for action_id in names:
        profiles.decision(event(SimpleNamespace(action_id=action_id, slate=None), 2))
        profiles.click(event(SimpleNamespace(position=None), 3))
    for value in values:
        reward = Reward(
            id="r", time=make.START, subject="s", decision_id="d", slot_id="home", value=value
        )
        profiles.reward(event(reward, 4))
    profiles.embed("s", [1e-30 * (n + 1) for n in range(4096)], 5, 1)
    (profile,) = profiles.changed()
    record = encode(profile)
    assert len(record) <= bounds.LEAST_RECORD_BYTES
    profile_read = decode(Topic.PROFILES, record)
    assert not isinstance(profile_read, Flaw), profile_read
    assert isinstance(profile_read, Profile)
    assert any(name.startswith("affinity.") for name in profile_read.features)
