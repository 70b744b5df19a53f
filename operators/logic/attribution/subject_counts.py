"""How many decisions each visitor got in each window of a slot, in about 6 bytes a decision."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from msgspec import Struct, field, msgpack
from numpy.typing import NDArray

from operators.logic.attribution.rules import SubjectRules
from operators.logic.state.segmented import SegmentedSnapshot, SegmentedState
from operators.logic.state.segments import SegmentFiles

Names = NDArray[np.uint32]

PART: Final = 8192
"""Decisions of a block that never changes again."""

_FEWEST: Final = 64
_SATURATED: Final = 255
_APART: Final = 8
"""A cell may hold this many times fewer decisions, on average, than a visitor may get."""

_SCANNED: Final = 2**16
"""So many names are looked through for a few visitors; more are sorted once, in a few runs."""

_ANY: Final = 2**62
_NEVER: Final = -(2**62)


class SlotWindow(NamedTuple):
    """One window of a slot under some rules: the ``number``-th since 1970 of their length."""

    slot_id: str
    rules: SubjectRules
    number: int

    @property
    def end(self) -> int:
        """The time at which the next window begins, in microseconds since 1970."""
        return (self.number + 1) * self.rules.window


class _Head(Struct, array_like=True, kw_only=True):
    """The stored form of what changes of a window's counts; its full parts are blocks each."""

    slot_id: str
    rules: SubjectRules
    number: int
    until: int
    totals: dict[int, int]
    rest: bytes


