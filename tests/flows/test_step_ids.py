"""The ids of the steps that keep state: a recovery store knows their state by these names."""

from collections.abc import Iterator
from typing import Any

import pytest
from bytewax.visualize import to_rendered
from prometheus_client import CollectorRegistry

from flows.wiring import FLOWS
from operators.io.metrics.root import Metrics
from operators.logic.placement import ALONE
from schemas.settings import Settings

STEPS = {
    "personalize": {
        "personalize.records": "input",
        "personalize.catalog": "input",
        "personalize.admit.hold": "stateful_batch",
        "personalize.profile.keep": "stateful_batch",
        "personalize.attribute.life": "stateful_batch",
        "personalize.factors.learn": "stateful_batch",
        "personalize.learn.slot": "stateful_batch",
        "personalize.decide.queue.admit": "stateful_batch",
        "personalize.decisions_out": "output",
        "personalize.outcomes_out": "output",
        "personalize.profiles_out": "output",
        "personalize.policies_out": "output",
        "personalize.checkpoints_out": "output",
        "personalize.dead_letters_out": "output",
        "personalize.hot_out": "output",
    },
    "persist": {
        "persist.topics": "input",
        "persist.store": "output",
    },
}


def walk(steps: list[Any]) -> Iterator[Any]:
    for step in steps:
        yield step
        yield from walk(step.substeps)


@pytest.mark.parametrize("flow", FLOWS)
def test_no_step_that_keeps_state_has_another_name(flow: str) -> None:
    drawn = to_rendered(
        FLOWS[flow](Settings(secret="sixteen letters!"), Metrics(CollectorRegistry()), ALONE)
    )
    found = {
        step.step_id: step.op_type
        for step in walk(drawn.substeps)
        if step.op_type in {"input", "output", "stateful_batch"}
    }
    lost = STEPS[flow].items() - found.items()
    assert not lost, "a running deployment would lose the state of these steps at its next start"
    assert not found.items() - STEPS[flow].items(), "a new step that keeps state: record it above"
