"""State in keyed blocks, of which an epoch writes those that changed since the one before."""

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice

from msgspec import Struct

from operators.logic.state.segments import SegmentError, SegmentFiles
from schemas.state import pack, unpack

STEP = 512
"""So many changed blocks are packed at a time, and at most twice as many."""

SHARE = 2**16
"""At least so many bytes of blocks that did not change are written again with a segment."""

_KIND, _VERSION = "segment", 1


class SegmentedSnapshot(Struct):
    """What a snapshot keeps: the segments it needs, and what is in none of them.

    ``segments`` are check sums by number, ``sealed`` the segments of blocks that have one of
    their own, ``blocks`` and ``removed`` what has changed since the newest segment.
    """

    segments: dict[int, int] = {}
    sealed: dict[str, int] = {}
    blocks: dict[str, bytes] = {}
    removed: list[str] = []


class _Segment(Struct, array_like=True):
    blocks: dict[str, bytes]
    removed: list[str]


class SegmentedState:
    """Blocks of bytes by key, in segment files that are never written as a whole.

    A block that will not change any more is *sealed*: it has a segment of its own, which is
    written once and goes when the block is removed. Every other segment holds blocks that changed
    and, in turns, a bounded share of all the others. Once all have had their turn, the segments
    from before that round are needed no more. So an epoch writes what changed and a bounded share,
    and the newest block of each key gives the state: a fuzzy dump beside a log (Hagmann 1986, "A
    crash recovery scheme for a memory-resident database system"). What was removed is in no file
    after two rounds, which take an epoch for every ``SHARE`` bytes or ``STEP`` blocks at most, and
    four epochs more. A round in which nothing changes is the last one until something does.

    What changed is in the next snapshot itself, and goes to a segment after it; a block that had
    changed before two snapshots in a row stays in them until it comes to rest. Segments are begun
    between snapshots, which so seldom wait for a disk.

    Without segments a snapshot holds all blocks.

    Parameters
    ----------
    keys
        The keys that there are: the owner's own collection, which changes.
    pack
        Gives the blocks of keys as they are now, in their order, packed as they are taken.
    """

    def __init__(
        self, keys: Collection[str], pack: Callable[[Sequence[str]], Iterable[bytes]]
    ) -> None:
        self._keys = keys
        self._pack = pack
        self._files: SegmentFiles | None = None
        self._touched: dict[str, None] = {}
        # What is packed, and in no segment yet; what is gone, and no segment says so yet.
        self._packed: dict[str, bytes] = {}
        self._removed: dict[str, None] = {}
        # What the last snapshot packed, and what of its blocks a segment may take.
        self._last: set[str] = set()
        self._at_rest: list[str] = []
        self._settled = False
        # The needed segments: of sealed blocks by key, and all others, the oldest first.
        self._sealed: dict[str, int] = {}
        self._log: list[int] = []
        self._checksums: dict[int, int] = {}
        # The round: whose turn it is, its first segment, and whether nothing changed in it.
        self._turns: list[str] = []
        self._place = 0
        self._round = 0
        self._clean = True

    def use(self, segments: SegmentFiles) -> None:
        """Keep the blocks in these segment files from now on."""
        self._files = segments
        self._touched = dict.fromkeys(self._keys)

    def touch(self, key: str) -> None:
        """Say that a block is new, may have changed, or is gone."""
        self._touched[key] = None

    def seal(self, key: str) -> None:
        """Begin to write a block that will not change any more to a segment of its own."""
        self._touched.pop(key, None)
        if self._files is not None:
            self._packed.pop(key, None)
            self._removed.pop(key, None)
            (block,) = self._pack([key])
            self._sealed[key] = self._write({key: block}, [])

    def tidy(self) -> None:
        """Pack some of what changed, and begin a segment, when it is time to; call it often."""
        touched, packed = self._touched, self._packed
        if self._files is None:
            touched.clear()
            return
        if len(touched) >= STEP:
            self._gather(list(islice(touched, 2 * STEP)))
        if len(packed) >= 2 * STEP:
            self._flush([key for key in packed if key not in touched])
        elif self._settled:
            self._flush([key for key in self._at_rest if key in packed and key not in touched])

    def snapshot(self) -> SegmentedSnapshot:
        """Give what a snapshot keeps, once the segments that it needs are durable."""
        if self._files is None:
            keys = sorted(self._keys)
            return SegmentedSnapshot(blocks=dict(zip(keys, self._pack(keys), strict=True)))
        changed = list(self._touched)
        self._gather(changed)
        changing = self._last.intersection(changed)
        self._last = set(changed)
        self._at_rest = [key for key in self._packed if key not in changing]
        if not self._log:
            self._removed.clear()
        needed = {*self._log, *self._sealed.values()}
        known = {**self._checksums, **self._files.sync(needed)}
        self._checksums = {number: known[number] for number in sorted(needed)}
        self._settled = True
        return SegmentedSnapshot(
            self._checksums, dict(self._sealed), dict(self._packed), list(self._removed)
        )

    def restore(
        self,
        snapshot: SegmentedSnapshot,
        segments: SegmentFiles | None,
        take: Callable[[str, bytes], None],
    ) -> None:
        """Give each block to ``take`` once, and go on with the segments; refuse where they miss."""
        if snapshot.segments and segments is None:
            raise SegmentError(
                "the recovery store names segment files, and no recovery folder is set"
            )
        for key, block in snapshot.blocks.items():
            take(key, block)
        if segments is None:
            return
        known = {*snapshot.blocks, *snapshot.removed}
        for number in sorted(snapshot.segments, reverse=True):
            data = segments.read(number, snapshot.segments[number])
            segment = unpack(_KIND, _VERSION, _Segment, data)
            for key, block in segment.blocks.items():
                if key not in known:
                    known.add(key)
                    take(key, block)
            known.update(segment.removed)
        self._files = segments
        self._packed = dict(snapshot.blocks)
        self._removed = dict.fromkeys(snapshot.removed)
        self._sealed = dict(snapshot.sealed)
        self._checksums = dict(snapshot.segments)
        self._log = sorted(snapshot.segments.keys() - snapshot.sealed.values())
        self._clean = not self._log

    def _gather(self, touched: list[str]) -> None:
        """Pack what changed, and take note of what is gone."""
        gone = [key for key in touched if key not in self._keys]
        present = [key for key in touched if key in self._keys] if gone else touched
        self._packed.update(zip(present, self._pack(present), strict=True))
        for key in touched:
            del self._touched[key]
        if self._removed:
            for key in present:
                self._removed.pop(key, None)
        if self._sealed:
            for key in touched:
                self._sealed.pop(key, None)
        for key in gone:
            self._packed.pop(key, None)
            self._removed[key] = None

    def _flush(self, keys: list[str]) -> None:
        """Begin a segment with packed blocks, what was removed, and the blocks whose turn it is."""
        blocks = {key: self._packed.pop(key) for key in keys}
        removed = list(self._removed)
        changed = bool(blocks or removed)
        if self._place >= len(self._turns):
            self._end_round(changed)
        self._add_turns(blocks)
        self._removed.clear()
        if blocks or removed:
            self._log.append(self._write(blocks, removed))
        self._clean = self._clean and not changed
        self._settled = False

    def _end_round(self, changed: bool) -> None:
        """Need no more what is older than the round, and begin another unless all is in this."""
        self._log = [number for number in self._log if number >= self._round]
        if self._clean and not changed:
            return
        self._turns = [key for key in self._keys if key not in self._sealed]
        self._place, self._clean = 0, True
        self._round = self._log[-1] + 1 if self._log else 0

    def _add_turns(self, blocks: dict[str, bytes]) -> None:
        """Add blocks whose turn it is, as they are now."""
        size, place, turns = 0, self._place, self._turns[self._place : self._place + STEP]
        self._place += len(turns)
        keys = [key for key in turns if key in self._keys and key not in self._sealed]
        for key, block in zip(keys, self._pack(keys), strict=True):
            self._touched.pop(key, None)
            self._packed.pop(key, None)
            self._removed.pop(key, None)
            blocks[key] = block
            size += len(block)
            if size >= SHARE:
                self._place = place + turns.index(key) + 1
                break

    def _write(self, blocks: dict[str, bytes], removed: list[str]) -> int:
        assert self._files is not None
        return self._files.write(pack(_KIND, _VERSION, _Segment(blocks, removed)))