class WindowCounts:
    """The decisions of one window, each by the name of its visitor within that window.

    Visitors who got many are counted one by one, in ``totals``. Of the others the names are only
    written down, and added up in cells that several visitors share: who is alone in a cell with
    few decisions cannot have got many.
    """

    def __init__(self, window: SlotWindow, name: int) -> None:
        self.window = window
        self.name = name
        self.until = _NEVER
        """The time after which no decision of this window comes that is not too late."""
        self.totals: dict[int, int] = {}
        self.fill = 0
        self._names = np.zeros(_FEWEST, dtype=np.uint32)
        self._cells = np.zeros(_FEWEST, dtype=np.uint8)
        self._runs: list[Names] = []
        rules = window.rules
        self._most = min(n for n in (rules.most, rules.most_of_robots, _ANY) if n is not None)
        self._few = min(self._most, _SATURATED - 1)
        self._shared = max(1, self._few // _APART)

    def add(self, names: Names) -> list[int]:
        """Count decisions; give those of the visitors who got many by now, once each."""
        counted = dict[int, int]()
        if self.totals:
            names, counted = self._count_known(names)
        if len(names):
            self._write(names)
            places = names & np.uint32(len(self._cells) - 1)
            crowded = np.unique(names[self._cells[places] > self._few])
            totals = self._totals(crowded)
            for name, total in zip(crowded.tolist(), totals.tolist(), strict=True):
                counted[name] = total
                if total > 1 and total > self._few // 2:
                    self.totals[name] = total
        return [name for name, total in counted.items() if total > self._most]

    def total(self, name: int) -> int:
        """Count a visitor's decisions."""
        known = self.totals.get(name)
        if known is not None:
            return known
        return int(np.count_nonzero(self._names[: self.fill] == name))

    def _totals(self, names: Names) -> NDArray[np.int64]:
        """Count the decisions of visitors who are not counted one by one."""
        written = self._names[: self.fill]
        if len(names) * self.fill <= _SCANNED:
            return np.array([np.count_nonzero(written == name) for name in names], dtype=np.int64)
        runs = self._runs
        runs.append(np.sort(written[sum(map(len, runs)) :]))
        while len(runs) > 1 and len(runs[-2]) <= 2 * len(runs[-1]):
            runs[-2:] = [np.sort(np.concatenate(runs[-2:]), kind="stable")]
        totals = np.zeros(len(names), dtype=np.int64)
        for run in runs:
            totals += np.searchsorted(run, names, side="right") - np.searchsorted(run, names)
        return totals

    def _count_known(self, names: Names) -> tuple[Names, dict[int, int]]:
        counted: dict[int, int] = {}
        others = []
        for name in names.tolist():
            if name in self.totals:
                self.totals[name] += 1
                counted[name] = self.totals[name]
            else:
                others.append(name)
        return np.array(others, dtype=np.uint32), counted

    def _write(self, names: Names) -> None:
        fill = self.fill + len(names)
        if fill > len(self._names):
            self._names = np.resize(self._names, max(fill, len(self._names) * 9 // 8))
        self._names[self.fill : fill] = names
        self.fill = fill
        if fill > self._shared * len(self._cells):
            cells = -(-fill // self._shared)
            self._cells = np.zeros(1 << (cells - 1).bit_length(), dtype=np.uint8)
            names = self._names[:fill]
        places, counts = np.unique(names & np.uint32(len(self._cells) - 1), return_counts=True)
        sums = np.minimum(self._cells[places].astype(np.int64) + counts, _SATURATED)
        self._cells[places] = sums

    def parts(self) -> int:
        """Count the parts that never change again."""
        return self.fill // PART

    def pack(self, part: int | None) -> bytes:
        """Write a part, or what changes of the counts."""
        if part is not None:
            return self._names[part * PART : (part + 1) * PART].tobytes()
        head = _Head(
            slot_id=self.window.slot_id,
            rules=self.window.rules,
            number=self.window.number,
            until=self.until,
            totals=self.totals,
            rest=self._names[self.parts() * PART : self.fill].tobytes(),
        )
        return msgpack.encode(head)

    @classmethod
    def load(cls, name: int, head: bytes, parts: Sequence[bytes]) -> "WindowCounts":
        """Read what :meth:`pack` wrote."""
        state = msgpack.decode(head, type=_Head)
        counts = cls(SlotWindow(state.slot_id, state.rules, state.number), name)
        counts.until, counts.totals = state.until, state.totals
        names = np.frombuffer(b"".join([*parts, state.rest]), dtype=np.uint32)
        if len(names):
            counts._write(names)
        return counts


class SubjectCountsState(Struct):
    """What a snapshot keeps; ``forgotten`` says by slot up to when windows were dropped."""

    windows: SegmentedSnapshot = field(default_factory=SegmentedSnapshot)
    forgotten: dict[str, int] = {}


class SubjectCounts:
    """The counts of all windows that a decision may still belong to.

    >>> from operators.logic.attribution.rules import SubjectRules
    >>> rules = SubjectRules(window=10, most=2, most_of_robots=None, robot_window=0)
    >>> counts, window = SubjectCounts(), SlotWindow("home", rules, 0)
    >>> names = np.array([7, 7, 8], dtype=np.uint32)
    >>> counts.add(window, names, until=30), counts.add(window, names, until=30)
    ([], [7])
    >>> counts.total(window, 7), counts.total(window, 8)
    (4, 2)
    """

    def __init__(
        self, state: SubjectCountsState | None = None, segments: SegmentFiles | None = None
    ) -> None:
        state = state or SubjectCountsState()
        self._windows: dict[SlotWindow, WindowCounts] = {}
        self._forgotten = dict(state.forgotten)
        self._keyed: dict[str, tuple[WindowCounts, int | None]] = {}
        self._blocks = SegmentedState(self._keyed, self._packed)
        self._restore(state.windows, segments)
        self._next = max((counts.name + 1 for counts in self._windows.values()), default=0)

    def use(self, segments: SegmentFiles) -> None:
        """Keep most of the counts in these segment files from now on."""
        self._blocks.use(segments)

    def add(self, window: SlotWindow, names: Names, until: int) -> list[int]:
        """Count decisions; give those of their visitors who got many by now, once each.

        Many is more than one of the rules lets teach. After ``until`` no such decision comes that
        is not too late.
        """
        counts = self._windows.get(window)
        if counts is None:
            counts = self._windows[window] = WindowCounts(window, self._next)
            self._next += 1
            self._keyed[str(counts.name)] = (counts, None)
        parts = counts.parts()
        many = counts.add(names)
        counts.until = max(counts.until, until)
        self._blocks.touch(str(counts.name))
        for part in range(parts, counts.parts()):
            key = f"{counts.name}/{part}"
            self._keyed[key] = (counts, part)
            self._blocks.seal(key)
        return many

    def total(self, window: SlotWindow, name: int) -> int:
        """Count a visitor's decisions in a window."""
        counts = self._windows.get(window)
        return 0 if counts is None else counts.total(name)

    def is_forgotten(self, window: SlotWindow) -> bool:
        """Say whether the counts of a window were dropped, if there ever were any."""
        before = self._forgotten.get(window.slot_id, _NEVER)
        return window not in self._windows and window.end <= before

    def forget(self, before: int) -> None:
        """Drop the windows that only decisions from before this time could belong to."""
        for window, counts in list(self._windows.items()):
            if counts.until < before:
                del self._windows[window]
                ended = max(self._forgotten.get(window.slot_id, _NEVER), window.end)
                self._forgotten[window.slot_id] = ended
                for key in (str(counts.name), *_part_keys(counts)):
                    del self._keyed[key]
                    self._blocks.touch(key)

    def forget_slots(self, known: Callable[[str], bool]) -> None:
        """Forget what was dropped of slots that are no more."""
        self._forgotten = {name: end for name, end in self._forgotten.items() if known(name)}

    def tidy(self) -> None:
        """Write what changed to a segment, when it is time to."""
        self._blocks.tidy()

    def state(self) -> SubjectCountsState:
        """Give what a snapshot keeps, once the segments it needs are durable."""
        return SubjectCountsState(self._blocks.snapshot(), self._forgotten)

    def _packed(self, keys: Sequence[str]) -> Iterator[bytes]:
        for key in keys:
            counts, part = self._keyed[key]
            yield counts.pack(part)

    def _restore(self, snapshot: SegmentedSnapshot, segments: SegmentFiles | None) -> None:
        heads: dict[int, bytes] = {}
        parts: dict[int, dict[int, bytes]] = defaultdict(dict)

        def take(key: str, block: bytes) -> None:
            name, _, part = key.partition("/")
            if part:
                parts[int(name)][int(part)] = block
            else:
                heads[int(name)] = block

        self._blocks.restore(snapshot, segments, take)
        for name, head in heads.items():
            of_window = parts[name]
            blocks = [of_window[part] for part in sorted(of_window)]
            counts = WindowCounts.load(name, head, blocks)
            self._windows[counts.window] = counts
            self._keyed[str(name)] = (counts, None)
            for part, key in enumerate(_part_keys(counts)):
                self._keyed[key] = (counts, part)


def _part_keys(counts: WindowCounts) -> list[str]:
    return [f"{counts.name}/{part}" for part in range(counts.parts())]
