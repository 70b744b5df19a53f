"""Each step of both flows is failed by a test of the quarantine, or named here with why not."""

import pytest
from prometheus_client import CollectorRegistry

from flows.registry import FLOWS
from flows.runtime.clock import system_clock
from flows.runtime.quarantine.steps import watch_steps
from flows.runtime.quarantine.watch import Unwatched
from operators.io.metrics.root import Metrics
from schemas.settings import load
from tests.flows import test_quarantine as records
from tests.flows import test_quarantine_pieces as pieces

FAILED = {
    *records.ON_REQUESTS,
    *records.ON_DECISIONS,
    *records.ON_FEATURES,
    *records.ON_REJECTED,
    *records.ON_CATALOG,
    *(step for step, _ in pieces.ON_POLICIES),
    *pieces.ON_PROFILES,
    *pieces.ON_STORED,
}

READ = "a source: what fails there is rejected at once"
MERGED = "a merge: nothing of ours is called"
PARTED = "a branch: it looks at the type alone"
ALIKE = "made of the same parts as a step that is failed"

NOT_FAILED = {
    "personalize.records": READ,
    "personalize.catalog": READ,
    "persist.topics": READ,
    "personalize.admit.merge": MERGED,
    "personalize.profile.merge": MERGED,
    "personalize.decide.queue.merge": MERGED,
    "personalize.admit.batches": PARTED,
    "personalize.admit.gathered": PARTED,
    "personalize.profile.batches": PARTED,
    "personalize.decide.queue.ready": PARTED,
    "personalize.attribute.learner_updates": PARTED,
    "personalize.attribute.factor_updates": PARTED,
    "personalize.attribute.messages": PARTED,
    "personalize.learn.published": PARTED,
    "personalize.learn.snapshots": PARTED,
    "personalize.rejected": MERGED,
    "personalize.hot": MERGED,
    "personalize.decisions": MERGED,
    "personalize.outcomes": MERGED,
    "personalize.letters": MERGED,
    "personalize.profiles_and_touches": MERGED,
    "personalize.attribute.rejected.map.flat_map_batch": ALIKE,
    "personalize.rejected_catalog.flat_map.flat_map_batch": ALIKE,
    "personalize.checkpoints.encode.flat_map_batch": ALIKE,
    "personalize.checkpoints_out": ALIKE,
    "personalize.dead_letters_out": ALIKE,
    "personalize.touch.due.flat_map.flat_map_batch": "it looks at no record",
}


@pytest.mark.parametrize("name", FLOWS)
def test_each_step_is_failed_by_a_test_or_there_is_a_reason_why_not(name: str) -> None:
    settings = load({}, secret="a secret of tests")
    flow = FLOWS[name].dataflow(settings, system_clock, Metrics(CollectorRegistry()))
    steps = set(watch_steps(flow, Unwatched()))
    known = {step for step in FAILED | NOT_FAILED.keys() if step.startswith(f"{name}.")}
    assert steps == known
