"""Outcomes on their topic, against those that the events imply."""

from collections.abc import Callable, Collection, Iterable, Mapping

from flows.verification.findings import Verification
from operators.decode import read_key
from operators.logic.attribution import outcome_id, reasons
from operators.logic.attribution.ledger import Ledger
from operators.logic.recount import Verdict
from schemas.codec import Flaw, decode
from schemas.results import Outcome
from schemas.topics import Topic

Verdicts = Mapping[int, Verdict]


class Outcomes:
    """The outcomes of one shard.

    ``ledger`` is that of the flow's last snapshot: what it says is settled must be on the topic.
    What is there beyond was written after that snapshot. Of decisions with a ``quarantined`` record
    something pending may have been written before it was known to be one.
    """

    def __init__(
        self,
        report: Verification,
        verdicts: Verdicts,
        ledger: Ledger,
        quarantined: Collection[int] = (),
    ) -> None:
        self._quarantined = quarantined
        self._checks = report.outcomes
        self._verdicts = verdicts
        self._due = {
            key
            for key, verdict in verdicts.items()
            if ledger.is_settled(verdict.decision.at, verdict.closes) or verdict.withdrawals
        }
        self._first_digests: dict[int, int] = {}
        self._reported: set[int] = set()
        self._later: list[Outcome] = []
        self.evicted: set[int] = set()

    def compare(self, payloads: Iterable[bytes], of_all_events: Callable[[], Verdicts]) -> None:
        """Compare the records; those written after the snapshot with the verdicts of all events."""
        for payload in payloads:
            outcome = decode(Topic.OUTCOMES, payload)
            if isinstance(outcome, Flaw) or read_key(outcome.key) is None:
                self._checks.unreadable += 1
            elif self._first(outcome, payload):
                self._take(outcome)
        for key in self._due - self._reported:
            self._checks.miss(self._verdicts[key].decision.body.slot_id)
        if self._later:
            verdicts = of_all_events()
            for outcome in self._later:
                self._hold_against(outcome, verdicts.get(int(outcome.key, 16)))

    def _first(self, outcome: Outcome, payload: bytes) -> bool:
        """Say whether this revision is new.

        A final one must say the same again. What a pending one says may change: after a crash
        rewards may be counted in another order, until all of them are.
        """
        identity = outcome_id(int(outcome.key, 16), outcome.status, outcome.revision)
        digest = hash(payload)
        first = self._first_digests.get(identity)
        if first is None:
            self._first_digests[identity] = digest
        elif first == digest or outcome.status == "pending":
            self._checks.repeated += 1
        else:
            self._checks.differ(outcome.slot_id)
        return first is None

    def _take(self, outcome: Outcome) -> None:
        key = int(outcome.key, 16)
        if outcome.status == "pending":
            self._checks.pending += 1
        elif outcome.status == "void":
            self._checks.void += 1
        else:
            self._checks.settled += 1
            if outcome.not_learned:
                by_reason = self._checks.not_learned
                by_reason[outcome.not_learned] = by_reason.get(outcome.not_learned, 0) + 1
        if outcome.reason == reasons.EVICTED:
            self.evicted.add(key)
        if key in self._due and outcome.status != "pending":
            self._reported.add(key)
            self._hold_against(outcome, self._verdicts[key])
        elif key not in self._due and not (
            outcome.status == "pending" and key in self._quarantined
        ):
            self._later.append(outcome)

    def _hold_against(self, outcome: Outcome, verdict: Verdict | None) -> None:
        if not _right(outcome, verdict):
            self._checks.differ(outcome.slot_id)


def _right(outcome: Outcome, verdict: Verdict | None) -> bool:
    """Say whether an outcome is what its decision's events imply."""
    if verdict is None:
        return False
    if outcome.status == "pending":
        return outcome.revision <= verdict.copies or bool(verdict.withdrawals)
    wanted = verdict.outcome()
    if outcome.reason in verdict.withdrawals:  # whichever of them arrived first
        wanted.reason = outcome.reason
    return outcome.reason == reasons.EVICTED or outcome == wanted
