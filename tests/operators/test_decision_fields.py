"""A field of a decision is written by the encoder, or said to be left at its default."""

from datetime import UTC, datetime

import msgspec

from operators.decide.admission import RequestGroup
from operators.decide.decision_encoder import LEFT_AT_DEFAULT, decision_records
from operators.envelope import Event, Origin
from operators.logic.deciding.contents import ActionContent
from operators.logic.deciding.selection import Candidates, select
from operators.logic.features import FeatureMap
from operators.logic.policies import make_policy
from operators.logic.policies.published import PublishedPolicy
from schemas.catalog import FeatureSpec, Holdout
from schemas.clock import micros
from schemas.events import Assignment, Decision, DecisionRequest
from tests.support import records as make

FIELDS = {field.encode_name: field for field in msgspec.structs.fields(Decision)}


def written() -> set[str]:
    """The fields of a decision for which everything is set that can be."""
    slot = make.slot(
        "home",
        features=FeatureSpec(numeric=["age"]),
        holdout=Holdout(share=0.4, unit="decision"),
        slate_size=2,
        baseline_action_id="a",
        learning_mode="wait",
    )
    body = DecisionRequest(
        id="r",
        time=make.START,
        subject="raw",
        slot_id="home",
        decision_id="d",
        deferred=True,
        robot=True,
    )
    at = micros(body.time)
    event = Event(at, body, "pseudonym", 7, Origin("decision-requests", 0, 0, at), personal=True)
    feature_map = FeatureMap(slot.features)
    x = feature_map.encode([{"age": 3}])
    policy = make_policy("beta", None, x.shape[1] + 1)
    policy.set_actions(["a", "b", "c"], None)
    published = PublishedPolicy(
        slot_id="home", kind="beta", version=1, newest=at, posterior=policy.publish()
    )
    candidates = Candidates(x, ("a", "b", "c"), [None], ["pseudonym"], ["d"])
    selection = select(slot, published.posterior, candidates, b"a secret of tests")
    group = RequestGroup(
        slot=slot,
        actions=(),
        revision=1,
        policy=published,
        events=[event],
        eligible=[None],
        request_hashes=[1],
        contexts=[b'{"hour":9}'],
        assignments=[
            [Assignment(experiment_id="e", variation_id="v", probability=0.5, unit="subject")]
        ],
        contents=[{name: ActionContent("0" * 16, b'{"n":1}') for name in "abc"}],
    )
    now = datetime(2026, 3, 1, tzinfo=UTC)
    (record,) = decision_records(
        group, published, feature_map, candidates, selection, now, limit=0, visitors=["0000000a"]
    )
    return set(msgspec.json.decode(record))


def test_every_field_of_a_decision_is_written_or_said_to_be_left_at_its_default() -> None:
    found = written()
    missing = [
        f"decisions.{name}: not written: write it in operators/decide/decision_encoder.py, or add "
        "it to LEFT_AT_DEFAULT there with the reason"
        for name in FIELDS
        if name not in found and name not in LEFT_AT_DEFAULT
    ]
    assert not missing, "\n".join(missing)
    assert found <= set(FIELDS), "written, but no field of schemas.events.Decision"


def test_what_is_left_at_its_default_has_one_and_is_not_written() -> None:
    required = [name for name in LEFT_AT_DEFAULT if FIELDS[name].required]
    assert not required, f"{required} have no default in schemas.events.Decision"
    assert not set(LEFT_AT_DEFAULT) & written()
