"""How many events per second and core the learners decide and learn."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ops.benchmarks.bandits.environments import Stream, stream_of
from ops.benchmarks.bandits.runner import Learner
from ops.benchmarks.bandits.tasks import Task, learner_of

CHUNKS = {"banditflow": 5_000, "mabwiser": 2_000, "bayesianbandits": 1_000, "VW": 500, "River": 100}
"""Events of a learner in a round, so that the slow ones do not take all the time."""


@dataclass(frozen=True, slots=True)
class Speed:
    """The median over rounds of events per second of processor time, and its quartiles."""

    learner: str
    median: float
    quartiles: tuple[float, float]


def speeds(tasks: Sequence[Task], rounds: int) -> list[Speed]:
    """Let the learners take turns in this one process; the first round does not count."""
    streams = [stream_of(task.environment, task.seed, task.events) for task in tasks]
    learners = [learner_of(task, stream) for task, stream in zip(tasks, streams, strict=True)]
    found = np.empty((rounds + 1, len(tasks)))
    for turn in range(rounds + 1):
        for column, task in enumerate(tasks):
            chunk = CHUNKS[task.library]
            stream = streams[column]
            start = turn * chunk % (len(stream.x) - chunk)
            found[turn, column] = _speed(learners[column], stream, start, chunk)
    low, middle, high = np.quantile(found[1:], [0.25, 0.5, 0.75], axis=0)
    return [
        Speed(task.learner, float(middle[i]), (float(low[i]), float(high[i])))
        for i, task in enumerate(tasks)
    ]


def _speed(learner: Learner, stream: Stream, first: int, events: int) -> float:
    seconds = 0.0
    for start in range(first, first + events, learner.batch):
        stop = min(start + learner.batch, first + events)
        x = stream.x[start:stop]
        began = time.process_time()
        actions = learner.choose(x)
        seconds += time.process_time() - began
        true = stream.p[np.arange(start, stop), actions]
        rewards = (stream.u[start:stop] < true).astype(float)
        began = time.process_time()
        learner.learn(x, actions, rewards)
        seconds += time.process_time() - began
    return events / seconds
