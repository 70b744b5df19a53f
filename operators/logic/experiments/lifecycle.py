"""The life of an experiment as records: each step gives the next one, and says who took it and why.

    draft ─▶ scheduled ─▶ running ◀─▶ paused
                             │  └──────┬───▶ stopped (the baseline stays)
                             └─▶ decided (a winner, or the baseline stays)

A scheduled experiment starts, and a running one ends, by event time alone
(:mod:`operators.logic.experiments.phases`). A step changes its own fields and nothing else: to
start leaves the ramp as it is. Every step is a catalog record that holds from its time on, with the
next version; of two that were made of the same record at the same time, one is refused by its id.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from operators.logic.experiments.arms import variations_of
from operators.logic.experiments.checking import flaw_of_experiment
from operators.logic.experiments.errors import ExperimentError
from operators.logic.experiments.phases import Phase, phase_at
from operators.logic.experiments.succession import flaw_of_succession
from schemas.bounds import ID_LENGTH
from schemas.catalog import Experiment
from schemas.clock import micros
from schemas.experiments import Authority, Change, Proposal, RampStep, State, Step

_FROM: Mapping[Step, frozenset[Phase]] = {
    "edit": frozenset({"draft", "scheduled", "running", "paused", "ended"}),
    "schedule": frozenset({"draft"}),
    "start": frozenset({"draft", "scheduled"}),
    "pause": frozenset({"running"}),
    "resume": frozenset({"paused"}),
    "ramp": frozenset({"running"}),
    "pull": frozenset({"running"}),
    "stop": frozenset({"scheduled", "running", "paused", "ended"}),
    "fall_back": frozenset({"running"}),
    "decide": frozenset({"running", "ended"}),
    "propose": frozenset({"running", "ended"}),
    "reject": frozenset({"running", "paused", "ended"}),
}
"""The phases from which each step can be taken."""

_INTO: Mapping[Step, State] = {
    "schedule": "scheduled",
    "start": "running",
    "pause": "paused",
    "resume": "running",
    "stop": "stopped",
    "fall_back": "stopped",
    "decide": "decided",
}

_SUFFIX: Final = 24


class By(Struct, frozen=True):
    """Who takes a step, why, and on what evidence."""

    author: str
    reason: str
    evidence: Mapping[str, Any] = {}


def create(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """Give the first record of an experiment: a draft, whatever state it says."""
    first = replace(experiment, state="draft", version=0, winner=None, proposal=None)
    return _next(first, "create", by, at)


def edit(experiment: Experiment, edited: Experiment, by: By, at: datetime) -> Experiment:
    """Give an experiment the fields of another record of it; its state and version stay its own."""
    if edited.experiment_id != experiment.experiment_id:
        raise ExperimentError(f"experiment_id: is {edited.experiment_id!r}")
    kept = {name: getattr(experiment, name) for name in ("state", "winner", "proposal", "version")}
    _check_phase(experiment, "edit", at)
    return _follow(experiment, _next(replace(edited, **kept), "edit", by, at))


def schedule(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """Let a draft start at its ``starts_at``."""
    return _step(experiment, "schedule", by, at)


def start(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """Let a draft, or what is scheduled, run from now on."""
    return _step(experiment, "start", by, at)


def pause(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """Give everybody the baseline until the experiment is resumed."""
    return _step(experiment, "pause", by, at)


def resume(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """Let a paused experiment run on: everybody has the variation from before."""
    return _step(experiment, "resume", by, at)


def stop(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """End an experiment without a verdict: the baseline stays."""
    return _step(experiment, "stop", by, at)


def fall_back(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """End a running experiment that does harm: the baseline stays."""
    return _step(experiment, "fall_back", by, at)


def decide(experiment: Experiment, winner: str | None, by: By, at: datetime) -> Experiment:
    """End a running experiment, or one whose end has come; without a winner the baseline stays."""
    return _step(experiment, "decide", by, at, winner=winner)


def pull(experiment: Experiment, variation_id: str, by: By, at: datetime) -> Experiment:
    """Take a variation out of a running experiment: who has it gets the baseline at once."""
    variations = [
        replace(each, enabled=False) if each.id == variation_id else each
        for each in variations_of(experiment)
    ]
    if variations == experiment.variations:
        raise ExperimentError(f"variations: no {variation_id!r} is enabled")
    return _step(experiment, "pull", by, at, variations=variations)


def ramp(experiment: Experiment, share: float, by: By, at: datetime) -> Experiment:
    """Include so large a share from now on, whatever the ramp had planned for later."""
    # Without a plan everybody was included: that is what holds before the first step.
    planned = experiment.ramp or [RampStep(time=min(experiment.time, at), share=1.0)]
    passed = [each for each in planned if each.time < at]
    return _step(experiment, "ramp", by, at, ramp=[*passed, RampStep(time=at, share=share)])


def propose(experiment: Experiment, proposal: Proposal, at: datetime) -> Experiment:
    """Put an action before somebody who may approve of it; it takes the place of another."""
    by = By(proposal.author, proposal.reason, proposal.evidence)
    _check_phase(experiment, proposal.step, at)
    return _step(experiment, "propose", by, at, proposal=proposal)


def reject(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """Take a proposal away."""
    if experiment.proposal is None:
        raise ExperimentError("proposal: there is none")
    return _step(experiment, "reject", by, at)


def approve(experiment: Experiment, by: By, at: datetime) -> Experiment:
    """Do what was proposed, if it still can be; the record names who proposed it and why."""
    proposal = experiment.proposal
    if proposal is None:
        raise ExperimentError("proposal: there is none")
    proposed = {"author": proposal.author, "reason": proposal.reason, **proposal.evidence}
    evidence = {**by.evidence, "proposal": proposed}
    return _apply(experiment, proposal, By(by.author, by.reason, evidence), at)


def act(experiment: Experiment, action: Proposal, at: datetime) -> Experiment:
    """Take an automatic action where the experiment lets it act by itself, else propose it."""
    _check_phase(experiment, action.step, at)
    if _authority(experiment, action) == "propose":
        return propose(experiment, action, at)
    return _apply(experiment, action, By(action.author, action.reason, action.evidence), at)


def undo(experiment: Experiment, before: Experiment, by: By, at: datetime) -> Experiment:
    """Give back an earlier record of the experiment, as the next version.

    What has run cannot become a draft again, nor can a deletion be given back.
    """
    if before.experiment_id != experiment.experiment_id or before.deleted:
        raise ExperimentError("undo: that is no earlier record of the experiment")
    if before.version >= experiment.version:
        raise ExperimentError(f"undo: version {before.version} is not an earlier one")
    back = replace(before, version=experiment.version)
    return _follow(experiment, _next(back, "undo", by, at))


def _apply(experiment: Experiment, action: Proposal, by: By, at: datetime) -> Experiment:
    steps: Mapping[str, Callable[[], Experiment]] = {
        "decide": lambda: decide(experiment, action.variation_id, by, at),
        "stop": lambda: stop(experiment, by, at),
        "fall_back": lambda: fall_back(experiment, by, at),
        "pull": lambda: pull(experiment, action.variation_id or "", by, at),
        "ramp": lambda: ramp(experiment, action.share or 0.0, by, at),
    }
    return steps[action.step]()


def _authority(experiment: Experiment, action: Proposal) -> Authority:
    automatic = experiment.automatic
    match action.step:
        case "decide":
            return automatic.winner
        case "ramp":
            return automatic.ramp
        case "fall_back":
            return automatic.fall_back
        case _:
            return automatic.stop_loser


def _step(experiment: Experiment, step: Step, by: By, at: datetime, **fields: Any) -> Experiment:
    _check_phase(experiment, step, at)
    state = _INTO.get(step, experiment.state)
    changed = replace(experiment, **{"state": state, "proposal": None, **fields})
    return _follow(experiment, _next(changed, step, by, at))


def _check_phase(experiment: Experiment, step: Step, at: datetime) -> None:
    if experiment.deleted:
        raise ExperimentError("it is deleted")
    phase = phase_at(experiment, micros(at))
    if phase not in _FROM[step]:
        can = " or ".join(sorted(_FROM[step]))
        raise ExperimentError(f"state: to {step} it must be {can}, and it is {phase}")


def _next(changed: Experiment, step: Step, by: By, at: datetime) -> Experiment:
    version = changed.version + 1
    name = f"{changed.experiment_id[: ID_LENGTH - _SUFFIX]} v{version}"
    change = Change(step=step, author=by.author, reason=by.reason, evidence=dict(by.evidence))
    record = replace(changed, id=name, time=at, version=version, change=change, deleted=False)
    if flaw := flaw_of_experiment(record):
        raise ExperimentError(": ".join(flaw))
    return record


def _follow(before: Experiment, after: Experiment) -> Experiment:
    if after.time <= before.time:
        raise ExperimentError(f"time: the record before is of {before.time.isoformat()}")
    if flaw := flaw_of_succession(before, after):
        raise ExperimentError(": ".join(flaw))
    return after
