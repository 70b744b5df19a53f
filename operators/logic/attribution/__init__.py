"""Attribution: the life-cycle of decisions, and what each step of it teaches the learners."""

from operators.logic.attribution.delays import Delays
from operators.logic.attribution.lifecycle import Attribution
from operators.logic.attribution.reports import SETTLED_REVISION, VOID_REVISION, outcome_id
from operators.logic.attribution.snapshots import AttributionState
from operators.logic.attribution.step import Step
from operators.logic.attribution.teaching import Taught

__all__ = [
    "SETTLED_REVISION",
    "VOID_REVISION",
    "Attribution",
    "AttributionState",
    "Delays",
    "Step",
    "Taught",
    "outcome_id",
]
