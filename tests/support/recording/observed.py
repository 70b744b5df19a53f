"""What flows made of their topics, as plain values by section and name.

Left out is what depends on when a flow looked: versions and times of publication, embeddings, and
tastes, which count a click only when its decision was read back before it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any
from zlib import crc32

import redis

from flows.registry import PERSONALIZE
from flows.runtime.clock import system_clock
from flows.runtime.snapshots import states_of
from flows.verification.state_dump import PARTS, dump
from operators.io.kafka.partition import read_partition
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.recording.catalog import GONE

Record = dict[str, Any]
Sections = dict[str, dict[str, Record]]

_UNTIMED = ("version", "published_at", "embedding", "dimension", "posterior", "models")
_TASTE, _EMBEDDING = "affinity.", "embedding["
_NAMES = {
    "cut": ("shard",),
    "learners": ("slot_id", "action_id"),
    "profiles": ("shard", "subject"),
    "pending": ("shard", "key"),
    "waiting": ("shard", "for", "topic", "offset"),
}
"""What a line of each part of ``banditflow state`` is known by."""

_ROWS = {
    "slots": ("slot_id",),
    "actions": ("action_id",),
    "experiments": ("experiment_id",),
    "decisions": ("decision_key",),
    "outcomes": ("decision_key",),
    "user_profiles": ("subject",),
    "policy_snapshots": ("slot_id",),
    "dead_letters": ("topic", "topic_partition", "topic_offset"),
}
"""The tables of the store, by what a row is known by."""

_BY_CHANCE = {
    "policy_snapshots": ("time",),
    "dead_letters": ("time", "reason", "field", "detail"),  # the first of both flows has the word
}
"""What else depends on when a flow looked, by table."""

_LARGE = {"decisions", "user_profiles", "hot decisions", "hot features"}
"""Sections of which one in :data:`_SHARE` is kept, chosen by name; of the others, the names."""
_SHARE = 16


def observed(settings: Settings, *, stored: bool = True, hot: bool = True) -> Sections:
    """Say what stopped flows made: state, outcomes, dead letters, rows, copies in Redis."""
    found = state_of(settings)
    found["outcomes"] = _outcomes(settings)
    found["dead letters"] = _dead_letters(settings)
    if stored:
        found |= {f"rows of {table}": rows for table, rows in _rows(settings)}
    if hot:
        found |= copies(settings)
    return found


def state_of(settings: Settings, parts: Iterable[str] = PARTS) -> Sections:
    """Give the lines of ``banditflow state`` of a stopped flow."""
    states = states_of(settings, PERSONALIZE)
    found: Sections = {}
    for part in parts:
        if part not in _NAMES:
            continue
        lines = [json.loads(line) for line in dump(settings, states, part)]
        kept = (_timeless(line) for line in lines if not _by_chance(line))
        found[part] = {_name(line, _NAMES[part]): line for line in kept}
    return found


def _by_chance(line: Record) -> bool:
    """Tell lines of a deleted slot's click model, and of actions whose decisions were all void."""
    gone = line.get("slot_id") == GONE and "click_model" in line
    return gone or line.get("counts") == 0.0


def _outcomes(settings: Settings) -> dict[str, Record]:
    """Give the last word on each decision."""
    found: dict[str, Record] = {}
    for outcome in _payloads(settings, Topic.OUTCOMES):
        known = found.get(outcome["key"])
        if known is None or outcome["revision"] > known["revision"]:
            found[outcome["key"]] = outcome
    return found


def _dead_letters(settings: Settings) -> dict[str, Record]:
    letters = [_timeless(letter, "time") for letter in _payloads(settings, Topic.DEAD_LETTERS)]
    names = ("topic", "partition", "offset", "reason")
    return {_name(letter, names): letter for letter in letters}


def _payloads(settings: Settings, topic: Topic) -> Iterator[Record]:
    for shard in range(settings.kafka.partitions_of(topic)):
        for payload, _, _, _ in read_partition(settings.kafka, topic, shard, system_clock):
            yield json.loads(payload)


def _rows(settings: Settings) -> Iterator[tuple[str, dict[str, Record]]]:
    with closing(sqlite3.connect(settings.store.address.removeprefix("sqlite:"))) as store:
        store.row_factory = sqlite3.Row
        for table, names in _ROWS.items():
            rows = [dict(row) for row in store.execute(f"SELECT * FROM {table}")]
            if table == "policy_snapshots":
                rows = [row for row in rows if row["slot_id"] != GONE]
            named = {_name(row, names): _timeless(row, *_BY_CHANCE.get(table, ())) for row in rows}
            yield table, _sampled(table, named)


def copies(settings: Settings) -> Sections:
    """Say what is in Redis."""
    found: Sections = {"hot decisions": {}, "hot features": {}, "hot policies": {}}
    client = redis.Redis.from_url(settings.redis.url)
    with closing(client):
        for key in client.scan_iter("bf:*", count=1000):
            _, kind, name = key.decode().split(":", 2)
            fields = {
                field.decode(): value.decode() for field, value in client.hgetall(key).items()
            }
            section = {"decision": "hot decisions", "features": "hot features"}.get(kind)
            if section:
                found[section][name] = _timeless(fields)
            else:
                found["hot policies"][name] = {}
    return {section: _sampled(section, named) for section, named in found.items()}


def _sampled(section: str, named: dict[str, Record]) -> dict[str, Record]:
    if section not in _LARGE:
        return named
    kept = {name for name in named if crc32(name.encode()) % _SHARE == 0}
    count = {"": {"count": len(named)}}
    return count | {name: named[name] for name in kept}


def _timeless(record: Record, *more: str) -> Record:
    """Leave out what depends on when a flow looked; read texts that hold JSON."""
    found: Record = {}
    for name, value in record.items():
        if name in _UNTIMED or name in more or name.startswith((_TASTE, _EMBEDDING)):
            continue
        if isinstance(value, str) and value[:1] in ("{", "["):
            value = json.loads(value)
        if name == "features" and isinstance(value, dict):
            value = {each: x for each, x in value.items() if not each.startswith(_TASTE)}
        found[name] = value.hex() if isinstance(value, bytes) else value
    return found


def _name(record: Record, names: tuple[str, ...]) -> str:
    return "/".join(str(record.get(name, "")) for name in names)
