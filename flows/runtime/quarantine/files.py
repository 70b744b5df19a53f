"""What is kept beside a flow's recovery store of how it ended, and of whom it has quarantined."""

import contextlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from flows.runtime.recovery import usable
from operators.io.journal import Journal, Progress, read_journal
from operators.io.releases import Notes
from operators.logic.quarantine import Culprit, Death, History, InFlight, Offsets, Record

T = TypeVar("T")

_PART, _HISTORY = "in-flight.json", "history.json"
_QUARANTINED = "quarantined.jsonl"


class Ending(Struct, kw_only=True):
    """What a process ended of, where it could say so: a step raised, or made no progress.

    ``error`` is the type of what the step raised, or ``stalled``, ``given`` the records that it had
    been given. Other ends are noted in the journal.
    """

    step: str
    error: str
    given: list[Record] = field(default_factory=list)


class Quarantined(Struct, kw_only=True):
    """A record that is not read again; without a dead letter where that is what failed.

    Without a place it is a piece that a step has dropped.
    """

    step: str
    error: str
    time: datetime
    place: str = ""
    offset: int = -1
    unreported: bool = False


class QuarantineFiles:
    """The folder ``quarantine`` in a flow's recovery store; its owner alone may read it.

    Raises :class:`RecoveryUnwritable` where it has no room.
    """

    def __init__(self, recovery: Path) -> None:
        self._recovery = recovery
        self.folder = recovery / "quarantine"

    def journal(self, process: int) -> Journal:
        """Begin the journal of a process."""
        with usable(self._recovery):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Journal(self.folder / f"{process}.journal")

    def progress(self) -> Progress | None:
        """Say how far the processes of the last execution came; None where there was none."""
        all_ = self._journals()
        if not all_:
            return None
        released: dict[str, int] = {}
        for each in all_:
            for place, offset in each.released.items():
                released[place] = max(offset, released.get(place, 0))
        return Progress(released, next((each.step for each in all_ if each.step), ""))

    def in_flight(self) -> InFlight | None:
        """Say what was in flight in a search."""
        return self._read(_PART, InFlight)

    def death(self) -> Death | None:
        """Say how the last execution died; None where it was stopped, or by its environment.

        What one of its processes raised counts first. Where one was killed the others are stopped.
        """
        for each in self._read_all("*.ending", Ending):
            return Death(step=each.step, error=each.error, given=each.given)
        ends = [each.end for each in self._journals()]
        progress = self.progress()
        if progress is None or "environment" in ends or all(ends):
            return None
        return Death(step=progress.step)

    def history(self) -> History:
        """Read what is remembered of the executions before."""
        return self._read(_HISTORY, History) or History()

    def quarantined(self) -> list[Quarantined]:
        """Read who is quarantined; a line that a crash cut short was not written."""
        lines = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.folder / _QUARANTINED).read_bytes().splitlines():
                with contextlib.suppress(msgspec.DecodeError):
                    lines.append(msgspec.json.decode(line, type=Quarantined))
        return lines

    def end(self, process: int, ending: Ending) -> None:
        """Note what a process ends of; its first word counts."""
        name = f"{process}.ending"
        if not (self.folder / name).exists():
            self._write(name, ending)

    def note_in_flight(self, part: InFlight) -> None:
        """Note what is in flight: no power cut, only a death of this process matters."""
        self._write(_PART, part)

    def clear_in_flight(self) -> None:
        """Note that nothing is in flight."""
        (self.folder / _PART).unlink(missing_ok=True)

    def remember(self, history: History) -> None:
        """Replace what is remembered, durably."""
        self._write(_HISTORY, history, durable=True)

    def quarantine(self, new: Quarantined) -> None:
        """Add a record to the quarantined, durably."""
        with (
            usable(self._recovery),
            open(self.folder / _QUARANTINED, "ab", opener=_private) as file,
        ):
            # Begins a line, too: what a full disk has cut short must not take this one with it.
            file.write(b"\n" + msgspec.json.encode(new) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def begin_anew(self) -> None:
        """Forget how the last execution ended: call it before the next begins."""
        self.clear_in_flight()
        for path in (*self.folder.glob("*.journal"), *self.folder.glob("*.ending")):
            path.unlink(missing_ok=True)

    def _journals(self) -> list[Progress]:
        return [read_journal(path) for path in sorted(self.folder.glob("*.journal"))]

    def _read(self, name: str, type_: type[T]) -> T | None:
        try:
            return msgspec.json.decode((self.folder / name).read_bytes(), type=type_)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _read_all(self, names: str, type_: type[T]) -> list[T]:
        read = (self._read(path.name, type_) for path in sorted(self.folder.glob(names)))
        return [each for each in read if each is not None]

    def _write(self, name: str, value: Struct, *, durable: bool = False) -> None:
        partial = self.folder / f"{name}.partial"
        with usable(self._recovery):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(partial, "wb", opener=_private) as file:
                file.write(msgspec.json.encode(value))
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            partial.rename(self.folder / name)


class FileNotes(Notes):
    """A process's notes, in its journal and the files beside it."""

    def __init__(
        self, files: QuarantineFiles, journal: Journal, quarantine: Callable[[Culprit], None]
    ) -> None:
        self._files = files
        self._quarantine = quarantine
        self._has_noted = False
        self._journal = journal

    def release(self, offsets: Offsets) -> None:
        """Note the next offsets to release of some places."""
        self._journal.release(offsets)

    def note_in_flight(self, part: InFlight) -> None:
        """Note what is in flight."""
        self._files.note_in_flight(part)
        self._has_noted = True

    def clear_in_flight(self) -> None:
        """Note that nothing is in flight."""
        if self._has_noted:
            self._files.clear_in_flight()
            self._has_noted = False

    def note_unreadable(self, place: str, offset: int, step: str, error: str) -> None:
        """Quarantine a record that a source could not read."""
        self._quarantine(Culprit(place=place, offset=offset, step=step, error=error))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
