"""What is known of a slot, a subject or a decision, and why: from Redis and the durable store."""

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import redis

from flows.reports.explanation import explain_decision
from flows.reports.undeclared_features import survey
from flows.runtime.flow_metrics import FlowMetrics, read_metrics
from operators.cache import redis_decision_key, redis_features_key, redis_policy_key
from operators.io.metrics.labels import OTHER, own_label
from operators.io.redis import CachedCopy, client, read
from operators.io.store.protocol import Store, StoredRow
from operators.logic.features import FeatureMap, fingerprint
from schemas.catalog import FeatureSpec, Slot
from schemas.settings import Settings

Report = dict[str, Any]

PROBLEMS = "banditflow_feature_problems_total"
NOT_LEARNED = "banditflow_decisions_not_learned_total"
_NO_METRICS = "no flow serves metrics at BANDITFLOW_METRICS_HOST and _METRICS_PORT"

MOST_WORKERS = 64
"""Worker processes that are asked for their metrics, on ports in a row."""


class NotFoundError(LookupError):
    """Nothing is known by this name; the message says what to check."""


def slot(settings: Settings, store: Store, slot_id: str) -> Report:
    """Describe a slot's policy: each action's posterior, how fresh it is, and what it left out.

    ``deleted_at`` says since when the catalog has the slot no more, None where it has.
    """
    source, policy = _policy(settings, store, slot_id)
    if policy is None:
        raise NotFoundError(_unpublished(settings, store, slot_id))
    report = {name: value for name, value in policy.items() if name != "posterior"}
    row = _slots(store).get(slot_id)
    deleted_at = row["time"] if row is not None and row["deleted"] else None
    return {"source": source, "deleted_at": deleted_at, **report} | _not_learned(settings, slot_id)


def subject(settings: Settings, store: Store, pseudonym: str) -> Report:
    """Describe what is remembered of a subject, and its latest decision in each slot."""
    slots = _living(_slots(store))
    keys = [
        redis_features_key(pseudonym),
        *(redis_decision_key(pseudonym, slot_id) for slot_id in slots),
    ]
    cached_features, *latest = _cached(settings, *keys)
    decisions = {
        slot_id: _brief(cached) for slot_id, cached in zip(slots, latest, strict=True) if cached
    }
    profile = store.profile(pseudonym)
    if cached_features is None and profile is None and not decisions:
        raise NotFoundError(
            f"nothing is kept of subject {pseudonym}: no event of it came, or it has not "
            "consented to purposes 5 and 6, or BANDITFLOW_SECRET is not the flow's"
            + _redis_away(settings)
        )
    return {
        "subject": pseudonym,
        "hot_features": _numbers(cached_features),
        "hot_decisions": decisions,
        "profile": profile,
    }


def decision(settings: Settings, store: Store, decision_id: str) -> Report:
    """Describe every decision with this id: what was chosen, why, and what became of it."""
    rows = store.decision(decision_id)
    if not rows:
        raise NotFoundError(
            f"no decision {decision_id!r} is in the store: check the id, and that "
            "`banditflow run persist` runs and has caught up"
        )
    return {"decisions": [_described(settings, store, row) for row in rows]}


def features(settings: Settings, store: Store, slot_id: str) -> Report:
    """Describe how a slot's context becomes a vector: columns, and values not as declared.

    Without a declaration: what its requests of late became.
    """
    slots = _slots(store)
    if slot_id not in _living(slots):
        raise NotFoundError(_not_there(slots, slot_id))
    spec = _spec(slots[slot_id])
    if spec.auto is not None:
        found = survey(settings, store, msgspec.convert(slots[slot_id]["settings"], Slot))
        head = {"slot_id": slot_id, "fingerprint": fingerprint(spec)}
        return head | msgspec.structs.asdict(found)
    feature_map = FeatureMap(spec)
    columns = [column._asdict() for column in feature_map.describe()]
    report = {"slot_id": slot_id, "fingerprint": feature_map.fingerprint, "columns": columns}
    return report | _problems(settings, slot_id)


