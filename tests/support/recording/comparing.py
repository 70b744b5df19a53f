"""In what two observations of flows differ."""

import math
from collections.abc import Iterator
from typing import Any

from operators.logic.attribution.reasons import DUPLICATE_WAITING
from tests.support.recording.observed import Sections

_SHOWN = 40

_MEASURES = ("click_auc", "click_calibration_error", "click_error", "click_log_loss")
_OTHER_CLICKS = "foot"
"""The slot where no answer is worth something, which was taken for a click."""

_OTHER_RANGE = "side"
"""The slot whose rewards are not in [0, 1], as which policies were described all the same."""


def lasting(found: Sections) -> Sections:
    """Leave out what depends on when live events came, and what personalize did not write.

    Pending outcomes count the reports so far; a profile may or may not count what came late from
    before its consent.
    """
    kept = {name: named for name, named in found.items() if not name.startswith(("rows", "hot"))}
    final = {k: each for k, each in found["outcomes"].items() if each["status"] != "pending"}
    profiles = {k: {"purposes": each["purposes"]} for k, each in found["profiles"].items()}
    return kept | {"outcomes": final, "profiles": profiles}


def restated(sections: Sections) -> Sections:
    """Leave out what releases since the recording say otherwise of the same state.

    Measures of a click model were given as 0 and one half before they were known. What a policy
    believes of an action was an observed rate unless it was ``beta``, and described in [0, 1].
    A copy of a waiting event was counted alone, and is on record now.
    """
    repeats = {
        name
        for name, letter in sections.get("dead letters", {}).items()
        if letter["reason"] == DUPLICATE_WAITING
    }
    repeats |= {name.rpartition("/")[0] for name in repeats}  # as the store's rows are named
    return {
        section: {
            name: _restated(each, _slot_of(each))
            for name, each in named.items()
            if name not in repeats
        }
        for section, named in sections.items()
    }


def _slot_of(record: Any) -> str:
    return str(record.get("slot_id", "")) if isinstance(record, dict) else ""


def _restated(value: Any, slot_id: str, policy: str = "") -> Any:
    if isinstance(value, list):
        return [_restated(each, slot_id, policy) for each in value]
    if not isinstance(value, dict):
        return value
    policy = value.get("policy", policy)
    left_out: set[str] = set()
    if "click_outcomes" in value and (not value["click_outcomes"] or slot_id == _OTHER_CLICKS):
        left_out = {*_MEASURES, "click_drifts"}
    if "deviation" in value and policy != "beta":
        left_out = {"mean", "deviation"}
    if "deviation" in value and slot_id == _OTHER_RANGE:
        left_out = {"mean", "deviation", "reward"}
    if {"rewards", "actions"} <= value.keys() and slot_id == _OTHER_RANGE:
        left_out = {"rewards"}
    return {
        name: _restated(each, slot_id, policy)
        for name, each in value.items()
        if name not in left_out
    }


def assert_same(expected: Sections, found: Sections) -> None:
    """Fail where two observations differ, and say in what."""
    said = differences(restated(expected), restated(found))
    assert not said, "\n".join([f"{len(said)} differences", *said[:_SHOWN]])


def is_same(expected: Sections, found: Sections) -> bool:
    """Say whether two observations agree."""
    return not differences(restated(expected), restated(found))


def differences(expected: Sections, found: Sections) -> list[str]:
    """Say what was expected and is not there, or otherwise, and what is there beyond it.

    A record may have got more fields. Whole numbers must be equal, others to five digits.
    """
    said: list[str] = []
    for section, wanted in expected.items():
        there = found.get(section, {})
        said += [f"{section}: {name} is missing" for name in sorted(wanted.keys() - there)]
        said += [f"{section}: {name} is too much" for name in sorted(there.keys() - wanted)]
        for name in sorted(wanted.keys() & there):
            said += [f"{section}: {name}{what}" for what in _differs(wanted[name], there[name])]
    return said


def _differs(wanted: Any, there: Any) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(there, dict):
        for name, value in wanted.items():
            if name not in there:
                yield f".{name} is missing"
            else:
                yield from (f".{name}{what}" for what in _differs(value, there[name]))
    elif isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        for place, pair in enumerate(zip(wanted, there, strict=True)):
            yield from (f"[{place}]{what}" for what in _differs(*pair))
    elif not _alike(wanted, there):
        yield f" is {there!r}, expected {wanted!r}"


def _alike(wanted: Any, there: Any) -> bool:
    numbers = isinstance(wanted, float) and isinstance(there, int | float)
    if not numbers or wanted.is_integer():
        return bool(wanted == there)
    return math.isclose(wanted, there, rel_tol=1e-5, abs_tol=2e-6)
