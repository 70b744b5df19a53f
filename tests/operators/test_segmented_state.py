"""Segmented state against a plain dictionary: changes, epochs, crashes, and what the files hold."""

import random
import shutil
import tempfile
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import msgpack

from operators.io import segments
from operators.io.segments import (
    ReadOnlyFiles,
    SegmentsUnwritable,
    ShardFiles,
    segment_folder,
    segment_folders,
)
from operators.logic.state import segmented
from operators.logic.state.segmented import SegmentedSnapshot, SegmentedState
from schemas.state import StateError

STEP, SHARE = 2, 24
KEYS = st.sampled_from([f"key-{n}" for n in range(9)])
BLOCKS = st.binary(max_size=12)


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with patch.multiple(segmented, STEP=STEP, SHARE=SHARE):
        yield


class Counted(ShardFiles):
    """Segments that say how many bytes were written."""

    written = 0

    def write(self, data: bytes) -> int:
        self.written += len(data)
        return super().write(data)


class Owner:
    """A dictionary that is kept in segments; a change touches its key."""

    def __init__(self, files: ShardFiles | None = None) -> None:
        self.blocks: dict[str, bytes] = {}
        self.kept = SegmentedState(self.blocks, self._pack)
        self.packed = 0
        if files is not None:
            self.kept.use(files)

    def _pack(self, keys: list[str]) -> list[bytes]:
        self.packed = max(self.packed, len(keys))
        return [self.blocks[key] for key in keys]

    def put(self, key: str, block: bytes) -> None:
        self.blocks[key] = block
        self.kept.touch(key)

    def seal(self, key: str, block: bytes) -> None:
        self.blocks[key] = block
        self.kept.seal(key)

    def remove(self, key: str) -> None:
        if self.blocks.pop(key, None) is not None:
            self.kept.touch(key)

    def epoch(self) -> bytes:
        self.kept.tidy()
        return msgpack.encode(self.kept.snapshot())


def restored(snapshot: bytes, files: ShardFiles | ReadOnlyFiles | None) -> Owner:
    owner = Owner()

    def take(key: str, block: bytes) -> None:
        assert key not in owner.blocks, "a block is given once"
        owner.blocks[key] = block

    owner.kept.restore(msgpack.decode(snapshot, type=SegmentedSnapshot), files, take)
    return owner


class Crashes(RuleBasedStateMachine):
    """Any changes, with an epoch now and then, and a crash that goes back an epoch or two."""

    def __init__(self) -> None:
        super().__init__()
        self.small = patch.multiple(segmented, STEP=STEP, SHARE=SHARE)
        self.small.start()
        self.folder = Path(tempfile.mkdtemp())
        self.owner = Owner(ShardFiles(self.folder, 0))
        self.sealed: set[str] = set()
        self.epochs: list[tuple[bytes, dict[str, bytes], set[str]]] = []
        self.epoch()

    def teardown(self) -> None:
        self.small.stop()
        shutil.rmtree(self.folder, ignore_errors=True)  # the writer may still be at work

    @rule(key=KEYS, block=BLOCKS)
    def put(self, key: str, block: bytes) -> None:
        if key not in self.sealed:
            self.owner.put(key, block)

    @rule(key=KEYS, block=BLOCKS)
    def put_for_good(self, key: str, block: bytes) -> None:
        if key not in self.sealed:
            self.owner.seal(key, block)
            self.sealed.add(key)

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        self.owner.remove(key)
        self.sealed.discard(key)

    @rule()
    def tidy(self) -> None:
        self.owner.kept.tidy()

    @rule()
    def epoch(self) -> None:
        snapshot = self.owner.epoch()
        self.epochs.append((snapshot, dict(self.owner.blocks), set(self.sealed)))
        del self.epochs[:-2]

    @rule(back=st.integers(1, 2), half=st.booleans())
    def crash(self, back: int, half: bool) -> None:
        del self.epochs[len(self.epochs) - min(back, len(self.epochs)) + 1 :]
        snapshot, blocks, sealed = self.epochs[-1]
        if half:
            (self.folder / "0-99.partial").write_bytes(b"cut off in the mid")
        self.owner = restored(snapshot, ShardFiles(self.folder, 0))
        self.sealed = set(sealed)
        assert self.owner.blocks == blocks

    @precondition(lambda self: self.epochs)
    @invariant()
    def a_look_from_outside_sees_the_last_epoch(self) -> None:
        snapshot, blocks, _ = self.epochs[-1]
        assert restored(snapshot, ReadOnlyFiles(self.folder, 0)).blocks == blocks

    @invariant()
    def few_are_packed_at_a_time_between_epochs(self) -> None:
        assert self.owner.packed <= len(self.owner.blocks) + 2 * STEP


