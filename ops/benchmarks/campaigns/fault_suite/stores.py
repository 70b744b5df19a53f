"""The durable store is locked, full, slow, or its writer dies around COMMIT."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from flows.registry import PERSIST, PERSONALIZE
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from ops.benchmarks.campaigns.fault_suite.disks import small_disk
from ops.benchmarks.campaigns.fault_suite.judge import judge
from ops.benchmarks.campaigns.fault_suite.lab import Lab
from schemas.topics import Topic
from tests.support import records as make
from tests.support.stage import InVain, Stage, StagedFlow, until

AWAY = 8.0
RESIDENT = 400
"""Megabytes that a writer may need, whatever waits for it."""


def lock_the_store(found: Finding, lab: Lab) -> None:
    """Hold SQLite's only write lock from outside."""
    stage = lab.stage("store-locked")
    flow, persist = stage.run_both()
    with stage.visitors(lab.rate) as visitors:
        stage.answered(visitors, lab.portion)
        with _locked(_path(stage)):
            stored, before = stage.counts()["decisions"], visitors.progress().decisions
            time.sleep(AWAY)
            meanwhile = visitors.progress().decisions - before
            stored = stage.counts()["decisions"] - stored
        stage.answered(visitors, lab.portion)
    found.exactly("decisions stored while it was locked", 0, stored)
    _went_on(found, meanwhile, lab.rate * AWAY)
    judge(found, stage, flow)
    persist.stop()


def fill_the_store(found: Finding, lab: Lab) -> None:
    """Leave the store's disk no room, then give it room again."""
    with small_disk(lab.parts.folder / "store-disk", 64) as disk:
        stage = lab.stage("store-full", store=f"sqlite:{disk.folder / 'store.db'}")
        flow, persist = stage.run_both()
        with stage.visitors(lab.rate) as visitors:
            stage.answered(visitors, lab.portion)
            disk.fill()
            until("the store's disk is full", lambda: "SQLITE_FULL" in stage.said(PERSIST.name))
            before = visitors.progress().decisions
            time.sleep(AWAY)
            meanwhile = visitors.progress().decisions - before
            disk.empty()
            stage.answered(visitors, lab.portion)
        _went_on(found, meanwhile, lab.rate * AWAY)
        judge(found, stage, flow)
        persist.stop()


def kill_the_writer(found: Finding, lab: Lab) -> None:
    """Kill persist inside its transaction, and between its COMMIT and its epoch's snapshot."""
    stage, chance = lab.stage("writer-killed"), random.Random(lab.seed)
    flow = stage.run(PERSONALIZE.name)
    persist = stage.run(PERSIST.name, supervised=False)
    wanted = lab.writer_kills // 2
    inside = after = kills = 0
    with stage.visitors(lab.rate) as visitors:
        while (inside < wanted or after < wanted) and kills < 8 * wanted:
            until("rows in the store", lambda: stage.lag(PERSIST.name) < lab.rate * 3)
            time.sleep(chance.uniform(0.0, 0.5))
            with closing(sqlite3.connect(_path(stage), isolation_level=None, timeout=0)) as other:
                if inside < wanted:
                    inside += _kill_inside(other, persist)
                else:
                    after += _kill_after(other, persist, stage)
            kills += 1
            persist.restart()
        stage.answered(visitors, lab.portion)
    found.exactly("killed inside a transaction, which then left nothing", wanted, inside)
    found.exactly("killed after COMMIT, before the snapshot that says so", wanted, after)
    judge(found, stage, flow)
    persist.stop()


def _kill_inside(other: sqlite3.Connection, persist: StagedFlow) -> bool:
    """Kill persist while it holds the write lock; say whether nothing was committed any more."""
    before = _version(other)
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            persist.kill()
            return _version(other) == before
        other.execute("ROLLBACK")
        before = _version(other)
        time.sleep(0.001)  # the lock is its owner's most of the time
    raise InVain("waited in vain for a transaction")


def _kill_after(other: sqlite3.Connection, persist: StagedFlow, stage: Stage) -> bool:
    """Kill persist once it has committed; say whether a restart will write these rows again."""
    before, deadline = _version(other), time.monotonic() + 60.0
    while _version(other) == before:
        if time.monotonic() > deadline:
            raise InVain("waited in vain for a COMMIT")
    persist.kill()
    kept = stage.resumes_from(PERSIST.name)
    known = sum(kept.get((Topic.DECISIONS, k), 0) for k in range(stage.settings.kafka.partitions))
    return stage.counts()["decisions"] > known


def _version(other: sqlite3.Connection) -> int:
    """Give a number that changes when another connection commits."""
    return int(other.execute("PRAGMA data_version").fetchone()[0])


def slow_the_store(found: Finding, lab: Lab) -> None:
    """Let a backlog wait for a store that is locked, then hardly ever free; watch the memory."""
    stage = lab.stage("store-slow")
    encode = msgspec.json.Encoder().encode
    shards = stage.settings.kafka.partitions
    stage.produce(
        (Topic.OUTCOMES, None, encode(make.outcome(number)), number % shards)
        for number in range(lab.backlog)
    )
    with _locked(_path(stage)):
        persist = stage.run(PERSIST.name, supervised=False)
        until("a writer that waits", lambda: "waiting" in persist.log)
        time.sleep(2.0)
        full = persist.resident()
        time.sleep(AWAY)
        later = persist.resident()
    free, peak, held = 0.0, later, time.monotonic()
    while (stored := stage.counts()["outcomes"]) < lab.backlog // 2:
        with _locked(_path(stage)):
            time.sleep(0.45)
        time.sleep(0.05)
        free += 0.05
        peak = max(peak, persist.resident())
        if time.monotonic() - held > 120.0:
            break
    share = free / (time.monotonic() - held)
    stage.settle(PERSIST.name)
    peak = max(peak, persist.resident())
    found.that(
        f"memory of the writer gained in {AWAY:.0f} s of waiting, {lab.backlog:,} records behind",
        "< 10 MB",
        f"{(later - full) / 2**20:.1f} MB",
        later - full < 10 * 2**20,
    )
    found.that(
        f"resident at most, also while {stored:,} rows went through {share:.0%} of the time",
        f"< {RESIDENT} MB",
        f"{peak / 2**20:.0f} MB",
        peak < RESIDENT * 2**20,
    )
    found.exactly("outcomes stored in the end", lab.backlog, stage.counts()["outcomes"])
    persist.stop()


def _went_on(found: Finding, meanwhile: int, usual: float) -> None:
    found.that(
        f"decisions meanwhile, in {AWAY:.0f} s",
        f"> 90% of {usual:,.0f}",
        f"{meanwhile:,}",
        meanwhile > 0.9 * usual,
    )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30.0)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def _path(stage: Stage) -> Path:
    return Path(stage.settings.store.address.removeprefix("sqlite:"))
