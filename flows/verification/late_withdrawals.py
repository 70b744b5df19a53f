"""Withdrawals that came too late for some of their decisions, as their dead letters say.

Such a withdrawal voids what is pending when it comes and changes nothing of what has settled.
Which of the two a decision was depended on the arrival, which only its outcome knows.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from flows.verification.reading import TopicOffset
from operators.decode import read_key
from operators.envelope import Event
from operators.logic.attribution import reasons
from operators.logic.recount import Verdict
from schemas.codec import Flaw, decode
from schemas.topics import Topic

Judge = Callable[[Sequence[Event]], dict[int, Verdict]]

_WITHDRAWN = frozenset({reasons.CONSENT_WITHDRAWN, reasons.ERASED})


def closed_keys(payloads: Iterable[bytes]) -> set[int]:
    """Give the keys of the decisions whose windows closed before any withdrawal was known."""
    closed, withdrawn = set[int](), set[int]()
    for payload in payloads:
        outcome = decode(Topic.OUTCOMES, payload)
        if isinstance(outcome, Flaw) or (key := read_key(outcome.key)) is None:
            continue
        if outcome.reason in _WITHDRAWN:
            withdrawn.add(key)
        elif outcome.status == "settled" or outcome.reason == reasons.NOT_ACTIVATED:
            closed.add(key)
    return closed - withdrawn


def judge_with_late_withdrawals(
    judge: Judge,
    events: Sequence[Event],
    letters: Mapping[TopicOffset, str],
    closed: Container[int],
) -> dict[int, Verdict]:
    """Judge decisions; late withdrawals do not concern those that had ``closed``.

    ``letters`` are the reasons of dead letters.
    """
    verdicts = judge(events)
    in_time = [
        event
        for event in events
        if letters.get((event.origin.topic, event.origin.offset)) != reasons.LATE_WITHDRAWAL
    ]
    if len(in_time) < len(events):
        for key, verdict in judge(in_time).items():
            if key in closed:
                verdicts[key] = verdict
    return verdicts
