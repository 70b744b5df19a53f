"""A recovery store has one owner, is private, and is read without running what it holds."""

import contextlib
import os
import pickle
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import TestingSink, TestingSource, run_main

from flows.cli.main import main
from flows.runtime.recovery import (
    PAGE,
    RESUME,
    RecoveryError,
    discard_unfinished,
    executions,
    make_store,
    named_recovery,
    owned_recovery,
    recovery_config,
)
from flows.runtime.snapshots import read_states
from schemas.settings import Settings, environment_of, load

OWN = """
import sys
from flows.runtime.recovery import owned_recovery
from schemas.settings import load

with owned_recovery(load({}, secret="sixteen letters!", recovery=sys.argv[1]), "personalize"):
    print("owned", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({}, secret="sixteen letters!", recovery=str(tmp_path / "recovery"))


def other_owner(settings: Settings, program: str = OWN) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", program, settings.state.recovery],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "owned\n"
    return owner


def test_a_second_owner_is_refused_and_told_whose_it_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    owner = other_owner(settings)
    try:
        wanted = rf"personalize is in use by process {owner.pid}: .*BANDITFLOW_RECOVERY"
        with pytest.raises(RecoveryError, match=wanted), owned_recovery(settings, "personalize"):
            pass
        with owned_recovery(settings, "persist"):  # each flow has a store of its own
            pass
        for name, value in environment_of(settings).items():
            monkeypatch.setenv(name, value)
        assert main(["run", "personalize"]) == 2
        assert re.search(wanted, capsys.readouterr().err)
    finally:
        owner.communicate("")
    with owned_recovery(settings, "personalize"):
        pass


def test_a_killed_owner_leaves_the_store_free(settings: Settings) -> None:
    owner = other_owner(settings)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    with owned_recovery(settings, "personalize"):
        assert (
            Path(settings.state.recovery, "personalize", "owner.lock").read_text()
            == f"{os.getpid()}\n"
        )


def test_the_folder_is_for_its_owner_only(settings: Settings) -> None:
    folder = Path(settings.state.recovery) / "personalize"
    folder.mkdir(parents=True, mode=0o755)
    mask = os.umask(0)
    try:
        with owned_recovery(settings, "personalize"), owned_recovery(settings, "persist"):
            assert folder.stat().st_mode & 0o777 == 0o700
            assert (folder.parent / "persist").stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(mask)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "recovery").write_text("a file, which is where the folder should be")
    settings = load({}, secret="sixteen letters!", recovery=str(tmp_path / "recovery"))

    wanted = re.escape(f"{tmp_path / 'recovery' / 'personalize'} cannot be written: ")
    with pytest.raises(RecoveryError, match=wanted), owned_recovery(settings, "personalize"):
        pass


def test_without_a_folder_nothing_is_made() -> None:
    settings = load({}, secret="sixteen letters!")
    assert recovery_config(settings, "personalize") is None
    with owned_recovery(settings, "personalize"):
        pass


def run_sums(settings: Settings, items: list[Any]) -> list[Any]:
    """Run a flow that keeps a sum per key until its source ends or aborts."""
    sums: list[Any] = []

    def add(kept: int | None, value: int) -> tuple[int, int]:
        total = (kept or 0) + value
        return total, total

    flow = Dataflow("sums")
    source: TestingSource[Any] = TestingSource(items, batch_size=1)
    up = op.input("in", flow, source)
    op.output("out", op.stateful_map("sum", up, add), TestingSink(sums))
    config: RecoveryConfig | None = recovery_config(settings, "sums")
    run_main(flow, epoch_interval=timedelta(0), recovery_config=config)
    return sums


def kept_sums(folder: Path) -> dict[str, Any]:
    ((_, sums),) = [(k, v) for k, v in read_states(folder).items() if k.startswith("sums.sum.")]
    return sums


def test_the_states_read_are_those_that_a_restart_resumes_from(settings: Settings) -> None:
    folder = Path(settings.state.recovery) / "sums"
    items = [("a", 1), ("b", 10), ("a", 2), TestingSource.EOF(), ("a", 4), ("b", 20)]
    with owned_recovery(settings, "sums"):
        run_sums(settings, items)
        assert kept_sums(folder) == {"a": 3, "b": 10}
        assert run_sums(settings, items)[-2:] == [("a", 7), ("b", 30)]
        assert kept_sums(folder) == {"a": 7, "b": 30}


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_store_without_room_is_named_and_the_flow_goes_on_exactly(settings: Settings) -> None:
    folder = Path(settings.state.recovery) / "sums"
    items = [(str(number % 20), number) for number in range(200)]
    with owned_recovery(settings, "sums"):
        (part,) = folder.glob("part-*.sqlite3")
        with (
            pytest.raises(RecoveryError, match=rf"{re.escape(str(folder))} cannot be written"),
            named_recovery(settings, "sums"),
            no_file_larger_than(part.stat().st_size + 40_000),
        ):
            run_sums(settings, items)
        kept = kept_sums(folder)
        assert kept != sums_of(items)
        run_sums(settings, items)
        assert kept_sums(folder) == sums_of(items)


def sums_of(items: list[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for key, value in items:
        sums[key] = sums.get(key, 0) + value
    return sums


class PanicException(BaseException):
    """What each of several processes ends with, whatever went wrong in one of them."""


def test_a_panic_in_a_store_without_room_is_said_to_be_one(settings: Settings) -> None:
    folder = Path(settings.state.recovery) / "sums"
    with (
        owned_recovery(settings, "sums"),
        pytest.raises(RecoveryError, match=rf"{re.escape(str(folder))} cannot be written"),
        no_file_larger_than(500_000),
        named_recovery(settings, "sums"),
    ):
        raise PanicException("Send thread panic: Any { .. }")
    assert not list(folder.glob("trial-*"))
    with pytest.raises(PanicException), named_recovery(settings, "sums"):
        raise PanicException("of another kind")


def test_other_errors_of_a_flow_stay_as_they_are(settings: Settings) -> None:
    with pytest.raises(RuntimeError, match=r"^boom$"), named_recovery(settings, "sums"):
        raise RuntimeError("boom")


def test_what_a_crash_left_of_an_unfinished_epoch_is_never_taken_over(settings: Settings) -> None:
    """The next execution closes an epoch of the same number without writing that key."""
    folder = Path(settings.state.recovery) / "sums"
    stop, crash = TestingSource.EOF(), TestingSource.ABORT()
    items = [("a", 1), ("b", 10), stop, ("b", 20), ("b", 30), ("b", 40), crash, ("a", 2)]
    with owned_recovery(settings, "sums"):
        run_sums(settings, items)
        (part,) = folder.glob("part-*.sqlite3")
        with contextlib.closing(sqlite3.connect(part)) as database, database:
            ((*_, epoch),) = database.execute(RESUME).fetchall()
            left = database.execute(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) "
                "SELECT step_id, state_key, ?, ? FROM snaps WHERE state_key = 'a'",
                (epoch, pickle.dumps(1000)),
            )
            assert left.rowcount == 1
        discard_unfinished(settings, "sums")
        run_sums(settings, items)
        assert kept_sums(folder)["a"] == 1
        assert ("a", 3) in run_sums(settings, items)


def test_executions_are_counted_also_those_that_closed_no_epoch(settings: Settings) -> None:
    assert executions(settings, "sums") == 0
    with owned_recovery(settings, "sums"):
        for number, items in enumerate([[("a", 1)], [TestingSource.ABORT()], [("a", 2)]]):
            assert executions(settings, "sums") == number
            run_sums(settings, items)
        assert executions(settings, "sums") == 3
    assert executions(load({}, secret="sixteen letters!"), "sums") == 0


def test_a_folder_without_a_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecoveryError, match=re.escape(str(tmp_path))):
        read_states(tmp_path)


class Malicious:
    """Unpickling it would run a command."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.proof),)


