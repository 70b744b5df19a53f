"""How commands that run flows end: one sentence, a status that says whether to start them again."""

import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.testing import run_main

from flows.devkit.embedded import ChildFailed, Server, Supervisor
from flows.personalize import Steps
from flows.runtime.clock import system_clock
from flows.runtime.endings import INTERRUPTED, STOPPED
from flows.runtime.quarantine.steps import watch_steps
from flows.runtime.runner import cause_of
from flows.runtime.seeding import write_recovery
from operators.io.kafka import create_topics
from operators.io.kafka.group import begin_at
from operators.io.segments import ShardFiles
from operators.io.store.open import migrate
from operators.logic.placement import shard_key
from operators.logic.subjects.profiles import Profiles
from operators.profile import PROFILES_STATE, ProfileState
from schemas.settings import Settings, child_environment, load
from schemas.state import pack
from tests.support.stage import until

ROOT = Path(__file__).parents[2]


def started(settings: Settings, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *arguments],
        cwd=ROOT,
        env=child_environment(settings) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def deployment(broker: Server, prefix: str, folder: Path) -> Settings:
    settings = load(
        {},
        secret="sixteen letters!",
        bootstrap_servers=broker.address,
        topic_prefix=prefix,
        partitions=2,
        recovery=str(folder / "recovery"),
        store=f"sqlite:{folder}/store.db",
        metrics_port=0,
        epoch=1,
    )
    create_topics(settings.kafka)
    return settings


def lose_a_segment(settings: Settings) -> None:
    """Make a recovery store whose profiles name a segment file that is not there."""
    folder = Path(settings.state.recovery)
    profiles = Profiles(1e7)
    profiles.use(ShardFiles(folder / "profiles", 0))
    consent = SimpleNamespace(purposes=[5, 6], basis="consent", version="1")
    profiles.consent(SimpleNamespace(at=1, subject="visitor", key=1, body=consent))
    profiles.dump()
    profiles.tidy()  # what the last snapshot held goes to a segment
    state = ProfileState(shard=0, profiles=profiles.dump(), published=0, watermark=0)
    segments = list((folder / "profiles").iterdir())
    assert segments
    for segment in segments:
        segment.unlink()
    seeds = {Steps.PROFILES: {shard_key(0): pack(*PROFILES_STATE, state)}}
    sources = {str(k): begin_at({}) for k in range(settings.kafka.partitions)}
    write_recovery(folder / "personalize", "personalize", Steps.RECORDS, sources, seeds)


@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one", "two"])
def test_what_a_worker_refuses_is_one_sentence_and_is_not_tried_again(
    processes: tuple[str, ...], broker: Server, topic_prefix: str, tmp_path: Path
) -> None:
    settings = deployment(broker, topic_prefix, tmp_path)
    lose_a_segment(settings)
    logs = ("--logs", str(tmp_path / "logs")) if processes else ()

    flow = started(settings, "run", "personalize", *processes, *logs)
    _, errors = flow.communicate(timeout=60)

    said = [
        line
        for line in errors.splitlines()
        if not re.match("personalize: metrics at|Redis at", line)
    ]
    assert len(said) == 1, errors
    assert said[0].startswith("banditflow: ")
    assert str(tmp_path / "recovery" / "profiles") in said[0]
    assert flow.returncode == 2


def read_until(lines: IO[str] | None, wanted: str) -> None:
    assert lines is not None
    while wanted not in (line := lines.readline()):
        assert line, f"ended before {wanted!r}"


@pytest.mark.parametrize("command", [("run", "persist")])
def test_ctrl_c_stops_a_flow_with_a_line(
    command: tuple[str, ...], broker: Server, topic_prefix: str, tmp_path: Path
) -> None:
    settings = deployment(broker, topic_prefix, tmp_path)
    migrate(settings.store, system_clock())

    flow = started(settings, *command)
    read_until(flow.stderr, ": metrics at ")
    flow.send_signal(signal.SIGINT)
    _, errors = flow.communicate(timeout=60)

    assert errors.splitlines()[-1] == f"banditflow: {STOPPED}"
    assert "Traceback" not in errors
    assert flow.returncode == INTERRUPTED


def test_ctrl_c_stops_a_cluster_with_a_line(
    broker: Server, topic_prefix: str, tmp_path: Path
) -> None:
    settings = deployment(broker, topic_prefix, tmp_path)
    logs = tmp_path / "logs"

    flow = started(settings, "run", "personalize", "--processes", "1", "--logs", str(logs))
    until("a worker runs", lambda: any("metrics at" in log.read_text() for log in logs.glob("*")))
    flow.send_signal(signal.SIGINT)
    _, errors = flow.communicate(timeout=60)

    assert errors.splitlines()[-1] == f"banditflow: {STOPPED}"
    assert "Traceback" not in errors
    assert flow.returncode == INTERRUPTED


class RaisedError(RuntimeError):
    pass


class Raising:
    """Raises at the call of a step that is named; lazily, where the name says so."""

    def __init__(self, where: str) -> None:
        self.where = where

    def at(self, call: str) -> None:
        if call == self.where:
            raise RaisedError(call)

    def items(self, call: str, items: list[Any]) -> Any:
        self.at(call)
        return self._lazily(items) if self.where == f"{call} lazily" else items

    def _lazily(self, items: list[Any]) -> Any:
        yield from items
        raise RaisedError(self.where)


