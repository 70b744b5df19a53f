"""Assignment: which variation of each of a slot's experiments a request gets, and how likely.

A unit (a subject, or a decision) is included by one keyed hash and gets its variation by another,
both of the experiment's id and the unit's; a layer and the global hold-out have hashes of their
own. All are integers of 64 bits (:mod:`operators.logic.experiments.hashes`). So a ramp only adds or
removes units, an edit moves nobody, and two experiments divide independently of each other. The
probability of a variation is the width of its interval of hashes, over that of all variations that
may be got: that of the variation given that the unit counts.

A bandit split by subject moves with what is learned: a subject's variation is drawn by the split
of its first exposure, and has to be kept by the caller, with its probability.
"""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec import Struct

from operators.logic.experiments import hashes, reasons
from operators.logic.experiments.arms import Arms, arms_of, can_divide
from operators.logic.experiments.hashes import WHOLE, UnitHash
from operators.logic.experiments.layers import bucket_of, meet
from operators.logic.experiments.phases import OCCUPYING, Phase, phase_at
from operators.logic.experiments.ramps import Ramp, ramp_of
from operators.logic.experiments.splits import Split
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


class KeptAssignment(Struct, frozen=True):
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
    kept : mappings from an experiment's id, or None
        What was kept of each subject; None where that is not loaded yet, as for all by default.
    forced : mappings from an experiment's id to a variation's
        What somebody asks to look at; by default nothing.
    """

    subjects: Sequence[str]
    decision_ids: Sequence[str]
    contexts: Sequence[Mapping[str, Any]]
    keeps_subject: Sequence[bool]
    times: Sequence[int]
    robots: Sequence[bool] = ()
    kept: Sequence[Mapping[str, KeptAssignment] | None] = ()
    forced: Sequence[Mapping[str, str]] = ()


class ToKeep(NamedTuple):
    """What a subject got from a bandit split for the first time, by the row of its request."""

    row: int
    experiment_id: str
    kept: KeptAssignment


class Assigned(NamedTuple):
    """The assignments of each request in the order of the experiments' ids, and what to keep."""

    assignments: list[list[Assignment]]
    to_keep: list[ToKeep]


class Assigner:
    """Assigns the requests of one slot to the experiments that are about it.

    Parameters
    ----------
    experiments
        Those of the whole catalog, without faults: a layer goes over all slots. Drafts that are not
        complete yet are passed over.
    slot_id
    secret
        The key of assignments. It must stay the same for as long as any experiment runs.
    holdout_share
        The share of subjects that get the baseline of every experiment.

    Examples
    --------
    >>> from schemas.catalog import Variation
    >>> from schemas.clock import EPOCH
    >>> spring = Experiment(
    ...     id="1",
    ...     time=EPOCH,
    ...     experiment_id="spring",
    ...     slot_id="home",
    ...     state="running",
    ...     variations=[Variation(id="old"), Variation(id="new")],
    ...     baseline="old",
    ... )
    >>> assigner = Assigner([spring], "home", b"an example of a key")
    >>> ann = Requests(
    ...     subjects=["ann"],
    ...     decision_ids=["d-1"],
    ...     contexts=[{}],
    ...     keeps_subject=[True],
    ...     times=[0],
    ... )
    >>> ((got,),) = assigner.assign(ann).assignments
    >>> got.variation_id, got.probability, got.not_counted
    ('old', 0.5, '')
    """

    def __init__(
        self,
        experiments: Iterable[Experiment],
        slot_id: str,
        secret: bytes,
        holdout_share: float = 0.0,
    ) -> None:
        usable = sorted(filter(can_divide, experiments), key=attrgetter("experiment_id"))
        self._plans = [
            _plan(each, usable[:place], secret)
            for place, each in enumerate(usable)
            if each.slot_id == slot_id
        ]
        self._holdout = hashes.unit_hash(secret, hashes.GLOBAL_HOLDOUT, "")
        self._holdout_below = hashes.threshold(holdout_share)

    @property
    def experiments(self) -> list[Experiment]:
        """The slot's experiments, in the order of their ids."""
        return [plan.experiment for plan in self._plans]

    def assign(self, requests: Requests, splits: Mapping[str, Split] | None = None) -> Assigned:
        """Assign each request; ``splits`` are the present ones of bandits, by experiment.

        A bandit without one divides by its variations' weights. Raises
        :class:`~operators.logic.experiments.errors.ExperimentError` where a split is not of the
        experiment's variations.
        """
        count = len(requests.subjects)
        assigned = Assigned([[] for _ in range(count)], [])
        if not self._plans:
            return assigned
        held_out = self._held_out(requests.subjects)
        for plan in self._plans:
            split = (splits or {}).get(plan.experiment.experiment_id)
            arms = plan.arms if split is None else arms_of(plan.experiment, split)
            for row, into in enumerate(assigned.assignments):
                got = _assign(plan, arms, requests, row, held_out[row], assigned.to_keep)
                if got is not None:
                    into.append(got)
        return assigned

    def _held_out(self, subjects: Sequence[str]) -> list[bool]:
        below = self._holdout_below
        if not below:
            return [False] * len(subjects)
        return [self._holdout(subject) < below for subject in subjects]


