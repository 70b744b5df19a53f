"""Recorded requests, posteriors and content lead to the decisions that an old release made."""

import base64

import pytest

from operators.logic.policies import KINDS, load_policy, load_posterior
from tests.support.parts import not_proven
from tests.support.recording.decisions import (
    Decisions,
    decide,
    differences,
    numbers,
    read,
    read_decisions,
)


@pytest.fixture(scope="module")
def old() -> Decisions:
    return read_decisions()


def same_numbers(old: Decisions, proves: str) -> None:
    """Skip where the last bits of floats differ for the want of the machine."""
    if numbers() != old.numbers:
        not_proven(proves, f"recorded with {old.numbers}")


def test_they_are_of_every_kind_of_policy(old: Decisions) -> None:
    assert {case.slot.policy.kind for case in old.cases} == set(KINDS)
    assert {case.slot.holdout.unit for case in old.cases if case.slot.holdout.share} == {
        "decision",
        "subject",
    }
    assert any(case.slot.slate_size > 1 and case.slot.floor for case in old.cases)


def test_decisions_are_as_recorded(old: Decisions) -> None:
    said = [
        f"{case.slot.slot_id}, {asked.request.id}: {what}"
        for case in old.cases
        for asked, made in zip(case.asked, decide(case, old.policies), strict=True)
        for what in differences(asked.decision, made)
    ]
    assert not said, "\n".join(said[:20])


def test_decisions_are_as_recorded_to_the_bit(old: Decisions) -> None:
    same_numbers(old, "decisions are as recorded, to the bit")
    for case in old.cases:
        for asked, made in zip(case.asked, decide(case, old.policies), strict=True):
            assert read(made) == read(asked.decision), case.slot.slot_id


def test_old_posteriors_are_read_and_written_as_they_are(old: Decisions) -> None:
    for name, learned in old.policies.items():
        posterior = base64.b64decode(learned.posterior)
        assert load_posterior(posterior).dump() == posterior, name
        policy = base64.b64decode(learned.policy)
        assert load_policy(policy).dump() == policy, name


def test_old_policies_publish_the_same_posterior(old: Decisions) -> None:
    for name, learned in old.policies.items():
        published = load_policy(base64.b64decode(learned.policy)).publish()
        expected = load_posterior(base64.b64decode(learned.posterior))
        assert published.action_ids == expected.action_ids, name
        for mine, wanted in zip(published.summary(), expected.summary(), strict=True):
            for found, said in ((mine.mean, wanted.mean), (mine.deviation, wanted.deviation)):
                assert found is said is None or found == pytest.approx(said, rel=1e-9), name
            assert (mine.count, mine.reward) == (wanted.count, wanted.reward), name


def test_old_policies_publish_the_same_posterior_to_the_byte(old: Decisions) -> None:
    same_numbers(old, "policies publish as recorded, to the byte")
    for name, learned in old.policies.items():
        published = load_policy(base64.b64decode(learned.policy)).publish()
        assert published.dump() == base64.b64decode(learned.posterior), name
