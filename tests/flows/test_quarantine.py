"""Every step of personalize raises on a record, with restarts: those records alone are lost."""

import re
from pathlib import Path

import pytest

from flows.devkit.embedded import Server
from flows.registry import PERSONALIZE
from flows.verification.verify import verify
from schemas.catalog import Action
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.failing_flow import (
    START,
    Flow,
    Records,
    answers,
    deployment,
    processing_errors,
    slot,
)
from tests.support.failing_steps import Fault


@pytest.fixture
def settings(broker: Server, valkey: Server, topic_prefix: str, tmp_path: Path) -> Settings:
    return deployment(broker, valkey, topic_prefix, tmp_path)


ON_REQUESTS = (
    "personalize.admit.hold",
    "personalize.profile.keep",
    "personalize.decide.queue.admit",
    "personalize.decide.score",
    "personalize.decisions_out",
)
"""Steps that a request passes, and its decision."""

ON_DECISIONS = (
    "personalize.positions.map.flat_map_batch",
    "personalize.hot_decisions.copy.flat_map_value.flat_map.flat_map_batch",
    "personalize.attribute.life",
    "personalize.attribute.outcomes.map.flat_map_batch",
    "personalize.outcomes_out",
    "personalize.hot_out",
)
"""Steps that a decision passes that is read back, and its outcome."""

ON_FEATURES = (
    "personalize.attribute.by_slot.flat_map_batch",
    "personalize.learn.slot",
)
"""Steps that what a slot learns passes."""

ON_REJECTED = ("personalize.dead_letters.encode.map.flat_map_batch",)
"""Steps that a record passes that cannot be read."""

ON_CATALOG = ("personalize.catalog_to_shards.flat_map_batch",)


def test_a_record_that_any_step_raises_on_is_quarantined_and_nothing_else(
    settings: Settings, tmp_path: Path
) -> None:
    records, faults = Records(settings), []
    records.catalog(slot("home"))
    for number in range(10):
        records.request(f"good-{number}", good=True)
    for number, step in enumerate((*ON_REQUESTS, *ON_DECISIONS)):
        name = f"m-{number:02d}"
        faults.append(Fault("raise", step, f"{name}['\"]"))
        if ".profile." in step or ".hot_" in step:
            records.consent(name)
        records.request(name, events=[] if step in ON_REQUESTS else [Topic.CLICKS])
        records.request(f"good-{name[2:]}-b", good=True)
    for number, step in enumerate(ON_FEATURES):
        x = 70.25 + number
        faults.append(Fault("raise", step, rf"\b{re.escape(str(x))}\b"))
        records.request(f"f-{number}", x=x)
    for number, step in enumerate(ON_REJECTED):
        faults.append(Fault("raise", step, f"m-bad-{number}"))
        records.raw(Topic.CLICKS, f'{{"id": "m-bad-{number}"'.encode())
    for number, step in enumerate(ON_CATALOG):
        faults.append(Fault("raise", step, f"m-action-{number}"))
        records.catalog(
            [Action(id="x", time=START, action_id=f"m-action-{number}", slots=["home"])]
        )
    records.flush()
    flow = Flow(PERSONALIZE.name, settings, faults, tmp_path)

    def done() -> bool:
        return set(records.good) <= set(answers(settings))

    assert flow.run_until_settled(8 * len(faults), done) is None

    failed = {step for step, error in flow.quarantined() if error == "MarkedError"}
    assert failed == {fault.step for fault in faults}
    assert {letter.detail.partition(" in ")[2] for letter in processing_errors(settings)} >= (
        failed - {"personalize.dead_letters.encode.map.flat_map_batch"}
    )
    answered = answers(settings)
    assert set(records.good) <= set(answered)
    assert len(set(answered)) == len(answered)
    result = verify(settings)
    assert result.holds, result
