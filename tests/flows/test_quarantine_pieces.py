"""Steps fail without a record at fault, end the process, or fail on all; persist fails, too."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from flows.devkit.embedded import Server, Supervisor
from flows.registry import PERSIST, PERSONALIZE
from flows.runtime import endings
from flows.verification.verify import verify
from operators.decode import pseudonym_of
from schemas.catalog import FeatureSpec
from schemas.settings import Settings, child_environment
from schemas.topics import Topic
from tests.support.failing_flow import (
    SECRET,
    Flow,
    Records,
    answers,
    deployment,
    processing_errors,
    slot,
)
from tests.support.failing_steps import Fault
from tests.support.live import until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(broker: Server, valkey: Server, topic_prefix: str, tmp_path: Path) -> Settings:
    return deployment(broker, valkey, topic_prefix, tmp_path, allowed_lateness=5.0)


_PUBLISHED = "slot_id='{}'"

ON_POLICIES = (
    ("personalize.policies_to_shards.flat_map_batch", _PUBLISHED),
    ("personalize.policies.encode.flat_map_batch", _PUBLISHED),
    ("personalize.hot_policies.copy.map.flat_map_batch", _PUBLISHED),
    ("personalize.policies_out", '"slot_id":"{}"'),
)
"""Steps that policies pass; of each slot the first publications fail."""

ON_PROFILES = (
    "personalize.attribute.together.flat_map_batch",
    "personalize.factors.learn",
    "personalize.factors_to_shards.flat_map_batch",
    "personalize.profiles.encode.map.flat_map_batch",
    "personalize.profiles_out",
    "personalize.hot_profiles.copy.map.flat_map_batch",
)
"""Steps that what is known of visitors passes, by their pseudonyms."""


SHORT = {"reward_window": 5.0, "learning_mode": "wait"}


def settle(
    flow: Flow,
    records: Records,
    faults: Sequence[Fault],
    is_reported: Callable[[], bool] = lambda: True,
) -> None:
    """Run a flow until every fault's step has failed, and every good request has its answer."""
    for number in range(20):
        records.request(f"good-{number}", "home", good=True)
    records.flush()

    def done() -> bool:
        failed = {step for step, _ in flow.quarantined()}
        missing = {fault.step for fault in faults} - failed
        answered = set(records.good) <= set(answers(flow.settings))
        return not missing and answered and is_reported()

    assert flow.run_until_settled(8 * len(faults), done) is None
    answered = answers(flow.settings)
    assert len(set(answered)) == len(answered)


def test_policies_that_a_step_fails_on_are_dropped_piece_by_piece(
    settings: Settings, tmp_path: Path
) -> None:
    records, faults = Records(settings), []
    records.catalog(slot("home"))
    for number, (step, mark) in enumerate(ON_POLICIES):
        records.catalog(slot(f"p{number}", **SHORT))
        strikes = str(tmp_path / f"strikes-{number}")
        faults.append(Fault("raise", step, mark.format(f"p{number}"), times=4, strikes=strikes))
        records.request(f"m-s{number}", f"p{number}", good=True)
    records.wait(20)

    settle(Flow(PERSONALIZE.name, settings, faults, tmp_path), records, faults)


def test_what_is_known_of_visitors_is_dropped_piece_by_piece(
    settings: Settings, tmp_path: Path
) -> None:
    records, faults = Records(settings), []
    factors = FeatureSpec(numeric=["x"], profile_embedding=4)
    records.catalog([*slot("home"), *slot("close", features=factors, **SHORT)])
    for number, step in enumerate(ON_PROFILES):
        name = f"m-p{number}"
        records.consent(name)
        records.request(name, "close")
        records.wait(20)
        faults.append(Fault("raise", step, pseudonym_of(SECRET.encode(), f"v-{name}")))

    settle(Flow(PERSONALIZE.name, settings, faults, tmp_path), records, faults)


def test_what_a_decision_taught_is_dropped_piece_by_piece(
    settings: Settings, tmp_path: Path
) -> None:
    records = Records(settings)
    faults = [
        Fault("raise", "personalize.learn.slot", re.escape("90.25")),
        Fault("raise", "personalize.outcomes_out", 'm-out".*"status":"settled"'),
    ]
    records.catalog([*slot("home"), *slot("short", **SHORT)])
    records.request("m-wait", "short", x=90.25)
    records.request("m-out", "short", events=[Topic.IMPRESSIONS])
    flow = Flow(PERSONALIZE.name, settings, faults, tmp_path)

    def is_reported() -> bool:
        return "MarkedError in personalize.learn.slot, before this record" in {
            letter.detail for letter in processing_errors(settings) if not letter.size
        }

    settle(flow, records, faults, is_reported)


