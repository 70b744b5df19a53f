"""What a stopped flow has learned and keeps, as lines that can be compared.

A line is a JSON object with sorted keys; lines come by part, then by shard or slot, then by key.
Left out is what depends on when a flow looked and not on what it was given: versions and times of
publication. Subjects are pseudonyms; decisions are named by their keys.
"""

import base64
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from flows.personalize import Steps
from flows.runtime.snapshots import States
from flows.verification.reading import ledger_of, segments_of
from flows.verification.statistics import statistics_of
from operators.io.kafka.group import restore
from operators.io.segments import PROFILES
from operators.learner_state import unpack_learner
from operators.logic.attribution.decision_codec import content_of, context_of, unpack_decision
from operators.logic.attribution.ledger import Ledger
from operators.logic.attribution.pending import ACTIVE, LIVE, SHOWN, VOID
from operators.logic.attribution.rules import WHOLE
from operators.logic.models import ClickModel
from operators.logic.placement import shard_of
from operators.logic.policies.shared.moments import Moments
from operators.logic.policies.statistics import Statistics
from operators.logic.subjects.profiles import Profiles
from operators.profile import unpack_profiles
from schemas.clock import moment
from schemas.settings import Settings

Line = dict[str, Any]
Lines = Callable[[Settings, States], Iterator[Line]]

DIGITS = 6
"""Significant digits of a number, in an array of its largest: the order of summing shows later."""


def dump(settings: Settings, states: States, part: str) -> Iterator[str]:
    """Give the lines of a part."""
    for line in PARTS[part](settings, states):
        rounded = {name: _rounded(value) for name, value in line.items()}
        yield orjson.dumps({"part": part, **rounded}, option=orjson.OPT_SORT_KEYS).decode()


def digest(settings: Settings, states: States, part: str) -> str:
    """Give the SHA-256 of a part's lines."""
    hashed = hashlib.sha256()
    for line in dump(settings, states, part):
        hashed.update(line.encode() + b"\n")
    return hashed.hexdigest()


def _cut(_: Settings, states: States) -> Iterator[Line]:
    """How far each shard had read when the last epoch closed."""
    for shard, snapshot in sorted(states.get(Steps.RECORDS, {}).items()):
        yield {"shard": int(shard), "offsets": restore(snapshot).offsets}


def _learners(_: Settings, states: States) -> Iterator[Line]:
    """Sufficient statistics by slot and action, and the measures of each slot's click model.

    An action of which nothing counts any more is left out: whether it ever counted depends on how
    much came at once. Where an older view decides, its lines come last and say so, beginning with
    how many decisions the present one has learned and needs.
    """
    for slot_id, snapshot in sorted(states.get(Steps.LEARNERS, {}).items()):
        learner = unpack_learner(snapshot)
        model = ClickModel.load(learner.model).report()
        yield {"slot_id": slot_id, "policy": learner.slot.policy.kind, "click_model": model}
        yield from _statistics({"slot_id": slot_id}, learner.policy)
        if (older := learner.older) is not None:
            older_view = {"slot_id": slot_id, "view": "older"}
            yield {
                **older_view,
                "auto": msgspec.to_builtins(older.slot.features.auto),
                "params": older.slot.policy.params,
                "decides_until": older.needed,
                "present_decisions": learner.decisions,
            }
            yield from _statistics(older_view, older.policy)


def _statistics(of: Line, policy: bytes) -> Iterator[Line]:
    """Give what a policy's lines say, each beginning with ``of``."""
    statistics = statistics_of(policy)
    if statistics is None:
        return
    shared = statistics.shared
    if shared is not None:
        yield from _columns(of, shared.moments)
    yield from _actions(of, statistics.by_action)
    if shared is not None and shared.drift is not None:
        of = {**of, "statistics": "drift"}
        yield from _columns(of, shared.drift.moments)
        yield from _actions(of, shared.drift.actions)


def _actions(of: Line, statistics: Statistics) -> Iterator[Line]:
    """Give the sums by action, of actions of which any is left."""
    arrays = statistics.at(None)
    for row, action_id in sorted(enumerate(statistics.ids), key=itemgetter(1)):
        values = {name: array[row].tolist() for name, array in arrays.items()}
        if not any(np.any(_rounded(value)) for value in values.values()):
            continue
        yield {**of, "action_id": action_id, **values}


def _columns(of: Line, moments: Moments) -> Iterator[Line]:
    """Give the sums by column of a model that actions share, of cross moments sum and length."""
    columns, sums = moments.sums()
    total, length = sums["cross"].sum(axis=1), np.sqrt(np.square(sums["cross"]).sum(axis=1))
    names = "slopes", "targets", "cross_sum", "cross_length"
    values = np.column_stack([sums["slopes"], sums["targets"], total, length]).tolist()
    for column, row in zip(columns.tolist(), values, strict=True):
        if np.any(_rounded(row)):
            yield {**of, "column": column, **dict(zip(names, row, strict=True))}


