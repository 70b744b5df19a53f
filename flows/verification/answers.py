"""One answer per request: requests, decisions and dead letters of a shard side by side."""

from collections.abc import Iterable

from flows.verification.findings import Verification
from flows.verification.reading import Cut, TopicOffset
from operators.envelope import Event
from operators.io.releases import PROCESSING_ERROR
from operators.logic.deciding.contents import CONFLICTING, CONTENT_FLAWS
from schemas.events import DecisionBack
from schemas.topics import Topic

REFUSALS = (
    frozenset({"unknown_slot", "stale_request", "no_eligible_action", CONFLICTING})
    | CONTENT_FLAWS
    | {PROCESSING_ERROR}
)
"""Reasons for which a request is answered by a dead letter instead of a decision."""


class RequestAnswers:
    """The decisions of a shard's requests, by key."""

    def __init__(self, report: Verification) -> None:
        self._report = report
        self._first_digests: dict[int, int] = {}

    def take(self, event: Event) -> None:
        """Count further decisions of a request: those that differ from the first, and repeats."""
        body: DecisionBack = event.body
        digest = hash((body.action_id, body.propensity, body.policy_version, body.features))
        first = self._first_digests.get(event.key)
        if first is None:
            self._first_digests[event.key] = digest
            self._report.decisions += 1
        elif first == digest:
            self._report.repeated += 1
        else:
            self._report.contradicted += 1

    def compare(self, requests: Iterable[Event], cut: Cut, letters: dict[TopicOffset, str]) -> None:
        """Count requests that were taken in, and those without an answer."""
        report = self._report
        asked, refused = set(), set()
        for event in requests:
            if not cut.includes(event):
                continue
            report.requests += 1
            asked.add(event.key)
            place = (str(Topic.DECISION_REQUESTS), event.origin.offset)
            if letters.get(place) in REFUSALS:
                refused.add(event.key)
        unanswered = asked - self._first_digests.keys()
        report.refused += len(unanswered & refused)
        report.waiting += len(unanswered & cut.waiting - refused)
        report.unanswered += len(unanswered - refused - cut.waiting)
