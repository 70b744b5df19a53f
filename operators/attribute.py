"""Attribute: join decisions with what became of them, for learners and as outcome records."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct
from msgspec import field as stored

from operators.envelope import Message, Rejected
from operators.factors import factor_settlements, factor_slots, withdrawals
from operators.io.metrics.attribution import AttributionMetrics
from operators.io.segments import PENDING, SUBJECTS, ShardFiles, segment_folder, shard_files
from operators.logic.attribution import Attribution, AttributionState, StepResult
from operators.logic.attribution.ledger import lower_attribution
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.logic.slot_lives import SlotLives, SlotLivesState
from operators.streams import split
from operators.updates import FactorUpdate, LearnerUpdate, PosteriorUpdate, SlotDeparture
from schemas.clock import ALWAYS, NEVER
from schemas.settings import EventTimeSettings, StateSettings
from schemas.state import StateFormat, pack, unpack

ATTRIBUTION_STATE = StateFormat("attribution", 6)


@dataclass(frozen=True)
class Attributed:
    """Updates of learners by slot, factor updates under one key, outcomes and rejects by shard."""

    posterior_updates: KeyedStream[LearnerUpdate]
    factor_updates: KeyedStream[FactorUpdate]
    outcomes: KeyedStream[list[Message]]
    rejected: KeyedStream[list[Rejected]]


@dataclass(frozen=True, slots=True)
class _Messages:
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class _Rejections:
    rejected: list[Rejected]


_Out = LearnerUpdate | FactorUpdate | _Messages | _Rejections


class AttributeState(Struct):
    """What a snapshot keeps; a shard that no batch has come from has no number yet."""

    shard: int | None
    attribution: AttributionState
    slots: SlotLivesState = stored(default_factory=SlotLivesState)


@dataclass(kw_only=True)
class AttributeLogic(StatefulBatchLogic[CatalogedBatch, _Out, bytes]):
    """One shard's attribution: what it takes in, gives to learners, and keeps in snapshots.

    ``given_horizon`` is the time up to which every slot has been given what settled.
    ``factor_slots`` are the slots whose outcomes the factors learn from, ``width`` is the number of
    factors. With a ``folder``, most of the pending decisions are in segment files there; with a
    ``subjects_folder`` most of the counts of subjects' decisions.
    """

    attribution: Attribution
    folder: Path | None = None
    subjects_folder: Path | None = None
    given_horizon: int = NEVER
    slots: SlotLives = field(default_factory=SlotLives)
    followed: Catalog | None = None
    """The catalog whose slots :attr:`slots` holds."""
    shard: int | None = None
    catalog: Catalog | None = None
    factor_slots: dict[str, float] = field(default_factory=dict)
    width: int | None = None
    metrics: AttributionMetrics = field(default_factory=AttributionMetrics)

    def on_batch(self, values: list[CatalogedBatch]) -> tuple[Iterable[_Out], bool]:
        """Take in the batches in order; give updates, outcomes and rejects."""
        out: list[_Out] = []
        if self.shard is None:
            self.shard = values[0].shard
            if self.folder is not None:
                self.attribution.use(ShardFiles(self.folder, self.shard))
            if self.subjects_folder is not None:
                self.attribution.use_for_subjects(ShardFiles(self.subjects_folder, self.shard))
        for batch in values:
            result = self.attribution.step(batch.events, batch.watermark, batch.catalog.slots)
            before = self.given_horizon
            out += self._posterior_updates(batch.shard, result, batch.catalog)
            out += self._factor_updates(batch, result, before)
            if result.messages:
                out.append(_Messages(result.messages))
                self.metrics.outcomes(result.counts)
            if result.conflicts:
                self.metrics.conflicts(result.conflicts)
            if result.not_learned:
                self.metrics.not_learned(result.not_learned)
            if result.rejected:
                out.append(_Rejections(result.rejected))
        self.metrics.held(self.shard, self.attribution.pending, self.attribution.waiting)
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Keep all that is pending or waiting."""
        state = AttributeState(self.shard, self.attribution.state(), self.slots.state())
        return pack(*ATTRIBUTION_STATE, state)

    def _posterior_updates(
        self, shard: int, result: StepResult, catalog: Catalog
    ) -> Iterable[LearnerUpdate]:
        """Give each slot its deltas; all slots get what settled when the horizon moves."""
        if catalog is not self.followed and result.horizon > NEVER:
            self.followed = catalog
            self.slots.follow(catalog.slots, result.horizon)
        for changed in result.posterior_deltas:
            slot = catalog.slots.get(changed.slot_id)
            if slot is not None:
                yield PosteriorUpdate(
                    shard=shard,
                    watermark=self.given_horizon,
                    slot=slot,
                    actions=catalog.actions.get(slot.slot_id, ()),
                    deltas=changed.deltas,
                    rewards=changed.rewards,
                    newest=changed.newest,
                    versions=changed.versions,
                    earlier=self.slots.earlier(slot.slot_id, changed.versions),
                    fingerprint=changed.fingerprint,
                )
        if result.horizon > self.given_horizon:
            self.given_horizon = result.horizon
            for slot in catalog.slots.values():
                yield PosteriorUpdate(
                    shard=shard,
                    watermark=result.horizon,
                    slot=slot,
                    actions=catalog.actions.get(slot.slot_id, ()),
                    settled=[
                        replace(block, subjects=())
                        for slot_id, block in result.settled
                        if slot_id == slot.slot_id
                    ],
                    earlier=self.slots.earlier(slot.slot_id),
                )
            if result.horizon < ALWAYS and self.slots.leaving(result.horizon):
                for slot_id in self.slots.forget(result.horizon, self.attribution.pending_slots):
                    yield SlotDeparture(shard=shard, departed=slot_id)

    def _factor_updates(
        self, batch: CatalogedBatch, result: StepResult, before: int
    ) -> Iterable[FactorUpdate]:
        """Give the factors what settled in slots that ask for them, and who withdrew.

        ``before`` is the horizon that had been given. When no slot asks any more, that is given,
        once.
        """
        changed = False
        if batch.catalog is not self.catalog:
            self.catalog, width = batch.catalog, self.width
            self.factor_slots, self.width = factor_slots(batch.catalog.slots.values())
            changed = self.width != width
        horizon = self.given_horizon
        if not self.width:
            return [FactorUpdate(batch.shard, horizon, 0)] if changed else []
        withdrawn = withdrawals(batch.events)
        if not (changed or withdrawn or horizon > before):
            return []
        settled = factor_settlements(result.settled, self.factor_slots)
        return [FactorUpdate(batch.shard, horizon, self.width, settled, withdrawn)]