def _profiles(settings: Settings, states: States) -> Iterator[Line]:
    """Profiles by shard and subject."""
    for shard, profiles in _kept_profiles(settings, states):
        for profile in profiles.all_profiles():
            yield {
                "shard": shard,
                "subject": profile.subject,
                "version": profile.version,
                "time": profile.time,
                "features": dict(sorted(profile.features.items())),
                "purposes": profile.purposes,
            }


def _consents(settings: Settings, states: States) -> Iterator[Line]:
    """Consents by shard and subject, those that allow no profile included."""
    for shard, profiles in _kept_profiles(settings, states):
        for subject, consent in profiles.consents():
            yield {
                "shard": shard,
                "subject": subject,
                "purposes": list(consent.purposes),
                "basis": consent.basis,
                "version": consent.version,
                "time": moment(consent.at),
            }


def _kept_profiles(settings: Settings, states: States) -> Iterator[tuple[int, Profiles]]:
    for shard, snapshot in sorted(_by_shard(states.get(Steps.PROFILES, {}))):
        segments = segments_of(settings, PROFILES, shard)
        state = unpack_profiles(snapshot).profiles
        yield shard, Profiles.load(state, settings.state.profile_ttl, segments=segments)


def _pending(settings: Settings, states: States) -> Iterator[Line]:
    """Decisions that are not settled, by shard and key."""
    for shard, ledger in _ledgers(settings, states):
        pending = ledger.pending
        rows = np.flatnonzero(pending.flags & LIVE)
        for row in rows[np.argsort(pending.key[rows])].tolist():
            yield {"shard": shard, **_decision(ledger, row)}


def _decision(ledger: Ledger, row: int) -> Line:
    pending = ledger.pending
    decision_class = ledger.classes.all[int(pending.decision_class[row])]
    key = int(pending.key[row])
    flags, at = int(pending.flags[row]), int(pending.at[row])
    features, subject, _ = unpack_decision(pending.blob(row))
    rewards = pending.rewards(row).get(key)
    vector = base64.b64decode(features) if features else b""
    return {
        "key": f"{key:016x}",
        "subject": subject,
        "slot_id": decision_class.slot_id,
        "action_id": decision_class.action_id,
        "time": moment(at),
        "closes": moment(at + decision_class.window),
        "propensity": float(pending.propensity[row]),
        "eta": float(pending.eta[row]),
        "policy_version": int(pending.version[row]),
        "features": np.frombuffer(vector, "<f4").tolist() if features is not None else None,
        "contents": content.decode() if (content := content_of(pending.blob(row))) else None,
        "context": context.decode() if (context := context_of(pending.blob(row))) else None,
        "active": bool(flags & ACTIVE),
        "shown": bool(flags & SHOWN),
        "void": bool(flags & VOID),
        "weight": int(pending.weight[row]) / WHOLE,
        "rewards": rewards.count if rewards else 0,
        "reward": rewards.reward(decision_class.rules) if rewards else None,
    }


def _waiting(settings: Settings, states: States) -> Iterator[Line]:
    """Events that wait for their decision or for its impression, by shard and place."""
    for shard, ledger in _ledgers(settings, states):
        lines = [
            {
                "shard": shard,
                "for": what,
                "key": f"{event.key:016x}",
                "subject": event.subject,
                "time": moment(event.at),
                "topic": str(event.origin.topic),
                "offset": event.origin.offset,
            }
            for what, waiting in (("decision", ledger.orphans), ("impression", ledger.quarantine))
            for event in waiting
        ]
        yield from sorted(lines, key=lambda line: (line["for"], line["topic"], line["offset"]))


def _by_shard(snapshots: Mapping[str, bytes]) -> Iterator[tuple[int, bytes]]:
    return ((shard_of(key), snapshot) for key, snapshot in snapshots.items())


def _ledgers(settings: Settings, states: States) -> Iterator[tuple[int, Ledger]]:
    for shard in sorted(map(shard_of, states.get(Steps.ATTRIBUTION, {}))):
        yield shard, ledger_of(settings, states, shard)


PARTS: dict[str, Lines] = {
    "cut": _cut,
    "learners": _learners,
    "profiles": _profiles,
    "consents": _consents,
    "pending": _pending,
    "waiting": _waiting,
}
"""What there is to compare, by name."""


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list) and value and isinstance(value[0], int | float | list):
        return _array(np.array(value, dtype=np.float64)).tolist()
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return value


def _array(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to digits of the largest number, or of 1: what cancels leaves a dust of its own."""
    scale = max(1.0, float(np.abs(values).max()))
    rounded: NDArray[np.float64] = np.round(values, DIGITS - math.ceil(math.log10(scale))) + 0.0
    return rounded
