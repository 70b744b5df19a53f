"""One answer per request: requests, decisions and dead letters of a shard side by side."""

from collections.abc import Iterable

from flows.verification.findings import Verification
from flows.verification.reading import Cut, Place
from operators.envelope import Event
from schemas.events import DecisionBack
from schemas.topics import Topic

REFUSALS = frozenset({"unknown_slot", "stale_request", "no_eligible_action"})
"""Reasons for which a request is answered by a dead letter instead of a decision."""


class Answers:
    """What the decisions topic says to each request of a shard, by key."""

    def __init__(self, found: Verification) -> None:
        self._found = found
        self._said: dict[int, int] = {}

    def take(self, event: Event) -> None:
        """Count answers that say another thing than the first, and those that say the same."""
        body: DecisionBack = event.body
        said = hash((body.action_id, body.propensity, body.policy_version, body.features))
        first = self._said.get(event.key)
        if first is None:
            self._said[event.key] = said
            self._found.decisions += 1
        elif first == said:
            self._found.repeated += 1
        else:
            self._found.contradicted += 1

    def compare(self, requests: Iterable[Event], cut: Cut, letters: dict[Place, str]) -> None:
        """Count requests that were taken in, and those without an answer."""
        found = self._found
        asked, refused = set(), set()
        for event in requests:
            if not cut.holds(event):
                continue
            found.requests += 1
            asked.add(event.key)
            place = (str(Topic.DECISION_REQUESTS), event.origin.offset)
            if letters.get(place) in REFUSALS:
                refused.add(event.key)
        open_ = asked - self._said.keys()
        found.refused += len(open_ & refused)
        found.waiting += len(open_ & cut.waiting - refused)
        found.unanswered += len(open_ - refused - cut.waiting)
