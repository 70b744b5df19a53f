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
from typing import NamedTuple

from operators.logic.experiments import hashes, reasons
from operators.logic.experiments.arms import arms_of, can_divide
from operators.logic.experiments.assigned_column import (
    AssignedColumn,
    FirstAssignment,
    Requests,
    plan_of,
)
from operators.logic.experiments.hashes import UnitHash, text_bytes
from operators.logic.experiments.splits import Split
from schemas.catalog import Experiment
from schemas.events import Assignment


class Assigned(NamedTuple):
    """The assignments of each request in the order of the experiments' ids, and what to keep."""

    assignments: list[list[Assignment]]
    first_assignments: list[FirstAssignment]


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
            plan_of(each, usable[:place], secret)
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
        first_assignments: list[FirstAssignment] = []
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
            column = AssignedColumn(plan, arms, requests, units[by_subject])
            columns.append(column.assigned(left_out[by_subject], first_assignments))
        if not columns:
            return Assigned([[] for _ in requests.subjects], first_assignments)
        rows = zip(*columns, strict=True)
        return Assigned(
            [[got for got in row if got is not None] for row in rows], first_assignments
        )

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
