"""What travels between steps beside events: updates of learners and factors."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from operators.logic.policies.base import Deltas
from operators.logic.settlements import Settlements
from schemas.catalog import Action, Slot
from schemas.clock import NEVER


@dataclass(slots=True, kw_only=True)
class LearnerUpdate:
    """What one shard tells one slot's learner."""

    shard: int

    @property
    def slot_id(self) -> str:
        """Name the slot."""
        raise NotImplementedError


@dataclass(slots=True, kw_only=True)
class SlotDeparture(LearnerUpdate):
    """A slot left the catalog so long ago that its learner may be forgotten."""

    departed: str

    @property
    def slot_id(self) -> str:
        """Name the slot."""
        return self.departed


@dataclass(slots=True, kw_only=True)
class PosteriorUpdate(LearnerUpdate):
    """What one shard changes in one slot's learner, with the slot and its actions as they stand.

    ``deltas`` change the policy's statistics; ``settled`` are final rewards, for models that learn
    in a canonical order, complete before ``watermark``; ``rewards`` counts the rewards among the
    deltas and ``newest`` is the event time of the newest one (``NEVER`` without any); ``versions``
    are the policy versions that made the decisions, those of earlier lives of the slot were up to
    ``earlier``; ``fingerprint`` is that of the deltas' features (empty: not logged).
    """

    watermark: int
    slot: Slot
    actions: tuple[Action, ...]
    deltas: Deltas | None = None
    settled: Sequence[Settlements] = ()
    rewards: int = 0
    newest: int = NEVER
    versions: Collection[int] = ()
    earlier: int = 0
    fingerprint: str = ""

    @property
    def slot_id(self) -> str:
        """Name the slot."""
        return self.slot.slot_id


@dataclass(slots=True)
class FactorUpdate:
    """What the factor model learns from one shard, over all slots that use factors.

    ``settled`` name their subjects and are complete before ``watermark``; ``withdrawn`` subjects
    are to be forgotten at the time beside them. ``width`` is the number of factors asked for, 0
    when nobody asks.
    """

    shard: int
    watermark: int
    width: int
    settled: Sequence[Settlements] = ()
    withdrawn: Sequence[tuple[int, str]] = ()


@dataclass(slots=True)
class FactorVectors:
    """The subjects whose factors changed, each with the number of changes and the new factors.

    It holds nothing of what a subject withdrew before ``time``, the settlement of the last outcome
    learned.
    """

    time: int
    changes: Mapping[str, tuple[int, list[float]]]
