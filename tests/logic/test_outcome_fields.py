"""A field of an outcome is in every report that is to have it; what is missing is named."""

from typing import Any

import msgspec
from msgspec.structs import fields

from operators.logic.attribution import Attribution
from operators.logic.recount import recount
from schemas.clock import ALWAYS
from schemas.codec import decode
from schemas.events import DecisionBack
from schemas.results import Outcome
from schemas.topics import Topic
from tests.support import records as make
from tests.support.histories import SECOND, START, Visitors

OWN = {
    "reward", "status", "revision", "activated", "reason", "delay", "settled_at", "not_learned",
}  # fmt: skip
"""The fields that tell what became of the decision; the others are the decision's."""

NOT_IN_VOID = {"subject", "features", "mapping", "eta"}
"""What a void outcome does not say: nothing of the subject, and nothing to learn from."""

NOT_OF_ALL = {"reason": {"void"}, "delay": {"clicked"}, "not_learned": {"clicked", "shown"}}
"""The fields that only these outcomes have."""

PLACES = {
    "clicked": "_active_outcome in operators/logic/attribution/outcomes.py",
    "shown": "OutcomeEncoder in operators/logic/attribution/outcomes.py, which writes by column",
    "void": "void_outcome in operators/logic/attribution/outcomes.py",
    "recounted": "Verdict.outcome in operators/logic/recount.py",
}

SLOT = make.slot("home", default_reward=0.25, learning_mode="wait", reward_window=60.0)


def reports() -> tuple[dict[str, dict[str, Any]], DecisionBack]:
    """What is said of a decision by each place that reports one, and the decision."""
    visitors = Visitors({"home": SLOT})
    values = {
        "experiment_id": "e",
        "variation_id": "v",
        "mapping": "01234567",
        "deferred": True,
        "robot": True,
        "eta": 0.5,
    }
    clicked, shown, void = (
        visitors.decision("home", "ab" * 16, START, key, **values) for key in (1, 2, 3)
    )
    events = [clicked, shown, void]
    events += [visitors.impression(each, START + SECOND) for each in (clicked, shown)]
    events.append(visitors.click(clicked, START + 2 * SECOND))
    result = Attribution(0, 100, 100).step(events, ALWAYS, {"home": SLOT})
    last: dict[str, dict[str, Any]] = {}
    for message in result.messages:
        outcome = decode(Topic.OUTCOMES, message.value)
        assert isinstance(outcome, Outcome)
        last[{1: "clicked", 2: "shown", 3: "void"}[int(outcome.key, 16)]] = msgspec.json.decode(
            message.value
        )
    again = recount(events, {"home": SLOT})[1].outcome()
    last["recounted"] = msgspec.json.decode(msgspec.json.encode(again))
    return last, clicked.body


def test_every_field_of_an_outcome_is_reported() -> None:
    said, _ = reports()
    assert said.keys() == PLACES.keys()
    missing = [
        f"outcomes.{field.encode_name}: not said by {PLACES[name]}"
        for name, record in said.items()
        for field in fields(Outcome)
        if field.encode_name not in record
        and not (name == "void" and field.name in NOT_IN_VOID)
        and not (field.name in NOT_OF_ALL and _kind(name) not in NOT_OF_ALL[field.name])
    ]
    assert not missing, "\n".join(missing)


def test_every_field_that_is_the_decisions_says_what_the_decision_says() -> None:
    said, decision = reports()
    decided = msgspec.to_builtins(decision)
    shared = {field.name for field in fields(Outcome)} - OWN
    assert shared <= decided.keys(), (
        f"{sorted(shared - decided.keys())}: not a field of a decision: where it tells what became "
        "of one, name it in OWN of tests/logic/test_outcome_fields.py"
    )
    own = shared - {"key", "decision_id"}
    wrong = [
        f"outcomes.{name}: not the decision's: see {PLACES[place]}"
        for place, record in said.items()
        for name in sorted(own - (NOT_IN_VOID if place == "void" else {"features"}))
        if record.get(name) != decided[name]
    ]
    assert not wrong, "\n".join(wrong)
    assert {record["reward"] for record in said.values()} == {1.0, 0.25, 0.0}


def test_a_pending_report_says_all_that_is_known_by_then() -> None:
    visitors = Visitors({"home": SLOT})
    decision = visitors.decision("home", "ab" * 16, START, 1)
    events = [decision, visitors.impression(decision, START + SECOND)]
    events.append(visitors.click(decision, START + 2 * SECOND))
    result = Attribution(0, 100, 100).step(events, START + 3 * SECOND, {"home": SLOT})
    (message,) = result.messages
    outcome = decode(Topic.OUTCOMES, message.value)
    assert (outcome.status, outcome.reward, outcome.delay) == ("pending", 1.0, 2.0)
    assert outcome.settled_at is None


def _kind(name: str) -> str:
    return "clicked" if name == "recounted" else name