def _not_learned(settings: Settings, slot_id: str) -> Report:
    """Count by reason the decisions that taught nothing since the flow's workers started."""
    workers = _workers(settings)
    if not workers:
        return {"not_learned": None, "why_not": _NO_METRICS}
    label = own_label(slot_id)
    counts: Counter[str] = Counter()
    labels: set[str] = set()
    for metrics in workers:
        labels.update(metrics.by(NOT_LEARNED, "slot"))
        counts.update(metrics.by(NOT_LEARNED, "reason", slot=label))
    if label not in labels and OTHER in labels:
        return {"not_learned": None, "why_not": f"slot {slot_id!r} may be counted among {OTHER!r}"}
    return {"not_learned": {reason: int(count) for reason, count in counts.items()}}


def _workers(settings: Settings) -> list[FlowMetrics]:
    """Read the metrics of the flow's workers; none where no flow serves any."""
    urls = (
        f"http://{settings.metrics.host}:{settings.metrics.port + worker}/metrics"
        for worker in range(MOST_WORKERS)
    )
    answers = itertools.takewhile(lambda read: read is not None, map(read_metrics, urls))
    return [metrics for metrics in answers if metrics is not None]


def _problems(settings: Settings, slot_id: str) -> Report:
    """Count what the flow's workers met since they started, by field and reason.

    Beside it, among how many decisions of the slot; a slot without a label of its own has no counts
    that are its own.
    """
    workers = _workers(settings)
    if not workers:
        return {"problems": None, "why_not": _NO_METRICS}
    label = own_label(slot_id)
    problems: dict[str, Counter[str]] = {}
    decided: Counter[str] = Counter()
    for metrics in workers:
        decided.update(metrics.by("banditflow_decisions_total", "slot"))
        for field in metrics.by(PROBLEMS, "field", slot=label):
            counts = metrics.by(PROBLEMS, "reason", slot=label, field=field)
            problems.setdefault(field, Counter()).update(
                {reason: int(count) for reason, count in counts.items()}
            )
    if label not in decided and OTHER in decided and not problems:
        return {
            "problems": None,
            "why_not": f"slot {slot_id!r} has not decided since the flow started, or is counted "
            f"among {OTHER!r}: the first slots alone have counts of their own",
        }
    return {"problems": problems, "among_decisions": int(decided[label])}


def _numbers(cached: CachedCopy | None) -> dict[str, float] | None:
    return {name: float(value) for name, value in cached.fields.items()} if cached else None


def _brief(cached: CachedCopy) -> Report:
    """Give of a decision in Redis what ``inspect decision`` can be asked about.

    The propensity of a slate is that of its whole order, so that all of it is named.
    """
    record = msgspec.json.decode(cached.fields["decision"])
    shown = {name: record[name] for name in ("decision_id", "time", "action_id", "propensity")}
    if record.get("slate"):
        shown["slate"] = [placed["action_id"] for placed in record["slate"]]
    return shown


def _described(settings: Settings, store: Store, row: StoredRow) -> Report:
    """Add to a stored decision its features by name, those of actions, and why it came out so.

    Of a slate each position is listed with its own outcome, and the first one is explained.
    """
    report = dict(row)
    if report.pop("contents"):
        kept = {name: store.content(hash_) for name, hash_ in row["contents"].items()}
        report["action_features"] = {
            name: content and content["features"] for name, content in kept.items()
        }
    if report["slate"]:  # the first position's outcome would be taken for that of the whole
        positions = enumerate(report.pop("slate"))
        report["positions"] = [{"position": place, **placed} for place, placed in positions]
        del report["outcome"]
    slots, slot_id = _slots(store), row["slot_id"]
    if slot_id not in _living(slots):
        return report | {"why": None, "why_not": _not_there(slots, slot_id)}
    slot_row = slots[slot_id]
    feature_map = FeatureMap(_spec(slot_row))
    x = None if row["features"] is None else np.asarray(row["features"], dtype=float)
    names = [column.name for column in feature_map.describe()]
    if x is not None and len(x) == len(names):
        report["features"] = {
            name: value for name, value in zip(names, x.tolist(), strict=True) if value
        }
    try:
        report["why"] = explain_decision(
            row,
            x,
            feature_map,
            _policy(settings, store, row["slot_id"])[1],
            _contents(store, row),
        )
    except ValueError as error:  # ours: each says what is amiss
        report |= {"why": None, "why_not": str(error)}
    return report


