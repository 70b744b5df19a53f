"""What the benchmark runs: one task is one learner on one seeded stream."""

from dataclasses import dataclass, field
from typing import Any

from ops.benchmarks.bandits import rivals
from ops.benchmarks.bandits.environments import Stream, delays, stream_of
from ops.benchmarks.bandits.ours import Ours, Sampled, run_delayed
from ops.benchmarks.bandits.runner import Learner, Row, row_of, run

KINDS = ("logistic", "gaussian", "diagonal", "greedy", "beta", "uniform")
"""Our policies; other learners are another library's."""


@dataclass(frozen=True, slots=True)
class Task:
    """One learner on one environment and seed; ``limit`` cuts the stream for slow learners."""

    environment: str
    learner: str
    seed: int
    events: int
    options: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None

    @property
    def library(self) -> str:
        """The library that the learner is of: ``banditflow``, ``VW``, ``River``, ..."""
        first = self.learner.replace(",", "").split(" ")[0]
        return "banditflow" if first in KINDS else first


def learner_of(task: Task, stream: Stream) -> Learner:
    """Make the task's learner."""
    seed, options = task.seed, dict(task.options)
    if task.library == "VW":
        return rivals.VowpalWabbit(stream, options.pop("arguments"), seed, **options)
    if task.library == "mabwiser":
        alpha = options.get("alpha", 1.0)
        return rivals.MabWiser(stream, task.learner.split(" ")[1], alpha, seed)
    if task.library == "bayesianbandits":
        return rivals.BayesianBandits(stream, seed)
    if task.library == "River":
        return rivals.river(stream, seed)
    kind, _, form = task.learner.partition(", ")
    batch = options.pop("batch", 250)
    return (Sampled if form == "sampled" else Ours)(kind, stream, options, batch, seed)


def perform(task: Task) -> Row:
    """Run a task; a run whose figures cannot be right raises."""
    stream = stream_of(task.environment, task.seed, task.events)
    delay, _, mean = task.environment.partition("-")
    if delay not in ("delayed", "heavy"):
        result = run(task.learner, learner_of(task, stream), stream, task.seed, task.limit)
        return row_of(task.environment, result)
    kind, mode = task.learner.split(", ")
    learner = Ours(kind, stream, task.options, 1000, task.seed)
    late = delays(task.seed, len(stream.x), float(mean), delay == "heavy")
    result = run_delayed(learner, stream, late, mode, task.seed, 3 * float(mean))
    return row_of(task.environment, result)
