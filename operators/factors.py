"""Factors: one model of subjects and actions, learned from final outcomes in canonical order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_columns
from heapq import heappop, heappush
from pathlib import Path

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct
from msgspec.structs import replace

from operators.envelope import Event
from operators.io.metrics.subjects import FactorMetrics
from operators.io.segments import FACTORS, ShardFiles, segment_folder, shard_files
from operators.logic.attribution.rules import rules_of
from operators.logic.models import CanonicalOrder, FactorModel, FactorSettings
from operators.logic.settlements import Settlements, in_order
from operators.updates import FactorUpdate, FactorVectors
from schemas.catalog import Slot
from schemas.clock import NEVER
from schemas.consent import allows_profile
from schemas.events import Consent, Erasure
from schemas.settings import StateSettings
from schemas.state import StateFormat, pack, unpack

FACTORS_STATE = StateFormat("factors", 3)


class FactorsState(Struct):
    """What a snapshot keeps."""

    order: bytes
    model: bytes | None
    withdrawn: list[tuple[int, str]]


@dataclass(kw_only=True)
class FactorsLogic(StatefulBatchLogic[FactorUpdate, FactorVectors, bytes]):
    """The factor model of all shards; it learns outcomes and withdrawals in order of time.

    What the model is after the same settlements and withdrawals does not depend on how they were
    batched, or on which shard was ahead. With ``segments``, most of the model is kept there.
    """

    order: CanonicalOrder
    ttl: float
    max_subjects: int
    model: FactorModel | None = None
    withdrawn: list[tuple[int, str]] = field(default_factory=list)
    metrics: FactorMetrics = field(default_factory=FactorMetrics)
    segments: ShardFiles | None = None

    def on_batch(self, values: list[FactorUpdate]) -> tuple[Iterable[FactorVectors], bool]:
        """Learn what every shard has reported by now, and send on the factors that changed."""
        newest = NEVER
        for value in values:
            self._configure(value.width)
            for withdrawal in value.withdrawn:
                heappush(self.withdrawn, withdrawal)
            # Complete before its watermark: up to and including the last moment.
            ready = in_order(self.order.add(value.shard, value.watermark - 1, value.settled))
            if ready is not None:
                self._learn(ready)
                newest = max(newest, int(ready.end[-1]))
            self._forget(self.order.released)
        if self.model is not None:
            self.model.tidy()
        return self._changed_vectors(newest), StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Keep the model and what waits for its place in the order."""
        model = None if self.model is None else self.model.dump()
        if model is None and self.segments is not None:
            self.segments.sync(())
        return pack(*FACTORS_STATE, FactorsState(self.order.dump(), model, self.withdrawn))

    def _configure(self, width: int) -> None:
        """Begin anew with another number of factors; without any, keep nothing of anybody."""
        if width == (self.model.settings.factors if self.model else 0):
            return
        settings = FactorSettings(
            factors=width,
            ttl=self.ttl,
            max_subjects=self.max_subjects,
            max_actions=self.max_subjects,
        )
        self.model = FactorModel(settings) if width else None
        if self.model is not None and self.segments is not None:
            self.model.use(self.segments)

    def _learn(self, ready: Settlements) -> None:
        """Learn, each withdrawal before what settles at its time or later."""
        done = 0
        while done < len(ready):
            stop = len(ready)
            if self.withdrawn:
                self._forget(int(ready.end[done]))
            if self.withdrawn:
                stop = ready.until(self.withdrawn[0][0] - 1)
            if self.model is not None:
                self.model.learn(ready.cut(done, stop))
            done = stop

    def _forget(self, until: int) -> None:
        while self.withdrawn and self.withdrawn[0][0] <= until:
            _, subject = heappop(self.withdrawn)
            if self.model is not None:
                self.model.forget(subject)

    def _changed_vectors(self, newest: int) -> list[FactorVectors]:
        if self.model is None:
            self.metrics.factors(0, 0)
            return []
        changed = self.model.changed()
        self.metrics.factors(len(self.model), self.model.evicted)
        self.model.evicted = 0
        vectors = {name: (n, vector.tolist()) for name, (vector, n) in changed.items()}
        return [FactorVectors(newest, vectors)] if vectors else []


def factor_slots(slots: Iterable[Slot]) -> tuple[dict[str, float], int]:
    """List the slots whose outcomes teach the factors, and the most factors that one asks for.

    Each with what no answer is worth in it, on the scale of [0, 1]: a reward above is a click.
    """
    asking = [slot for slot in slots if slot.features.profile_embedding]
    no_answer = {slot.slot_id: rules_of(slot).default_reward for slot in asking}
    return no_answer, max((slot.features.profile_embedding for slot in asking), default=0)


def factor_settlements(
    settled: Iterable[tuple[str, Settlements]], no_answer: Mapping[str, float]
) -> list[Settlements]:
    """Take what settled in the slots that teach the factors: clicks as 1, all else as 0.

    The factors need no features, which may differ in number between the slots.
    """
    return [
        replace_columns(
            block,
            reward=(block.reward > no_answer[slot_id]).astype(np.float64),
            x=block.x[:, :0],
        )
        for slot_id, block in settled
        if slot_id in no_answer
    ]


def withdrawals(events: Iterable[Event]) -> list[tuple[int, str]]:
    """Give who withdrew consent to a profile or asked for erasure, and when."""
    return [
        (event.at, event.subject)
        for event in events
        if type(event.body) is Erasure
        or (type(event.body) is Consent and not allows_profile(event.body.purposes))
    ]


def lower_factors(snapshot: bytes, to: int, lateness: int) -> tuple[bytes, int]:
    """Lower the factors' times to those of a watermark; give the latest that they had seen, too.

    They know what settled up to ``lateness`` behind the watermark.
    """
    state = unpack(*FACTORS_STATE, FactorsState, snapshot)
    order = CanonicalOrder.load(state.order)
    latest = order.lower(to - lateness) + lateness
    return pack(*FACTORS_STATE, replace(state, order=order.dump())), latest


def resumed(
    shards: int,
    settings: StateSettings,
    folder: Path | None,
    snapshot: bytes | None,
    metrics: FactorMetrics,
) -> FactorsLogic:
    """Go on from a snapshot, or begin where there is none."""
    segments = shard_files(folder, 0)  # one model for all shards
    logic = FactorsLogic(
        order=CanonicalOrder(shards),
        ttl=settings.profile_ttl,
        max_subjects=settings.factor_subjects,
        metrics=metrics,
        segments=segments,
    )
    if snapshot is None:
        return logic
    state = unpack(*FACTORS_STATE, FactorsState, snapshot)
    logic.order = CanonicalOrder.load(state.order)
    logic.model = None if state.model is None else FactorModel.load(state.model, segments)
    logic.withdrawn = state.withdrawn
    return logic


@operator
def factors(
    step_id: str,
    up: KeyedStream[FactorUpdate],
    shards: int,
    settings: StateSettings,
    metrics: FactorMetrics,
) -> KeyedStream[FactorVectors]:
    """Learn the factors of subjects and actions from the final outcomes of every shard.

    Only outcomes of slots that ask for a ``profile_embedding`` teach them, and only those of
    subjects with consent. At most ``factor_subjects`` subjects are remembered, each for
    ``profile_ttl``, and as many actions.
    """
    folder = segment_folder(settings.recovery, FACTORS)

    def shim_builder(resume_state: bytes | None) -> FactorsLogic:
        return resumed(shards, settings, folder, resume_state, metrics)

    return op.stateful_batch("learn", up, shim_builder)
