"""What the requests to a slot get of one experiment: each rule settles some of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from operators.logic.experiments import hashes, reasons
from operators.logic.experiments.arms import Arms, arms_of
from operators.logic.experiments.hashes import UnitHash
from operators.logic.experiments.layers import bucket_of, meet
from operators.logic.experiments.phases import OCCUPYING, Phase, phase_at
from operators.logic.experiments.ramps import Ramp, ramp_of
from operators.logic.experiments.targeting import is_targeted
from schemas.catalog import Experiment
from schemas.clock import ALWAYS, micros
from schemas.events import Assignment
from schemas.experiments import Targeting

_AT_REST: Mapping[Phase, str] = {
    "paused": reasons.PAUSED,
    "ended": reasons.ENDED,
    "stopped": reasons.STOPPED,
    "decided": reasons.DECIDED,
}


class StickyAssignment(Struct, frozen=True):
    """The variation that a subject got from a bandit split at first, and how likely that was."""

    variation_id: str
    probability: float


class Requests(Struct, kw_only=True, frozen=True, eq=False):
    """What n requests to one slot are assigned by, each a column of n.

    Attributes
    ----------
    subjects, decision_ids : texts
    contexts : JSON objects
    keeps_subject : truth values
        Whether the visitor's consent allows to keep something of them.
    times : microseconds since 1970
    robots : truth values
        Which requests no person made; by default none.
    sticky : mappings from an experiment's id, or None
        What each subject got from bandit splits at first; None where that is not loaded yet, as
        for all by default.
    forced : mappings from an experiment's id to a variation's
        What somebody asks to look at; by default nothing.
    """

    subjects: Sequence[str]
    decision_ids: Sequence[str]
    contexts: Sequence[Mapping[str, Any]]
    keeps_subject: Sequence[bool]
    times: Sequence[int]
    robots: Sequence[bool] = ()
    sticky: Sequence[Mapping[str, StickyAssignment] | None] = ()
    forced: Sequence[Mapping[str, str]] = ()


class FirstAssignment(NamedTuple):
    """What a subject got from a bandit split for the first time, by the row of its request."""

    row: int
    experiment_id: str
    assignment: StickyAssignment


class ExperimentPlan(NamedTuple):
    """An experiment as it is asked for each request; it runs in [runs_from, runs_until)."""

    experiment: Experiment
    arms: Arms
    inclusion: UnitHash
    variation: UnitHash
    layer: UnitHash | None
    rivals: list[Experiment]
    ramp: Ramp
    targeting: Targeting | None
    by_subject: bool
    is_sticky: bool
    runs_from: int
    runs_until: int


def plan_of(experiment: Experiment, before: Sequence[Experiment], secret: bytes) -> ExperimentPlan:
    """Make what is asked of an experiment; of those ``before`` it some have its layer, too."""
    name, targeting = experiment.experiment_id, experiment.targeting
    layer, starts_at, ends_at = experiment.layer, experiment.starts_at, experiment.ends_at
    runs_from = ALWAYS
    if experiment.enabled and experiment.state == "running":
        runs_from = micros(experiment.time)
    elif experiment.enabled and experiment.state == "scheduled" and starts_at is not None:
        runs_from = max(micros(experiment.time), micros(starts_at))
    by_subject = experiment.unit == "subject"
    return ExperimentPlan(
        experiment=experiment,
        arms=arms_of(experiment),
        inclusion=UnitHash(secret, hashes.INCLUSION, name),
        variation=UnitHash(secret, hashes.VARIATION, name),
        layer=None if layer is None else UnitHash(secret, hashes.LAYER, layer.layer_id),
        rivals=[each for each in before if meet(each.layer, layer)],
        ramp=ramp_of(experiment.ramp),
        targeting=targeting if targeting.all_of or targeting.any_of else None,
        by_subject=by_subject,
        is_sticky=by_subject and experiment.mode == "bandit",
        runs_from=runs_from,
        runs_until=micros(ends_at) if ends_at else ALWAYS,
    )


class AssignedColumn:
    """What n requests get of one experiment: None where it is not about them.

    Each step settles some of the rows that are left, and gives the others.
    """

    def __init__(
        self, plan: ExperimentPlan, arms: Arms, requests: Requests, units: Sequence[bytes]
    ) -> None:
        self.plan = plan
        self.arms = arms
        self.requests = requests
        self.units = units
        self.got: list[Assignment | None] = [None] * len(units)

    def assigned(
        self, left_out: Mapping[int, str], first_assignments: list[FirstAssignment]
    ) -> list[Assignment | None]:
        """Settle every row; ``left_out`` are those that do not count whatever the experiment."""
        rows: Sequence[int] = range(len(self.units))
        if self.requests.forced:
            rows = self._without_forced(rows)
        if self.plan.targeting is not None:
            contexts, targeting = self.requests.contexts, self.plan.targeting
            rows = [row for row in rows if is_targeted(targeting, contexts[row])]
        rows = self._while_it_runs(rows)
        if left_out:
            rows = self._without(rows, left_out)
        if self.plan.layer is not None:
            rows = self._in_layer(rows, self.plan.layer)
        rows = self._included(rows)
        if self.plan.is_sticky:
            self._draw_sticky(rows, first_assignments)
        else:
            self._draw(rows)
        return self.got

    def _without_forced(self, rows: Sequence[int]) -> Sequence[int]:
        name, forced = self.plan.experiment.experiment_id, self.requests.forced
        for row in rows:
            if asked := forced[row].get(name):
                self.got[row] = self.arms.forced(asked)
        return [row for row in rows if self.got[row] is None]

    def _while_it_runs(self, rows: Sequence[int]) -> Sequence[int]:
        times, first, end = self.requests.times, self.plan.runs_from, self.plan.runs_until
        running = [row for row in rows if first <= times[row] < end]
        if len(running) < len(rows):
            for row in set(rows).difference(running):
                reason = _AT_REST.get(phase_at(self.plan.experiment, times[row]))
                self.got[row] = None if reason is None else self.arms.left_out(reason)
        return running

    def _without(self, rows: Sequence[int], left_out: Mapping[int, str]) -> Sequence[int]:
        for row in left_out.keys() & set(rows):
            self.got[row] = self.arms.left_out(left_out[row])
        return [row for row in rows if row not in left_out]

    def _in_layer(self, rows: Sequence[int], layer: UnitHash) -> Sequence[int]:
        outside = self.arms.left_out(reasons.LAYER)
        inside = []
        for row, number in zip(rows, self._hashed(layer, rows), strict=True):
            if _has_bucket(self.plan, bucket_of(number), self.requests.times[row]):
                inside.append(row)
            else:
                self.got[row] = outside
        return inside

    def _included(self, rows: Sequence[int]) -> Sequence[int]:
        ramp, times = self.plan.ramp, self.requests.times
        if ramp.is_whole:
            return rows
        beyond = self.arms.left_out(reasons.RAMP)
        inside = []
        for row, number in zip(rows, self._hashed(self.plan.inclusion, rows), strict=True):
            if number < ramp.at(times[row]):
                inside.append(row)
            else:
                self.got[row] = beyond
        return inside

    def _draw(self, rows: Sequence[int]) -> None:
        drawn, got = self.arms.drawn, self.got
        for row, number in zip(rows, self._hashed(self.plan.variation, rows), strict=True):
            got[row] = drawn(number)

    def _draw_sticky(self, rows: Sequence[int], first_assignments: list[FirstAssignment]) -> None:
        name, sticky = self.plan.experiment.experiment_id, self.requests.sticky
        numbers = self._hashed(self.plan.variation, rows)
        for row, number in zip(rows, numbers, strict=True):
            known = sticky[row] if sticky else None
            if known is None:
                self.got[row] = self.arms.left_out(reasons.NOT_LOADED)
            elif (before := known.get(name)) is not None:
                self.got[row] = self.arms.again(before.variation_id, before.probability)
            else:
                drawn = self.got[row] = self.arms.drawn(number)
                if not drawn.not_counted:
                    first = StickyAssignment(drawn.variation_id, drawn.probability)
                    first_assignments.append(FirstAssignment(row, name, first))

    def _hashed(self, hash_: UnitHash, rows: Sequence[int]) -> list[int]:
        units = self.units
        return hash_.of_many(units if len(rows) == len(units) else [units[row] for row in rows])


def _has_bucket(plan: ExperimentPlan, bucket: int, time: int) -> bool:
    """Tell whether a bucket is the experiment's: of two that ask for it the lower id has it."""
    layer = plan.experiment.layer
    assert layer is not None
    if not layer.start <= bucket < layer.stop:
        return False
    return not any(
        rival.layer is not None
        and rival.layer.start <= bucket < rival.layer.stop
        and phase_at(rival, time) in OCCUPYING
        for rival in plan.rivals
    )
