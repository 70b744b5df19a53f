"""What an old release made of a recorded log, this one makes of it too; and how to come from there.

The log has every learning mode and kind of policy, decided live under ``kill -9``.
"""

import base64
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from flows.devkit.embedded import Server, Supervisor
from flows.devkit.verify_replay.runs import prepare
from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.snapshots import states_of
from flows.runtime.warm_start import newest
from flows.verification.log import Logged
from operators.io.store.sqlite import SqliteStore
from operators.learner_state import unpack_learner
from operators.logic.policies import KINDS, load_policy, load_posterior
from schemas.codec import decode
from schemas.events import DecisionBack, Impression
from schemas.results import PolicyCheckpoint
from schemas.settings import Settings, child_environment
from schemas.topics import Topic
from tests.support import records as make
from tests.support.parts import prefix_for
from tests.support.recording import archive
from tests.support.recording.archive import Recorded
from tests.support.recording.catalog import SLOTS
from tests.support.recording.comparing import assert_same, is_same, lasting
from tests.support.recording.observed import Sections, copies, observed, state_of
from tests.support.recording.runs import ends, feed, run_to_the_end, settings_for

REFUSED = re.compile(
    r"banditflow: state '\S+' was written as version \d+, this release reads version \d+: "
    r"run the release that wrote it, or start with an empty recovery store"
)
"""What one is told who starts this release on a recovery store of the one that recorded the log."""

RECORDED = set(KINDS) - {"shared"}
"""The kinds of policies that there were when the log was recorded."""

UNCHANGED = ("cut", "learners")
"""The parts of an old recovery store that this release reads."""

OVERFLOWS, NO_JSON = b"1e999", b"1e99x"
"""A number in a context for which the old release refused a request; for this one it is missing.

The log is fed with what both refuse in its place; see :meth:`Deployments.read_alike`.
"""

NEVER_IDLE = 3600.0
"""Seconds of silence before time goes on with the clock: here it never does."""


@pytest.fixture(scope="module")
def old() -> Iterator[Recorded]:
    with archive.recorded() as recording:
        yield recording


@dataclass
class Deployments:
    """Makes deployments whose topics hold the log."""

    base: Settings
    folder: Path
    supervisor: Supervisor
    old: Recorded

    def make(self, name: str, database: int, made: Iterable[Logged] = ()) -> Settings:
        url = f"{self.base.redis.url}/{database}"
        prefix = prefix_for(f"recorded-{name}")
        settings = settings_for(
            self.base, self.folder / name, prefix, redis_url=url, idle_after=NEVER_IDLE
        )
        prepare(settings)
        log = [structs.replace(each, value=self.read_alike(each)) for each in self.old.log]
        feed(settings, [*log, *made])
        return settings

    def alike(self, sections: Sections) -> Sections:
        """Leave out the dead letters of the records that were changed, whose reasons differ."""
        changed = tuple(f"{place}/" for place in self._changed())
        letters = ("dead letters", "rows of dead_letters")
        return sections | {
            name: {
                at: letter
                for at, letter in sections[name].items()
                if not f"{at}/".startswith(changed)
            }
            for name in letters
            if name in sections
        }

    def _changed(self) -> Iterator[str]:
        offsets: Counter[tuple[str, int]] = Counter()
        for each in self.old.log:
            if each.value != self.read_alike(each) or self._names_a_short_slate(each):
                yield f"{each.topic}/{each.partition}/{offsets[each.topic, each.partition]}"
            offsets[each.topic, each.partition] += 1

    def read_alike(self, record: Logged) -> bytes:
        """Read a record's value, written anew where this release would read it otherwise.

        A number that overflows is spoiled for both. An impression of a slate that named its first
        action showed the whole slate, and a click beyond the slot's ``slate_size`` was one at the
        first position.
        """
        if record.topic == Topic.DECISION_REQUESTS:
            return record.value.replace(OVERFLOWS, NO_JSON)
        if self._slate_named_by(record) is None:
            return record.value
        body = msgspec.json.decode(record.value)
        if record.topic == Topic.IMPRESSIONS:
            body["action_id"] = None
        elif (body.get("position") or 0) >= SLOTS[body["slot_id"]]["slate_size"]:
            body["position"] = 0
        else:
            return record.value
        return msgspec.json.encode(body)

    def _names_a_short_slate(self, record: Logged) -> bool:
        """Say whether what it names at a position that was not shown had another reason."""
        slate = self._slate_named_by(record)
        return slate is not None and len(slate.slate or ()) < SLOTS[slate.slot_id]["slate_size"]

    def _slate_named_by(self, record: Logged) -> DecisionBack | None:
        if record.topic not in (Topic.IMPRESSIONS, Topic.CLICKS):
            return None
        try:
            body = msgspec.json.decode(record.value, type=Impression)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        return self.slates.get((body.decision_id, body.slot_id))

    @cached_property
    def slates(self) -> dict[tuple[str, str], DecisionBack]:
        """The decisions of the log that show several actions, by id and slot."""
        decisions = (each for each in self.old.log if each.topic == Topic.DECISIONS)
        slates: dict[tuple[str, str], DecisionBack] = {}
        for each in decisions:
            decision = decode(Topic.DECISIONS, each.value)
            if isinstance(decision, DecisionBack) and decision.slate:
                slates[decision.decision_id, decision.slot_id] = decision
        return slates


