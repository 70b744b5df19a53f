"""Measure the memory of pending decisions, and what an epoch costs while they are pending.

Resident memory is from /proc (Linux), in a process of its own. The decisions carry 32 float32
features, a pseudonymous subject and a random UUID each, and 5 % of them a click. An epoch's pause
is the snapshots, and writing them to a recovery store and deleting the ones before, as Bytewax does
on the thread that decides. Then what is kept of actions when every request brings new ones
(:mod:`ops.benchmarks.speed.brought_actions`).
"""

import argparse
import base64
import gc
import pickle
import random
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from flows.runtime.recovery import make_store
from operators.attribute import AttributeLogic
from operators.envelope import Event, Origin
from operators.io.segments import PENDING, SUBJECTS, segment_folder
from operators.logic.attribution import Attribution
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.logic.request_actions import MOST_REQUEST_ACTIONS
from ops.benchmarks.reporting.judged import write_result
from ops.benchmarks.reporting.machine import machine_line
from ops.benchmarks.speed import brought_actions
from schemas.catalog import Slot
from schemas.clock import micros, moment
from schemas.events import Click, DecisionBack, Impression

FEATURES = 32
WINDOW = 600
LATENESS = 60
SHARDS = 4
EPOCHS = 3
CATALOG = Catalog(
    slots={"home": Slot(id="1", time=moment(0), slot_id="home", reward_window=WINDOW)}
)
START = micros(datetime(2026, 3, 1, tzinfo=UTC))
ORIGIN = Origin("decisions", 0, 0, START)

BARS = {
    "bytes_per_decision": ("≤", 250.0),
    "epoch_overhead_percent": ("≤", 15.0),
    "throughput_overhead_percent": ("≤", 15.0),
    "epoch_pause_ms": ("≤", 50.0),
    "brought_growth_mb": ("≤", 20.0),
    "brought_learner_mb": ("≤", 10.0),
    "brought_known_actions": ("≤", MOST_REQUEST_ACTIONS),
    "brought_snapshots_differ": ("≤", 0.0),
}


def main() -> None:
    """Fill the shards, measure, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=1_000_000, help="pending, over 4 shards")
    parser.add_argument("--rate", type=int, default=20_000, help="events/s during an epoch")
    parser.add_argument("--epoch", type=float, default=10.0, help="seconds")
    parser.add_argument(
        "--flow-us", type=float, default=30.0, help="CPU of the whole flow, µs/event"
    )
    parser.add_argument(
        "--actions", type=int, default=100_000, help="different ones that requests bring"
    )
    parser.add_argument("--quick", action="store_true", help="100,000 decisions")
    parser.add_argument("--whole", action="store_true", help="whole snapshots, no segment files")
    args = parser.parse_args()
    if args.quick:
        args.decisions = 100_000
    base = measure(args.decisions // 10, args.rate, args.epoch, whole=args.whole)
    figures = measure(args.decisions, args.rate, args.epoch, whole=args.whole)
    figures |= overhead(base, figures, args.rate * args.epoch, args.flow_us)
    figures |= brought_actions.measure(args.actions)
    failed = report(figures)
    print(machine_line())
    write_result("memory", **figures)
    raise SystemExit(failed)


def measure(decisions: int, rate: int, epoch: float, *, whole: bool) -> dict[str, float]:
    """Fill SHARDS shards with pending decisions and time epochs on top of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_store(folder)
        segments = None if whole else segment_folder(name, PENDING)
        with closing(sqlite3.connect(next(folder.glob("part-*.sqlite3")))) as store:
            return _measure(decisions, rate, epoch, segments, store)