class _Plan(NamedTuple):
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
    keeps: bool
    runs_from: int
    runs_until: int


def _plan(experiment: Experiment, before: Sequence[Experiment], secret: bytes) -> _Plan:
    name, targeting = experiment.experiment_id, experiment.targeting
    layer, starts_at, ends_at = experiment.layer, experiment.starts_at, experiment.ends_at
    runs_from = ALWAYS
    if experiment.enabled and experiment.state == "running":
        runs_from = micros(experiment.time)
    elif experiment.enabled and experiment.state == "scheduled" and starts_at is not None:
        runs_from = max(micros(experiment.time), micros(starts_at))
    by_subject = experiment.unit == "subject"
    return _Plan(
        experiment=experiment,
        arms=arms_of(experiment),
        inclusion=hashes.unit_hash(secret, hashes.INCLUSION, name),
        variation=hashes.unit_hash(secret, hashes.VARIATION, name),
        layer=None if layer is None else hashes.unit_hash(secret, hashes.LAYER, layer.layer_id),
        rivals=[each for each in before if meet(each.layer, layer)],
        ramp=ramp_of(experiment.ramp),
        targeting=targeting if targeting.all_of or targeting.any_of else None,
        by_subject=by_subject,
        keeps=by_subject and experiment.mode == "bandit",
        runs_from=runs_from,
        runs_until=micros(ends_at) if ends_at else ALWAYS,
    )


def _assign(
    plan: _Plan, arms: Arms, requests: Requests, row: int, held_out: bool, to_keep: list[ToKeep]
) -> Assignment | None:
    """Assign one request to one experiment; None where the experiment is not about it."""
    experiment, time = plan.experiment, requests.times[row]
    if requests.forced and (asked := requests.forced[row].get(experiment.experiment_id)):
        return arms.forced(asked)
    if plan.targeting is not None and not is_targeted(plan.targeting, requests.contexts[row]):
        return None
    if not plan.runs_from <= time < plan.runs_until:
        reason = _AT_REST.get(phase_at(experiment, time))
        return None if reason is None else arms.left_out(reason)
    if requests.robots and requests.robots[row]:
        return arms.left_out(reasons.ROBOT)
    if held_out:
        return arms.left_out(reasons.GLOBAL_HOLDOUT)
    if plan.by_subject and not requests.keeps_subject[row]:
        return arms.left_out(reasons.CONSENT)
    unit = requests.subjects[row] if plan.by_subject else requests.decision_ids[row]
    if plan.layer is not None and not _has_bucket(plan, bucket_of(plan.layer(unit)), time):
        return arms.left_out(reasons.LAYER)
    included = plan.ramp.at(time)
    if included < WHOLE and plan.inclusion(unit) >= included:
        return arms.left_out(reasons.RAMP)
    if not plan.keeps:
        return arms.drawn(plan.variation(unit))
    known = requests.kept[row] if requests.kept else None
    if known is None:
        return arms.left_out(reasons.NOT_LOADED)
    kept = known.get(experiment.experiment_id)
    if kept is not None:
        return arms.again(kept.variation_id, kept.probability)
    got = arms.drawn(plan.variation(unit))
    if not got.not_counted:
        first = KeptAssignment(got.variation_id, got.probability)
        to_keep.append(ToKeep(row, experiment.experiment_id, first))
    return got


def _has_bucket(plan: _Plan, bucket: int, time: int) -> bool:
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
