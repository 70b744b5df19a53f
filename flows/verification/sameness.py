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
from flows.verification.findings import TOLERANCE, ActionCheck
from flows.verification.shared_columns import shared_checks
from flows.verification.state_dump import dump
from flows.verification.statistics import PolicyStatistics, checks_of, statistics_of
from flows.verification.tables import digests
from operators.io.store.open import open_store
from operators.io.store.tables import DECISIONS, OUTCOMES, Table
from operators.learner_state import unpack_learner
from operators.logic.policies.statistics import Statistics
from schemas.settings import Settings

_PARTS = ("profiles", "consents", "pending", "waiting")
_TASTE = "affinity."


class Comparison(Struct):
    """What was compared, how many of it, and how many differ."""

    what: str
    compared: int
    different: int
    largest: float = 0.0


def compare_runs(one: Settings, two: Settings) -> list[Comparison]:
    """Compare the states and stores of two runs."""
    states = [states_of(settings, PERSONALIZE) for settings in (one, two)]
    return [
        _learners(*states),
        _models(*states),
        *(_lines(part, one, two, *states) for part in _PARTS),
        *(_rows(table, one, two) for table in (DECISIONS, OUTCOMES)),
    ]


def _learners(one: States, two: States) -> Comparison:
    left, right = (states.get(Steps.LEARNERS, {}) for states in (one, two))
    checks: list[ActionCheck] = []
    for slot_id in sorted(left.keys() | right):
        of_one, of_two = (_statistics(learners.get(slot_id)) for learners in (left, right))
        checks += checks_of(slot_id, of_one.by_action, of_two.by_action)
        if of_two.shared is not None:
            checks += shared_checks(slot_id, of_one.shared, of_two.shared)
    largest = max((check.difference for check in checks), default=0.0)
    different = sum(not check.agrees for check in checks)
    return Comparison(f"learned actions, to {TOLERANCE:g}", len(checks), different, largest)


def _statistics(snapshot: bytes | None) -> PolicyStatistics:
    statistics = statistics_of(unpack_learner(snapshot).policy) if snapshot else None
    return statistics or PolicyStatistics(Statistics({}))


def _models(one: States, two: States) -> Comparison:
    """Compare the models beside the policies, which learn in a canonical order, to the bit."""
    left, right = (
        {
            slot_id: unpack_learner(snapshot).model
            for slot_id, snapshot in states.get(Steps.LEARNERS, {}).items()
        }
        for states in (one, two)
    )
    different = sum(left.get(name) != right.get(name) for name in left.keys() | right)
    return Comparison("click models, exactly", len(left), different)


def _lines(part: str, one: Settings, two: Settings, left: States, right: States) -> Comparison:
    of_one, of_two = (
        {_tasteless(line) for line in dump(settings, states, part)}
        for settings, states in ((one, left), (two, right))
    )
    return Comparison(
        part, max(len(of_one), len(of_two)), max(len(of_one - of_two), len(of_two - of_one))
    )


def _tasteless(line: str) -> str:
    values: dict[str, Any] = msgspec.json.decode(line)
    features = values.get("features")
    if isinstance(features, dict):
        others = {name: value for name, value in features.items() if not name.startswith(_TASTE)}
        values["features"] = others
    return msgspec.json.encode(values, order="deterministic").decode()


def _rows(table: Table, one: Settings, two: Settings) -> Comparison:
    of_one, of_two = (dict(_digests(table, settings)) for settings in (one, two))
    different = sum(of_one.get(key) != of_two.get(key) for key in of_one.keys() | of_two)
    return Comparison(f"rows of {table.name}", max(len(of_one), len(of_two)), different)


def _digests(table: Table, settings: Settings) -> Iterator[tuple[str, int]]:
    store = open_store(settings.store)
    try:
        yield from digests(table, store).items()
    finally:
        store.close()