def _measure(
    decisions: int, rate: int, epoch: float, folder: Path | None, store: sqlite3.Connection
) -> dict[str, float]:
    limits = (LATENESS * 10**6, 10**9, 10**6)
    logics = [
        AttributeLogic(
            attribution=Attribution(*limits),
            folder=folder,
            subjects_folder=None if folder is None else folder.with_name(SUBJECTS),
        )
        for _ in range(SHARDS)
    ]
    makers = [traffic(shard, decisions / (WINDOW + LATENESS)) for shard in range(SHARDS)]
    for shard in range(SHARDS):
        logics[shard].on_batch([next(makers[shard])])
    gc.collect()
    before = resident()
    while logics[0].attribution.pending < decisions / SHARDS:
        for logic, maker in zip(logics, makers, strict=True):
            logic.on_batch([next(maker)])
    gc.collect()
    pending = sum(logic.attribution.pending for logic in logics)
    memory = resident() - before
    write(store, 0, [logic.snapshot() for logic in logics])
    spent, events, pauses, sizes = 0.0, 0, [], []
    for number in range(1, EPOCHS + 1):
        seen = events
        while events - seen < rate * epoch:
            for logic, maker in zip(logics, makers, strict=True):
                batch = next(maker)
                events += len(batch.events)
                started = time.thread_time()
                logic.on_batch([batch])
                spent += time.thread_time() - started
        started = time.perf_counter()
        snapshots = [pickle.dumps(logic.snapshot()) for logic in logics]
        write(store, number, snapshots)
        sizes.append(sum(map(len, snapshots)))
        pauses.append(time.perf_counter() - started)
    per_event = spent / events
    pause = float(np.median(pauses))
    return {
        "pending": float(pending),
        "features": float(FEATURES),
        "bytes_per_decision": memory / pending,
        "us_per_event": per_event * 1e6,
        "snapshot_mb": float(np.median(sizes)) / 1e6,
        "epoch_pause_ms": pause * 1e3,
        "epoch_overhead_percent": 100 * pause / epoch,
    }


def write(store: sqlite3.Connection, epoch: int, snapshots: list[bytes]) -> None:
    """Write an epoch's snapshots, and then delete those before."""
    with store:
        store.executemany(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
            [("life", str(shard), epoch, data) for shard, data in enumerate(snapshots)],
        )
    with store:
        store.execute("DELETE FROM snaps WHERE snap_epoch < ?", (epoch,))


def overhead(
    few: dict[str, float], many: dict[str, float], events: float, flow_us: float
) -> dict[str, float]:
    """Compare an epoch of ``events`` with many pending decisions to one with a tenth of them.

    In percent of the attribution's own CPU, and of the whole flow's at ``flow_us`` per event.
    """
    spent = [each["us_per_event"] * events + 1e3 * each["epoch_pause_ms"] for each in (few, many)]
    return {
        "us_per_event_few_pending": few["us_per_event"],
        "attribution_overhead_percent": 100 * (spent[1] / spent[0] - 1),
        "throughput_overhead_percent": 100 * (spent[1] - spent[0]) / (flow_us * events),
    }


def traffic(shard: int, rate: float) -> Iterator[CatalogedBatch]:
    """One shard's decisions, impressions and clicks at ``rate`` decisions/s over all shards."""
    rng = random.Random(shard)
    vectors = np.random.default_rng(shard)
    step = round(1e6 * SHARDS / rate)
    at = START
    while True:
        events = []
        drawn = vectors.normal(size=(250, FEATURES)).astype("<f4")
        for row in range(250):
            at += step
            events += life(rng, at, base64.b64encode(drawn[row].tobytes()).decode())
        events.sort(key=lambda event: event.at)
        yield CatalogedBatch(shard, at, events, catalog=CATALOG)


def life(rng: random.Random, at: int, features: str) -> list[Event]:
    """Make a decision, its impression and now and then its click."""
    key, time_ = rng.getrandbits(64), moment(at)
    subject = f"{rng.getrandbits(128):032x}"
    common = {
        "time": time_,
        "subject": "visitor",
        "decision_id": str(uuid.UUID(int=rng.getrandbits(128))),
        "slot_id": "home",
    }
    decision = DecisionBack(
        **{**common, "subject": subject},
        id="decision",
        key=f"{key:016x}",
        action_id=f"a{rng.randrange(10)}",
        propensity=rng.random() + 1e-6,
        policy="logistic",
        policy_version=(at - START) // 250_000,
        expires_at=time_ + timedelta(seconds=WINDOW),
        features=features,
        eta=rng.gauss(-3.0, 1.0),
        subject_window=f"{rng.getrandbits(32):08x}",
    )
    bodies = [decision, Impression(**common, id=f"i{key}")]
    if rng.random() < 0.05:
        bodies.append(Click(**common, id=f"c{key}"))
    return [Event(at, body, subject, key, ORIGIN) for body in bodies]


def resident() -> int:
    """Give this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def report(figures: dict[str, float]) -> int:
    """Print the figures and bars; give the number of bars missed."""
    failed = 0
    for name, value in figures.items():
        sign, bar = BARS.get(name, ("", 0.0))
        verdict = ""
        if sign:
            good = value <= bar
            failed += not good
            verdict = f"{sign} {bar:g}  {'pass' if good else 'FAIL'}"
        print(f"{name:26} {value:14,.1f}  {verdict}")
    return failed


if __name__ == "__main__":
    main()
