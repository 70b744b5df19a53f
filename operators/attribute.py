"""Attribute: join decisions with what became of them, and turn that into lessons and outcomes."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct

from operators.envelope import Message, Rejected
from operators.factors import factor_slots, withdrawals
from operators.io.metrics.attribution import AttributionMetrics
from operators.io.segments import ShardSegments
from operators.logic.attribution import Attribution, AttributionState, StepResult
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.streams import of_type
from operators.updates import FactorUpdate, PosteriorUpdate
from schemas.clock import NEVER
from schemas.settings import Settings
from schemas.state import StateError, pack, unpack

_KIND, _VERSION = "attribution", 1

SEGMENTS = "pending"
"""The folder of pending decisions in the recovery folder."""


@dataclass(frozen=True)
class Attributed:
    """Lessons keyed by slot, settled outcomes by nothing; outcome records and rejects by shard."""

    lessons: KeyedStream[PosteriorUpdate]
    settled: KeyedStream[FactorUpdate]
    outcomes: KeyedStream[list[Message]]
    rejected: KeyedStream[list[Rejected]]


@dataclass(frozen=True, slots=True)
class _Messages:
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class _Rejections:
    rejected: list[Rejected]


_Out = PosteriorUpdate | FactorUpdate | _Messages | _Rejections


class AttributeState(Struct):
    """What a snapshot keeps; ``segmented`` when the decisions are in segment files."""

    shard: int
    segmented: bool
    attribution: AttributionState


@dataclass
class AttributeLogic(StatefulBatchLogic[CatalogedBatch, _Out, bytes]):
    """One shard's attribution; ``told`` is the horizon that every slot has heard of.

    With a ``folder``, full chunks of decisions are written to segment files there, once each.
    """

    attribution: Attribution
    folder: Path | None = None
    told: int = NEVER
    shard: int = 0
    segments: ShardSegments | None = None
    catalog: Catalog | None = None
    asking: frozenset[str] = frozenset()
    width: int | None = None
    metrics: AttributionMetrics = field(default_factory=AttributionMetrics)

    def on_batch(self, values: list[CatalogedBatch]) -> tuple[Iterable[_Out], bool]:
        """Step through the batches in order."""
        out: list[_Out] = []
        if self.folder is not None and self.segments is None:
            self.segments = ShardSegments(self.folder, values[0].shard)
            self.attribution.use(self.segments)
        self.shard = values[0].shard
        for batch in values:
            step = self.attribution.step(batch.events, batch.watermark, batch.catalog.slots)
            told = self.told
            out += self._lessons(batch.shard, step, batch.catalog)
            out += self._settled(batch, step, told)
            if step.messages:
                out.append(_Messages(step.messages))
                self.metrics.outcomes(step.counts)
            if step.rejected:
                out.append(_Rejections(step.rejected))
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Keep all that is pending or waiting."""
        state = self.attribution.state()
        return pack(_KIND, _VERSION, AttributeState(self.shard, self.segments is not None, state))

    def _lessons(self, shard: int, step: StepResult, catalog: Catalog) -> Iterable[PosteriorUpdate]:
        """Teach each slot of the catalog; all of them hear when the horizon moves."""
        for taught in step.posterior_deltas:
            slot = catalog.slots.get(taught.slot_id)
            if slot is not None:
                yield PosteriorUpdate(
                    shard=shard,
                    watermark=self.told,
                    slot=slot,
                    actions=catalog.actions.get(slot.slot_id, ()),
                    deltas=taught.deltas,
                    rewards=taught.rewards,
                    newest=taught.newest,
                    version=taught.version,
                    mapping=taught.fingerprint,
                )
        if step.horizon > self.told:
            self.told = step.horizon
            self.metrics.held(shard, self.attribution.pending, self.attribution.waiting)
            for slot in catalog.slots.values():
                actions = catalog.actions.get(slot.slot_id, ())
                final = [
                    replace(block, subjects=())
                    for name, block in step.settled
                    if name == slot.slot_id
                ]
                yield PosteriorUpdate(
                    shard=shard,
                    watermark=step.horizon,
                    slot=slot,
                    actions=actions,
                    settled=final,
                )

    def _settled(
        self, batch: CatalogedBatch, step: StepResult, told: int
    ) -> Iterable[FactorUpdate]:
        """Teach the factors where a slot asks for them; say so once when none does any more."""
        changed = False
        if batch.catalog is not self.catalog:
            self.catalog, before = batch.catalog, self.width
            self.asking, self.width = factor_slots(batch.catalog.slots.values())
            changed = self.width != before
        width = self.width or 0
        if not width:
            return [FactorUpdate(batch.shard, self.told, 0)] if changed else []
        withdrawn = withdrawals(batch.events)
        if not (changed or withdrawn or self.told > told):
            return []
        # The factors need no features, which may differ in number between the slots.
        found = [
            replace(block, x=block.x[:, :0]) for name, block in step.settled if name in self.asking
        ]
        return [FactorUpdate(batch.shard, self.told, width, found, withdrawn)]


def pack_attribute(state: AttributeState) -> bytes:
    """Write a shard's snapshot."""
    return pack(_KIND, _VERSION, state)


def unpack_attribute(snapshot: bytes) -> AttributeState:
    """Read what a shard's snapshot keeps."""
    return unpack(_KIND, _VERSION, AttributeState, snapshot)


def resumed(
    settings: Settings, folder: Path | None, snapshot: bytes | None, metrics: AttributionMetrics
) -> AttributeLogic:
    """Go on from a snapshot, or begin where there is none."""
    lateness = round(settings.allowed_lateness * 1e6)
    limits = (lateness, settings.max_pending, settings.max_orphans)
    if snapshot is None:
        return AttributeLogic(Attribution(*limits), folder, metrics=metrics)
    state = unpack_attribute(snapshot)
    segments = ShardSegments(folder, state.shard) if folder is not None else None
    if state.segmented and segments is None:
        raise StateError(
            "the recovery store keeps pending decisions in its folder: set BANDITFLOW_RECOVERY"
        )
    attribution = Attribution(*limits, state.attribution, segments)
    return AttributeLogic(
        attribution,
        folder,
        state.attribution.horizon,
        state.shard,
        segments,
        metrics=metrics,
    )


@operator
def attribute(
    step_id: str,
    up: KeyedStream[CatalogedBatch],
    settings: Settings,
    metrics: AttributionMetrics,
) -> Attributed:
    """Join each shard's decisions with their impressions, clicks and rewards.

    ``up`` is keyed by shard. A lesson's ``watermark`` is the time before whose end of window all
    of the shard's decisions have been given as settled.
    """
    folder = Path(settings.recovery) / SEGMENTS if settings.recovery else None

    def shim_builder(resume_state: bytes | None) -> AttributeLogic:
        return resumed(settings, folder, resume_state, metrics)

    attributed = op.stateful_batch("life", up, shim_builder)
    lessons = of_type("lessons", attributed, PosteriorUpdate)
    settled = of_type("settled", attributed, FactorUpdate)
    messages = of_type("messages", attributed, _Messages)
    rejections = of_type("rejections", attributed, _Rejections)
    return Attributed(
        lessons=op.map("by_slot", lessons, lambda item: (item[1].slot.slot_id, item[1])),
        settled=op.map("together", settled, lambda item: ("", item[1])),
        outcomes=op.map_value("outcomes", messages, lambda value: value.messages),
        rejected=op.map_value("rejected", rejections, lambda value: value.rejected),
    )
