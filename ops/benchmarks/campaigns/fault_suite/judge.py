"""What holds after every fault: one answer each, exactly what was learned, one copy of each row."""

from collections import Counter
from collections.abc import Iterator, Mapping

from flows.registry import PERSIST, PERSONALIZE
from flows.runtime.clock import system_clock
from flows.verification.findings import TOLERANCE, Verification
from flows.verification.verify import verify
from operators.io.kafka.partition import read_partition
from ops.benchmarks.campaigns.fault_suite.bars import Finding
from schemas.codec import decode
from schemas.results import DeadLetter
from schemas.settings import Settings
from schemas.topics import Topic
from tests.support.stage import Stage, StagedFlow


def judge(
    found: Finding,
    stage: Stage,
    personalize: StagedFlow,
    *,
    requests: int | None = None,
    shown: int | None = None,
    dead_letters: Mapping[str, int] | None = None,
    seconds: float = 180.0,
) -> Verification:
    """Wait until all is processed, end the flow, and compare with recomputations.

    ``requests`` were made and ``shown`` impressions sent in their windows, those of the stage's
    visitors if None; ``dead_letters`` are those that the fault must cause, by reason.
    """
    waited = stage.settle(PERSONALIZE.name, seconds=seconds)
    personalize.stop()
    waited += stage.settle(PERSIST.name, seconds=seconds)
    if requests is None:
        requests, shown = stage.report.requests, stage.report.impressions
        found.exactly("requests without an answer to their visitor", 0, stage.report.unanswered)
    letters = Counter(letter.reason for letter in letters_of(stage.settings))
    found.exactly("dead letters", dict(dead_letters or {}), dict(letters))
    verified = verify(stage.settings)
    _compare(found, verified, requests, waited)
    learned = sum(check.learned[0] for check in verified.actions)
    found.exactly("impressions learned from", shown, round(learned))
    return verified


def _compare(found: Finding, verified: Verification, requests: int, waited: float) -> None:
    """Add a bar for each thing that a recomputation from the topics says."""
    found.that(
        "requests unanswered, with two different answers",
        f"0, 0 of {requests:,}",
        f"{verified.unanswered:,}, {verified.contradicted:,} of {verified.requests:,}",
        not verified.unanswered
        and not verified.contradicted
        and verified.requests == verified.decisions == requests,
    )
    actions = verified.actions
    agreeing = sum(check.agrees for check in actions)
    found.that(
        "actions whose statistics agree; largest difference",
        f"all, counts exactly; {TOLERANCE:g}",
        f"{agreeing} of {len(actions)}; {verified.largest_difference:.1e}",
        0 < len(actions) == agreeing,
    )
    pending, outcomes = verified.pending, verified.outcomes
    wrong = pending.different + outcomes.missing + outcomes.different
    found.that(
        "pending decisions and outcomes that differ",
        "0",
        f"{wrong:,} of {pending.decisions + outcomes.settled + outcomes.void:,}",
        wrong == 0,
    )
    rows = sum(table.rows for table in verified.store)
    different = sum(table.different for table in verified.store)
    found.that(
        f"store rows that differ, {waited:.0f} s after the last request",
        "0, nothing behind",
        f"{different:,} of {rows:,}, {verified.behind:,} behind",
        rows > 0 and not different and not verified.behind,
    )


def letters_of(settings: Settings) -> Iterator[DeadLetter]:
    """Read the dead letters."""
    for k in range(settings.kafka.partitions_of(Topic.DEAD_LETTERS)):
        for payload, _, _, _ in read_partition(settings.kafka, Topic.DEAD_LETTERS, k, system_clock):
            letter = decode(Topic.DEAD_LETTERS, payload)
            if isinstance(letter, DeadLetter):
                yield letter
