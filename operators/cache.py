"""Copies in Redis for readers outside the dataflow, and the Redis keys that they lie under.

A subject's latest decision in a slot, what is remembered of a subject, a slot's newest policy. The
keys are described in ``docs/reference/redis.md``; :mod:`operators.io.redis` writes the copies.
"""

from collections.abc import Iterable

import bytewax.operators as op
from bytewax.dataflow import operator
from bytewax.operators import KeyedStream

from operators.envelope import Event
from operators.io.redis import CacheWrite
from operators.logic.catalog import CatalogedBatch
from operators.logic.policies.snapshot_record import snapshot_record
from schemas.bounds import MOST_COPIED_BYTES
from schemas.clock import micros
from schemas.events import DecisionBack
from schemas.results import PolicySnapshot, Profile


def redis_features_key(subject: str) -> str:
    """Name the Redis key of what is remembered of a subject."""
    return f"bf:features:{subject}"


def redis_decision_key(subject: str, slot_id: str) -> str:
    """Name the Redis key of a subject's latest decision in a slot."""
    return f"bf:decision:{subject}:{slot_id}"


def redis_policy_key(slot_id: str) -> str:
    """Name the Redis key of a slot's newest policy snapshot."""
    return f"bf:policy:{slot_id}"


def decision_copies(events: Iterable[Event], ttl: float) -> list[CacheWrite]:
    """Give the copies of the decisions among the events that have a subject, each as it was read.

    Of several of a subject in a slot only the newest leaves a copy. They live for ``ttl`` seconds;
    the version of a copy is its decision's event time.
    """
    newest: dict[str, Event] = {}
    for event in events:
        if isinstance(event.body, DecisionBack) and event.subject:
            key = redis_decision_key(event.subject, event.body.slot_id)
            kept = newest.get(key)
            if kept is None or event.at >= kept.at:
                newest[key] = event
    return [
        CacheWrite(key, event.at, ttl, {"decision": event.payload}) for key, event in newest.items()
    ]


@operator
def cache_decisions(
    step_id: str, up: KeyedStream[CatalogedBatch], ttl: float
) -> KeyedStream[list[CacheWrite]]:
    """Copy the decisions that were read back; those without a subject leave no copy."""

    def shim_mapper(batch: CatalogedBatch) -> list[CacheWrite] | None:
        return decision_copies(batch.events, ttl) or None

    return op.filter_map_value("copy", up, shim_mapper)


@operator
def cache_profiles(
    step_id: str, up: KeyedStream[list[Profile]], ttl: float
) -> KeyedStream[list[CacheWrite]]:
    """Copy changed profiles; a deleted one leaves only its version behind."""

    def shim_mapper(profiles: list[Profile]) -> list[CacheWrite]:
        return [
            CacheWrite(
                redis_features_key(profile.subject), profile.version, ttl, _features(profile)
            )
            for profile in profiles
        ]

    return op.map_value("copy", up, shim_mapper)


@operator
def cache_policies(
    step_id: str, up: KeyedStream[PolicySnapshot], ttl: float
) -> KeyedStream[list[CacheWrite]]:
    """Copy policy snapshots, with as much of each as :data:`~schemas.bounds.MOST_COPIED_BYTES`."""

    def shim_mapper(snapshot: PolicySnapshot) -> list[CacheWrite]:
        time = str(micros(snapshot.time))
        fields: dict[str, str | bytes] = {
            "policy": snapshot_record(snapshot, MOST_COPIED_BYTES),
            "time": time,
        }
        return [CacheWrite(redis_policy_key(snapshot.slot_id), snapshot.version, ttl, fields)]

    return op.map_value("copy", up, shim_mapper)


def _features(profile: Profile) -> dict[str, str]:
    if profile.deleted:
        return {}
    embedding = {f"embedding[{place}]": x for place, x in enumerate(profile.embedding or ())}
    return {name: repr(x) for name, x in (profile.features | embedding).items()}
