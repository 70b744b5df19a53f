"""What the benchmark runs: one task is one learner on one seeded stream."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.benchmarks.bandits import rivals
from ops.benchmarks.bandits.environments import (
    Stream,
    classification,
    contextual,
    delays,
    plain,
)
from ops.benchmarks.bandits.runner import Learner, Ours, Run, Sampled, run, run_delayed

CHECKPOINTS = (10_000, 50_000, 100_000, 200_000)
POINTS = 100
"""Points of a curve."""

MEAN_DELAY = 5_000.0

VW_SETTINGS = {
    "VW squarecb 100": ("--squarecb --gamma_scale 100 -l 0.1", False),
    "VW squarecb 100, items": ("--squarecb --gamma_scale 100 -l 0.1", True),
    "VW squarecb 1000": ("--squarecb --gamma_scale 1000 -l 0.1", False),
    "VW bag 5": ("--bag 5 -l 0.1", False),
    "VW epsilon .05": ("--epsilon 0.05 -l 0.1", False),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One learner on one environment and seed; ``limit`` cuts the stream for slow learners."""

    environment: str
    learner: str
    seed: int
    events: int
    options: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What one task measured."""

    environment: str
    learner: str
    seed: int
    events: int
    fractions: dict[int, float]
    curve: list[tuple[int, float]]
    speed: float


def stream_of(task: Task) -> Stream:
    """Make the task's stream; every learner of an environment and seed sees the same one."""
    return _stream(task.environment, task.seed, task.events)


@lru_cache(maxsize=2)
def _stream(name: str, seed: int, events: int) -> Stream:
    if name.startswith("contextual"):
        _, change, actions = name.split("-")
        return contextual(seed, events, int(actions), change)
    if name.startswith("plain"):
        _, change, actions = name.split("-")
        return plain(seed, events, int(actions), change)
    if name == "delayed":
        return contextual(seed, events)
    return classification(seed, *_labelled(name))


def _labelled(name: str) -> tuple[NDArray[np.float64], NDArray[np.intp], str, int]:
    if name == "segments":
        from river.datasets import ImageSegments

        rows = list(ImageSegments())
        classes = sorted({label for _, label in rows})
        x = np.array([list(features.values()) for features, _ in rows], dtype=float)
        return x, np.array([classes.index(label) for _, label in rows]), name, 2
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    return data, target, name, 3


def learner_of(task: Task, stream: Stream) -> Learner:
    """Make the task's learner."""
    name, seed = task.learner, task.seed
    if name in VW_SETTINGS:
        options, items = VW_SETTINGS[name]
        return rivals.VowpalWabbit(stream, options, seed, items)
    kind, _, _ = name.partition(" ")
    others: dict[str, Callable[[], Learner]] = {
        "mabwiser": lambda: rivals.MabWiser(stream, "LinTS", 0.3, seed),
        "bayesianbandits": lambda: rivals.BayesianBandits(stream, seed),
        "River": lambda: rivals.river(stream, seed),
    }
    if kind in others:
        return others[kind]()
    options = dict(task.options)
    batch = options.pop("batch", 250)
    return (Sampled if name.endswith("sampled") else Ours)(kind, stream, options, batch, seed)


def perform(task: Task) -> Row:
    """Run a task; a run whose figures cannot be right raises."""
    stream = stream_of(task)
    if task.environment == "delayed":
        kind, mode = task.learner.split(" ")
        learner = Ours(kind, stream, task.options, 1000, task.seed)
        late = delays(task.seed, len(stream.x), MEAN_DELAY)
        result = run_delayed(learner, stream, late, mode, task.seed, 3 * MEAN_DELAY)
    else:
        learner = learner_of(task, stream)
        result = run(task.learner, learner, stream, task.seed, task.limit)
    return _row(task, result)


def _row(task: Task, result: Run) -> Row:
    n = len(result.worth)
    if not np.isfinite(result.worth).all() or (result.worth > result.oracle + 1e-12).any():
        raise ValueError(f"{task.learner} on {task.environment}: invalid run, refused")
    points = np.unique(np.linspace(0, n, POINTS + 1).astype(int))[1:]
    curve = [(int(k), result.fraction(int(k))) for k in points]
    marks = {k: result.fraction(k) for k in (*CHECKPOINTS, n) if k <= n}
    return Row(task.environment, task.learner, task.seed, n, marks, curve, result.speed)
