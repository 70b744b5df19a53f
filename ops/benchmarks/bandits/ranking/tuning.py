"""Which of Vowpal Wabbit's settings is best in an environment, by seeds that nothing else sees.

Every setting on the first seed, the best few on the others, all at the length that is judged first;
then the best few at more events on the first seed, because what learns fastest need not end best.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ops.benchmarks.bandits.ranking.environments import SETS
from ops.benchmarks.bandits.ranking.settings import SETTINGS
from ops.benchmarks.bandits.ranking.tasks import Row, Task

SEEDS = (900, 901, 902)
EVENTS = 10_000
LONG_EVENTS = 50_000
WHOLE = 20_000
"""More events than any classification set has."""

FINALISTS, LONG_FINALISTS = 5, 3

FOUND = Path(__file__).with_name("tuned.json")
"""What was found, kept with the code: figures of a seed are the same everywhere."""

Perform = Callable[[Sequence[Task]], Iterable[Row]]


@dataclass(frozen=True, slots=True)
class Tuned:
    """The best settings at ``EVENTS`` and at ``LONG_EVENTS``, and each one's mean at ``EVENTS``.

    Means are over one seed, or all seeds for the finalists. Classification sets are seen whole, and
    have no second length.
    """

    short: str
    long: str
    means: dict[str, float]


def tune(environment: str, perform: Perform) -> Tuned:
    """Find the best settings in an environment."""
    rows = list(perform(_tasks(environment, SETTINGS, SEEDS[:1])))
    rows += perform(_tasks(environment, _best(rows, FINALISTS), SEEDS[1:]))
    means = {who: float(np.mean(figures)) for who, figures in _figures(rows).items()}
    short = _best(rows, 1)[0]
    if environment in SETS:
        return Tuned(short, short, means)
    finalists = _best(rows, LONG_FINALISTS)
    longer = [Task(environment, who, SEEDS[0], LONG_EVENTS, SETTINGS[who]) for who in finalists]
    return Tuned(short, _best(list(perform(longer)), 1)[0], means)


def tuned() -> dict[str, Tuned]:
    """Read what was found, by environment."""
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    return {name: Tuned(**one) for name, one in found.items()}


def keep(environment: str, found: Tuned) -> None:
    """Write what was found for an environment beside the others'."""
    whole = {name: asdict(one) for name, one in (tuned() | {environment: found}).items()}
    FOUND.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")


def _tasks(environment: str, who: Iterable[str], seeds: Sequence[int]) -> list[Task]:
    events = WHOLE if environment in SETS else EVENTS
    return [
        Task(environment, learner, seed, events, SETTINGS[learner])
        for learner in who
        for seed in seeds
    ]


def _figures(rows: Sequence[Row]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        found[row.learner].append(row.fractions[row.last])
    return found


def _best(rows: Sequence[Row], count: int) -> list[str]:
    """Name the settings that have seen most seeds and have the highest means there, best first."""
    found = _figures(rows)
    most = max(map(len, found.values()))
    whole = [who for who, figures in found.items() if len(figures) == most]
    return sorted(whole, key=lambda who: (-float(np.mean(found[who])), who))[:count]
