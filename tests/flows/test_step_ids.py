"""The ids of the steps that keep state: a recovery store knows their state by these names."""

from collections.abc import Iterator
from typing import Any

import pytest
from bytewax.visualize import to_rendered
from prometheus_client import CollectorRegistry

from flows.registry import FLOWS, INPUT, OUTPUT, PERSONALIZE, STATE
from flows.runtime.clock import system_clock
from flows.runtime.recovery import recovery_folder
from flows.runtime.snapshots import read_states
from flows.wiring import Wiring
from operators.io.metrics.root import Metrics
from schemas.settings import load
from tests.support.recording.archive import recorded, settings


def walk(steps: list[Any]) -> Iterator[Any]:
    for step in steps:
        yield step
        yield from walk(step.substeps)


@pytest.mark.parametrize("flow", FLOWS)
def test_the_registry_knows_what_a_flow_writes_to(
    flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start looks at Redis and the store by it."""
    made: list[str] = []
    for part in ("cache", "store"):
        sink = getattr(Wiring, part)
        noted = lambda self, part=part, sink=sink: made.append(part) or sink(self)  # noqa: E731
        monkeypatch.setattr(Wiring, part, noted)
    settings, metrics = load({}, secret="sixteen letters!"), Metrics(CollectorRegistry())
    FLOWS[flow].dataflow(settings, system_clock, metrics)
    assert ("cache" in made, "store" in made) == (FLOWS[flow].caches, FLOWS[flow].stores)


@pytest.mark.parametrize("flow", FLOWS)
def test_no_step_that_keeps_state_has_another_name(flow: str) -> None:
    settings, metrics = load({}, secret="sixteen letters!"), Metrics(CollectorRegistry())
    drawn = to_rendered(FLOWS[flow].dataflow(settings, system_clock, metrics))
    found = {
        step.step_id: step.op_type
        for step in walk(drawn.substeps)
        if step.op_type in {INPUT, OUTPUT, STATE}
    }
    registered = {str(step): step.kind for step in FLOWS[flow].steps}
    lost = registered.items() - found.items()
    assert not lost, "a running deployment would lose the state of these steps at its next start"
    new = found.items() - registered.items()
    assert not new, f"a new step that keeps state: record it in Steps of flows/{flow}.py"


def test_the_steps_of_an_old_recovery_store_have_kept_their_names() -> None:
    with recorded() as log:
        there = settings("nowhere:9092", "redis://nowhere").replaced(recovery=str(log.recovery))
        old = read_states(recovery_folder(there, PERSONALIZE.name)).keys()
    lost = old - {str(step) for step in PERSONALIZE.steps}
    assert not lost, "a deployment of an earlier release would lose the state of these steps"
    assert len(old) > 10


@pytest.mark.parametrize("flow", FLOWS)
def test_steps_begin_with_the_name_of_their_flow(flow: str) -> None:
    assert all(step.startswith(f"{flow}.") for step in FLOWS[flow].steps)
    assert FLOWS[flow].offsets_step in FLOWS[flow].steps


@pytest.mark.parametrize("flow", FLOWS)
def test_a_start_knows_the_format_of_every_step_that_keeps_state(flow: str) -> None:
    for step in FLOWS[flow].steps:
        assert (step.kind == STATE) == (step.state_format is not None), step
