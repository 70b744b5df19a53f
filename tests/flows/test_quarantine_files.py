"""What is kept of how a flow ended outlives a full disk, and crashes at any moment."""

import contextlib
import resource
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.quarantine.execution import Execution
from flows.runtime.quarantine.files import Ending, Quarantined, QuarantineFiles
from flows.runtime.quarantine.quarantine import Quarantine
from flows.runtime.quarantine.watch import Watch
from flows.runtime.recovery import RecoveryUnwritable, owned_recovery, recovery_folder
from operators.logic.quarantine import History, InFlight, Search
from schemas.settings import Settings, load

PLACE = "clicks/0"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({}, secret="sixteen letters!", recovery=str(tmp_path / "recovery"))


@pytest.fixture
def files(settings: Settings) -> Iterator[QuarantineFiles]:
    with owned_recovery(settings, PERSONALIZE.name):
        yield QuarantineFiles(recovery_folder(settings, PERSONALIZE.name))


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def culprit(offset: int) -> Quarantined:
    return Quarantined(
        step="learn", error="ValueError", time=datetime.now(UTC), place=PLACE, offset=offset
    )


def test_a_journal_takes_all_its_room_at_the_start(files: QuarantineFiles) -> None:
    files.journal(0)
    journal = (files.folder / "0.journal").stat()
    assert journal.st_blocks * 512 >= journal.st_size  # else a full disk is a SIGBUS later


def test_without_room_it_says_so_and_leaves_nothing_half_made(files: QuarantineFiles) -> None:
    with no_file_larger_than(0):
        with pytest.raises(RecoveryUnwritable, match="cannot be written"):
            files.journal(0)
        with pytest.raises(RecoveryUnwritable, match="cannot be written"):
            files.remember(History())
        with pytest.raises(RecoveryUnwritable, match="cannot be written"):
            files.quarantine(culprit(1))
    assert files.progress() is None


@pytest.mark.parametrize("why", ["stopped", "environment"])
def test_an_end_that_is_no_death_is_noted_without_room(files: QuarantineFiles, why: str) -> None:
    journal = files.journal(0)
    journal.name_steps(["personalize.learn.slot"])
    journal.enter(1)
    assert files.death() is not None

    with no_file_larger_than(0):
        journal.end(why)

    assert files.death() is None


def test_a_store_without_room_is_no_death_of_a_record(files: QuarantineFiles) -> None:
    journal = files.journal(0)
    watch = Watch(journal, lambda _: None, lambda: pytest.fail("again"), lambda *_: None)
    with pytest.raises(RecoveryUnwritable), Execution(watcher=watch).noting_environment():
        raise RecoveryUnwritable("an epoch could not be closed")
    assert files.death() is None


def test_a_line_that_a_full_disk_cut_short_takes_no_other_with_it(files: QuarantineFiles) -> None:
    files.folder.mkdir()
    files.quarantine(culprit(1))
    with open(files.folder / "quarantined.jsonl", "ab") as file:
        file.write(b'{"step":"learn","err')
    files.quarantine(culprit(2))
    assert [each.offset for each in files.quarantined()] == [1, 2]


def test_a_record_is_quarantined_once_when_the_search_is_killed(
    files: QuarantineFiles, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convicted twice, it would be passed over without a dead letter."""
    files.remember(History(search=Search(until={PLACE: 9}, narrow={PLACE: 9}, size=1)))
    files.note_in_flight(InFlight(source="0", records=1, record=(PLACE, 7), end={PLACE: 8}))
    files.journal(0).release({PLACE: 9})
    files.end(0, Ending(step="learn", error="ValueError"))
    quarantine = Quarantine(settings, PERSONALIZE, system_clock, lambda _: None)
    with monkeypatch.context() as patched:
        patched.setattr(QuarantineFiles, "begin_anew", killed)
        with pytest.raises(KeyboardInterrupt):
            quarantine.before_execution()

    quarantine.before_execution()

    assert [(each.offset, each.unreported) for each in files.quarantined()] == [(7, False)]


def killed(_: QuarantineFiles) -> None:
    raise KeyboardInterrupt
