"""Decisions put together by column say what the same decisions as structs say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from operators.decide.admission import RequestGroup
from operators.decide.decision_encoder import decision_records
from operators.envelope import Event, Origin
from operators.logic.deciding.selection import Candidates, Selection, select
from operators.logic.features import FeatureMap, pack
from operators.logic.policies import make_policy
from operators.logic.policies.published import PublishedPolicy
from schemas.bounds import GREATEST_ETA
from schemas.catalog import FeatureSpec, Holdout, Slot
from schemas.clock import micros, moment
from schemas.codec import decode
from schemas.events import Decision, DecisionBack, DecisionRequest, Placed, Ranked
from schemas.topics import Topic
from tests.support import records as make

NOW = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
odd = st.sampled_from(["%", "%s", '","', "\\", "SLOT", "é%b", '"', "\x00", "a,b"]) | names


def decided(draw: Any) -> tuple[RequestGroup, PublishedPolicy, FeatureMap, Candidates, Selection]:
    actions = draw(st.lists(odd, min_size=1, max_size=5, unique=True))
    slot: Slot = make.slot(
        draw(odd),
        features=FeatureSpec(numeric=["age"] * draw(st.integers(0, 1))),
        holdout=draw(st.sampled_from([Holdout(), Holdout(share=0.4, unit="decision")])),
        slate_size=draw(st.integers(1, 3)),
        baseline_action_id=draw(st.none() | odd),
        learning_mode=draw(st.sampled_from(["immediate", "wait"])),
    )
    ids = draw(st.lists(odd, min_size=1, max_size=6))
    times = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))
    events = []
    for place, name in enumerate(ids):
        body = DecisionRequest(
            id=f"r{place}",
            time=draw(times),
            subject="raw",
            slot_id=slot.slot_id,
            decision_id=name,
            deferred=draw(st.booleans()),
        )
        at = micros(body.time)
        event = Event(at, body, draw(odd), draw(st.integers(0, 2**64 - 1)), Origin("r", 0, 0, at))
        event.personal = draw(st.booleans())
        events.append(event)
    eligible = [draw(st.none() | st.lists(st.sampled_from(actions), min_size=1)) for _ in ids]
    eligible = [c if c is None else list(dict.fromkeys(c)) for c in eligible]
    feature_map = FeatureMap(slot.features)
    x = feature_map.encode([{"age": 3 * place} for place in range(len(ids))])
    group = RequestGroup(
        slot=slot,
        actions=(),
        revision=1,
        policy=None,
        events=events,
        eligible=eligible,
        request_hashes=[draw(st.integers(0, 2**32 - 1))] * len(ids),
    )
    dim = x.shape[1] + (slot.slate_size > 1)
    learner = make_policy("beta", None, dim)
    learner.set_actions(actions, None)
    newest = draw(st.sampled_from([-(2**62), 1_700_000_000_000_000]))
    policy = PublishedPolicy(
        slot_id=slot.slot_id,
        kind=draw(odd),
        version=draw(st.integers(0, 9)),
        newest=newest,
        posterior=learner.publish(),
    )
    subjects = [event.subject for event in events]
    candidates = Candidates(x, tuple(actions), eligible, subjects, ids)
    return (
        group,
        policy,
        feature_map,
        candidates,
        select(slot, policy.posterior, candidates, b"a secret of tests"),
    )


def expected(
    group: RequestGroup,
    policy: PublishedPolicy,
    feature_map: FeatureMap,
    candidates: Candidates,
    selection: Selection,
    row: int,
) -> Decision:
    event, slot = group.events[row], group.slot
    column = int(selection.chosen[row])
    eligible = (
        range(len(selection.action_ids))
        if selection.mask is None
        else np.flatnonzero(selection.mask[row])
    )
    slate = None
    if selection.slates is not None and selection.position_eta is not None:
        slate = [
            Placed(selection.action_ids[c], float(p), float(e))
            for c, p, e in zip(
                selection.slates.chosen[row],
                selection.slates.conditional[row],
                selection.position_eta[row],
                strict=True,
            )
            if c >= 0
        ]
    return Decision(
        id=f"decision-{event.key:016x}",
        time=event.body.time,
        subject=event.subject if event.personal else None,
        decision_id=event.body.decision_id,
        key=f"{event.key:016x}",
        slot_id=slot.slot_id,
        action_id=selection.action_ids[column],
        ranking=[
            Ranked(selection.action_ids[c], float(selection.logged[row, c])) for c in eligible
        ],
        propensity=float(selection.propensity[row]),
        policy=policy.kind,
        policy_version=policy.version,
        expires_at=event.body.time + timedelta(seconds=slot.reward_window),
        baseline_action_id=slot.baseline_action_id,
        variation_id=("holdout" if selection.held_out[row] else "policy")
        if slot.holdout.share
        else None,
        learning_mode=slot.learning_mode,
        deferred=event.body.deferred,
        features=pack(candidates.x[row]) if feature_map.dim > 1 else None,
        mapping=feature_map.logged_fingerprint if feature_map.dim > 1 else "",
        eta=float(selection.eta[row, column]),
        draw=float(selection.uniform[row]),
        policy_time=moment(policy.newest) if policy.newest > 0 else None,
        decided_at=NOW,
        request_hash=f"{group.request_hashes[row]:08x}",
        slate=slate,
    )


@settings(max_examples=100, deadline=None)
@given(
    st.data(), st.integers(5_100, 5_800) | st.integers(8_400, 9_100) | st.integers(10_000, 10_700)
)
def test_what_does_not_fit_is_left_out_of_the_ranking_and_nothing_that_is_shown(
    data: st.DataObject, limit: int
) -> None:
    group, policy, feature_map, candidates, selection = decided(data.draw)
    lines = decision_records(group, policy, feature_map, candidates, selection, NOW, limit)
    for row, line in enumerate(lines):
        whole = expected(group, policy, feature_map, candidates, selection, row)
        decision = msgspec.json.decode(line, type=Decision)
        shown = {decision.action_id} | {placed.action_id for placed in decision.slate or ()}
        listed = {ranked.action_id for ranked in decision.ranking}
        assert shown <= listed
        assert decision.ranking == [each for each in whole.ranking if each.action_id in listed]
        left_out = [each for each in whole.ranking if each.action_id not in listed]
        assert decision.ranking_left_out == len(left_out)
        mass = sum(each.probability for each in left_out)
        assert decision.ranking_left_out_probability == pytest.approx(mass, abs=1e-12)
        least = min(
            (e.probability for e in decision.ranking if e.action_id not in shown), default=1.0
        )
        assert all(each.probability <= least for each in left_out)
        assert len(line) <= limit or listed == shown
        same = {"ranking": [], "ranking_left_out": 0, "ranking_left_out_probability": 0.0}
        assert structs.replace(decision, **same) == structs.replace(whole, ranking=[])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_records_say_what_structs_say(data: st.DataObject) -> None:
    given_ = decided(data.draw)
    lines = decision_records(*given_, NOW)
    assert len(lines) == len(given_[0].events)
    for row, line in enumerate(lines):
        assert msgspec.json.decode(line, type=Decision) == expected(*given_, row)
        assert set(msgspec.json.decode(line)) <= set(Decision.__struct_fields__)
        assert isinstance(decode(Topic.DECISIONS, line), DecisionBack)


@settings(max_examples=10, deadline=None)
@given(st.data(), st.sampled_from([1e300, -1e300, 1e13]))
def test_a_predictor_of_any_size_gives_a_decision_that_is_read_back(data: Any, eta: float) -> None:
    group, policy, feature_map, candidates, selection = decided(data.draw)
    huge = msgspec.structs.replace(selection, eta=np.full(selection.eta.shape, eta))
    if huge.position_eta is not None:
        huge = msgspec.structs.replace(huge, position_eta=np.full(huge.position_eta.shape, eta))
    for record in decision_records(group, policy, feature_map, candidates, huge, NOW):
        back = decode(Topic.DECISIONS, record)
        assert isinstance(back, DecisionBack)
        assert abs(back.eta) == GREATEST_ETA
