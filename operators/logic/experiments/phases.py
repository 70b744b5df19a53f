"""What an experiment is at a moment of event time: its state, and what its own times make of it."""

from typing import Literal

from schemas.catalog import Experiment
from schemas.clock import micros

Phase = Literal["draft", "scheduled", "running", "paused", "ended", "stopped", "decided"]
"""The states of a record, and ``ended``: it ran, and its end has passed."""

OCCUPYING: frozenset[Phase] = frozenset({"scheduled", "running", "paused"})
"""The phases in which an experiment's range of a layer is its own; after them it is free."""


def phase_at(experiment: Experiment, at: int) -> Phase:
    """Say what an experiment is at ``at``, in microseconds since 1970.

    Its record holds from its time on: before it is as if there were only a draft, also where it is
    the first record about the experiment. A scheduled one runs from ``starts_at`` on, a running one
    until before ``ends_at``. One that is not ``enabled`` is paused where it would run.

    >>> from schemas.clock import moment
    >>> spring = Experiment(
    ...     id="1",
    ...     time=moment(0),
    ...     experiment_id="spring",
    ...     slot_id="home",
    ...     state="scheduled",
    ...     starts_at=moment(10),
    ...     ends_at=moment(20),
    ... )
    >>> [phase_at(spring, at) for at in (9, 10, 19, 20)]
    ['scheduled', 'running', 'running', 'ended']
    """
    if at < micros(experiment.time):
        return "draft"
    state: Phase = experiment.state
    if state == "scheduled":
        starts_at = experiment.starts_at
        if starts_at is None or at < micros(starts_at):
            return "scheduled"
        state = "running"
    if state == "running":
        if experiment.ends_at is not None and micros(experiment.ends_at) <= at:
            return "ended"
        return "running" if experiment.enabled else "paused"
    return state
