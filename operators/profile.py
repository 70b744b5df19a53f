"""Profile: what is remembered of consenting subjects, and what requests may know of them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream, StatefulBatchLogic
from msgspec import Struct
from msgspec.structs import replace

from operators.envelope import Event
from operators.io.metrics.subjects import ProfileMetrics
from operators.io.segments import PROFILES, ShardFiles, segment_folder, shard_files
from operators.logic.catalog import Catalog, CatalogedBatch
from operators.logic.subjects.profiles import Profiles, lower_changes
from operators.streams import split
from operators.updates import FactorVectors
from schemas.clock import ALWAYS, NEVER
from schemas.events import (
    Click,
    Consent,
    DecisionBack,
    DecisionRequest,
    Erasure,
    Impression,
    Reward,
)
from schemas.results import Profile
from schemas.settings import StateSettings
from schemas.state import StateFormat, pack, unpack

PROFILES_STATE = StateFormat("profile", 3)

_PARTS = 16
"""How many times in an interval changes are published."""


@dataclass(frozen=True)
class Profiled:
    """Batches whose requests carry the subject's profile, and the profiles that changed."""

    batches: KeyedStream[CatalogedBatch]
    changes: KeyedStream[list[Profile]]


class ProfileState(Struct):
    """What a snapshot keeps; a shard that no batch has come from has no number yet."""

    shard: int | None
    profiles: bytes
    published: int
    watermark: int


@dataclass
class ProfileLogic(
    StatefulBatchLogic[CatalogedBatch | FactorVectors, CatalogedBatch | list[Profile], bytes]
):
    """One shard's profiles; a change is published within ``interval`` of event time.

    Some are published every now and then, rather than all at once, which would hold decisions up.
    With a ``folder``, most of the state is in segment files there.
    """

    profiles: Profiles
    interval: int
    folder: Path | None = None
    shard: int | None = None
    published: int = NEVER
    watermark: int = NEVER
    catalog: Catalog | None = None
    profile_slots: frozenset[str] = frozenset()
    """The slots that decide by profile features."""
    handlers: dict[type, Callable[[Event], object]] = field(init=False)
    """What handles an event, by the type of its record."""
    metrics: ProfileMetrics = field(default_factory=ProfileMetrics)

    def __post_init__(self) -> None:
        """Say what handles each type of record."""
        self.handlers = {
            DecisionRequest: self._request,
            DecisionBack: self.profiles.decision,
            Impression: self.profiles.impression,
            Click: self.profiles.click,
            Reward: self.profiles.reward,
            Consent: self.profiles.consent,
            Erasure: self.profiles.erasure,
        }

    def on_batch(
        self, values: list[CatalogedBatch | FactorVectors]
    ) -> tuple[Iterable[CatalogedBatch | list[Profile]], bool]:
        """Update profiles in event order and attach what consent allows to the requests."""
        out: list[CatalogedBatch | list[Profile]] = []
        batches = False
        for batch in values:
            if isinstance(batch, FactorVectors):
                for subject, (changes, factors) in batch.changes.items():
                    self.profiles.embed(subject, factors, batch.time, changes)
                continue
            if not batches:
                self._begin(batch.shard)
                batches = True
            if batch.catalog is not self.catalog:
                self.catalog = batch.catalog
                self.profile_slots = slots_with_profiles(batch.catalog)
                self.profiles.categorise(categories(batch.catalog))
            self.profiles.now = self.watermark
            for event in batch.events:
                self.handlers[type(event.body)](event)
            self.watermark = max(self.watermark, batch.watermark)
            out.append(batch)
        over = self.watermark == ALWAYS
        if over or self.watermark - self.published >= self.interval // _PARTS:
            self.published = self.watermark
            due = self.watermark - self.interval + self.interval // _PARTS
            changed = self.profiles.changed(None if over else due)
            if changed:
                out.append(changed)
            if not over:  # the end of the input is not a time
                self.profiles.expire(self.watermark)
            if batches and self.shard is not None:
                self.metrics.profiles(self.shard, len(self.profiles))
        self.profiles.tidy()
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Keep the profiles, changes that are not yet published included."""
        state = ProfileState(self.shard, self.profiles.dump(), self.published, self.watermark)
        return pack(*PROFILES_STATE, state)

    def _begin(self, shard: int) -> None:
        if self.shard is None:
            self.shard = shard
            if self.folder is not None:
                self.profiles.use(ShardFiles(self.folder, shard))

    def _request(self, event: Event) -> None:
        profiles, subject = self.profiles, event.subject
        if event.body.slot_id in self.profile_slots and profiles.allows_profile(subject):
            event.profile = profiles.features_of(subject)
            event.embedding = profiles.embedding_of(subject)
        event.personal = profiles.request(event)


def slots_with_profiles(catalog: Catalog) -> frozenset[str]:
    """Name the slots whose features use the subject's profile or embedding."""
    return frozenset(
        slot_id
        for slot_id, slot in catalog.slots.items()
        if slot.features.profile or slot.features.profile_embedding
    )