class Source(FixedPartitionedSource[Any, None], Raising):
    def list_parts(self) -> list[str]:
        self.at("list_parts")
        return ["one"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        self.at("build_part")
        return Partition(self.where)


class Partition(StatefulSourcePartition[Any, None], Raising):
    given = False

    def next_batch(self) -> Any:
        if self.given:
            raise StopIteration
        self.given = True
        return self.items("next_batch", [("key", 1)])

    def next_awake(self) -> None:
        self.at("next_awake")

    def snapshot(self) -> None:
        self.at("snapshot of a source")


class Logic(StatefulBatchLogic[Any, Any, None], Raising):
    def on_batch(self, values: list[Any]) -> tuple[Any, bool]:
        return self.items("on_batch", values), False

    def on_eof(self) -> tuple[Any, bool]:
        return self.items("on_eof", []), False

    def notify_at(self) -> None:
        self.at("notify_at")

    def snapshot(self) -> None:
        self.at("snapshot")


class Sink(FixedPartitionedSink[Any, None], Raising):
    def list_parts(self) -> list[str]:
        return ["one"]

    def part_fn(self, item_key: str) -> int:
        self.at("part_fn")
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> Any:
        return Written(self.where)


class Written(StatefulSinkPartition[Any, None], Raising):
    def write_batch(self, values: list[Any]) -> None:
        self.at("write_batch")

    def snapshot(self) -> None:
        self.at("snapshot of a sink")


STEPS = {
    "f.in": ("list_parts", "build_part", "next_batch", "next_batch lazily", "next_awake",
             "snapshot of a source"),
    "f.map.flat_map_batch": ("mapper",),
    "f.more.flat_map_batch": ("more", "more lazily"),
    "f.keep": ("builder", "on_batch", "on_batch lazily", "on_eof", "on_eof lazily", "notify_at",
               "snapshot"),
    "f.out": ("part_fn", "write_batch", "snapshot of a sink"),
}  # fmt: skip


@dataclass
class Noting:
    """A watch that notes what steps raise."""

    caught: list[tuple[str, Exception]]

    def enter(self, step: int) -> None:
        """Look away."""

    def failed(self, step_id: str, error: Exception, given: object) -> None:
        """Note it."""
        self.caught.append((step_id, error))

    def dropped(self, step_id: str, error: Exception) -> None:
        """Nothing is isolated."""
        pytest.fail(f"{step_id} dropped a piece: {error}")


@pytest.mark.parametrize(
    ("step_id", "where"), [(step_id, where) for step_id, calls in STEPS.items() for where in calls]
)
def test_what_any_call_of_a_step_raises_is_caught_there(step_id: str, where: str) -> None:

    def built(_: Any) -> Logic:
        raising.at("builder")
        return Logic(where)

    def mapped(item: Any) -> Any:
        raising.at("mapper")
        return item

    raising, caught = Raising(where), []
    flow = Dataflow("f")
    items = op.map("map", op.input("in", flow, Source(where)), mapped)
    items = op.flat_map("more", items, lambda item: raising.items("more", [item]))
    op.output("out", op.stateful_batch("keep", items, built), Sink(where))

    watch_steps(flow, Noting(caught))
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever Bytewax makes of it
        run_main(flow)

    assert [(step, type(error)) for step, error in caught] == [(step_id, RaisedError)]


def test_a_flow_that_raises_nothing_is_as_it_was() -> None:
    flow = Dataflow("f")
    items = op.input("in", flow, Source(""))
    op.output("out", op.stateful_batch("keep", items, lambda _: Logic("")), Sink(""))

    caught: list[tuple[str, Exception]] = []
    watch_steps(flow, Noting(caught))
    run_main(flow)

    assert not caught


def test_a_worker_that_a_signal_ended_is_not_said_to_have_ended_by_an_older_sentence(
    tmp_path: Path,
) -> None:
    (tmp_path / "worker.log").write_text("banditflow: a step raised, in the life before\n")
    killed = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    supervisor = Supervisor(tmp_path)
    supervisor.start("worker", killed)
    with pytest.raises(ChildFailed) as failed:
        supervisor.wait(20)
    supervisor.close()
    assert cause_of(failed.value) == "worker was ended by SIGKILL"


INTERRUPTED_STEP = """
import os, signal
import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from flows.runtime.endings import quiet_interrupts

flow = Dataflow("f")
items = op.input("in", flow, TestingSource([1, 2, 3]))
items = op.inspect("ctrl-c", items, lambda *_: os.kill(os.getpid(), signal.SIGINT))
op.output("out", items, TestingSink([]))
with quiet_interrupts():
    run_main(flow)
"""


def test_ctrl_c_in_the_middle_of_a_step_is_no_panic() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_STEP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (INTERRUPTED, "", "")


def test_a_store_that_is_no_database_is_no_panic(tmp_path: Path) -> None:
    place = tmp_path / "recovery" / "personalize"
    place.mkdir(parents=True)
    (place / "part-0.sqlite3").write_text("Dear reader, " * 1000)
    settings = load({}, secret="sixteen letters!", recovery=str(tmp_path / "recovery"))

    ended = started(settings, "run", "personalize", "--processes", "2")
    _, errors = ended.communicate(timeout=60)

    assert ended.returncode == 2
    assert errors.startswith(f"banditflow: the recovery store {place} (BANDITFLOW_RECOVERY) is")
    assert errors.count("\n") == 1
    assert not (place / "owner.lock").exists()
