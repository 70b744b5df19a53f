"""What is run: one task is one learner in one seeded environment."""

from collections.abc import Callable
from dataclasses import dataclass

from ops.benchmarks.bandits.ranking.environments import environment_of
from ops.benchmarks.bandits.ranking.learners import Learner, Uniform
from ops.benchmarks.bandits.ranking.ours import SharedRanking
from ops.benchmarks.bandits.ranking.requests import Environment
from ops.benchmarks.bandits.ranking.runner import run
from ops.benchmarks.bandits.ranking.vowpal import Setting, VowpalWabbit

OURS: dict[str, Callable[[Environment, int], Learner]] = {"shared": SharedRanking}
"""Our learners by name, each made of an environment and a seed; they are run where others are."""


@dataclass(frozen=True, slots=True)
class Task:
    """``setting`` is VW's; the other learners go by their name."""

    environment: str
    learner: str
    seed: int
    events: int
    setting: Setting | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What a task came to, see ``Outcome``; ``events`` are those that were asked for.

    ``audit`` is below 1 where a learner gives some candidates no chance at all, as bags do.
    """

    environment: str
    learner: str
    seed: int
    events: int
    fractions: dict[int, float]
    seconds: float
    audit: float

    @property
    def last(self) -> int:
        """The number of events that were seen."""
        return max(self.fractions)

    @property
    def speed(self) -> float:
        """Events per second of processor time."""
        return self.last / self.seconds


def perform(task: Task) -> Row:
    """Run a task."""
    environment = environment_of(task.environment, task.seed, task.events)
    outcome = run(learner_of(task, environment), environment)
    return Row(
        environment=task.environment,
        learner=task.learner,
        seed=task.seed,
        events=task.events,
        fractions=outcome.fractions,
        seconds=outcome.seconds,
        audit=outcome.audit,
    )


def learner_of(task: Task, environment: Environment) -> Learner:
    """Make the task's learner."""
    if task.setting is not None:
        return VowpalWabbit(environment, task.setting, task.seed)
    if task.learner == "uniform":
        return Uniform(environment, task.seed)
    return OURS[task.learner](environment, task.seed)
