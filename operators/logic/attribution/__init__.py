"""Attribution: joins decisions with what became of them, for learners and as outcome records."""

from operators.logic.attribution.ledger import AttributionState, PosteriorDeltas, StepResult
from operators.logic.attribution.lifecycle import Attribution
from operators.logic.attribution.outcomes import (
    SETTLED_REVISION,
    VOID_REVISION,
    outcome_fence,
    outcome_id,
)

__all__ = [
    "SETTLED_REVISION",
    "VOID_REVISION",
    "Attribution",
    "AttributionState",
    "PosteriorDeltas",
    "StepResult",
    "outcome_fence",
    "outcome_id",
]