TestCrashes = Crashes.TestCase
TestCrashes.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)


def files_of(folder: Path) -> dict[str, bytes]:
    segments._WRITER.submit(int).result()  # it has done what it was asked to
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def busy(owner: Owner, rng: random.Random, epoch: int) -> int:
    """Change a few blocks; give the bytes that changed."""
    changed = 0
    for _ in range(rng.randrange(4)):
        block = b"%06d" % epoch
        owner.put(f"busy-{rng.randrange(30)}", block)
        changed += len(block) + len("busy-12")
        owner.kept.tidy()
    return changed


@pytest.mark.parametrize("seed", range(4))
def test_what_was_removed_leaves_the_files_in_time(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    owner = Owner(ShardFiles(tmp_path, 0))
    for number in range(40):
        owner.put(f"key-{number}", b"secret of %06d" % number)
        owner.kept.tidy()
        if number % 3 == 0:
            owner.epoch()
    for epoch in range(rng.randrange(40)):
        busy(owner, rng, epoch)
        owner.epoch()
    assert any(b"secret of 000007" in data for data in files_of(tmp_path).values())
    owner.remove("key-7")
    rounds = 2 * ceil((len(owner.blocks) + 30) / STEP)
    for epoch in range(rounds + 4):
        busy(owner, rng, epoch)
        owner.epoch()
    assert not any(b"000007" in data for data in files_of(tmp_path).values())
    assert not any(b"key-7" in data for data in files_of(tmp_path).values())


def test_an_epoch_writes_what_changed_and_a_bounded_share(tmp_path: Path) -> None:
    rng = random.Random(3)
    files = Counted(tmp_path, 0)
    owner = Owner(files)
    for number in range(120):
        owner.put(f"key-{number}", bytes(12))
        owner.kept.tidy()
    owner.epoch()
    before = 0
    count = []
    for epoch in range(300):
        files.written = 0
        changed = busy(owner, rng, epoch)
        snapshot = owner.epoch()
        share, overhead = 2 * (SHARE + 2 * 20), 60
        assert files.written <= changed + before + 2 * (share + overhead)
        names = len(msgpack.decode(snapshot, type=SegmentedSnapshot).segments) * 8
        assert len(snapshot) <= 2 * (changed + before) + names + 150
        before = changed
        count.append(len(list(tmp_path.iterdir())))
    # Two rounds of 150 blocks, and the segments of the last three snapshots.
    assert max(count) <= 2 * 150 // STEP + 12


def test_where_nothing_changes_nothing_is_written_after_a_round(tmp_path: Path) -> None:
    files = Counted(tmp_path, 0)
    owner = Owner(files)
    for number in range(50):
        owner.put(f"key-{number}", bytes(12))
    for _ in range(80):
        snapshot = owner.epoch()
    files.written = 0
    assert owner.epoch() == snapshot
    assert files.written == 0
    found = msgpack.decode(snapshot, type=SegmentedSnapshot)
    assert (found.blocks, found.removed) == ({}, [])
    assert len(files_of(tmp_path)) == len(found.segments) == 50 // STEP
    owner.remove("key-3")
    for _ in range(80):
        owner.epoch()
    assert not any(b"\xa5key-3" in data for data in files_of(tmp_path).values())


def test_what_will_not_change_is_written_once_and_goes_when_it_is_removed(tmp_path: Path) -> None:
    owner = Owner(ShardFiles(tmp_path, 0))
    owner.seal("whole", b"for good")
    owner.epoch()
    (first,) = files_of(tmp_path)
    rng = random.Random(4)
    for epoch in range(100):
        busy(owner, rng, epoch)
        owner.epoch()
        holding = [name for name, data in files_of(tmp_path).items() if b"for good" in data]
        assert holding == [first]
    owner.remove("whole")
    for _ in range(4):
        owner.epoch()
    assert first not in files_of(tmp_path)


def test_what_changes_in_every_epoch_stays_in_the_snapshot(tmp_path: Path) -> None:
    files = Counted(tmp_path, 0)
    owner = Owner(files)
    for epoch in range(20):
        files.written *= epoch < 8
        owner.put("hot", b"%d" % epoch)
        snapshot = owner.epoch()
    assert files.written == 0
    assert restored(snapshot, ReadOnlyFiles(tmp_path, 0)).blocks == {"hot": b"19"}
    for _ in range(3):
        snapshot = owner.epoch()
    assert len(snapshot) < 60, "once it has come to rest it is in a file"
    assert restored(snapshot, ReadOnlyFiles(tmp_path, 0)).blocks == {"hot": b"19"}


def test_files_that_no_snapshot_names_are_deleted(tmp_path: Path) -> None:
    (tmp_path / "0-17.partial").write_bytes(b"of a crash")
    (tmp_path / "0-18.segment").write_bytes(b"of a crash")
    (tmp_path / "1-18.segment").write_bytes(b"of another shard")
    owner = Owner(ShardFiles(tmp_path, 0))
    for number in range(20):
        owner.put(f"key-{number}", b"x")
    for _ in range(60):
        snapshot = owner.epoch()
    named = msgpack.decode(snapshot, type=SegmentedSnapshot).segments
    assert min(named) > 18, "a number is not used again"
    assert set(files_of(tmp_path)) == {"1-18.segment", *(f"0-{n}.segment" for n in named)}


def test_a_snapshot_without_segments_holds_all_and_may_go_on_with_them(tmp_path: Path) -> None:
    owner = Owner()
    for number in range(20):
        owner.put(f"key-{number}", b"%d" % number)
    owner.remove("key-3")
    snapshot = owner.epoch()
    assert restored(snapshot, None).blocks == owner.blocks
    again = restored(snapshot, ShardFiles(tmp_path, 0))
    for _ in range(3):
        moved = again.epoch()
    assert len(moved) < len(snapshot)
    assert restored(moved, ShardFiles(tmp_path, 0)).blocks == owner.blocks


@pytest.fixture
def named(tmp_path: Path) -> bytes:
    """A snapshot of shard 3 that names a file."""
    owner = Owner(ShardFiles(tmp_path, 3))
    owner.seal("whole", b"for good")
    return owner.epoch()


def test_segments_need_their_folder(named: bytes) -> None:
    with pytest.raises(StateError, match="no recovery folder is set: set BANDITFLOW_RECOVERY"):
        restored(named, None)


def test_a_missing_file_is_named(named: bytes, tmp_path: Path) -> None:
    (tmp_path / "3-0.segment").unlink()
    with pytest.raises(StateError, match=r"3-0.segment is missing.* set BANDITFLOW_RECOVERY"):
        restored(named, ShardFiles(tmp_path, 3))


def test_a_file_of_another_store_is_named(named: bytes, tmp_path: Path) -> None:
    (tmp_path / "3-0.segment").write_bytes(b"segment/1\n")
    with pytest.raises(StateError, match=r"3-0.segment is not the .* set BANDITFLOW_RECOVERY"):
        restored(named, ReadOnlyFiles(tmp_path, 3))


def test_a_snapshot_waits_for_segments_and_fails_with_them(tmp_path: Path) -> None:
    owner = Owner(ShardFiles(tmp_path / "seen", 0))
    (tmp_path / "seen").rmdir()
    owner.seal("whole", b"for good")
    with pytest.raises(SegmentsUnwritable):
        owner.kept.snapshot()


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    owner = Owner(ShardFiles(tmp_path / "seen", 0))
    owner.seal("whole", b"for good")
    owner.epoch()
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "seen", *tmp_path.glob("seen/*"))]
    assert modes == [0o700, 0o600]


def test_every_step_has_its_folder_below_the_recovery_folder(tmp_path: Path) -> None:
    assert segment_folder("", "seen") is None
    assert segment_folder(str(tmp_path), "seen") in segment_folders(str(tmp_path))
