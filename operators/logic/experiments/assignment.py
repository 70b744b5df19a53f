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
from operators.logic.experiments.hashes import UnitHash, text_bytes
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
        self._holdout = UnitHash(secret, hashes.GLOBAL_HOLDOUT, "")
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
        to_keep: list[ToKeep] = []
        columns = []
        units = {
            False: list(map(text_bytes, requests.decision_ids)),
            True: list(map(text_bytes, requests.subjects)),
        }
        left_out = {
            by_subject: self._left_out(requests, units[True], by_subject) for by_subject in units
        }
        for plan in self._plans:
            split = (splits or {}).get(plan.experiment.experiment_id)
            arms = plan.arms if split is None else arms_of(plan.experiment, split)
            by_subject = plan.by_subject
            column = _Column(plan, arms, requests, units[by_subject])
            columns.append(column.assigned(left_out[by_subject], to_keep))
        if not columns:
            return Assigned([[] for _ in requests.subjects], to_keep)
        rows = zip(*columns, strict=True)
        return Assigned([[got for got in row if got is not None] for row in rows], to_keep)

    def _left_out(
        self, requests: Requests, subjects: Sequence[bytes], by_subject: bool
    ) -> Mapping[int, str]:
        """Say which rows no experiment with this unit counts, and why, whatever it is about."""
        reasons_of: dict[int, str] = {}
        if by_subject and not all(requests.keeps_subject):
            keeps = enumerate(requests.keeps_subject)
            reasons_of |= {row: reasons.CONSENT for row, may_keep in keeps if not may_keep}
        if self._holdout_below:
            numbers = enumerate(self._holdout.of_many(subjects))
            below = self._holdout_below
            reasons_of |= {row: reasons.GLOBAL_HOLDOUT for row, n in numbers if n < below}
        if any(requests.robots):
            robots = enumerate(requests.robots)
            reasons_of |= {row: reasons.ROBOT for row, robot in robots if robot}
        return reasons_of


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
        inclusion=UnitHash(secret, hashes.INCLUSION, name),
        variation=UnitHash(secret, hashes.VARIATION, name),
        layer=None if layer is None else UnitHash(secret, hashes.LAYER, layer.layer_id),
        rivals=[each for each in before if meet(each.layer, layer)],
        ramp=ramp_of(experiment.ramp),
        targeting=targeting if targeting.all_of or targeting.any_of else None,
        by_subject=by_subject,
        keeps=by_subject and experiment.mode == "bandit",
        runs_from=runs_from,
        runs_until=micros(ends_at) if ends_at else ALWAYS,
    )


class _Column:
    """What n requests get of one experiment: None where it is not about them.

    Each step settles some of the rows that are left, and gives the others.
    """

    def __init__(self, plan: _Plan, arms: Arms, requests: Requests, units: Sequence[bytes]) -> None:
        self.plan = plan
        self.arms = arms
        self.requests = requests
        self.units = units
        self.got: list[Assignment | None] = [None] * len(units)

    def assigned(
        self, left_out: Mapping[int, str], to_keep: list[ToKeep]
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
        if self.plan.keeps:
            self._draw_and_keep(rows, to_keep)
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

    def _draw_and_keep(self, rows: Sequence[int], to_keep: list[ToKeep]) -> None:
        name, kept = self.plan.experiment.experiment_id, self.requests.kept
        numbers = self._hashed(self.plan.variation, rows)
        for row, number in zip(rows, numbers, strict=True):
            known = kept[row] if kept else None
            if known is None:
                self.got[row] = self.arms.left_out(reasons.NOT_LOADED)
            elif (before := known.get(name)) is not None:
                self.got[row] = self.arms.again(before.variation_id, before.probability)
            else:
                drawn = self.got[row] = self.arms.drawn(number)
                if not drawn.not_counted:
                    first = KeptAssignment(drawn.variation_id, drawn.probability)
                    to_keep.append(ToKeep(row, name, first))

    def _hashed(self, hash_: UnitHash, rows: Sequence[int]) -> list[int]:
        units = self.units
        return hash_.of_many(units if len(rows) == len(units) else [units[row] for row in rows])


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
