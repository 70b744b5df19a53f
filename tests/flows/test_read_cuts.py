"""Snapshots are read beside a running flow, which deletes segment files that it needs no more."""

import fcntl
from pathlib import Path
from typing import Any

import pytest

from flows.registry import PERSONALIZE
from flows.runtime.recovery import RecoveryError
from flows.verification import reading
from flows.verification.reading import read_cuts
from operators.io.segments import PENDING, ReadOnlyFiles, segment_folder
from operators.logic.state.segments import SegmentError
from schemas.settings import Settings, load


class MovingStore:
    """A store whose ``files`` are deleted one by one, each after the snapshot that names it.

    A snapshot names one file; the newest one's stays where ``last_stays``.
    """

    def __init__(self, settings: Settings, files: int, *, last_stays: bool) -> None:
        folder = segment_folder(settings.state.recovery, PENDING)
        assert folder is not None
        folder.mkdir(parents=True)
        self.segments = ReadOnlyFiles(folder, 0)
        if last_stays:
            (folder / f"0-{files - 1}.segment").write_bytes(b"")
        self.newest = files - 1
        self.reads = 0

    def states_of(self, *_: Any) -> dict[str, dict[str, int]]:
        """The number of the file that the snapshot names."""
        self.reads += 1
        return {"step": {"0": min(self.reads - 1, self.newest)}}

    def cut_of(self, _: Settings, states: dict[str, dict[str, int]], shard: int) -> int:
        """Read what the snapshot names."""
        assert shard == 0
        self.segments.read(states["step"]["0"], 0)
        return states["step"]["0"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({}, secret="a secret of the tests", recovery=str(tmp_path), partitions=1)


def use(patch: pytest.MonkeyPatch, store: MovingStore) -> None:
    patch.setattr(reading, "states_of", store.states_of)
    patch.setattr(reading, "cut_of", store.cut_of)


@pytest.mark.parametrize("files", [1, 2, 5])
def test_the_snapshot_is_read_again_while_the_flow_moves_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    store = MovingStore(settings, files, last_stays=True)
    use(monkeypatch, store)
    states, cuts = read_cuts(settings)
    assert (states["step"]["0"], cuts) == (files - 1, [files - 1])
    assert store.reads == files


def test_a_stopped_flow_that_lacks_a_file_is_said_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MovingStore(settings, 1, last_stays=False)
    use(monkeypatch, store)
    with pytest.raises(SegmentError, match=r"0-0\.segment is missing"):
        read_cuts(settings)
    assert store.reads == 2


@pytest.mark.parametrize("files", [1, 1_000])
def test_beside_a_running_flow_no_state_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    store = MovingStore(settings, files, last_stays=False)
    use(monkeypatch, store)
    folder = Path(settings.state.recovery) / PERSONALIZE.name
    folder.mkdir()
    with (folder / "owner.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RecoveryError) as caught:
            read_cuts(settings)
    assert "try again, or stop it first" in str(caught.value)
    assert "empty" not in str(caught.value)
    assert store.reads < 20
