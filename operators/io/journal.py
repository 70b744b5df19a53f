"""How far a process had come: what its sources have released, and the step that is at work.

It is a file that is mapped into memory: writing costs next to nothing, and what was written
outlives the process however it ends (not the machine, after whose end nothing needs it).
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

_HEADER: Final = 1 << 20
"""Bytes for the names of places and steps."""

_PLACES: Final = 1 << 16
"""The most topic partitions that a process may read."""

_STEP: Final = struct.Struct("<H")
_OFFSET: Final = struct.Struct("<q")
_OFFSETS_AT: Final = _HEADER + 8


class _Names(Struct):
    places: list[str]
    steps: list[str]


class Progress(Struct):
    """What a journal says: the next offset to release by place, and the step at work (or "")."""

    released: dict[str, int] = {}
    step: str = ""


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
    Progress(released={'clicks/0': 17}, step='personalize.learn.slot')
    >>> folder.cleanup()
    """

    def __init__(self, path: Path) -> None:
        self._names = _Names([], [])
        self._numbers: dict[str, int] = {}
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _OFFSETS_AT + _OFFSET.size * _PLACES)
            self._map = mmap.mmap(descriptor, 0)
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
        released = {
            place: _OFFSET.unpack_from(data, _OFFSETS_AT + _OFFSET.size * number)[0]
            for number, place in enumerate(names.places)
        }
    except (OSError, ValueError, struct.error):  # it was about to be written
        return Progress()
    return Progress(released, names.steps[step - 1] if 0 < step <= len(names.steps) else "")
