"""What the soak measures every hour: memory, snapshots with their segment files, series."""

import contextlib
import ctypes
import gc
import os
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry

from flows.registry import PERSONALIZE
from flows.runtime.recovery import recovery_folder
from ops.benchmarks.campaigns.soak_suite.world import World
from schemas.settings import Settings

HOUR = 60
"""Turns of an hour, after which all is measured."""

STEP_OF = {
    "pending": "attribute.life",
    "seen": "decide.queue.admit",
    "profiles": "profile.keep",
    "factors": "factors.learn",
}
"""The step that has its segment files in each folder."""

_SIZES = """
    SELECT step_id, SUM(size), COUNT(*) FROM (
        SELECT step_id, MAX(snap_epoch), LENGTH(ser_change) AS size
        FROM snaps GROUP BY step_id, state_key
    ) WHERE size IS NOT NULL GROUP BY step_id
"""


@dataclass
class Sample:
    """What was there at an hour of event time; sizes are in bytes."""

    hour: float
    resident: int
    series: int
    published: int
    sizes: dict[str, int]
    keys: dict[str, int]


@dataclass
class Gauge:
    """Measures the process and its recovery store."""

    settings: Settings
    registry: CollectorRegistry
    samples: list[Sample] = field(default_factory=list)

    def measure(self, world: World) -> None:
        """Take a sample; an epoch has closed since the last one."""
        sizes: Counter[str] = Counter()
        keys: Counter[str] = Counter()
        folder = recovery_folder(self.settings, PERSONALIZE.name)
        for part in folder.glob("part-*.sqlite3"):
            with contextlib.closing(sqlite3.connect(f"file:{part}?mode=ro", uri=True)) as database:
                for step, size, count in database.execute(_SIZES):
                    name = step.removeprefix("personalize.")
                    sizes[name] += size
                    keys[name] += count
        for file in Path(self.settings.state.recovery).glob("*/*.segment"):
            with contextlib.suppress(FileNotFoundError):
                sizes[STEP_OF[file.parent.name]] += file.stat().st_size
        series = sum(len(family.samples) for family in self.registry.collect())
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free is not what is used
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.samples.append(
            Sample(
                hour=world.turn / HOUR,
                resident=pages * os.sysconf("SC_PAGE_SIZE"),
                series=series,
                published=world.published,
                sizes=dict(sizes),
                keys=dict(keys),
            )
        )
