"""Recorded decisions: a request, a posterior and a slot's content, and the record they led to.

Made by the release of commit b39c07a; made anew by ``python -m
tests.support.recording.record_decisions FILE``, which the same release must run. What normal
posteriors decide was made anew from the same requests and posteriors (``--again``) when their
probabilities came to be computed in double precision.
"""

import base64
import json
import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numba
import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from operators.decide.admission import RequestGroup, request_hash
from operators.decide.scoring import Scorer
from operators.envelope import Event, Origin
from operators.io.metrics.decisions import DecisionMetrics
from operators.logic.catalog import Catalog
from operators.logic.deciding.contents import ActionContents
from operators.logic.deciding.eligibility import eligible_actions
from operators.logic.policies import load_posterior
from operators.logic.policies.published import PublishedPolicy
from operators.logic.slot_policy import policy_family
from schemas.catalog import Action, Slot
from schemas.clock import micros
from schemas.events import Decision, DecisionRequest
from tests.support.recording.decision_cases import NEWEST, NOW

FILE: Final = Path(__file__).parents[2] / "data" / "recorded" / "decisions.json.xz"
SECRET: Final = "a secret of recorded decisions"


class LearnedPolicy(Struct):
    """A policy and what it publishes, as they were written (base64)."""

    policy: str
    posterior: str


class Asked(Struct):
    """A request with what the flow knew of its subject, and the decision that it got."""

    request: DecisionRequest
    key: str
    personal: bool
    profile: dict[str, float] | None = None
    embedding: list[float] | None = None
    decision: str = ""


class Case(Struct):
    """Requests of one slot, decided together.

    ``policy`` names the learned policy, None where nothing was learned; ``fits`` says that it was
    learned under the slot's settings.
    """

    slot: Slot
    actions: list[Action]
    policy: str | None
    version: int
    fits: bool
    asked: list[Asked]


class Decisions(Struct):
    """What was recorded; ``numbers`` names the machine that computed it."""

    numbers: str
    policies: dict[str, LearnedPolicy]
    cases: list[Case]


NEWER = {"subject_window"}
"""The fields that every decision says by now, and none did when it was recorded."""


def read_decisions(path: Path = FILE) -> Decisions:
    """Read what was recorded."""
    return msgspec.json.decode(lzma.decompress(path.read_bytes()), type=Decisions)


def write_decisions(path: Path, found: Decisions) -> None:
    """Write what was recorded."""
    path.write_bytes(lzma.compress(msgspec.json.encode(found), preset=9))


def numbers() -> str:
    """Name what the last bits of a float depend on: NumPy, numba, what the processor can do."""
    config: Any = np.show_config(mode="dicts")
    features = " ".join(config["SIMD Extensions"]["found"])
    return f"NumPy {np.__version__}, {features}, numba {numba.__version__}"


def decide(case: Case, policies: dict[str, LearnedPolicy]) -> list[bytes]:
    """Decide a case at the same moment as then; give the records in the order of the requests."""
    events = [_event(place, asked) for place, asked in enumerate(case.asked)]
    actions = tuple(case.actions)
    slot = declared(case.slot, actions)
    catalog = Catalog({slot.slot_id: slot}, {slot.slot_id: actions})
    group = RequestGroup(
        slot=slot,
        actions=actions,
        revision=1,
        policy=_published(case, policies),
        events=events,
        eligible=[eligible_actions(asked.request, catalog) for asked in case.asked],
        request_hashes=[request_hash(asked.request, ActionContents()) for asked in case.asked],
    )
    made = Scorer(SECRET.encode(), lambda: NOW, DecisionMetrics()).decide([("0", group)])
    by_key = {message.id: message.value for _, messages in made for message in messages}
    return [by_key[event.key] for event in events]


def read(record: str | bytes) -> dict[str, Any]:
    """Read a decision as JSON, with the defaults of the fields that it leaves out."""
    defaults = {
        name: default
        for name, default in zip(
            Decision.__struct_fields__[-len(Decision.__struct_defaults__) :],
            Decision.__struct_defaults__,
            strict=True,
        )
        if default is not msgspec.NODEFAULT
    }
    said = defaults | json.loads(record)
    return {name: value for name, value in said.items() if name not in NEWER}


def differences(expected: str, found: bytes, tolerance: float = 1e-9) -> Iterator[str]:
    """Say in what two records differ: numbers within ``tolerance``, all else exactly."""
    return _differs("", read(expected), read(found), tolerance)


def _differs(name: str, wanted: Any, there: Any, tolerance: float) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(there, dict):
        for each in wanted.keys() | there:
            yield from _differs(f"{name}.{each}", wanted.get(each), there.get(each), tolerance)
    elif isinstance(wanted, list) and isinstance(there, list) and len(wanted) == len(there):
        for place, pair in enumerate(zip(wanted, there, strict=True)):
            yield from _differs(f"{name}[{place}]", *pair, tolerance)
    elif isinstance(wanted, float) and isinstance(there, float):
        if abs(wanted - there) > tolerance * max(1.0, abs(wanted)):
            yield f"{name}: {there}, expected {wanted}"
    elif wanted != there:
        yield f"{name}: {there}, expected {wanted}"


def _published(case: Case, policies: dict[str, LearnedPolicy]) -> PublishedPolicy | None:
    if case.policy is None:
        return None
    return PublishedPolicy(
        slot_id=case.slot.slot_id,
        kind=case.slot.policy.kind,
        version=case.version,
        newest=micros(NEWEST),
        posterior=load_posterior(base64.b64decode(policies[case.policy].posterior)),
        family=policy_family(case.slot) if case.fits else "another",
    )


def _event(place: int, asked: Asked) -> Event:
    body, at = asked.request, micros(asked.request.time)
    return Event(
        at=at,
        body=body,
        subject=body.subject,
        key=int(asked.key, 16),
        origin=Origin("decision-requests", place % 2, place, at),
        personal=asked.personal,
        profile=asked.profile,
        embedding=asked.embedding,
    )


def declared(slot: Slot, actions: Sequence[Action]) -> Slot:
    """Say of a slot what was understood then: without actions it takes them from requests."""
    return slot if actions else replace(slot, candidates="request")


def allowed(slot: Slot, actions: Sequence[Action], request: DecisionRequest) -> bool:
    """Say whether there is something to choose from."""
    slot = declared(slot, actions)
    catalog = Catalog({slot.slot_id: slot}, {slot.slot_id: tuple(actions)})
    return eligible_actions(request, catalog) != []
