"""Lose the recovery folder in live traffic, start from the store, and compare with a recomputation.

Both flows run as processes on the embedded broker with SQLite. Some seconds into the traffic the
personalize flow is killed, its recovery folder deleted, and the flow started with ``--from-store``,
more than once; visitors go on asking all the while. Then everything is recomputed from the topics,
as ``banditflow verify`` does.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import confluent_kafka

from flows.devkit.demo_catalog import SLOT, demo_catalog
from flows.devkit.embedded import Child, Embedded
from flows.devkit.simulation import Simulator, SimulatorReport
from flows.personalize import Steps
from flows.registry import PERSIST, PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.recovery import recovery_folder
from flows.runtime.snapshots import states_of
from flows.runtime.warm_start import newest
from flows.verification.verify import verify
from operators.io.kafka import create_topics, producer_config
from operators.io.store.open import migrate, open_store
from operators.learner_state import unpack_learner
from ops.benchmarks.reporting.judged import JudgedBar, report
from schemas.catalog import PolicySettings
from schemas.codec import encode
from schemas.settings import Settings, child_environment, load
from schemas.topics import Topic

WINDOW = 10.0
PATIENCE = 180.0
STILL = 10


def main() -> None:
    """Run the proof, print one table and write it as JSON; fail when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second (100)")
    parser.add_argument("--seconds", type=float, default=75.0, help="before each loss (75)")
    parser.add_argument("--losses", type=int, default=2, help="lost recovery folders (2)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one loss after 45 seconds")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.losses = 45.0, 1
    bars = lose_and_start(options.rate, options.seconds, options.losses, options.seed)
    sys.exit(1 if report("warm_start", "A start from the store in live traffic", bars) else 0)


def lose_and_start(rate: float, seconds: float, losses: int, seed: int) -> list[JudgedBar]:
    """Run the flows through lost recovery folders and judge what is there at the end."""
    with tempfile.TemporaryDirectory() as folder, Embedded(Path(folder)) as parts:
        settings = _deploy(parts, seed)
        persist = _flow(parts, settings, PERSIST.name, "persist")
        flow = _flow(parts, settings, PERSONALIZE.name, "personalize-0")
        simulator = Simulator(settings, rate=rate, seed=seed, patience=PATIENCE)
        reports: list[SimulatorReport] = []
        visitors = threading.Thread(target=lambda: reports.append(simulator.run()))
        visitors.start()
        counted, versions, down = [], [0], []
        for loss in range(losses):
            time.sleep(seconds)
            versions.append(_version(settings))
            before = simulator.progress().decisions
            flow.kill()
            lost = time.monotonic()
            shutil.rmtree(recovery_folder(settings, PERSONALIZE.name))
            flow = _flow(
                parts, settings, PERSONALIZE.name, f"personalize-{loss + 1}", "--from-store"
            )
            _until(partial(_answers, simulator, before + rate), parts)
            down.append(time.monotonic() - lost)
            counted.append(_checkpoint(settings))
        time.sleep(seconds / 2)
        simulator.stop()
        visitors.join()
        (seen,) = reports
        _rest(settings, parts)
        versions.append(_version(settings))
        for each in (flow, persist):
            each.kill()
        found = verify(settings)
    rising = all(early < late for early, late in pairwise(versions))
    return [
        JudgedBar("requests unanswered", "0", f"{seen.unanswered} of {seen.requests:,}",
            seen.unanswered == 0),
        JudgedBar("requests answered twice", "0", str(seen.duplicate_answers),
            seen.duplicate_answers == 0),
        JudgedBar("settled decisions taken from the store", "more than 0",
            ", ".join(f"{each:,.0f}" for each in counted), all(counted)),
        JudgedBar("differences to a recomputation from the topics", "none",
            "none" if found.holds else str(found), found.holds),
        JudgedBar("policy versions in the store", "rise", ", ".join(map(str, versions)), rising),
        JudgedBar("seconds from the kill to decisions again", "-",
            ", ".join(f"{each:.0f}" for each in down), True),
    ]  # fmt: skip


def _deploy(parts: Embedded, seed: int) -> Settings:
    settings = load(
        {},
        secret="only for campaigns",
        bootstrap_servers=parts.bootstrap_servers,
        redis_url=parts.redis_url,
        store=f"sqlite:{parts.folder / 'banditflow.db'}",
        recovery=str(parts.folder / "recovery"),
        partitions=2,
        allowed_lateness=5.0,
        max_skew=5.0,
        epoch=1,
        metrics_port=0,
    )
    create_topics(settings.kafka)
    migrate(settings.store, system_clock())
    producer = confluent_kafka.Producer(producer_config(settings.kafka))
    for entry in demo_catalog(seed, PolicySettings(kind="logistic"), reward_window=WINDOW):
        producer.produce(settings.kafka.topic(Topic.CATALOG), encode(entry), entry.id.encode())
    producer.flush()
    return settings


def _flow(parts: Embedded, settings: Settings, flow: str, name: str, *more: str) -> Child:
    command = [sys.executable, "-m", "flows", "run", flow, *more]
    return parts.supervisor.start(name, command, env=child_environment(settings))


def _answers(simulator: Simulator, count: float) -> bool:
    return simulator.progress().decisions > count


def _until(condition: Callable[[], bool], parts: Embedded) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        parts.check()
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(0.2)


def _rest(settings: Settings, parts: Embedded) -> None:
    """Wait until epochs close without anything more that is learned; the comparison judges it."""
    learned, still = -1.0, 0
    while still < STILL:
        parts.check()
        time.sleep(1.0)
        before, learned = learned, _learned(settings)
        still = still + 1 if learned == before else 0


def _version(settings: Settings) -> int:
    store = open_store(settings.store)
    try:
        found = store.policy(SLOT)
    finally:
        store.close()
    return int(found["version"]) if found else 0


def _checkpoint(settings: Settings) -> float:
    store = open_store(settings.store)
    try:
        return sum(each.decisions for each in newest(store, SLOT))
    finally:
        store.close()


def _learned(settings: Settings) -> float:
    """Count the decisions that the learner's last snapshot has learned from."""
    learners = states_of(settings, PERSONALIZE).get(Steps.LEARNERS, {})
    return sum(unpack_learner(snapshot).decisions for snapshot in learners.values())


if __name__ == "__main__":
    main()
