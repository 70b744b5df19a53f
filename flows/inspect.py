"""``banditflow inspect``: what is known of a slot, a subject or a decision, and why."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import redis

from flows.store import open_store
from operators.decode import pseudonym_of
from operators.hot import features_key, policy_key
from operators.io.redis import Hot, client, read
from operators.io.store import Found, Store, StoreError
from operators.logic.features import FeatureMap, unpack_rows
from schemas.catalog import FeatureSpec
from schemas.codec import encode_for_people
from schemas.settings import Settings, load

Report = dict[str, Any]


class NotFoundError(LookupError):
    """Nothing is known by this name; the message says what to check."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``inspect slot|subject|decision|features NAME``."""
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for kind, (look, help_, name) in _KINDS.items():
        command = kinds.add_parser(kind, help=help_, description=f"Print {help_} as JSON.")
        command.add_argument("name", metavar=name)
        if kind == "subject":
            command.add_argument(
                "--pseudonym", action="store_true", help="NAME is the pseudonym, not the raw id"
            )
        command.set_defaults(look=look)


def run_inspect(options: argparse.Namespace) -> None:
    """Print what was asked for."""
    settings = load()
    name = options.name
    if options.look is subject and not options.pseudonym:
        name = pseudonym_of(settings.secret.encode(), name)
    store = open_store(settings)
    try:
        print(encode_for_people(options.look(settings, store, name)))
    finally:
        store.close()


def slot(settings: Settings, store: Store, slot_id: str) -> Report:
    """Describe a slot's policy: each action's posterior, and how fresh it is."""
    hot = _hot(settings, policy_key(slot_id))
    if hot is not None:
        found = msgspec.json.decode(hot.fields["policy"])
    else:
        found = store.policy(slot_id)
    if found is None:
        known = ", ".join(row["slot_id"] for row in store.rows("slots")) or "none"
        raise NotFoundError(f"no policy of slot {slot_id!r} was published; known slots: {known}")
    report = {name: value for name, value in found.items() if name != "posterior"}
    return {"source": "redis" if hot else "store", **report}


def subject(settings: Settings, store: Store, pseudonym: str) -> Report:
    """Describe what is remembered of a subject."""
    hot = _hot(settings, features_key(pseudonym))
    kept = store.profile(pseudonym)
    if hot is None and kept is None:
        raise NotFoundError(
            f"nothing is kept of subject {pseudonym}: no event of it came, or it has not "
            "consented to purposes 5 and 6, or BANDITFLOW_SECRET is not the flow's"
        )
    features = {name: float(value) for name, value in hot.fields.items()} if hot else None
    return {"subject": pseudonym, "hot_features": features, "profile": kept}


def decision(settings: Settings, store: Store, decision_id: str) -> Report:
    """Describe every decision with this id: what was chosen, how likely it was, and what became."""
    del settings
    found = store.decision(decision_id)
    if not found:
        raise NotFoundError(
            f"no decision {decision_id!r} is in the store: check the id, and that "
            "`banditflow run persist` runs and has caught up"
        )
    slots = {row["slot_id"]: row for row in store.rows("slots")}
    return {"decisions": [_explained(row, slots.get(row["slot_id"])) for row in found]}


def features(settings: Settings, store: Store, slot_id: str) -> Report:
    """Describe how a slot's context becomes a vector: every column by name."""
    del settings
    for row in store.rows("slots"):
        if row["slot_id"] == slot_id:
            mapping = FeatureMap(_spec(row))
            columns = [column._asdict() for column in mapping.describe()]
            return {"slot_id": slot_id, "version": mapping.version, "columns": columns}
    raise NotFoundError(f"slot {slot_id!r} is not in the store's catalog")


def _explained(row: Found, slot_row: Found | None) -> Report:
    """Add what a decision means: its place among the probabilities, its features by name."""
    report = dict(row)
    ranking = report.get("ranking") or []
    if isinstance(ranking, list) and ranking:
        best = max(ranking, key=lambda ranked: ranked["probability"])
        report["most_likely_action"] = best["action_id"]
        report["explored"] = best["action_id"] != report["action_id"]
    packed = report.pop("features", None)
    if packed is not None and slot_row is not None:
        mapping = FeatureMap(_spec(slot_row))
        row_ = _vector(packed, mapping.dim)
        names = [column.name for column in mapping.describe()]
        report["features"] = {
            name: round(float(value), 6)
            for name, value in zip(names, row_, strict=True)
            if value
        }
    return report


def _vector(packed: Any, dim: int) -> Sequence[float]:
    if isinstance(packed, str):
        return unpack_rows([packed], dim)[0].tolist()
    return np.asarray(packed, dtype=float).tolist()


def _spec(slot_row: Found) -> FeatureSpec:
    settings = slot_row.get("settings") or {}
    return msgspec.convert(settings.get("features", {}), FeatureSpec)


def _hot(settings: Settings, key: str) -> Hot | None:
    """Read a hot copy; Redis being away is no reason to say nothing."""
    connection = client(settings.redis_url, 1.0)
    try:
        return read(connection, key)
    except redis.RedisError:
        return None
    finally:
        connection.close()


_KINDS: dict[str, tuple[Callable[[Settings, Store, str], Report], str, str]] = {
    "slot": (slot, "a slot's policy and each action's posterior", "SLOT"),
    "subject": (subject, "what is remembered of a visitor", "ID"),
    "decision": (decision, "a decision, its probabilities and its outcome", "DECISION_ID"),
    "features": (features, "the columns of a slot's feature vector", "SLOT"),
}