def categories(catalog: Catalog) -> dict[str, str]:
    """Give the declared category of each action that has one."""
    return {
        action.action_id: action.features["category"]
        for actions in catalog.actions.values()
        for action in actions
        if isinstance(action.features.get("category"), str)
    }


def unpack_profiles(snapshot: bytes) -> ProfileState:
    """Read what a shard's snapshot keeps."""
    return unpack(*PROFILES_STATE, ProfileState, snapshot)


def lower_profiles(snapshot: bytes, to: int) -> tuple[bytes, int]:
    """Lower the times that a shard's profiles were published by; give the watermark before, too."""
    state = unpack_profiles(snapshot)
    lowered = replace(
        state,
        profiles=lower_changes(state.profiles, to),
        published=min(state.published, to),
        watermark=min(state.watermark, to),
    )
    return pack(*PROFILES_STATE, lowered), state.watermark


def resumed(
    settings: StateSettings, folder: Path | None, snapshot: bytes | None, metrics: ProfileMetrics
) -> ProfileLogic:
    """Go on from a snapshot, or begin where there is none."""
    interval = round(settings.profile_interval * 1e6)
    if snapshot is None:
        return ProfileLogic(
            profiles=Profiles(settings.profile_ttl),
            interval=interval,
            folder=folder,
            metrics=metrics,
        )
    state = unpack_profiles(snapshot)
    segments = shard_files(folder, state.shard)
    profiles = Profiles.load(state.profiles, settings.profile_ttl, segments=segments)
    return ProfileLogic(
        profiles=profiles,
        interval=interval,
        folder=folder,
        shard=state.shard,
        published=state.published,
        watermark=state.watermark,
        metrics=metrics,
    )


@operator
def profile(
    step_id: str,
    up: KeyedStream[CatalogedBatch],
    factors: KeyedStream[FactorVectors],
    settings: StateSettings,
    metrics: ProfileMetrics,
) -> Profiled:
    """Keep a profile per consenting subject and attach it to the subject's requests.

    ``factors`` must reach every shard: only the subject's own has a profile to put them in.
    Without a consent that allows it (:mod:`schemas.consent`), or when that is unknown, nothing but
    the consent is kept of a subject and its requests are decided by their context alone.
    """
    folder = segment_folder(settings.recovery, PROFILES)

    def shim_builder(resume_state: bytes | None) -> ProfileLogic:
        return resumed(settings, folder, resume_state, metrics)

    merged: KeyedStream[CatalogedBatch | FactorVectors] = op.merge("merge", up, factors)
    profiled = op.stateful_batch("keep", merged, shim_builder)
    batches, changes = split("batches", profiled, CatalogedBatch)
    return Profiled(batches, changes)
