"""Recorded requests, posteriors and content lead to the decisions that an old release made."""

import base64

import pytest

from operators.logic.policies import KINDS, load_policy, load_posterior
from tests.support.parts import not_proven
from tests.support.recording.decisions import (
    Case,
    Decisions,
    decide,
    differences,
    numbers,
    read,
    read_decisions,
)

YOUNGER = {"shared"}
"""Kinds that the old release did not have."""


@pytest.fixture(scope="module")
def old() -> Decisions:
    return read_decisions()


def same_numbers(old: Decisions, proves: str) -> None:
    """Skip where the last bits of floats differ for the want of the machine."""
    if numbers() != old.numbers:
        not_proven(proves, f"recorded with {old.numbers}")


def test_they_are_of_every_kind_of_policy(old: Decisions) -> None:
    assert {case.slot.policy.kind for case in old.cases} == set(KINDS) - YOUNGER
    assert {case.slot.holdout.unit for case in old.cases if case.slot.holdout.share} == {
        "decision",
        "subject",
    }
    assert any(case.slot.slate_size > 1 and case.slot.floor for case in old.cases)


def tolerance(case: Case) -> float:
    """Of numbers: where nothing was learned, the common mean is estimated from nothing now."""
    return 1e-9 if case.policy is not None and case.fits else 1e-6


def test_decisions_are_as_recorded(old: Decisions) -> None:
    said = [
        f"{case.slot.slot_id}, {asked.request.id}: {what}"
        for case in old.cases
        for asked, made in zip(case.asked, decide(case, old.policies), strict=True)
        for what in differences(asked.decision, made, tolerance(case))
    ]
    assert not said, "\n".join(said[:20])


def test_decisions_are_as_recorded_to_the_bit(old: Decisions) -> None:
    """But for `beta`, whose pseudo-counts are a rate times a weight now, and what had learned
    nothing, whose prior is another's."""
    same_numbers(old, "decisions are as recorded, to the bit")
    for case in old.cases:
        if case.policy is None or not case.fits or case.slot.policy.kind == "beta":
            continue
        for asked, made in zip(case.asked, decide(case, old.policies), strict=True):
            assert read(made) == read(asked.decision), case.slot.slot_id


def test_old_posteriors_are_read_as_they_were(old: Decisions) -> None:
    for name, learned in old.policies.items():
        posterior = load_posterior(base64.b64decode(learned.posterior))
        again = load_posterior(posterior.dump())
        assert again.dump() == posterior.dump(), name
        assert again.summary() == posterior.summary(), name


def test_old_policies_keep_what_they_counted(old: Decisions) -> None:
    """They publish by the priors of this release: what was a default then is learned now."""
    for name, learned in old.policies.items():
        policy = load_policy(base64.b64decode(learned.policy))
        expected = load_posterior(base64.b64decode(learned.posterior))
        for published in (policy.publish(), load_policy(policy.dump()).publish()):
            assert published.action_ids == expected.action_ids, name
            for mine, wanted in zip(published.summary(), expected.summary(), strict=True):
                assert (mine.count, mine.reward) == (wanted.count, wanted.reward), name
