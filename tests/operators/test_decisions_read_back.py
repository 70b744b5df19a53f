"""Whatever is asked, learned and shown, a decision is read back as a decision."""

import math
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.runtime.clock import system_clock
from operators.decide import request_groups
from operators.decide.admission import RequestGroup
from operators.decide.request_groups import in_parts
from operators.decide.scoring import Scorer
from operators.envelope import Event, Origin
from operators.io.metrics.decisions import DecisionMetrics
from operators.logic.attribution.decision_codec import pack_decision
from operators.logic.deciding.slates import draw_slates
from operators.logic.features import FeatureMap
from operators.logic.policies import Deltas
from operators.logic.policies.published import PublishedPolicy
from operators.logic.slot_policy import new_policy, policy_dim, policy_family
from schemas.catalog import Action, FeatureSpec, Holdout, Interaction, PolicySettings, Slot
from schemas.clock import micros
from schemas.codec import decode
from schemas.events import Decision, DecisionBack, DecisionRequest
from schemas.topics import Topic
from tests.support import records as make

KINDS = ("beta", "logistic", "gaussian", "diagonal", "greedy", "uniform")
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 1e6, 1e300, -1e300, 5e-324, 1e-300, 2**63 - 1, -(2**63)]),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.one_of(NUMBERS, st.none(), st.text(max_size=3), st.lists(NUMBERS, max_size=3))
ACTIONS = tuple(make.action(f"a{number}") for number in range(6))


@st.composite
def slots(draw: Any) -> Slot:
    kind = draw(st.sampled_from(KINDS))
    return make.slot(
        "home",
        policy=PolicySettings(kind=kind),
        features=FeatureSpec(
            numeric=["n", "m"],
            vectors={"v": 2},
            hashed={"h": 8},
            interactions=[Interaction("n", "h")],
            scale=draw(st.booleans()) and kind != "diagonal",
        ),
        slate_size=draw(st.sampled_from([1, 4, 6])),
        holdout=Holdout(share=draw(st.sampled_from([0.0, 1e-9, 1.0]))),
        floor=draw(st.sampled_from([0.0, 1e-300, 0.5])),
    )


def published(slot: Slot, rows: np.ndarray[Any, Any], rewards: list[float]) -> PublishedPolicy:
    dim = policy_dim(slot, FeatureMap(slot.features))
    policy, n = new_policy(slot, ACTIONS, dim), len(rewards)
    if n:
        policy.learn(
            Deltas(
                action_ids=["a0"] * n,
                x=np.hstack([rows, np.zeros((n, dim - rows.shape[1]))]),
                eta=np.zeros(n),
                time=np.ones(n),
                count_delta=np.ones(n),
                reward_delta=np.array(rewards),
            )
        )
    return PublishedPolicy(
        slot_id="home",
        kind=slot.policy.kind,
        version=1,
        newest=1,
        posterior=policy.publish(),
        family=policy_family(slot),
    )


def group(
    slot: Slot, bodies: list[DecisionRequest], policy: PublishedPolicy | None = None, **changes: Any
) -> RequestGroup:
    fields: dict[str, Any] = {
        "slot": slot,
        "actions": ACTIONS,
        "revision": 1,
        "policy": policy,
        "events": [
            Event(micros(body.time), body, "f" * 32, number, Origin("r", 0, number, 1))
            for number, body in enumerate(bodies)
        ],
        "eligible": [None] * len(bodies),
        "request_hashes": [0] * len(bodies),
    }
    return RequestGroup(**(fields | changes))


def request(number: int, **fields: Any) -> DecisionRequest:
    return DecisionRequest(
        id=f"r{number}",
        time=make.START + timedelta(seconds=number),
        subject="s",
        slot_id="home",
        decision_id=f"d{number}",
        **fields,
    )


def decide(ready: RequestGroup) -> list[bytes]:
    scorer = Scorer(b"a secret of tests", system_clock, DecisionMetrics())
    return [message.value for _, some in scorer.decide([("0", ready)]) for message in some]


@settings(max_examples=60, deadline=None)
@given(slots(), st.data())
def test_no_context_and_no_reward_spoils_a_decision(slot: Slot, data: st.DataObject) -> None:
    names = st.sampled_from(["n", "m", "v", "h", "unused"])
    contexts = data.draw(st.lists(st.dictionaries(names, VALUES), min_size=1, max_size=4))
    rows = FeatureMap(slot.features).encode(contexts)
    rewards = data.draw(st.lists(st.floats(0, 1), min_size=len(rows), max_size=len(rows)))
    policy = data.draw(st.sampled_from([None, published(slot, rows, rewards)]))
    bodies = [request(number, context=context) for number, context in enumerate(contexts)]
    for value in decide(group(slot, bodies, policy)):
        decision = decode(Topic.DECISIONS, value)
        assert isinstance(decision, DecisionBack), decision
        assert pack_decision(decision.features, decision.subject, decision.decision_id) is not None
        whole = msgspec.json.decode(value, type=Decision)
        assert math.isclose(sum(each.probability for each in whole.ranking), 1.0, rel_tol=1e-9)


def test_the_order_of_an_unlikely_slate_has_a_probability_above_zero() -> None:
    p = np.array([[1.0 - 4e-200, *[1e-200] * 4]])
    slates = draw_slates(p, np.full((1, 5), 0.5))
    assert slates.chosen.shape == (1, 5)
    likely = slates.propensity[0]
    assert likely > 0.0
    assert draw_slates(np.array([[1e-320] * 50 + [1.0]]), np.zeros((1, 50))).propensity[0] > 0.0


def test_requests_with_candidates_of_their_own_are_decided_in_parts_as_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = make.slot("home", policy=PolicySettings(kind="beta"), candidates="request")
    names = [[f"c{number}-{place}" for place in range(300)] for number in range(6)]
    bodies = [request(number, actions=some) for number, some in enumerate(names)]
    whole = group(plain, bodies, actions=(), eligible=names)
    monkeypatch.setattr(request_groups, "FEW_CELLS", 600)
    parts = list(in_parts(whole))
    assert [len(part.events) for part in parts] == [2, 2, 2]
    assert [event for part in parts for event in part.events] == whole.events
    assert [some for part in parts for some in part.eligible] == names
    alone = [
        decide(group(plain, [body], actions=(), eligible=[some]))[0]
        for body, some in zip(bodies[:3], names[:3], strict=True)
    ]
    together = decide(whole)
    assert len(together) == 6
    for one, other in zip(alone, together, strict=False):
        first = msgspec.json.decode(one, type=Decision)
        second = msgspec.json.decode(other, type=Decision)
        assert first.action_id == second.action_id
        assert first.propensity == pytest.approx(second.propensity, rel=1e-9)


def test_a_known_catalog_is_cut_by_its_size() -> None:
    many = tuple(
        Action(id=str(n), time=make.START, action_id=str(n), slots=[]) for n in range(5000)
    )
    bodies = [request(number) for number in range(450)]
    parts = list(in_parts(group(make.slot("home"), bodies, actions=many)))
    assert [len(part.events) for part in parts] == [200, 200, 50]
