"""``banditflow inspect``: what is known of a slot, a subject or a decision, and why."""

import argparse
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import redis

from flows.cli.explanation import why
from flows.runtime.scrape import scrape
from operators.cache import decision_key, features_key, policy_key
from operators.decode import pseudonym_of
from operators.io.redis import Hot, client, read
from operators.io.store.open import open_store
from operators.io.store.protocol import Found, Store
from operators.logic.features import FeatureMap
from schemas.catalog import FeatureSpec
from schemas.codec import encode_for_people
from schemas.settings import Settings, load

Report = dict[str, Any]

PROBLEMS = "banditflow_feature_problems_total"

MOST_WORKERS = 64
"""Worker processes that are asked for their metrics, on ports in a row."""


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
    kind, _, path = settings.store.partition(":")
    if kind == "sqlite" and not Path(path).exists():
        raise NotFoundError(
            f"there is no store at {path}: check BANDITFLOW_STORE; `banditflow store migrate` "
            "makes one, `banditflow run persist` fills it"
        )
    store = open_store(settings)
    try:
        print(encode_for_people(options.look(settings, store, name)))
    finally:
        store.close()


def slot(settings: Settings, store: Store, slot_id: str) -> Report:
    """Describe a slot's policy: each action's posterior, and how fresh it is."""
    source, found = _policy(settings, store, slot_id)
    if found is None:
        raise NotFoundError(_unpublished(settings, store, slot_id))
    report = {name: value for name, value in found.items() if name != "posterior"}
    return {"source": source, **report}


def subject(settings: Settings, store: Store, pseudonym: str) -> Report:
    """Describe what is remembered of a subject, and its latest decision in each slot."""
    slots = list(_slots(store))
    keys = [features_key(pseudonym), *(decision_key(pseudonym, slot_id) for slot_id in slots)]
    hot, *latest = _hot(settings, *keys)
    decisions = {
        slot_id: _brief(found) for slot_id, found in zip(slots, latest, strict=True) if found
    }
    kept = store.profile(pseudonym)
    if hot is None and kept is None and not decisions:
        raise NotFoundError(
            f"nothing is kept of subject {pseudonym}: no event of it came, or it has not "
            "consented to purposes 5 and 6, or BANDITFLOW_SECRET is not the flow's"
            + _redis_away(settings)
        )
    features = {name: float(value) for name, value in hot.fields.items()} if hot else None
    return {
        "subject": pseudonym,
        "hot_features": features,
        "hot_decisions": decisions,
        "profile": kept,
    }


def decision(settings: Settings, store: Store, decision_id: str) -> Report:
    """Describe every decision with this id: what was chosen, why, and what became of it."""
    found = store.decision(decision_id)
    if not found:
        raise NotFoundError(
            f"no decision {decision_id!r} is in the store: check the id, and that "
            "`banditflow run persist` runs and has caught up"
        )
    return {"decisions": [_described(settings, store, row) for row in found]}


def features(settings: Settings, store: Store, slot_id: str) -> Report:
    """Describe how a slot's context becomes a vector: columns, and values not as declared."""
    slots = _slots(store)
    if slot_id not in slots:
        known = ", ".join(slots) or "none"
        raise NotFoundError(f"slot {slot_id!r} is not in the store's catalog; it knows: {known}")
    mapping = FeatureMap(_spec(slots[slot_id]))
    columns = [column._asdict() for column in mapping.describe()]
    report = {"slot_id": slot_id, "fingerprint": mapping.fingerprint, "columns": columns}
    return report | _problems(settings, slot_id)


def _problems(settings: Settings, slot_id: str) -> Report:
    """Count what the flow's workers met since they started, by field and reason."""
    urls = (
        f"http://{settings.metrics_host}:{settings.metrics_port + worker}/metrics"
        for worker in range(MOST_WORKERS)
    )
    answers = list(itertools.takewhile(lambda found: found is not None, map(scrape, urls)))
    if not answers:
        return {
            "problems": None,
            "why_not": "no flow serves metrics at BANDITFLOW_METRICS_HOST and _METRICS_PORT",
        }
    problems: dict[str, Counter[str]] = {}
    for found in answers:
        assert found is not None
        for field in found.by(PROBLEMS, "field", slot=slot_id):
            counts = found.by(PROBLEMS, "reason", slot=slot_id, field=field)
            problems.setdefault(field, Counter()).update(
                {reason: int(count) for reason, count in counts.items()}
            )
    return {"problems": problems}