def _contents(store: Store, row: StoredRow) -> dict[str, bytes]:
    """Read the features of actions that a decision holds, as JSON, by id."""
    found = {}
    for action_id, content in (row["contents"] or {}).items():
        before = f"{int(content, 16) - 1:016x}" if int(content, 16) else None
        for each in store.rows("action_contents", before, 1):
            if each["content"] == content:
                found[action_id] = msgspec.json.encode(each["features"])
    return found


def _policy(settings: Settings, store: Store, slot_id: str) -> tuple[str, StoredRow | None]:
    """Find the newest snapshot of a slot's policy, and where it was: redis or store."""
    (cached,), stored = _cached(settings, redis_policy_key(slot_id)), store.policy(slot_id)
    if cached is not None and (stored is None or cached.version >= stored["version"]):
        return "redis", msgspec.json.decode(cached.fields["policy"])
    return "store", stored


def _unpublished(settings: Settings, store: Store, slot_id: str) -> str:
    """Say why there may be no policy of a slot, and what to do."""
    slots = _slots(store)
    if slot_id in _living(slots):
        why_not = (
            f"no policy of slot {slot_id!r} was published: it has learned nothing yet, or "
            "`banditflow run personalize` does not run"
        )
    elif slots:
        why_not = _not_there(slots, slot_id)
    else:
        why_not = (
            f"no policy of slot {slot_id!r} was published, and the store's catalog is empty: "
            "`banditflow catalog publish` gives slots, `banditflow run persist` stores them"
        )
    return why_not + _redis_away(settings)


def _redis_away(settings: Settings) -> str:
    """Say that Redis, where the newest copies are, could not be asked; nothing where it could."""
    connection = client(settings.redis.url, 1.0)
    try:
        connection.ping()
    except redis.RedisError:
        place = urlsplit(settings.redis.url)
        return (
            f"; Redis, which has the newest copies, does not answer at {place.hostname}:"
            f"{place.port or 6379} (BANDITFLOW_REDIS_URL)"
        )
    finally:
        connection.close()
    return ""


def _slots(store: Store) -> dict[str, StoredRow]:
    """Read every slot that the store's catalog has or had, by its id."""
    slots: dict[str, StoredRow] = {}
    while page := store.rows("slots", next(reversed(slots), None)):
        slots |= {row["slot_id"]: row for row in page}
    return slots


def _living(slots: Mapping[str, StoredRow]) -> list[str]:
    return [slot_id for slot_id, row in slots.items() if not row["deleted"]]


def _not_there(slots: Mapping[str, StoredRow], slot_id: str) -> str:
    """Say of a slot that the catalog deleted it, or never had it."""
    if slot_id in slots:
        return f"slot {slot_id!r} is deleted from {slots[slot_id]['time'].isoformat()} on"
    known = ", ".join(_living(slots)) or "none"
    return f"slot {slot_id!r} is not in the store's catalog; it knows: {known}"


def _spec(slot_row: StoredRow) -> FeatureSpec:
    settings = slot_row.get("settings") or {}
    return msgspec.convert(settings.get("features", {}), FeatureSpec)


def _cached(settings: Settings, *keys: str) -> list[CachedCopy | None]:
    """Read copies in Redis; Redis being away is no reason to say nothing."""
    connection = client(settings.redis.url, 1.0)
    try:
        return [read(connection, key) for key in keys]
    except redis.RedisError:
        return [None] * len(keys)
    finally:
        connection.close()
