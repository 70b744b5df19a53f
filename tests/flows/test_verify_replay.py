"""A log under kill -9 ends in what its topics imply; two runs agree; what is wrong is found."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

from flows.devkit.embedded import Server, Supervisor
from flows.devkit.verify_replay.runs import Feed, run_killed
from flows.devkit.verify_replay.simulated_log import SLOTS, simulated_log
from flows.devkit.verify_replay.verify_replay import VerifiedReplay, verify_replay
from flows.runtime.snapshots import read_states
from flows.verification.findings import Verification, describe
from flows.verification.log import LogError, Logged, copied, read_log, record_log
from flows.verification.reading import dead_letters_of
from flows.verification.sameness import compare_runs
from flows.verification.state_dump import PARTS, digest, dump
from flows.verification.verify import verify
from operators.logic.attribution import SETTLED_REVISION
from schemas.codec import decode, encode
from schemas.results import Outcome
from schemas.settings import Settings, load
from schemas.topics import Topic
from tests.support.parts import prefix_for

REQUESTS = 600


@pytest.fixture(scope="module")
def report(
    broker: Server, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VerifiedReplay]:
    """A log of every learning mode, with two kills."""
    folder = tmp_path_factory.mktemp("replay")
    settings = load(
        {},
        secret="a secret of the tests",
        bootstrap_servers=broker.address,
        redis_url=f"redis://{valkey.address}/0",
        topic_prefix=prefix_for("verify-replay"),
        partitions=2,
    )
    log = simulated_log(REQUESTS, 300.0, partitions=2, seed=4)
    with Supervisor(folder / "logs") as supervisor:
        yield verify_replay(
            settings, supervisor, folder, log, kills=2, seed=5, speed=1.0, verify_kills=True
        )


def test_a_killed_log_ends_as_its_topics_imply_and_as_one_without_kills(
    report: VerifiedReplay,
) -> None:
    assert report.holds, report
    assert [kill.flow for kill in report.killed.kills] == ["persist", "personalize"]
    found = report.killed.verification
    assert found.decisions == REQUESTS
    positions = REQUESTS + 2 * slates(report.killed.settings)
    assert found.outcomes.settled + found.outcomes.void == positions > REQUESTS
    assert found.outcomes.void > 0
    assert found.outcomes.not_learned.keys() == {"subject_limit", "robot_rate", "robot"}
    assert found.refused > 0
    assert {check.slot_id for check in found.actions} == set(SLOTS)
    assert not found.skipped
    (crash,) = report.crashes
    assert crash.pending.decisions > 0
    assert {table.table for table in found.store} >= {"decisions", "outcomes", "user_profiles"}
    assert not found.behind
    assert all(same.compared for same in report.same if same.what not in ("pending", "waiting"))


def slates(settings: Settings) -> int:
    """How many of the requests were answered by a slate, of three actions each."""
    decisions = (each.value for each in copied(settings) if each.topic is Topic.DECISIONS)
    return sum(b'"slate":' in value for value in decisions)


def test_events_that_name_what_was_not_shown_or_an_id_twice_are_dead_letters(
    report: VerifiedReplay,
) -> None:
    settings = report.killed.settings
    reasons = Counter(
        reason
        for shard in range(settings.kafka.partitions)
        for reason in dead_letters_of(settings, shard).reasons.values()
    )
    assert reasons["wrong_position"] > 10
    assert reasons["conflicting_reward"] > 0
    assert not reasons["no_decision"]


def test_state_is_dumped_in_order_and_alike_for_both_runs(report: VerifiedReplay) -> None:
    dumps, digests = [], []
    for settings in (report.killed.settings, report.once.settings):
        states = read_states(Path(settings.state.recovery) / "personalize")
        dumps.append({part: list(dump(settings, states, part)) for part in PARTS})
        digests.append({part: digest(settings, states, part) for part in PARTS})
    killed, once = dumps
    for part in ("learners", "pending"):
        assert killed[part] == once[part]
        assert digests[0][part] == digests[1][part]
    subjects = [msgspec.json.decode(line)["subject"] for line in killed["profiles"]]
    assert subjects
    assert all(len(subject) == 32 for subject in subjects)  # pseudonyms, never raw ids


def test_a_store_row_that_was_changed_or_lost_is_found(report: VerifiedReplay) -> None:
    settings = report.once.settings
    with sqlite3.connect(settings.store.address.removeprefix("sqlite:")) as store:
        store.execute("UPDATE outcomes SET reward = 0.125 WHERE rowid = 1")
        store.execute("DELETE FROM decisions WHERE rowid IN (1, 2)")
    found = verify(settings)
    assert {t.table: t.different for t in found.store if t.different} == {
        "outcomes": 1,
        "decisions": 2,
    }
    assert not found.holds
    rows = [s.different for s in compare_runs(report.killed.settings, settings) if "rows" in s.what]
    assert rows == [2, 1]


def test_a_second_answer_a_lost_and_a_wrong_outcome_are_found(report: VerifiedReplay) -> None:
    settings = report.once.settings
    before = verify(settings)
    decision = next(each for each in copied(settings) if each.topic is Topic.DECISIONS)
    other = decision.value.replace(b'"propensity":', b'"propensity":0.5,"was":', 1)
    outcome = Outcome(
        time=decode(Topic.DECISIONS, decision.value).time,
        subject=None,
        decision_id="none",
        key="00000000000000ff",
        slot_id="side",
        action_id="hero-00",
        propensity=1.0,
        reward=1.0,
        status="settled",
        revision=SETTLED_REVISION,
        activated=True,
        policy_version=1,
    )
    feed = Feed(settings)
    feed.send(msgspec.structs.replace(decision, value=other))
    feed.send(Logged(decision.time, Topic.OUTCOMES, 0, None, encode(outcome)))
    feed.flush()
    found = verify(settings)
    assert found.contradicted == before.contradicted + 1
    assert found.outcomes.different == before.outcomes.different + 1
    assert found.outcomes.different_by_slot == {"side": 1}
    assert "outcomes: different by slot: 1 of side" in describe(found)


def test_what_was_not_learned_is_found(report: VerifiedReplay) -> None:
    """Against a log without its clicks, what the flow learned from them is too much."""
    found = msgspec.convert(msgspec.to_builtins(report.killed.verification), Verification)
    assert found.holds
    found.actions[0].learned = (found.actions[0].learned[0] + 1.0, 0.0)
    assert not found.holds
    found = msgspec.convert(msgspec.to_builtins(report.killed.verification), Verification)
    found.actions[0].difference = 2e-9
    assert not found.holds


def test_a_log_is_recorded_for_its_owner_only_and_read_back(
    report: VerifiedReplay, tmp_path: Path
) -> None:
    settings = report.killed.settings
    count = record_log(settings, tmp_path / "log")
    (file,) = (tmp_path / "log").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    partitions, log = read_log(tmp_path / "log")
    assert (partitions, len(log)) == (settings.kafka.partitions, count)
    assert {each.topic for each in log} >= {Topic.CATALOG, Topic.DECISIONS, Topic.CLICKS}
    with pytest.raises(LogError, match="--record"):
        read_log(tmp_path / "nowhere")


def test_a_log_whose_windows_are_still_open_is_refused_until_they_have_closed() -> None:
    """No record may move a flow's time beyond the present, not even the end of a log."""
    settings = load({}, secret="a secret of the tests")
    hour = 3600 * 1000
    log = [Logged(round(time.time() * 1000) + hour, Topic.CLICKS, 0, None, b"{}")]
    options: dict[str, Any] = {"kills": 0, "seed": 1, "speed": 1.0, "verify_kills": False}
    with pytest.raises(LogError, match=r"close at .* verify it after that"):
        run_killed(settings, Mock(), log, on_progress=Mock(), **options)