def test_a_foreign_pickle_is_refused_and_does_not_run(settings: Settings, tmp_path: Path) -> None:
    folder, proof = Path(settings.state.recovery) / "sums", tmp_path / "proof"
    with owned_recovery(settings, "sums"):
        run_sums(settings, [("a", 1), ("a", 2)])
        (part,) = folder.glob("part-*.sqlite3")
        with sqlite3.connect(part) as database:
            changed = database.execute(
                "UPDATE snaps SET ser_change = ? WHERE ser_change IS NOT NULL",
                (pickle.dumps(Malicious(proof)),),
            )
            assert changed.rowcount > 0
        with pytest.raises(RecoveryError, match=r"mkdir: it is not ours"):
            read_states(folder)
    assert not proof.exists()


def test_a_new_owner_waits_for_the_workers_of_the_one_before(settings: Settings) -> None:
    """A supervisor that is killed may be outlived by its workers for a moment."""
    program = OWN.replace("owned_recovery", "attended_recovery")
    with owned_recovery(settings, "personalize"):
        worker = other_owner(settings, program)
    ended = threading.Timer(0.5, worker.kill)
    ended.start()
    with owned_recovery(settings, "personalize"):
        assert worker.wait(timeout=1.0) == -signal.SIGKILL
    worker.communicate()


def test_who_looks_into_a_store_that_is_being_made_does_not_stop_it(tmp_path: Path) -> None:
    made = threading.Event()
    seen: set[int] = set()

    def look() -> None:
        while not made.is_set():
            for store in tmp_path.glob("*/part-*.sqlite3"):
                with contextlib.closing(sqlite3.connect(store)) as database:
                    seen.add(database.execute("PRAGMA page_size").fetchone()[0])

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(20):
            folder = tmp_path / str(number)
            folder.mkdir()
            make_store(folder)
    finally:
        made.set()
        looking.join()
    assert seen <= {PAGE}