@pytest.fixture(scope="module")
def deployments(
    broker: Server, valkey: Server, tmp_path_factory: pytest.TempPathFactory, old: Recorded
) -> Iterator[Deployments]:
    folder = tmp_path_factory.mktemp("recorded")
    base = archive.settings(broker.address, f"redis://{valkey.address}")
    with Supervisor(folder / "logs") as supervisor:
        yield Deployments(base, folder, supervisor, old)


def test_the_log_is_what_it_is_said_to_be(old: Recorded) -> None:
    expected = old.expected
    policies = {line["policy"]: line for line in expected["learners"].values() if "policy" in line}
    assert policies.keys() == RECORDED
    assert {settings.get("learning_mode", "immediate") for settings in SLOTS.values()} == {
        "immediate",
        "wait",
        "exposure",
    }
    reasons = {outcome.get("reason") for outcome in expected["outcomes"].values()}
    assert reasons == {None, "not_activated", "consent_withdrawn", "erased"}
    assert len({letter["reason"] for letter in expected["dead letters"].values()}) > 20
    assert expected["waiting"]
    assert {path.name.partition("-")[0] for path in (old.recovery / "pending").iterdir()} == {"0"}
    assert {path.name for path in old.recovery.iterdir()} == {
        "pending",
        "personalize",
        "profiles",
        "seen",
    }


def test_a_log_leads_to_what_it_led_to(deployments: Deployments) -> None:
    settings = deployments.make("anew", 11)
    expected = deployments.alike(deployments.old.expected)
    expected_copies = {name: expected[name] for name in copies(settings)}
    run_to_the_end(
        settings,
        deployments.supervisor,
        are_copied=lambda: is_same(expected_copies, copies(settings)),
    )
    assert_same(expected, deployments.alike(observed(settings)))


def test_everything_is_read_again_beside_what_was_written_before(deployments: Deployments) -> None:
    """The supported way to a new release: empty recovery folder, the same topics."""
    settings = deployments.make("again", 12, deployments.old.made)
    decided = ends(settings, [Topic.DECISIONS])
    run_to_the_end(settings, deployments.supervisor, [PERSONALIZE.name])
    assert ends(settings, [Topic.DECISIONS]) == decided  # nothing was answered twice
    made_anew = observed(settings, stored=False, hot=False)
    expected = deployments.alike(deployments.old.expected)
    assert_same(lasting(expected), lasting(deployments.alike(made_anew)))


def test_an_old_recovery_store_is_refused_in_a_sentence_and_left_as_it_is(
    deployments: Deployments,
) -> None:
    settings = deployments.make("resumed", 13, deployments.old.made)
    shutil.copytree(deployments.old.recovery, settings.state.recovery, dirs_exist_ok=True)
    before = states_of(settings, PERSONALIZE)
    assert REFUSED.fullmatch(refused(settings, "run", PERSONALIZE.name))
    assert REFUSED.fullmatch(refused(settings, "run", PERSONALIZE.name, "--processes=2"))
    assert states_of(settings, PERSONALIZE) == before
    assert REFUSED.fullmatch(refused(settings, "state"))


def test_what_this_release_reads_of_an_old_recovery_store_means_what_it_meant(
    old: Recorded,
) -> None:
    settings = archive.settings("nowhere:9092", "redis://nowhere").replaced(
        recovery=str(old.recovery)
    )
    expected = {part: old.state[part] for part in UNCHANGED}
    assert all(expected.values())
    assert_same(expected, state_of(settings, UNCHANGED))


def test_old_checkpoints_and_posteriors_are_read(old: Recorded) -> None:
    """A start from the store goes on from checkpoints, readers of Redis from posteriors."""
    kinds = set()
    for each in old.records:
        if each.topic == Topic.CHECKPOINTS:
            learner = unpack_learner(base64.b64decode(each.read["state"]))
            kinds.add(load_policy(learner.policy).kind)
        if each.topic == Topic.POLICIES:
            posterior = load_posterior(base64.b64decode(each.read["posterior"]))
            assert posterior.kind == each.read["policy"]
    assert kinds == RECORDED


def test_a_start_from_the_store_takes_old_checkpoints(old: Recorded, tmp_path: Path) -> None:
    records = [
        msgspec.convert(each.read, PolicyCheckpoint)
        for each in old.records
        if each.topic == Topic.CHECKPOINTS
    ]
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(system_clock())
    store.apply(make.writes(*records))
    assert records
    for record in records:
        (checkpoint,) = newest(store, record.slot_id)
        assert unpack_learner(checkpoint.state).slot.slot_id == record.slot_id
    store.close()


def refused(settings: Settings, *command: str) -> str:
    """Run a command that fails; give all that it says."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", *command],
        env=child_environment(settings),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr.strip()
