"""Decisions hold the features of what they show, and of all candidates where the slot says so."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decide.admission import RequestGroup
from operators.decide.decision_encoder import decision_records
from operators.envelope import Event, Origin
from operators.logic.attribution.decision_codec import (
    content_of,
    context_of,
    pack_decision,
    packed_features,
    packed_names,
    packed_subject,
    unpack_decision,
    with_texts,
)
from operators.logic.deciding.contents import ActionContent, canonical, content_hash
from operators.logic.deciding.selection import Candidates, select
from operators.logic.features import FeatureMap
from operators.logic.policies import make_policy
from operators.logic.policies.published import PublishedPolicy
from schemas.bounds import ACTION_FEATURES_BYTES, LEAST_RECORD_BYTES
from schemas.codec import decode
from schemas.events import Decision, DecisionBack, DecisionRequest
from schemas.topics import Topic
from tests.support import records as make

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def content(features: Any) -> ActionContent:
    text = canonical(features)
    return ActionContent(content_hash(text), text)


def decided(
    given: list[dict[str, Any] | None], names: list[str], limit: int, **slot: Any
) -> list[Decision]:
    """The decisions of requests that give features to some of the same candidates."""
    n, of = len(given), make.slot("feed", candidates="request", **slot)
    feature_map = FeatureMap(of.features)
    policy = make_policy("beta", None, 0).publish()
    published = PublishedPolicy(slot_id="feed", kind="beta", version=1, newest=1, posterior=policy)
    events = []
    for number in range(n):
        body = DecisionRequest(
            id="r", time=make.START, subject="s", slot_id="feed", decision_id=f"d{number}"
        )
        origin = Origin("decision-requests", 0, number, 1)
        events.append(Event(1, body, "pseudonym", number + 1, origin, personal=True))
    contents = [
        each and {name: content(features) for name, features in each.items()} for each in given
    ]
    x = feature_map.encode([{}] * n)
    ids = [event.body.decision_id for event in events]
    candidates = Candidates(x, tuple(names), [names] * n, ["pseudonym"] * n, ids)
    selection = select(of, policy, candidates, b"a secret of tests")
    group = RequestGroup(
        slot=of,
        actions=(),
        revision=1,
        policy=published,
        events=events,
        eligible=[names] * n,
        request_hashes=[1] * n,
        contents=contents if any(contents) else [],
    )
    records = decision_records(group, published, feature_map, candidates, selection, NOW, limit)
    assert all(len(record) <= limit for record in records)
    for record in records:
        assert isinstance(decode(Topic.DECISIONS, record), DecisionBack)
    return [msgspec.json.decode(record, type=Decision) for record in records]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_what_is_logged_is_what_is_shown_then_the_most_probable(data: st.DataObject) -> None:
    names = [f"a{number}" for number in range(data.draw(st.integers(1, 12)))]
    features = st.fixed_dictionaries({"text": st.text(max_size=5), "n": st.integers(-9, 9)})
    given_ = data.draw(
        st.lists(
            st.none() | st.dictionaries(st.sampled_from(names), features), min_size=1, max_size=4
        )
    )
    every, size = data.draw(st.booleans()), data.draw(st.integers(1, 5))
    made = decided(given_, names, 900_000, log_candidates=every, slate_size=size)
    for decision, of_request in zip(made, given_, strict=True):
        shown = [placed.action_id for placed in decision.slate or ()] or [decision.action_id]
        others = {each.action_id: -each.probability for each in decision.ranking}
        rest = [name for name in sorted(others, key=others.__getitem__) if name not in shown]
        wanted = [name for name in [*shown, *(rest if every else [])] if name in (of_request or {})]
        logged = [
            (each.action_id, msgspec.json.decode(each.features)) for each in decision.contents or ()
        ]
        assert {name for name, _ in logged} == set(wanted)
        assert [name for name, _ in logged][: len(set(shown) & set(wanted))] == [
            name for name in shown if name in wanted
        ]
        tail = [others[name] for name, _ in logged if name not in shown]
        assert tail == sorted(tail)
        assert dict(logged) == {name: (of_request or {})[name] for name in wanted}
        assert decision.contents_left_out == 0


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("size", [1, 50])
def test_a_decision_keeps_its_bound_whatever_comes(size: int, every: bool) -> None:
    names = [f"{number:03d}" + "\u0001" * 250 for number in range(300)]
    largest = {"text": "x" * (ACTION_FEATURES_BYTES - 11)}
    assert len(canonical(largest)) == ACTION_FEATURES_BYTES
    given_ = [dict.fromkeys(names, largest), None]
    full, bare = decided(given_, names, LEAST_RECORD_BYTES, log_candidates=every, slate_size=size)
    assert full.contents is not None
    shown = [placed.action_id for placed in full.slate or ()] or [full.action_id]
    assert full.contents[0].action_id == full.action_id == shown[0]
    wanted = 300 if every else size
    assert len(full.contents) + full.contents_left_out == wanted
    assert (full.contents_left_out > 0) == (wanted > 1)
    assert {each.action_id for each in full.ranking} >= set(shown)
    assert (bare.contents, bare.contents_left_out) == (None, 0)


@given(
    st.none() | st.binary(max_size=50),
    st.none() | st.sampled_from(["ab" * 16, "someone"]),
    st.sampled_from(["0b9c6e9e-2f0c-4a44-8d5e-3f1f6f0a7a11", "d-1"]),
    st.none() | st.integers(0, 3),
    st.none() | st.binary(max_size=50),
)
def test_a_packed_decision_keeps_its_content_and_context_beside_its_names(
    text: bytes | None,
    subject: str | None,
    decision_id: str,
    width: int | None,
    context: bytes | None,
) -> None:
    features = None
    if width is not None:
        vector = np.arange(width, dtype="<f4").tobytes()
        features = msgspec.json.decode(msgspec.json.encode(vector))
    blob = pack_decision(features, subject, decision_id)
    assert blob is not None
    described = with_texts(blob, text, context)
    assert (content_of(blob), context_of(blob)) == (None, None)
    assert (content_of(described), context_of(described)) == (text, context)
    for read in (unpack_decision, packed_subject, packed_names, packed_features):
        assert read(described) == read(blob)  # type: ignore[operator]
