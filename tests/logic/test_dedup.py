"""Seen requests against a plain dictionary, through seals, merges and snapshots."""

from collections.abc import Collection, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import operators.logic.deciding.seen_requests as dedup
from operators.logic.deciding.seen_requests import RequestStatus, SeenRequests
from operators.logic.state.segmented import SegmentedSnapshot
from schemas.state import pack, unpack

BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=12), max_size=30
)


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "_SEAL", 8)


class Files:
    """Segments in memory, where each is there from the moment it is asked for."""

    def __init__(self) -> None:
        self.files: dict[int, bytes] = {}
        self.number = 0

    def write(self, data: bytes) -> int:
        self.number += 1
        self.files[self.number] = data
        return self.number

    def sync(self, needed: Collection[int]) -> Mapping[int, int]:
        assert set(needed) <= self.files.keys()
        self.files = {number: self.files[number] for number in needed}
        return dict.fromkeys(needed, 7)

    def read(self, number: int, checksum: int) -> bytes:
        assert checksum == 7
        return self.files[number]


@settings(max_examples=200, deadline=None)
@given(batches=BATCHES, restarts=st.sets(st.integers(0, 30)), segmented=st.booleans())
def test_it_agrees_with_a_dictionary(
    batches: list[list[tuple[int, int]]], restarts: set[int], segmented: bool
) -> None:
    segments = Files() if segmented else None
    seen, truth = SeenRequests(), {}
    if segments is not None:
        seen.use(segments)
    for number, batch in enumerate(batches):
        if number in restarts:
            state = unpack("t", 1, SegmentedSnapshot, pack("t", 1, seen.snapshot()))
            seen = SeenRequests.load(state, segments)
        expected = []
        for key, content in batch:
            kept = truth.setdefault(key + 2**63, content) if key + 2**63 in truth else None
            if kept is None:
                truth[key + 2**63] = content
                expected.append(RequestStatus.FRESH)
            else:
                expected.append(RequestStatus.REPEAT if kept == content else RequestStatus.CONFLICT)
        keys = [key + 2**63 for key, _ in batch]
        assert seen.admit(keys, [content for _, content in batch], at=number) == expected
    assert len(seen) == len(truth)


def test_runs_are_forgotten_only_when_wholly_old() -> None:
    seen = SeenRequests()
    for at in range(400):
        seen.admit([2 * at, 2 * at + 1], [0, 0], at=at)
    seen.forget(before=350)
    young = list(range(700, 800))
    assert seen.admit(young, [0] * len(young), at=400) == [RequestStatus.REPEAT] * len(young)
    assert len(seen) < 400


def test_memory_is_twelve_bytes_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dedup, "_SEAL", 4096)
    seen = SeenRequests()
    keys = np.random.default_rng(1).integers(0, 2**63, 65_536).tolist()
    for start in range(0, len(keys), 512):
        seen.admit(keys[start : start + 512], [1] * 512, at=start)
    blocks = seen.snapshot().blocks
    assert sum(map(len, blocks.values())) == 12 * len(keys) + 8 * len(blocks)
