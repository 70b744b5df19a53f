"""Attribute: join decisions with what became of them, and turn that into lessons and outcomes."""

from collections.abc import Iterable
from dataclasses import dataclass

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.batches import NEVER, Batch, Lesson, Message, Rejected
from operators.logic.attribution import Attribution, AttributionState, Step, outcome_id
from operators.logic.catalog import Catalog
from operators.streams import only
from schemas.codec import encode
from schemas.results import Outcome
from schemas.settings import Settings
from schemas.state import pack, unpack

_KIND, _VERSION = "attribution", 1


@dataclass(frozen=True)
class Attributed:
    """Lessons keyed by slot; outcome records and rejected events keyed by shard."""

    lessons: KeyedStream[Lesson]
    outcomes: KeyedStream[list[Message]]
    rejected: KeyedStream[list[Rejected]]


@dataclass(frozen=True, slots=True)
class _Messages:
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class _Rejections:
    rejected: list[Rejected]


_Out = Lesson | _Messages | _Rejections


@dataclass
class AttributeLogic(StatefulBatchLogic[Batch, _Out, bytes]):
    """One shard's attribution; ``told`` is the horizon that every slot has heard of."""

    attribution: Attribution
    told: int = NEVER

    def on_batch(self, values: list[Batch]) -> tuple[Iterable[_Out], bool]:
        """Step through the batches in order."""
        out: list[_Out] = []
        for batch in values:
            step = self.attribution.step(batch.events, batch.watermark, batch.catalog.slots)
            out += self._lessons(batch.shard, step, batch.catalog)
            if step.outcomes:
                out.append(_Messages([_message(key, outcome) for key, outcome in step.outcomes]))
            if step.rejected:
                out.append(_Rejections(step.rejected))
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Keep all that is pending or waiting."""
        return pack(_KIND, _VERSION, self.attribution.state())

    def _lessons(self, shard: int, step: Step, catalog: Catalog) -> Iterable[Lesson]:
        """Teach each slot of the catalog; all of them hear when the horizon moves."""
        settled: dict[str, list[Outcome]] = {}
        for outcome in step.settled:
            settled.setdefault(outcome.slot_id, []).append(outcome)
        for taught in step.taught:
            slot = catalog.slots.get(taught.slot_id)
            if slot is not None:
                yield Lesson(
                    shard,
                    self.told,
                    slot,
                    catalog.actions.get(slot.slot_id, ()),
                    taught.deltas,
                    rewards=taught.rewards,
                    newest=taught.newest,
                )
        if step.horizon > self.told:
            self.told = step.horizon
            for slot in catalog.slots.values():
                actions = catalog.actions.get(slot.slot_id, ())
                final = settled.get(slot.slot_id, [])
                yield Lesson(shard, step.horizon, slot, actions, settled=final)


def _message(key: int, outcome: Outcome) -> Message:
    id_ = outcome_id(key, outcome.status, outcome.revision)
    return Message(id_, outcome.key.encode(), encode(outcome))


@operator
def attribute(step_id: str, up: KeyedStream[Batch], settings: Settings) -> Attributed:
    """Join each shard's decisions with their impressions, clicks and rewards.

    ``up`` is keyed by shard. A lesson's ``watermark`` is the time before whose end of window all
    of the shard's decisions have been given as settled.
    """
    lateness = round(settings.allowed_lateness * 1e6)

    def shim_builder(resume_state: bytes | None) -> AttributeLogic:
        state = None
        if resume_state is not None:
            state = unpack(_KIND, _VERSION, AttributionState, resume_state)
        attribution = Attribution(lateness, settings.max_pending, settings.max_orphans, state)
        return AttributeLogic(attribution, state.horizon if state else NEVER)

    attributed = op.stateful_batch("life", up, shim_builder)
    lessons = only("lessons", attributed, Lesson)
    messages = only("messages", attributed, _Messages)
    rejections = only("rejections", attributed, _Rejections)
    return Attributed(
        lessons=op.map("by_slot", lessons, lambda item: (item[1].slot.slot_id, item[1])),
        outcomes=op.map_value("outcomes", messages, lambda value: value.messages),
        rejected=op.map_value("rejected", rejections, lambda value: value.rejected),
    )
