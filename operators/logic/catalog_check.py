"""Whether a catalog record can be used: all that later steps make of it can be made, and kept."""

import re

import msgspec
import numpy as np

from operators.logic.experiments.checking import flaw_of_experiment
from operators.logic.features import FeatureError, FeatureMap, check_products
from operators.logic.features.auto.checking import auto_flaw
from operators.logic.free_json import json_flaw
from operators.logic.policies import PolicyError
from operators.logic.policy_memory import size_flaw
from operators.logic.slot_policy import new_policy, policy_dim
from schemas.bounds import JSON_BYTES, LEAST_REWARD_SPAN
from schemas.catalog import Action, CatalogEntry, Experiment, Slot
from schemas.codec import MAX_RECORD_BYTES, Flaw, decode
from schemas.topics import Topic

_LONGEST_DETAIL = 300
_PARAMETER = re.compile(r"policy\.([^ ]+) (.*)", re.DOTALL)


def read_entry(payload: bytes | None, limit: int = MAX_RECORD_BYTES) -> CatalogEntry | Flaw:
    """Read a record of the catalog topic; one that cannot be used comes back as a flaw."""
    entry: CatalogEntry | Flaw = decode(Topic.CATALOG, payload, limit)
    return entry if isinstance(entry, Flaw) else flaw_of(entry) or entry


def sentence(flaw: Flaw) -> str:
    """Word what is wrong with a catalog record.

    >>> sentence(Flaw("invalid_value", "floor", "Expected `float` < 1.0"))
    'floor: Expected `float` < 1.0'
    """
    if flaw.field == "type":
        return "type: is none of slot, action and experiment"
    place = f"{flaw.field}: " if flaw.field else ""
    return f"{place}{flaw.detail or flaw.reason}"


def flaw_of(entry: CatalogEntry) -> Flaw | None:
    """Say what is wrong with a catalog record beyond its form; None if nothing is.

    >>> from datetime import UTC, datetime
    >>> from schemas.catalog import PolicySettings
    >>> policy = PolicySettings(kind="beta", params={"half_life": -1})
    >>> slot = Slot(id="1", time=datetime(2026, 1, 1, tzinfo=UTC), slot_id="home", policy=policy)
    >>> flaw_of(slot).field
    'policy.params.half_life'
    """
    match entry:
        case Action():
            flaw = _flaw_of_action(entry)
        case Slot():
            flaw = _flaw_of_slot(entry)
        case Experiment():
            flaw = flaw_of_experiment(entry)
    return None if flaw is None else Flaw("invalid_value", flaw[0], flaw[1][:_LONGEST_DETAIL])


def _flaw_of_action(action: Action) -> tuple[str, str] | None:
    for name, value in (("features", action.features), ("content", action.content)):
        if flaw := json_flaw(value, name):
            return flaw
        size = len(msgspec.json.encode(value))
        if size > JSON_BYTES:
            return name, f"{size:,} bytes, at most {JSON_BYTES:,} fit"
    if action.embedding is not None:
        with np.errstate(over="ignore"):
            if not np.isfinite(np.array(action.embedding, dtype=np.float32)).all():
                return "embedding", "a number is too large for float32"
    names = [neighbour.action_id for neighbour in action.neighbours or ()]
    if action.action_id in names:
        return "neighbours", "an action cannot be its own neighbour"
    if len(set(names)) < len(names):
        return "neighbours", "one is named twice"
    return None


def _flaw_of_slot(slot: Slot) -> tuple[str, str] | None:
    """Make all that the slot's record asks for, once its size is known to be bearable."""
    if flaw := json_flaw(slot.policy.params, "policy.params"):
        return flaw
    low, high = slot.reward_range
    if not low < high:
        return "reward_range", "must rise: its first value is not below its second"
    if high - low < LEAST_REWARD_SPAN:
        return "reward_range", f"must be at least {LEAST_REWARD_SPAN:g} wide"
    if not low <= slot.default_reward <= high:
        return "default_reward", "lies outside reward_range"
    if slot.deleted:
        return None
    if flaw := auto_flaw(slot):
        return flaw
    try:
        too_large = size_flaw(slot)
        if too_large is not None:
            return "features", too_large
        check_products(slot.features)
        feature_map = FeatureMap(slot.features)
    except FeatureError as error:
        return "features", str(error)
    try:
        new_policy(slot, (), policy_dim(slot, feature_map)).publish()
    except PolicyError as error:
        return _parameter_flaw(str(error))
    return None


def _parameter_flaw(message: str) -> tuple[str, str]:
    """Give the field that a policy's error names, and the rest of what it says.

    >>> _parameter_flaw("policy.alpha must be > 0, got -1")
    ('policy.params.alpha', 'must be > 0, got -1')
    """
    named = _PARAMETER.match(message)
    if named is None:
        return "policy", message
    name, rest = named.groups()
    return "policy.kind" if name == "kind" else f"policy.params.{name}", rest
