"""Requests scored together are decided as each of them alone, whatever the others bring."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from operators.decide import request_groups
from operators.decide.admission import RequestGroup
from operators.decide.request_groups import in_candidates
from operators.decide.scoring import Scorer
from operators.envelope import Event, Origin
from operators.io.metrics.decisions import DecisionMetrics
from operators.logic.deciding.contents import ActionContent, canonical, content_hash
from operators.logic.deciding.propensity import choose
from operators.logic.features import auto_rows
from operators.logic.policies.published import PublishedPolicy
from operators.logic.slot_policy import policy_family
from schemas.catalog import AutoFeatures, FeatureSpec, Holdout, PolicySettings, Slot
from schemas.clock import micros
from schemas.events import Decision, DecisionRequest
from tests.operators.test_learn_shared import decisions, from_scratch
from tests.support import records as make

NOW = datetime(2026, 3, 1, 13, tzinfo=UTC)
NAMES = st.sampled_from(["x", "y", "z", "a1", "a2", "a3"])
CONTENT = st.none() | st.fixed_dictionaries({"topic": st.sampled_from(["t1", "t2", "t3"])})
REQUESTS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["likes", "hour"]), st.sampled_from(["t1", "t2", 3, 0.5])),
        st.dictionaries(NAMES, CONTENT, min_size=1),
    ),
    min_size=1,
    max_size=8,
)


def slot_of(**changes: Any) -> Slot:
    return make.slot(
        "home",
        policy=PolicySettings(kind="shared", params={"rank": 32}),
        features=FeatureSpec(auto=AutoFeatures(bits=10)),
        candidates="request",
        **changes,
    )


def content(features: Any) -> ActionContent:
    text = canonical(features)
    return ActionContent(content_hash(text), text)


def group_of(slot: Slot, asked: list[Any], start: int = 0) -> RequestGroup:
    events, contents = [], []
    for number, (context, actions) in enumerate(asked, start):
        body = DecisionRequest(
            id=f"r{number}",
            time=make.START,
            subject="raw",
            slot_id="home",
            decision_id=f"d{number}",
            context=context,
        )
        at = micros(body.time)
        origin = Origin("decision-requests", 0, number, at)
        events.append(Event(at, body, f"subject-{number}", number, origin, personal=True))
        contents.append({name: content(each) for name, each in actions.items() if each} or None)
    learned = from_scratch(slot, decisions(1, 80, 5, slot.slate_size))
    policy = PublishedPolicy(
        slot_id="home",
        kind="shared",
        version=3,
        newest=1,
        posterior=learned.publish(),
        family=policy_family(slot),
    )
    return RequestGroup(
        slot=slot,
        actions=(),
        revision=1,
        policy=policy,
        events=events,
        eligible=[list(actions) for _, actions in asked],
        request_hashes=[0] * len(events),
        contents=contents if any(contents) else [],
    )


def decided(*groups: RequestGroup) -> list[Decision]:
    scorer = Scorer(b"a secret of the tests", lambda: NOW, DecisionMetrics(CollectorRegistry()))
    out = scorer.decide([("0", group) for group in groups])
    made = [
        msgspec.json.decode(message.value, type=Decision) for _, some in out for message in some
    ]
    return sorted(made, key=lambda decision: int(decision.decision_id[1:]))


@settings(max_examples=40, deadline=None)
@given(
    REQUESTS,
    st.sampled_from([1, 2, 4]),
    st.sampled_from([Holdout(), Holdout(share=0.4), Holdout(share=0.4, unit="subject")]),
    st.sampled_from([0.0, 0.2]),
    st.booleans(),
)
def test_a_request_is_decided_as_if_it_were_alone(
    asked: list[Any], size: int, holdout: Holdout, mass: float, cut: bool
) -> None:
    slot = slot_of(slate_size=size, holdout=holdout, floor_mass=mass, log_candidates=True)
    with pytest.MonkeyPatch.context() as patch:
        if cut:
            patch.setattr(request_groups, "MOST_JOINT_CANDIDATES", 5)
            patch.setattr(request_groups, "FEW_CELLS", 8)
            patch.setattr(auto_rows, "MOST_ENTRIES", 20)
        half = len(asked) // 2
        parts = [(asked[:half], 0), (asked[half:], half)]
        together = decided(*(group_of(slot, some, at) for some, at in parts if some))
    for number, one in enumerate(asked):
        (alone,) = decided(group_of(slot, [one], number))
        mine = together[number]
        assert mine.action_id == alone.action_id
        assert mine.propensity == pytest.approx(alone.propensity, abs=1e-12)
        assert mine.eta == pytest.approx(alone.eta, abs=1e-12)
        assert mine.variation_id == alone.variation_id
        assert (mine.context, mine.contents) == (alone.context, alone.contents)
        assert (mine.context or {}).keys() == one[0].keys()
        probabilities = [each.probability for each in mine.ranking]
        assert [each.action_id for each in mine.ranking] == sorted(one[1])
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-12)
        assert probabilities == pytest.approx([each.probability for each in alone.ranking])
        assert min(probabilities) >= mass / len(probabilities) * (1 - 1e-12)
        shown = [each.action_id for each in mine.slate or ()] or [mine.action_id]
        assert len(set(shown)) == len(shown) == min(size, len(one[1]))
        given_ = {name: each for name, each in one[1].items() if each}
        logged = {
            each.action_id: msgspec.json.decode(each.features) for each in mine.contents or ()
        }
        assert logged == given_


def test_the_number_logged_picks_the_action_from_the_ranking() -> None:
    slot = slot_of(floor_mass=0.3)
    asked = [({"likes": "t1"}, {"x": {"topic": "t1"}, "y": {"topic": "t2"}, "z": None})] * 50
    for decision in decided(group_of(slot, asked)):
        probabilities = np.array([[each.probability for each in decision.ranking]])
        (place,) = choose(probabilities, np.array([decision.draw])).tolist()
        assert decision.ranking[place].action_id == decision.action_id


def test_parts_hold_every_request_once() -> None:
    asked = [({}, {f"n{number}-{k}": None for k in range(400)}) for number in range(100)]
    parts = list(in_candidates(group_of(slot_of(), asked)))
    assert len(parts) == 3
    ids = [event.body.decision_id for part in parts for event in part.events]
    assert ids == [f"d{number}" for number in range(100)]


@settings(max_examples=30, deadline=None)
@given(
    REQUESTS,
    st.sampled_from([1, 3]),
    st.sampled_from(
        [
            {"features": FeatureSpec(auto=AutoFeatures(bits=8))},
            {"features": FeatureSpec(auto=AutoFeatures(bits=14, crosses=[]))},
            {"features": FeatureSpec(auto=AutoFeatures(bits=10, ignore=[""]))},
            {"policy": PolicySettings(kind="shared", params={"rank": 64})},
        ]
    ),
)
def test_a_posterior_decides_by_its_own_view_whatever_the_slot_says_by_now(
    asked: list[Any], size: int, change: dict[str, Any]
) -> None:
    """So it decides what it would have, before the change and after the next one."""
    slot = slot_of(slate_size=size, floor_mass=0.1)
    before = group_of(slot, asked)
    assert before.policy is not None
    policy = replace(before.policy, view=slot.features.auto)
    groups = [
        msgspec.structs.replace(before, slot=each, policy=policy, revision=revision)
        for revision, each in enumerate([slot, msgspec.structs.replace(slot, **change)])
    ]
    expected, *others = (decided(group) for group in groups)
    for made in others:
        for one, other in zip(expected, made, strict=True):
            assert (one.ranking, one.action_id, one.slate) == (
                other.ranking,
                other.action_id,
                other.slate,
            )
            assert other.policy_version == 3


@pytest.mark.parametrize(
    "change",
    [
        {"policy": PolicySettings(kind="shared", params={"link": "gaussian"})},
        {"reward_range": (0.0, 2.0)},
        {"slate_size": 2},
    ],
)
def test_a_posterior_of_another_family_is_not_asked(change: dict[str, Any]) -> None:
    slot = slot_of()
    group = group_of(slot, [({"likes": "t1"}, {"x": {"topic": "t1"}, "y": None})])
    assert group.policy is not None
    policy = replace(group.policy, view=slot.features.auto)
    other = msgspec.structs.replace(slot, **change)
    (decision,) = decided(msgspec.structs.replace(group, slot=other, policy=policy))
    assert decision.policy_version == 0
