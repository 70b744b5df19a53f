"""How far a process had come: what its sources have released, the step at work, why it ended.

It is a file that is mapped into memory: writing costs next to nothing, and what was written
outlives the process however it ends (not the machine, after whose end nothing needs it). All its
room is taken at the start: a full disk would end the process at the first write to a new page.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

_HEADER: Final = 1 << 20
"""Bytes for the names of places and steps."""

_PLACES: Final = 1 << 16
"""The most topic partitions that a process may read."""

_STEP: Final = struct.Struct("<H")
_OFFSET: Final = struct.Struct("<q")
_OFFSETS_AT: Final = _HEADER + 8

End = Literal["", "stopped", "environment"]
"""Why a process ended, where no record can be at fault: it was stopped, or by its environment."""

_ENDS: Final[tuple[End, ...]] = ("", "stopped", "environment")
_END_AT: Final = _HEADER + _STEP.size


class _Names(Struct):
    places: list[str]
    steps: list[str]


class Progress(Struct):
    """What a journal says: the next offset to release by place, the step at work, why it ended."""

    released: dict[str, int] = {}
    step: str = ""
    end: End = ""


class Journal:
    """The journal of one process; a place is ``topic/partition``.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "journal"
    >>> journal = Journal(path)
    >>> journal.name_steps(["personalize.learn.slot"])
    >>> journal.release({"clicks/0": 17})
    >>> journal.enter(1)
    >>> read_journal(path)
    Progress(released={'clicks/0': 17}, step='personalize.learn.slot', end='')
    >>> folder.cleanup()
    """

    def __init__(self, path: Path) -> None:
        self._names = _Names([], [])
        self._numbers: dict[str, int] = {}
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _OFFSETS_AT + _OFFSET.size * _PLACES)
            self._map = mmap.mmap(descriptor, 0)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)
        self._write_names()

    def name_steps(self, steps: list[str]) -> None:
        """Name the steps in the order of their numbers, from 1."""
        self._names.steps = steps
        self._write_names()

    def enter(self, step: int) -> None:
        """Note the number of the step that begins to work; 0 when it has finished."""
        _STEP.pack_into(self._map, _HEADER, step)

    def end(self, why: End) -> None:
        """Note why the process ends, which takes no room on the disk."""
        self._map[_END_AT] = _ENDS.index(why)

    def release(self, offsets: dict[str, int]) -> None:
        """Note the next offsets to release of some places."""
        for place, offset in offsets.items():
            number = self._numbers.get(place)
            if number is None:
                number = self._numbers[place] = len(self._numbers)
                self._names.places.append(place)
                self._write_names()
            _OFFSET.pack_into(self._map, _OFFSETS_AT + _OFFSET.size * number, offset)

    def _write_names(self) -> None:
        names = msgspec.json.encode(self._names)
        self._map[: len(names) + 1] = names + b"\n"


def read_journal(path: Path) -> Progress:
    """Read a journal, whatever became of the process that wrote it; nothing where there is none."""
    try:
        data = path.read_bytes()
        names = msgspec.json.decode(data[: data.index(b"\n")], type=_Names)
        (step,) = _STEP.unpack_from(data, _HEADER)
        end = _ENDS[data[_END_AT]]
        released = {
            place: _OFFSET.unpack_from(data, _OFFSETS_AT + _OFFSET.size * number)[0]
            for number, place in enumerate(names.places)
        }
    except (OSError, ValueError, IndexError, struct.error):  # it was about to be written
        return Progress()
    at_work = names.steps[step - 1] if 0 < step <= len(names.steps) else ""
    return Progress(released, at_work, end)
