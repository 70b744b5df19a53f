"""A thousand records that nothing can be done with: each is a dead letter, and none does harm."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from flows.devkit.demo_catalog import SLOT, demo_catalog
from flows.devkit.simulation import KINDS, malformed
from flows.devkit.simulation.injector import PLACES
from flows.replay.logged import catalog_of, records_of
from flows.replay.open_bandit import SHIPPED, OpenBanditLog, read_open_bandit
from flows.replay.replay import ETA, SECRET, run_flow
from operators.io.memory import Record
from schemas.catalog import PolicySettings, Slot
from schemas.settings import Settings, load
from schemas.topics import Topic

COUNT = 1000
Logs = Mapping[Topic, Mapping[int, Sequence[Record]]]


@pytest.fixture(scope="module")
def log() -> OpenBanditLog:
    whole = read_open_bandit(SHIPPED, "random")
    rows = [row for number, row in enumerate(whole.rows) if number < 500 or row.click]
    return OpenBanditLog(whole.policy, rows, whole.items)


def spoiled(records: Logs, log: OpenBanditLog, settings: Settings) -> tuple[Logs, Counter[str]]:
    """Scatter malformed records of every kind among the good ones."""
    rng = np.random.default_rng(8)
    found = {topic: {0: list(records.get(topic, {}).get(0, ()))} for topic in Topic}
    kinds: Counter[str] = Counter()
    for number in range(COUNT):
        topic, kind = PLACES[number % len(PLACES)]
        row = log.rows[int(rng.integers(len(log.rows)))]
        good = {
            "id": f"malformed-{number}",
            "time": row.time.isoformat(),
            "subject": "visitor-1",
            "slot_id": SLOT,
            "decision_id": f"malformed-{number}",
        }
        at = round(row.time.timestamp() * 1e6)
        found[topic][0].append(Record(malformed(kind, rng, good), at))
        kinds[kind] += 1
    group = (Topic.DECISION_REQUESTS, Topic.DECISIONS, Topic.IMPRESSIONS, Topic.CLICKS)
    return {
        topic: {0: sorted(found[topic][0], key=lambda record: record.time)} for topic in group
    }, kinds


def test_each_malformed_record_is_a_dead_letter_and_the_good_ones_do_not_notice(
    log: OpenBanditLog,
) -> None:
    settings = load({}, secret=SECRET, partitions=1)
    catalog = catalog_of(log, PolicySettings())
    slot = catalog[0]
    assert isinstance(slot, Slot)
    records = records_of(log, slot.features, settings, ETA)
    alone = run_flow(records, catalog, settings)
    mixed, kinds = spoiled(records, log, settings)
    catalog = [*catalog, *demo_catalog(1, actions=2)]
    together = run_flow(mixed, catalog, settings)
    assert alone.dead_letters == {}
    assert len(kinds) == len(KINDS) >= 20
    assert sum(together.dead_letters.values()) == COUNT
    assert len(together.dead_letters) >= 10
    assert len(alone.outcomes) == len(log.rows)
    assert together.outcomes == alone.outcomes