def pack_attribute(state: AttributeState) -> bytes:
    """Write a shard's snapshot."""
    return pack(*ATTRIBUTION_STATE, state)


def unpack_attribute(snapshot: bytes) -> AttributeState:
    """Read what a shard's snapshot keeps."""
    return unpack(*ATTRIBUTION_STATE, AttributeState, snapshot)


def lower_attribute(snapshot: bytes, to: int, lateness: int) -> tuple[bytes, int]:
    """Lower a shard's watermark, from which decisions settle; give what it was, too."""
    state = unpack_attribute(snapshot)
    lowered = lower_attribution(state.attribution, to, lateness)
    return (
        pack_attribute(AttributeState(state.shard, lowered)),
        state.attribution.horizon + lateness,
    )


def resumed(
    time: EventTimeSettings,
    settings: StateSettings,
    folder: Path | None,
    snapshot: bytes | None,
    metrics: AttributionMetrics,
    subjects_folder: Path | None = None,
) -> AttributeLogic:
    """Go on from a snapshot, or begin where there is none."""
    lateness = round(time.allowed_lateness * 1e6)
    tolerance = round(time.clock_tolerance * 1e6)
    limits = (lateness, settings.max_pending, settings.max_orphans)
    logic = AttributeLogic(
        attribution=Attribution(*limits, tolerance=tolerance),
        folder=folder,
        subjects_folder=subjects_folder,
        metrics=metrics,
    )
    if snapshot is None:
        return logic
    state = unpack_attribute(snapshot)
    logic.attribution = Attribution(
        *limits,
        state.attribution,
        shard_files(folder, state.shard),
        tolerance,
        shard_files(subjects_folder, state.shard),
    )
    logic.given_horizon = state.attribution.horizon
    logic.slots = SlotLives(state.slots)
    logic.shard = state.shard
    return logic


@operator
def attribute(
    step_id: str,
    up: KeyedStream[CatalogedBatch],
    time: EventTimeSettings,
    settings: StateSettings,
    metrics: AttributionMetrics,
) -> Attributed:
    """Join each shard's decisions with their impressions, clicks and rewards.

    ``up`` is keyed by shard. An update's ``watermark`` is the time such that every decision of the
    shard whose window ends before it has been given as settled.
    """
    folder, subjects_folder = (
        segment_folder(settings.recovery, part) for part in (PENDING, SUBJECTS)
    )

    def shim_builder(resume_state: bytes | None) -> AttributeLogic:
        return resumed(time, settings, folder, resume_state, metrics, subjects_folder)

    attributed = op.stateful_batch("life", up, shim_builder)
    learner_updates, others = split("learner_updates", attributed, LearnerUpdate)
    factor_updates, others = split("factor_updates", others, FactorUpdate)
    messages, rejections = split("messages", others, _Messages)
    return Attributed(
        posterior_updates=op.map(
            "by_slot", learner_updates, lambda item: (item[1].slot_id, item[1])
        ),
        factor_updates=op.map("together", factor_updates, lambda item: ("", item[1])),
        outcomes=op.map_value("outcomes", messages, lambda value: value.messages),
        rejected=op.map_value("rejected", rejections, lambda value: value.rejected),
    )
