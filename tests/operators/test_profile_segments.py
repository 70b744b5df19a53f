"""Profiles in segments: the same profiles after any restart, and of the erased nothing for ever."""

import random
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operators.io.segments import ShardFiles
from operators.logic.state import segmented
from operators.logic.subjects.profiles import Profiles

NOON = 1_767_268_800_000_000
SECOND = 1_000_000
TTL = 1e7
NAMES = [f"subject-{n}" for n in range(12)]
CATEGORIES = {"a0": "news", "a1": "sport"}
KINDS = {
    "request": 10,
    "impression": 5,
    "click": 5,
    "decision": 5,
    "consent": 5,
    "withdrawal": 1,
    "erasure": 1,
    "embed": 2,
    "report": 4,
    "epoch": 4,
    "crash": 1,
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmented, "STEP", 2)


def take(profiles: Profiles, kind: str, subject: str, at: int) -> None:
    body: Any = SimpleNamespace(position=None)
    if kind == "decision":
        body = SimpleNamespace(action_id=f"a{at % 2}", slate=None)
    elif kind in ("consent", "withdrawal"):
        purposes = [5, 6] if kind == "consent" else []
        body, kind = SimpleNamespace(purposes=purposes, basis="consent", version=str(at)), "consent"
    elif kind == "embed":
        return profiles.embed(subject, [at / NOON, 1.0], at, 1)
    getattr(profiles, kind)(SimpleNamespace(at=at, subject=subject, key=at % 5, body=body))
    return None


def loaded(snapshot: bytes, segments: ShardFiles | None = None) -> Profiles:
    profiles = Profiles.load(snapshot, TTL, segments=segments)
    profiles.categorise(CATEGORIES)
    return profiles


def begun(folder: Path | None) -> Profiles:
    profiles = Profiles(TTL)
    profiles.categorise(CATEGORIES)
    if folder is not None:
        profiles.use(ShardFiles(folder, 0))
    return profiles


@pytest.mark.parametrize("seed", range(8))
def test_after_any_crash_the_profiles_are_those_that_one_snapshot_would_keep(
    tmp_path: Path, seed: int
) -> None:
    """A crash goes back to the last snapshot, and what came since comes again."""
    rng, folder = random.Random(seed), tmp_path / "profiles"
    kept, twin = begun(folder), begun(None)
    snapshot, since = kept.dump(), list[tuple[str, str, int]]()
    for turn in range(600):
        (kind,), subject = rng.choices(list(KINDS), list(KINDS.values())), rng.choice(NAMES)
        at = NOON + turn * SECOND
        if kind == "epoch":
            snapshot, since = kept.dump(), []
        elif kind == "crash":
            kept = loaded(snapshot, ShardFiles(folder, 0))
            for again in since:
                _play(kept, *again)
        else:
            since.append((kind, subject, at))
            assert _play(kept, kind, subject, at) == _play(twin, kind, subject, at)
        assert [*kept.all_profiles()] == [*twin.all_profiles()]
        assert [*kept.consents()] == [*twin.consents()]
    ended = loaded(kept.dump(), ShardFiles(folder, 0))
    assert [*ended.all_profiles()] == [*twin.all_profiles()]
    assert [*ended.consents()] == [*twin.consents()]
    assert ended.changed() == twin.changed()


def _play(profiles: Profiles, kind: str, subject: str, at: int) -> Any:
    if kind == "report":
        found = profiles.changed(at - 20 * SECOND)
    else:
        found = []
        take(profiles, kind, subject, at)
    profiles.tidy()
    return found


def test_what_was_erased_leaves_the_files(tmp_path: Path) -> None:
    kept = begun(tmp_path / "profiles")
    for n in range(20):
        take(kept, "consent", f"subject-{n}", NOON)
        kept.tidy()
    kept.dump()

    def holding() -> list[bytes]:
        found = []
        for file in (tmp_path / "profiles").iterdir():
            with suppress(FileNotFoundError):  # deleted meanwhile
                found.append(file.read_bytes())
        return [block for block in found if b"subject-7" in block]

    assert holding()
    take(kept, "erasure", "subject-7", NOON + SECOND)
    # Until the last round and this one are over (10 turns each), and three snapshots more.
    for epoch in range(25):
        take(kept, "request", "subject-1", NOON + epoch * SECOND)
        kept.tidy()
        kept.changed()
        kept.dump()
    kept.dump()  # waits for the deletions that the one before began
    assert not holding()
