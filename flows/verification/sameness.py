"""Two runs over the same log and the same decisions: in what they must agree, and whether they do.

Equal must be what was learned, what is pending, profiles, consents and the store's decisions and
final outcomes. Left out are versions and times of publication, and a profile's tastes, which count
only clicks that come after their decision has been read back: when that was differs between runs.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from flows.personalize import Steps
from flows.registry import PERSONALIZE
from flows.runtime.snapshots import States, states_of
from flows.verification.findings import TOLERANCE
from flows.verification.learning import checks_of, statistics_of
from flows.verification.state_dump import dump
from flows.verification.tables import digests
from operators.io.store.open import open_store
from operators.io.store.tables import DECISIONS, OUTCOMES, Table
from operators.learner_state import unpack_learner
from operators.logic.policies.statistics import Statistics
from schemas.settings import Settings

_PARTS = ("profiles", "consents", "pending", "waiting")
_TASTE = "affinity."


class Same(Struct):
    """What was compared, how many of it, and how many differ."""

    what: str
    compared: int
    different: int
    largest: float = 0.0


def compare_runs(one: Settings, two: Settings) -> list[Same]:
    """Compare the states and stores of two runs."""
    states = [states_of(settings, PERSONALIZE) for settings in (one, two)]
    return [
        _learners(*states),
        _models(*states),
        *(_lines(part, one, two, *states) for part in _PARTS),
        *(_rows(table, one, two) for table in (DECISIONS, OUTCOMES)),
    ]


def _learners(one: States, two: States) -> Same:
    left, right = (each.get(Steps.LEARNERS, {}) for each in (one, two))
    checks = [
        check
        for slot_id in sorted(left.keys() | right)
        for check in checks_of(slot_id, *(_statistics(each.get(slot_id)) for each in (left, right)))
    ]
    largest = max((check.difference for check in checks), default=0.0)
    different = sum(not check.agrees for check in checks)
    return Same(f"learned actions, to {TOLERANCE:g}", len(checks), different, largest)


def _statistics(snapshot: bytes | None) -> Statistics:
    found = statistics_of(unpack_learner(snapshot).policy) if snapshot else None
    return found or Statistics({})


def _models(one: States, two: States) -> Same:
    """Compare the models beside the policies, which learn in a canonical order, to the bit."""
    left, right = (
        {
            slot_id: unpack_learner(snapshot).model
            for slot_id, snapshot in each.get(Steps.LEARNERS, {}).items()
        }
        for each in (one, two)
    )
    different = sum(left.get(name) != right.get(name) for name in left.keys() | right)
    return Same("click models, exactly", len(left), different)


def _lines(part: str, one: Settings, two: Settings, left: States, right: States) -> Same:
    mine, other = (
        {_tasteless(line) for line in dump(settings, states, part)}
        for settings, states in ((one, left), (two, right))
    )
    return Same(part, max(len(mine), len(other)), max(len(mine - other), len(other - mine)))


def _tasteless(line: str) -> str:
    found: dict[str, Any] = msgspec.json.decode(line)
    features = found.get("features")
    if isinstance(features, dict):
        kept = {name: value for name, value in features.items() if not name.startswith(_TASTE)}
        found["features"] = kept
    return msgspec.json.encode(found, order="deterministic").decode()


def _rows(table: Table, one: Settings, two: Settings) -> Same:
    mine, other = (dict(_kept(table, settings)) for settings in (one, two))
    different = sum(mine.get(key) != other.get(key) for key in mine.keys() | other)
    return Same(f"rows of {table.name}", max(len(mine), len(other)), different)


def _kept(table: Table, settings: Settings) -> Iterator[tuple[str, int]]:
    store = open_store(settings.store)
    try:
        yield from digests(table, store).items()
    finally:
        store.close()
