"""Records decisions anew: ``python -m tests.support.recording.record_decisions FILE``.

With ``--again`` only what normal posteriors decide is made anew, from the same requests and
posteriors.
"""

import base64
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from operators.logic.features import FeatureMap
from operators.logic.policies import Deltas, Policy, load_policy
from operators.logic.slot_policy import new_policy, policy_dim
from schemas.catalog import Action, Slot
from schemas.clock import micros
from tests.support.recording import decision_cases as cases
from tests.support.recording.decisions import (
    Asked,
    Case,
    Decisions,
    LearnedPolicy,
    allowed,
    decide,
    numbers,
    read_decisions,
    write_decisions,
)

NORMAL = {"logistic", "gaussian", "diagonal"}
"""The policies whose posteriors are normal, and drawn from."""

_LEARNED = 120
"""Outcomes that each policy learns from."""


def record() -> Decisions:
    """Learn policies and decide every case."""
    found = Decisions(numbers(), {}, [])
    for place, slot in enumerate(cases.slots()):
        kind, _, variant = slot.slot_id.removesuffix(" 50 %").partition(".")
        name = f"{kind}/{slot.slate_size}"
        if name not in found.policies:
            policy = _learned(slot, cases.actions(slot)[:-1], place).dump()
            posterior = load_policy(policy).publish().dump()
            found.policies[name] = LearnedPolicy(
                base64.b64encode(policy).decode(), base64.b64encode(posterior).decode()
            )
        for case in _cases(slot, name, variant, place + 1):
            for asked, made in zip(case.asked, decide(case, found.policies), strict=True):
                asked.decision = made.decode()
            found.cases.append(case)
    return found


def _cases(slot: Slot, policy: str, variant: str, version: int) -> Iterator[Case]:
    content = cases.actions(slot)
    yield _case(slot, content, policy, version)
    if variant == "holdout":
        yield _case(slot, content, None, version)
    if variant == "floor":
        yield _case(slot, (), policy, version)
        yield _case(slot, content, policy, version, fits=False)


def _case(
    slot: Slot, content: Sequence[Action], policy: str | None, version: int, *, fits: bool = True
) -> Case:
    case = Case(slot, list(content), policy, version, fits, [])
    for place, request in enumerate(cases.requests(slot)):
        if not content and request.actions is None:
            request = msgspec.structs.replace(request, actions=["a", "b", "é", "zz"])
        if not allowed(slot, content, request):
            continue
        personal = place % 3 != 2
        known = personal and bool(slot.features.profile)
        case.asked.append(
            Asked(
                request=request,
                key=f"{(place + 1) * 0x1234567890ABCDEF % 2**64:016x}",
                personal=personal,
                profile=cases.PROFILE if known else None,
                embedding=cases.EMBEDDING if known and place % 2 else None,
            )
        )
    return case


def _learned(slot: Slot, content: tuple[Action, ...], seed: int) -> Policy:
    feature_map = FeatureMap(slot.features)
    dim, rng = policy_dim(slot, feature_map), np.random.default_rng(seed)
    policy = new_policy(slot, content, dim)
    chosen = rng.integers(len(cases.ACTIONS), size=_LEARNED)
    rows = feature_map.encode(
        [cases.context(place % 9) for place in range(_LEARNED)],
        [cases.PROFILE] * _LEARNED,
        [cases.EMBEDDING] * _LEARNED,
        [micros(cases.TIME) - 1_000_000 * place for place in range(_LEARNED)],
    )
    x = np.zeros((_LEARNED, dim))
    x[:, : feature_map.dim] = rows
    for place, position in enumerate(rng.integers(slot.slate_size, size=_LEARNED)):
        if position:
            x[place, feature_map.dim + position - 1] = 1.0
    policy.learn(
        Deltas(
            action_ids=[cases.ACTIONS[place] for place in chosen],
            x=x,
            eta=rng.normal(size=_LEARNED) - 1.5,
            time=micros(cases.TIME) / 1e6 - 10.0 * np.arange(_LEARNED),
            count_delta=np.ones(_LEARNED),
            reward_delta=(rng.random(_LEARNED) < 0.2 + 0.15 * chosen).astype(np.float64),
        )
    )
    return policy


def decided_again(found: Decisions) -> Decisions:
    """Decide anew what was asked of learned normal posteriors: their probabilities have changed."""
    found.numbers = numbers()
    for case in found.cases:
        if case.slot.policy.kind in NORMAL and case.policy is not None and case.fits:
            for asked, made in zip(case.asked, decide(case, found.policies), strict=True):
                asked.decision = made.decode()
    return found


if __name__ == "__main__":
    again = "--again" in sys.argv[2:]
    write_decisions(Path(sys.argv[1]), decided_again(read_decisions()) if again else record())