def _brief(latest: Hot) -> Report:
    """Give of a hot decision what ``inspect decision`` can be asked about."""
    found = msgspec.json.decode(latest.fields["decision"])
    return {name: found[name] for name in ("decision_id", "time", "action_id", "propensity")}


def _described(settings: Settings, store: Store, row: Found) -> Report:
    """Add to a stored decision its features by name, and why it came out so."""
    report = dict(row)
    slot_row = _slots(store).get(row["slot_id"])
    if slot_row is None:
        return report | {"why": None, "why_not": "the slot is not in the store's catalog"}
    mapping = FeatureMap(_spec(slot_row))
    x = None if row["features"] is None else np.asarray(row["features"], dtype=float)
    names = [column.name for column in mapping.describe()]
    if x is not None and len(x) == len(names):
        report["features"] = {
            name: value for name, value in zip(names, x.tolist(), strict=True) if value
        }
    try:
        report["why"] = why(row, x, mapping, _policy(settings, store, row["slot_id"])[1])
    except ValueError as error:  # ours: each says what is amiss
        report |= {"why": None, "why_not": str(error)}
    return report


def _policy(settings: Settings, store: Store, slot_id: str) -> tuple[str, Found | None]:
    """Find the newest snapshot of a slot's policy, and where it was: redis or store."""
    (hot,), kept = _hot(settings, policy_key(slot_id)), store.policy(slot_id)
    if hot is not None and (kept is None or hot.version >= kept["version"]):
        return "redis", msgspec.json.decode(hot.fields["policy"])
    return "store", kept


def _unpublished(settings: Settings, store: Store, slot_id: str) -> str:
    """Say why there may be no policy of a slot, and what to do."""
    slots = _slots(store)
    if slot_id in slots:
        why_not = (
            f"no policy of slot {slot_id!r} was published: it has learned nothing yet, or "
            "`banditflow run personalize` does not run"
        )
    elif slots:
        why_not = f"slot {slot_id!r} is not in the store's catalog; it knows: {', '.join(slots)}"
    else:
        why_not = (
            f"no policy of slot {slot_id!r} was published, and the store's catalog is empty: "
            "`banditflow catalog publish` gives slots, `banditflow run persist` stores them"
        )
    return why_not + _redis_away(settings)


def _redis_away(settings: Settings) -> str:
    """Say that Redis, where the newest copies are, could not be asked; nothing where it could."""
    connection = client(settings.redis_url, 1.0)
    try:
        connection.ping()
    except redis.RedisError:
        place = urlsplit(settings.redis_url)
        return (
            f"; Redis, which has the newest copies, does not answer at {place.hostname}:"
            f"{place.port or 6379} (BANDITFLOW_REDIS_URL)"
        )
    finally:
        connection.close()
    return ""


def _slots(store: Store) -> dict[str, Found]:
    slots: dict[str, Found] = {}
    while page := store.rows("slots", next(reversed(slots), None)):
        slots |= {row["slot_id"]: row for row in page}
    return {slot_id: row for slot_id, row in slots.items() if not row["deleted"]}


def _spec(slot_row: Found) -> FeatureSpec:
    settings = slot_row.get("settings") or {}
    return msgspec.convert(settings.get("features", {}), FeatureSpec)


def _hot(settings: Settings, *keys: str) -> list[Hot | None]:
    """Read hot copies; Redis being away is no reason to say nothing."""
    connection = client(settings.redis_url, 1.0)
    try:
        return [read(connection, key) for key in keys]
    except redis.RedisError:
        return [None] * len(keys)
    finally:
        connection.close()


_KINDS: dict[str, tuple[Callable[[Settings, Store, str], Report], str, str]] = {
    "slot": (slot, "a slot's policy and each action's posterior", "SLOT"),
    "subject": (subject, "what is remembered of a visitor", "ID"),
    "decision": (decision, "a decision, its probabilities and its outcome", "DECISION_ID"),
    "features": (features, "the columns of a slot's feature vector", "SLOT"),
}
