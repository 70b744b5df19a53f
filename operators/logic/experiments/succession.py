"""What a record of an experiment may make of the one before: what has run keeps what divides it.

From its first exposure on, an experiment's split, its unit and its metrics stay: other weights or
another variation would put subjects of one into another, and a cap that is chosen later has seen
the data. Such a record is refused; what it asks for is a new experiment, with an id of its own.
What only moves who is included may change: the ramp, the range of the layer, targeting and times;
so may the gates, and what acts by itself. A variation may be pulled at any time (``enabled``).
"""

from operators.logic.experiments.arms import variations_of, weighted_split
from operators.logic.experiments.checking import Fault
from operators.logic.experiments.phases import Phase, phase_at
from schemas.catalog import Experiment
from schemas.clock import micros
from schemas.experiments import State

_BEFORE: frozenset[Phase] = frozenset({"draft", "scheduled"})
"""The phases without an exposure."""

_STAY = ("slot_id", "mode", "unit", "baseline", "metrics", "floor")
"""The fields that stay from the first exposure on, besides the split."""

_INTO: dict[State, frozenset[Phase]] = {
    "draft": _BEFORE,
    "scheduled": _BEFORE,
    "running": frozenset({*_BEFORE, "running", "paused", "ended"}),
    "paused": frozenset({"running", "paused", "ended"}),
    "stopped": frozenset({*_BEFORE, "running", "paused", "ended", "stopped"}),
    "decided": frozenset({"running", "ended", "decided"}),
}
"""From which phases a record may come into a state."""

_UNDONE: frozenset[State] = frozenset({"running", "paused", "stopped", "decided"})
"""The states that an undo may give back."""


def flaw_of_succession(before: Experiment, after: Experiment) -> Fault | None:
    """Say why a record cannot follow another of the same experiment; None where it can.

    >>> from msgspec.structs import replace
    >>> from schemas.catalog import Variation
    >>> from schemas.clock import moment
    >>> spring = Experiment(
    ...     id="1",
    ...     time=moment(0),
    ...     experiment_id="spring",
    ...     slot_id="home",
    ...     state="running",
    ...     variations=[Variation(id="a"), Variation(id="b")],
    ...     baseline="a",
    ... )
    >>> flaw_of_succession(spring, replace(spring, time=moment(1), state="draft"))[0]
    'state'
    >>> twice = [Variation(id="a"), Variation(id="b", weight=2)]
    >>> flaw_of_succession(spring, replace(spring, time=moment(1), variations=twice))[0]
    'variations'
    """
    if before.deleted or after.deleted:
        return None
    phase = phase_at(before, micros(after.time))
    if flaw := _of_state(before, after, phase):
        return flaw
    if phase in _BEFORE:
        return None
    for name in _STAY:
        if getattr(before, name) != getattr(after, name):
            return name, _STAYS
    if _divided(before) != _divided(after):
        return "variations", _STAYS
    return None


_STAYS = "stays as it is once the experiment has run: begin another, with an id of its own"


def _of_state(before: Experiment, after: Experiment, phase: Phase) -> Fault | None:
    if phase in _INTO[after.state]:
        return None
    if after.state == "scheduled" == before.state and after.starts_at == before.starts_at:
        return None  # an edit of what its own times have started
    undoes = after.change is not None and after.change.step == "undo"
    if undoes and after.state in _UNDONE and phase not in _BEFORE:
        return None
    if after.state == "decided":
        return "state", f"only a running experiment is decided, and this one is {phase}"
    if after.state in _BEFORE:
        return "state", f"it is {phase}, and cannot become {after.state} again"
    return "state", f"it is {phase}: what is over runs no more unless that is undone"


def _divided(experiment: Experiment) -> object:
    """Give what divides an experiment's units; whether a variation is enabled is not part of it."""
    variations = variations_of(experiment)
    served = [(each.id, each.actions, each.policy) for each in variations]
    return served, weighted_split(experiment) if variations else None