ON_STORED = (
    "persist.full.flat_map.flat_map_batch",
    "persist.rows.flat_map_batch",
    "persist.store",
)


def test_the_persist_flow_quarantines_too(settings: Settings, tmp_path: Path) -> None:
    records, faults = Records(settings), []
    records.catalog(slot("home"))
    for number in range(12):
        records.request(f"good-{number}", good=True)
    for number, step in enumerate(ON_STORED):
        records.request(f"m-{number}")
        faults.append(Fault("raise", step, f"m-{number}[\"']"))
    records.flush()
    Flow(PERSONALIZE.name, settings, [], tmp_path).run_until_settled(
        2, lambda: set(records.good) <= set(answers(settings))
    )
    flow = Flow(PERSIST.name, settings, faults, tmp_path)

    assert flow.run_until_settled(8 * len(faults)) is None

    assert {step for step, _ in flow.quarantined()} == {fault.step for fault in faults}
    result = verify(settings)
    assert result.holds, result


@pytest.mark.parametrize(("failure", "error"), [("kill", "killed"), ("stall", "stalled")])
def test_a_record_that_ends_the_process_is_quarantined_after_the_second_time(
    settings: Settings, tmp_path: Path, failure: str, error: str
) -> None:
    settings = settings.replaced(stall_timeout=2.0)
    records = Records(settings)
    records.catalog(slot("home"))
    for number in range(30):
        records.request(f"good-{number}", good=True)
    records.request("m-1", events=[])
    records.flush()
    fault = Fault(failure, "personalize.profile.keep", "m-1[\"']")
    flow = Flow(PERSONALIZE.name, settings, [fault], tmp_path)

    assert flow.run_until_settled(12, lambda: set(records.good) <= set(answers(settings))) is None

    assert flow.quarantined() == [("personalize.profile.keep", error)]
    (letter,) = processing_errors(settings)
    assert letter.detail == f"{error} in personalize.profile.keep"
    assert letter.topic == Topic.DECISION_REQUESTS
    result = verify(settings)
    assert result.holds, result


def test_too_many_processing_errors_stop_the_flow_with_a_sentence(
    settings: Settings, tmp_path: Path
) -> None:
    settings = settings.replaced(max_processing_errors=2)
    records = Records(settings)
    records.catalog(slot("home"))
    for number in range(5):
        records.request(f"m-{number}", events=[])
    records.flush()
    fault = Fault("raise", "personalize.profile.keep", "m-")
    flow = Flow(PERSONALIZE.name, settings, [fault], tmp_path)

    assert flow.run_until_settled(20) == endings.REFUSED

    last = flow.log.read_text().splitlines()[-1]
    assert "3 processing errors within an hour" in last
    assert "BANDITFLOW_MAX_PROCESSING_ERRORS" in last
    assert len(flow.quarantined()) == 3


def test_a_cluster_searches_as_one_process_and_goes_on_as_a_cluster(
    settings: Settings, tmp_path: Path
) -> None:
    records = Records(settings)
    records.catalog(slot("home"))
    for number in range(20):
        records.request(f"good-{number}", good=True)
    records.request("m-1", events=[])
    records.flush()
    (tmp_path / "sitecustomize.py").write_text(
        "from tests.support.failing_steps import Fault, failing\n"
        """failing([Fault("raise", "personalize.profile.keep", "m-1[\\"']")])\n"""
    )
    command = [sys.executable, "-m", "flows", "run", "personalize", "--processes=2"]
    with Supervisor(tmp_path / "logs") as supervisor:
        flow = supervisor.start(
            "flow",
            [*command, f"--logs={tmp_path / 'workers'}"],
            env=child_environment(settings) | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        )
        until(lambda: len(processing_errors(settings)) == 1)
        records.request("later", good=True)
        records.flush()
        until(lambda: set(records.good) <= set(answers(settings)))
        second = tmp_path / "workers" / "personalize-1.log"
        until(lambda: second.read_text().count("metrics at") == 2)  # the cluster is back
        log = flow.log.read_text()
        supervisor.stop(flow)

    (letter,) = processing_errors(settings)
    assert letter.detail == "MarkedError in personalize.profile.keep"
    assert "is quarantined: MarkedError in personalize.profile.keep" in log
